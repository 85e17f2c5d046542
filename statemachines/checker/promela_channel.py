"""The channel between the two VMs and what the environment pays, as Promela statements.

Rules kept here:
1. These are the rules of `wire` and `actions.charge`, written once more for Spin, so that two
   readings of them are compared. An unused place of a queue is 0; so is what a message carried
   once it was read or lost.
2. A message that carries something is on the way at most once in a direction: asserted.
"""

from __future__ import annotations

from collections.abc import Mapping

from statemachines.actions import TOLL_OF, Environment, Toll
from statemachines.checker.promela_rules import LAST_WORD, Lines, Rules, chosen, code_of, indented
from statemachines.effects import Message
from statemachines.environment import Budget, Disturbance, Forfeit, Need, Promise, Side, Stage
from statemachines.wire import IN_FLIGHT_MAX, End

_OTHER = {Side.SOURCE: Side.TARGET, Side.TARGET: Side.SOURCE}


def end_is(side: Side, *ends: End) -> str:
    """Return that one VM's end of the channel is one of some."""
    return "(" + " || ".join(f"{side.value}_end == {end.value}" for end in ends) + ")"


def _set_end(side: Side, end: End) -> str:
    return f"{side.value}_end = {end.value};"


NO_CHANNEL = f"({end_is(Side.SOURCE, End.NONE)} && {end_is(Side.TARGET, End.NONE)})"


def declared(rules: Mapping[Side, Rules], start: Environment) -> Lines:
    """Return the variables of the channel and of the environment."""
    ends = " ".join(f"{end.value}={end.name.lower()}" for end in End)
    messages = " ".join(f"{code_of(message)}={message.name}" for message in Message)
    lines = ["/* the channel */"]
    lines += [f"unsigned {side.value}_end : 3 = 0; /* {ends} */" for side in Side]
    lines += [f"bit {name} = 0;" for name in ("one_way", "cut", "stalled")]
    lines.append(f"/* {messages} */")
    for side, its in rules.items():
        lines.append(f"byte to_{side.value}[{IN_FLIGHT_MAX}];")
        for message, fields in its.carried.items():
            lines += [
                f"unsigned {its.on_the_way(message, f)} : {its.model.fields[f].bits} = 0;"
                for f in fields
            ]
    lines.append("/* the environment */")
    for budget, left in zip(Budget, start.left, strict=True):
        if left:
            lines.append(f"unsigned left_{budget.value} : {left.bit_length()} = {left};")
    stages = " ".join(f"{place}={stage.name.lower()}" for place, stage in enumerate(Stage))
    lines.append(f"unsigned stage : 3 = {tuple(Stage).index(start.stage)}; /* {stages} */")
    promises = " ".join(f"{place}={p.name.lower()}" for place, p in enumerate(Promise))
    lines.append(f"unsigned promise : 2 = {tuple(Promise).index(start.promise)}; /* {promises} */")
    return lines


# -- the environment


def payable(toll: Toll) -> list[str]:
    """Return what must be so of the environment."""
    conditions = [f"stage == {tuple(Stage).index(toll.stage)}"]
    conditions += [f"left_{b.value} > 0" for b in (toll.cost, toll.spares) if b is not None]
    if toll.promise is not Promise.NONE:
        promise = tuple(Promise).index(toll.promise)
        conditions.append(f"(promise == 0 || promise == {promise})")
    return conditions


def paid(toll: Toll) -> Lines:
    """Return what is paid."""
    lines: Lines = []
    if toll.promise is not Promise.NONE:
        lines.append(f"promise = {tuple(Promise).index(toll.promise)};")
    if toll.forgets:
        lines.append("promise = 0;")
    if toll.then is not None:
        lines.append(f"stage = {tuple(Stage).index(toll.then)};")
    if toll.cost is not None:
        lines.append(f"left_{toll.cost.value} = left_{toll.cost.value} - 1;")
    return lines


def let_go(condition: str, forfeit: Forfeit, start: Environment) -> list[tuple[str, Lines]]:
    """Return in which case something is let go; none where there never is anything."""
    had = {budget for budget, left in zip(Budget, start.left, strict=True) if left}
    if forfeit.spent in had:
        condition = f"({condition} && left_{forfeit.spent.value} == 0)"
    lines = [f"left_{budget.value} = 0;" for budget in forfeit.budgets if budget in had]
    return [(condition, lines)] if lines else []


# -- what is asked of the channel


def needed(side: Side, need: Need) -> str:
    """Return a need of one side as an expression."""
    gone = f"(cut || {end_is(_OTHER[side], End.CLOSED, End.GONE)})"
    offered = end_is(side, End.OFFERED)
    return {
        Need.ANY: "true",
        Need.NONE: NO_CHANNEL,
        Need.WAITING: f"({offered} && !one_way)",
        Need.WAITING_ONE_WAY: f"({offered} && one_way)",
        Need.ENDED: f"({gone} && !stalled && to_{side.value}[0] == 0)",
        Need.PEER_GONE: gone,
        Need.PEER_THERE: f"!{gone}",
        Need.STALLED: "stalled",
    }[need]


def arrived(side: Side, message: Message) -> str:
    """Return that a message is the next to be read."""
    return f"(!stalled && to_{side.value}[0] == {code_of(message)})"


def prompt_channel() -> str:
    """Return that the channel has something that a target deals with at once."""
    return f"({end_is(Side.TARGET, End.OFFERED)} || {arrived(Side.TARGET, Message.HELLO)})"


# -- what is done to it


def made(one_way: bool) -> Lines:
    """Return a new channel."""
    return [
        _set_end(Side.SOURCE, End.OPEN),
        _set_end(Side.TARGET, End.OFFERED),
        f"one_way = {int(one_way)};",
    ]


def accepted() -> Lines:
    """Return the acceptance of a connection."""
    return [_set_end(Side.TARGET, End.OPEN)]


def taken(side: Side) -> Lines:
    """Return the removal of the next message; what it carries stays until the step is done."""
    queue = f"to_{side.value}"
    return [
        *(f"{queue}[{place}] = {queue}[{place + 1}];" for place in range(IN_FLIGHT_MAX - 1)),
        f"{queue}[{IN_FLIGHT_MAX - 1}] = 0;",
    ]


def forgotten(rules: Rules, message: Message) -> Lines:
    """Return that what a message carried is read."""
    fields = rules.carried.get(message, ())
    return [f"{rules.on_the_way(message, field)} = 0;" for field in fields]


def _emptied(rules: Rules) -> Lines:
    queue = f"to_{rules.side.value}"
    lines = [f"{queue}[{place}] = 0;" for place in range(IN_FLIGHT_MAX)]
    for message in rules.carried:
        lines += forgotten(rules, message)
    return lines


def inlines(rules: Mapping[Side, Rules]) -> Lines:
    """Return the operations that many steps share."""
    lines: Lines = []
    for side, its in rules.items():
        name = side.value
        lines += [f"inline deafen_{name}() {{", *indented(_emptied(its)), "}"]
        gone = [f"deafen_{name}();", _set_end(side, End.GONE), "settle();"]
        lines += [
            f"inline let_go_{name}() {{",
            *indented(chosen([(end_is(side, End.NONE, End.OFFERED), [])], gone)),
            "}",
            f"inline perish_{name}() {{",
            *indented(chosen([(end_is(side, End.NONE), [])], gone)),
            "}",
            f"inline speak_{name}() {{",
            *indented(_spoken(side, rules[_OTHER[side]])),
            "}",
        ]
    return [*_settling(), *lines]


def _settling() -> Lines:
    over = (End.GONE, End.NONE)
    no_more = [
        *(_set_end(side, End.NONE) for side in Side),
        "one_way = 0;",
        "cut = 0;",
        "stalled = 0;",
        *(f"deafen_{side.value}();" for side in Side),
    ]
    one_gone = " || ".join(end_is(side, End.GONE) for side in Side)
    cases = [
        (f"({' && '.join(end_is(side, *over) for side in Side)})", no_more),
        (f"(cut && ({one_gone}))", ["cut = 0;"]),
    ]
    return ["inline settle() {", *indented(chosen(cases, [])), "}"]


def _spoken(side: Side, to: Rules) -> Lines:
    """Return that what a VM has said is put on the way, in order."""
    queue = f"to_{to.side.value}"
    carried: Lines = []
    for message, fields in to.carried.items():
        code = code_of(message)
        free = " && ".join(f"{queue}[{place}] != {code}" for place in range(IN_FLIGHT_MAX))
        lines = [f"assert({free});"]
        lines += [
            f"{to.on_the_way(message, f)} = said_{message.name}_{to.name(f)};" for f in fields
        ]
        carried += chosen([(f"said[word] == {code}", lines)], [])
    sent = [
        *carried,
        "slot = 0;",
        "do",
        f":: {queue}[slot] != 0 -> slot++",
        ":: else -> break",
        "od;",
        f"{queue}[slot] = said[word];",
    ]
    closed = chosen([(end_is(side, End.OPEN), [_set_end(side, End.CLOSED)])], [])
    heard = f"(!cut && {end_is(side, End.OPEN)} && !{end_is(to.side, End.GONE)})"
    cases = [(f"said[word] == {LAST_WORD}", closed), (heard, sent)]
    return [
        "word = 0;",
        "do",
        ":: word < said_count ->",
        *indented([*chosen(cases, []), "word++;"]),
        ":: else -> break",
        "od;",
    ]


# -- disturbances


def disturbances() -> list[tuple[Disturbance, list[str], Lines]]:
    """Return what can happen to the channel: which, conditions, statements."""
    found = []
    whole = f"{end_is(Side.SOURCE, End.OPEN)} && {end_is(Side.TARGET, End.OPEN, End.OFFERED)}"
    lost = {
        Disturbance.CUT: (),
        Disturbance.CUT_TO_TARGET: (Side.TARGET,),
        Disturbance.CUT_TO_SOURCE: (Side.SOURCE,),
        Disturbance.CUT_BOTH: tuple(Side),
    }
    for disturbance, toll in TOLL_OF.items():
        conditions, lines = payable(toll), paid(toll)
        if disturbance is Disturbance.UNSTALL:
            conditions.append("stalled")
            lines.append("stalled = 0;")
        elif disturbance is Disturbance.STALL:
            conditions += ["!cut", "!stalled", whole, "!one_way"]
            lines.append("stalled = 1;")
        elif disturbance in lost:
            conditions += ["!cut", "!stalled", whole]
            conditions += [f"to_{side.value}[0] != 0" for side in lost[disturbance]]
            lines.append("cut = 1;")
            lines += [f"deafen_{side.value}();" for side in lost[disturbance]]
        else:
            continue
        found.append((disturbance, conditions, lines))
    return found

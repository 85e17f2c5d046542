"""Ground rules as Promela statements: guards, events, and what an event leaves said.

Rules kept here:
1. Everything is printed from `compile.Model`; nothing knows a table or a topology by name.
2. Guards read the state before the event, as they do everywhere: an event writes copies
   (`next_…`), which are put in place when every listener has had its turn.
3. What a VM says while it steps is noted and put on the way at the end, for a VM that breaks has
   said nothing. Notes are `hidden`: they are no part of a state, and are set before they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from statemachines.compile import Model
from statemachines.effects import Command, Message
from statemachines.environment import Side
from statemachines.ground import (
    Asks,
    Both,
    Choice,
    Either,
    Glance,
    Ground,
    GroundEffect,
    Happens,
    Heard,
    Kind,
    Listener,
    Negation,
    Says,
    Test,
    both,
    either,
    negated,
    trigger_of,
)

Lines = list[str]
#: What is noted for a last word; messages are noted by their codes, from 1.
LAST_WORD = len(Message) + 1


def code_of(message: Message) -> int:
    """Return the number of a message on the way; 0 is no message."""
    return 1 + tuple(Message).index(message)


def indented(lines: Iterable[str]) -> Lines:
    """Return lines, one step further in."""
    return [f"    {line}" for line in lines]


def chosen(cases: Sequence[tuple[str, Lines]], otherwise: Lines) -> Lines:
    """Return a choice that is tried from the top: the first case that holds, or else the rest."""
    if not cases:
        return otherwise
    (condition, lines), *rest = cases
    if condition == "true":
        return lines
    return [
        "if",
        f":: {condition} ->",
        *indented(lines or ["skip"]),
        ":: else ->",
        *indented(chosen(rest, otherwise) or ["skip"]),
        "fi;",
    ]


class Rules:
    """The rules of one side's VM, in Promela."""

    def __init__(self, model: Model, side: Side) -> None:
        self.model = model
        self.side = side
        self.carried = model.carried
        self._places = {happens: place for place, happens in enumerate(model.events)}
        self._watched: dict[object, list[Glance]] = {}
        for glance in model.glances:
            self._watched.setdefault(trigger_of(glance.trigger), []).append(glance)

    # -- names

    def name(self, field: int) -> str:
        """Return the name of a field without its VM."""
        return self.model.fields[field].name.replace(".", "_")

    def variable(self, field: int) -> str:
        """Return the variable of a field."""
        return f"{self.side.value}_{self.name(field)}"

    def on_the_way(self, message: Message, field: int) -> str:
        """Return the variable for what a message carries to this VM."""
        return f"to_{self.side.value}_{message.name}_{self.name(field)}"

    # -- guards

    def condition(self, guard: Ground, heard: Message | None = None) -> str:
        """Return a ground guard as an expression; `heard` is the message being received."""
        match guard:
            case bool():
                return "true" if guard else "false"
            case Test(field=field, values=values):
                return among(self.variable(field), values, len(self.model.fields[field].values))
            case Heard(field=field, values=values):
                if heard is None or field not in self.carried.get(heard, ()):
                    return "false"
                count = len(self.model.fields[field].values)
                return among(self.on_the_way(heard, field), values, count)
            case Negation(part=part):
                return f"!({self.condition(part, heard)})"
            case Both(parts=parts):
                return "(" + " && ".join(self.condition(part, heard) for part in parts) + ")"
            case Either(parts=parts):
                return "(" + " || ".join(self.condition(part, heard) for part in parts) + ")"

    def allowed(self, happens: Happens) -> Ground:
        """Return where the owner takes an event from outside."""
        owner = self.model.events[happens].listeners[0]
        return either(
            both((Test(owner.field, frozenset({value})), _taken(choices)))
            for value, choices in owner.cells.items()
        )

    # -- what an event can bring about

    def reached(self, happens: Happens) -> list[Happens]:
        """Return the events that an event can raise, directly or not, in a fixed order."""
        seen: set[Happens] = set()
        waiting = [happens]
        while waiting:
            for effect in self._effects(waiting.pop()):
                if isinstance(effect, Happens) and effect not in seen:
                    seen.add(effect)
                    waiting.append(effect)
        return sorted(seen, key=self._places.__getitem__)

    def says(self, happens: Happens) -> bool:
        """Return whether an event, or one that it raises, can put something on the way."""
        return any(
            isinstance(effect, Says)
            or (isinstance(effect, Asks) and effect.command is Command.CLOSE_CHANNEL)
            for event in (happens, *self.reached(happens))
            for effect in self._effects(event)
        )

    def exits(self, happens: Happens) -> bool:
        """Return whether an event, or one that it raises, can end the process."""
        return any(
            isinstance(effect, Asks) and effect.command is Command.EXIT
            for event in (happens, *self.reached(happens))
            for effect in self._effects(event)
        )

    def breaks(self, happens: Happens) -> bool:
        """Return whether some listener might have no row for an event, or for one that it raises.

        The owner of an event from outside is not asked: where it has none, nothing happens.
        """
        _, *others = self.model.events[happens].listeners
        for event in self.reached(happens):
            others += self.model.events[event].listeners
        return not all(self._is_total(listener) for listener in others)

    def _is_total(self, listener: Listener) -> bool:
        cells = listener.cells.values()
        return len(cells) == len(self.model.fields[listener.field].values) and all(
            choices[-1].guard is True and all(c.kind is not Kind.REFUSED for c in choices)
            for choices in cells
        )

    def _effects(self, happens: Happens) -> Iterable[GroundEffect]:
        for listener in self.model.events[happens].listeners:
            for choices in listener.cells.values():
                for choice in choices:
                    yield from choice.effects

    # -- statements

    def happening(self, happens: Happens, heard: Message | None) -> Lines:
        """Return what an event and all that it raises do to the VM's fields and notes."""
        lines = self.event(happens, heard)
        raised = self.reached(happens)
        if not raised:
            return lines
        cases = [(f"raised[turn] == {self._places[e]}", self.event(e, heard)) for e in raised]
        return [
            *lines,
            "turn = 0;",
            "do",
            ":: turn < raised_count && !broken ->",
            *indented(chosen(cases, ["broken = 1;"])),
            "    turn++;",
            ":: else -> break",
            "od;",
        ]

    def event(self, happens: Happens, heard: Message | None) -> Lines:
        """Return what one event does: every listener, then the observers, then all put in place."""
        written: list[int] = []
        lines: Lines = [f"/* {happens} */"]
        for listener in self.model.events[happens].listeners:
            lines += self._listener(listener, heard, written)
        lines += self._noticed(happens, heard, written)
        fields = sorted(set(written))
        return [
            *(f"next_{self.name(field)} = {self.variable(field)};" for field in fields),
            *lines,
            *(f"{self.variable(field)} = next_{self.name(field)};" for field in fields),
        ]

    def _listener(self, listener: Listener, heard: Message | None, written: list[int]) -> Lines:
        cells: dict[tuple[Choice, ...], list[int]] = {}
        for value, choices in listener.cells.items():
            cells.setdefault(choices, []).append(value)
        variable = self.variable(listener.field)
        count = len(self.model.fields[listener.field].values)
        return chosen(
            [
                (
                    among(variable, frozenset(values), count),
                    self._cell(listener.field, choices, heard, written),
                )
                for choices, values in cells.items()
            ],
            ["broken = 1;"],
        )

    def _cell(
        self, field: int, choices: tuple[Choice, ...], heard: Message | None, written: list[int]
    ) -> Lines:
        cases = []
        for choice in choices:
            lines: Lines = []
            if choice.kind is Kind.REFUSED:
                lines.append("broken = 1;")
            if choice.next is not None:
                written.append(field)
                lines.append(f"next_{self.name(field)} = {choice.next};")
            for effect in choice.effects:
                lines += self._effect(effect, heard, written)
            cases.append((self.condition(choice.guard, heard), lines))
        return chosen(cases, ["broken = 1;"])

    def _effect(self, effect: GroundEffect, heard: Message | None, written: list[int]) -> Lines:
        match effect:
            case Happens():
                return [f"raised[raised_count] = {self._places[effect]};", "raised_count++;"]
            case Says(message=message, fields=fields):
                lines = [f"said[said_count] = {code_of(message)};", "said_count++;"]
                lines += [
                    f"said_{message.name}_{self.name(field)} = {self.variable(field)};"
                    for field in fields
                ]
            case Asks(command=command, owed=owed):
                lines = []
                if owed is not None:
                    written.append(owed)
                    lines.append(f"next_{self.name(owed)} = 1;")
                if command is Command.CLOSE_CHANNEL:
                    lines += [f"said[said_count] = {LAST_WORD};", "said_count++;"]
                elif command is Command.EXIT:
                    lines.append("exits = 1;")
        return lines + self._noticed(effect, heard, written)

    def _noticed(self, effect: GroundEffect, heard: Message | None, written: list[int]) -> Lines:
        """Return what the observers make of an event or an effect."""
        lines: Lines = []
        for glance in self._watched.get(trigger_of(effect), ()):
            guard = both((Test(glance.field, glance.values), glance.guard))
            if guard is False:
                continue
            written.append(glance.field)
            following = f"next_{self.name(glance.field)}"
            unmoved = f"{following} == {self.variable(glance.field)}"
            condition = f"{unmoved} && {self.condition(guard, heard)}"
            lines += chosen([(condition, [f"{following} = {glance.next};"])], [])
        return lines

    def at_rest(self) -> Lines:
        """Return what the world forgets when the VM has come to rest."""
        lines: Lines = []
        for owed, field, values in self.model.forgotten:
            matters = self.condition(Test(field, values))
            lines += chosen([(matters, [])], [f"{self.variable(owed)} = 0;"])
        return lines

    def becomes(self, state: Sequence[int]) -> Lines:
        """Return the assignment of a whole state."""
        return [f"{self.variable(field)} = {value};" for field, value in enumerate(state)]


def among(subject: str, values: frozenset[int], count: int) -> str:
    """Return that a variable with `count` values has one of some."""
    others = frozenset(range(count)) - values
    if not others:
        return "true"
    if len(others) < len(values):
        return "(" + " && ".join(f"{subject} != {value}" for value in sorted(others)) + ")"
    return "(" + " || ".join(f"{subject} == {value}" for value in sorted(values)) + ")"


def _taken(choices: tuple[Choice, ...]) -> Ground:
    """Return where the first choice whose guard holds is not a refusal."""
    found: Ground = False
    for choice in reversed(choices):
        if choice.kind is Kind.REFUSED:
            found = both((negated(choice.guard), found))
        else:
            found = either((choice.guard, found))
    return found


def declared(rules: Mapping[Side, Rules]) -> Lines:
    """Return the variables of both VMs, and the notes that a step takes."""
    lines: Lines = []
    for side, its in rules.items():
        lines.append(f"/* the {side.value}'s VM */")
        for number, field in enumerate(its.model.fields):
            names = " ".join(f"{place}={_worded(v)}" for place, v in enumerate(field.values))
            variable = f"unsigned {its.variable(number)} : {field.bits} = {field.initial};"
            lines.append(f"{variable} /* {names} */")
    source = rules[Side.SOURCE]
    lines.append("/* notes of one step; no part of a state */")
    lines += [f"hidden byte next_{source.name(i)};" for i in range(len(source.model.fields))]
    for message, fields in source.carried.items():
        lines += [f"hidden byte said_{message.name}_{source.name(field)};" for field in fields]
    lines += [
        "hidden byte raised[32];",
        "hidden byte raised_count;",
        "hidden byte turn;",
        "hidden byte said[16];",
        "hidden byte said_count;",
        "hidden byte word;",
        "hidden byte slot;",
        "hidden byte broken;",
        "hidden byte exits;",
    ]
    return lines


def _worded(value: object) -> str:
    return str(getattr(value, "name", value)).lower()

"""A table as a Markdown page: every cell of its alphabet, with all that is known about it.

Rules kept here: the matrix at the top has a place for every cell; below it each state's cells are
told entry by entry, in the order in which they are tried. A cell about which nothing is written, or
of which no entry may hold, is illegal there, and the page says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from statemachines.diagram.graph import Case, Graph, Node
from statemachines.diagram.wording import (
    condition,
    in_full,
    meaning_of_condition,
    meaning_of_effect,
)
from statemachines.effects import Do, Send
from statemachines.events import E
from statemachines.guards import ALWAYS, Not, policies_read
from statemachines.policies import POLICIES, VALUATIONS
from statemachines.spec import Ignored, Refused
from statemachines.system import spec_of

EVERY_PROFILE = "every"
IGNORED_SYMBOL = "·"
REFUSED_SYMBOL = "✗"
STAYS_SYMBOL = "○"


def to_table(graph: Graph) -> str:
    """Return a table's page as Markdown text."""
    spec = graph.spec
    parts = [f"# {spec.name}", spec.summary]
    parts.append(
        f"One per {_per(graph)}. It begins in `{spec.initial.value}`; nothing more need happen in "
        f"{', '.join(f'`{node.label}`' for node in graph.nodes if node.is_final)}."
    )
    parts += ["## States", _states(graph), "## Events", _events(graph)]
    if graph.conditions:
        parts += ["## Named conditions", _conditions(graph)]
    effects = _effects(graph)
    if effects:
        parts += ["## Messages and commands", effects]
    policies = _policies(graph)
    if policies:
        parts += ["## Policies", policies]
    parts += ["## All cells", _matrix_key(), _matrix(graph)]
    for node in graph.nodes:
        parts += [f"## In `{node.label}`", _cells(graph, node)]
    return "\n\n".join(parts) + "\n"


def rows_text(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; what would end a cell is escaped."""
    lines = [_row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _per(graph: Graph) -> str:
    per = graph.spec.per.value
    return "VM" if per == "vm" else per


def _states(graph: Graph) -> str:
    return rows_text(
        ("state", "meaning", ""),
        (
            (f"`{node.label}`", node.meaning, _marks(node.is_initial, node.is_final))
            for node in graph.nodes
        ),
    )


def _marks(is_initial: bool, is_final: bool) -> str:
    return ", ".join(
        word for word, applies in (("initial", is_initial), ("final", is_final)) if applies
    )


def _events(graph: Graph) -> str:
    return rows_text(
        ("event", "meaning", "origin", "owner", "about"),
        (
            (
                f"`{event.name}`",
                event.info.meaning,
                event.info.origin.value,
                _owner(graph, event),
                event.info.per.value,
            )
            for event in graph.events
        ),
    )


def _owner(graph: Graph, event: E) -> str:
    owner = spec_of(event.info.owner)
    return f"**{owner.name}**" if owner is graph.spec else owner.name


def _conditions(graph: Graph) -> str:
    return rows_text(
        ("name", "what it says", "in full"),
        (
            (f"`{name}`", meaning_of_condition(name), condition(guard, by_name=False))
            for name, guard in graph.conditions.items()
        ),
    )


def _effects(graph: Graph) -> str:
    done = dict.fromkeys(effect for edge in graph.edges for c in edge.cases for effect in c.effects)
    meanings = {}
    for effect in done:
        match effect:
            case Send(message=message):
                meanings[f"send {message.name}"] = meaning_of_effect(message)
            case Do(command=command):
                meanings[f"do {command.value}"] = meaning_of_effect(command)
    return rows_text(("effect", "meaning"), meanings.items()) if meanings else ""


def _policies(graph: Graph) -> str:
    entries = (case.entry for cases in graph.cells.values() for case in cases)
    names = {name for entry in entries for name, _ in policies_read(entry.when)}
    if not names:
        return ""
    return rows_text(
        ("policy", "what it decides", *VALUATIONS),
        (
            (
                f"`{name}`",
                meaning,
                *(f"`{v[name]}`: {values[v[name]]}" for v in VALUATIONS.values()),
            )
            for name, (meaning, values) in POLICIES.items()
            if name in names
        ),
    )


def _matrix_key() -> str:
    return (
        f"A state: the row moves there. {STAYS_SYMBOL}: a row that stays. {IGNORED_SYMBOL}: "
        f"ignored. {REFUSED_SYMBOL}: refused. Empty: illegal."
    )


def _matrix(graph: Graph) -> str:
    return rows_text(
        ("", *(node.label for node in graph.nodes)),
        (
            (
                f"`{event.name}`",
                *(_summary(graph, graph.cells[node.state, event]) for node in graph.nodes),
            )
            for event in graph.events
        ),
    )


def _summary(graph: Graph, cases: tuple[Case, ...]) -> str:
    return " ".join(dict.fromkeys(_symbol(graph, case) for case in cases))


def _symbol(graph: Graph, case: Case) -> str:
    match case.entry:
        case Ignored():
            return IGNORED_SYMBOL
        case Refused():
            return REFUSED_SYMBOL
        case _:
            return STAYS_SYMBOL if case.after is case.before else graph.node(case.after).label


def _cells(graph: Graph, node: Node) -> str:
    rows: list[tuple[str, ...]] = []
    illegal = []
    for event in graph.events:
        cases = graph.cells[node.state, event]
        if not cases:
            illegal.append(f"`{event.name}`")
            continue
        rows += _entries(graph, event, cases)
    text = rows_text(("event", "if", "outcome", "then", "profiles", "from"), rows)
    if illegal:
        text += f"\n\nIllegal: {', '.join(illegal)}."
    return text if rows else text.partition("\n\n")[2]


def _entries(graph: Graph, event: E, cases: tuple[Case, ...]) -> Iterator[tuple[str, ...]]:
    for position, case in enumerate(cases):
        yield (
            "" if position else f"`{event.name}`",
            "else" if position and case.entry.when == ALWAYS else _when(case),
            _outcome(graph, case),
            "<br>".join(in_full(effect) for effect in case.effects),
            case.keepers.mark or EVERY_PROFILE,
            case.cite,
        )
    guards = [case.entry.when for case in cases]
    is_exhaustive = ALWAYS in guards or any(Not(guard) in guards for guard in guards)
    if not is_exhaustive:
        yield "", "else", "illegal", "", EVERY_PROFILE, ""


def _when(case: Case) -> str:
    return "" if case.entry.when == ALWAYS else condition(case.entry.when)


def _outcome(graph: Graph, case: Case) -> str:
    match case.entry:
        case Ignored():
            return f"ignored: {case.text}"
        case Refused():
            return f"refused: “{case.text}”"
        case _ if case.after is case.before:
            return "stays"
        case _:
            return f"→ `{graph.node(case.after).label}`"

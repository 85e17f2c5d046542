"""A table as a graph that any format can draw.

Rules kept here:
1. A case is one entry in one cell: a row written for three states is three cases.
2. An edge is all cases that lead from one state to another on one event. A row that stays where it
   is gives an edge from a state to itself.
3. Only the order of the declarations decides the order of what is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from statemachines import states as states_module
from statemachines.diagram.doc_comments import meaning_of
from statemachines.diagram.folding import Keepers, fold, is_alternative, keepers
from statemachines.diagram.wording import NAMED, brief, condition, names_in
from statemachines.effects import Effect
from statemachines.events import E
from statemachines.guards import ALWAYS, Guard
from statemachines.policies import VALUATIONS
from statemachines.spec import Entry, Ignored, MachineSpec, Refused, Row
from statemachines.states import State

#: What is at least so long and on at least so many edges is written once, in a footnote.
NOTED_EFFECTS_MIN = 2
NOTED_CONDITION_LETTERS_MIN = 30
NOTED_USES_MIN = 3
EFFECT_SYMBOLS = "①②③④⑤⑥⑦⑧⑨"
CONDITION_SYMBOLS = "ABCDEFGHI"


@dataclass(frozen=True)
class Node:
    """One state."""

    #: The state itself.
    state: State
    #: What formats call it: a lower-case word without hyphens.
    id: str
    #: The spelling a person sees.
    label: str
    #: What it means, in one sentence.
    meaning: str
    #: Whether a new instance is in it.
    is_initial: bool
    #: Whether nothing more need happen in it.
    is_final: bool


@dataclass(frozen=True)
class Case:
    """One entry in one cell."""

    #: The state it is read in.
    before: State
    #: The event.
    event: E
    #: The entry.
    entry: Entry
    #: Who keeps it.
    keepers: Keepers
    #: What is left of its guard for those; with `else` if an earlier entry may be taken instead.
    condition: str

    @property
    def after(self) -> State:
        """The state it leads to: its own, unless it moves."""
        return (self.entry.next if isinstance(self.entry, Row) else None) or self.before

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What a row does besides; nothing for other entries."""
        return self.entry.then if isinstance(self.entry, Row) else ()

    @property
    def text(self) -> str:
        """Why nothing moves: the reason of an `Ignored`, the text of a `Refused`; else empty."""
        match self.entry:
            case Ignored(reason=text) | Refused(text=text):
                return text
            case _:
                return ""

    @property
    def cite(self) -> str:
        """Where the rule comes from."""
        return "" if isinstance(self.entry, Ignored) else self.entry.cite


@dataclass(frozen=True)
class Edge:
    """All ways from one state to another on one event."""

    #: From here.
    before: State
    #: To there; the same where the rows stay.
    after: State
    #: On this event.
    event: E
    #: In the order in which they are tried.
    cases: tuple[Case, ...]

    @property
    def is_loop(self) -> bool:
        """Whether it stays in its state."""
        return self.before is self.after

    @property
    def is_everywhere(self) -> bool:
        """Whether every profile has the edge, by one case or another."""
        as_they_are = [case.keepers for case in self.cases if not case.keepers.changes]
        return {name for kept in as_they_are for name in kept.profiles} >= VALUATIONS.keys()


@dataclass(frozen=True)
class Arrow:
    """The edges from one state to another that are drawn as one arrow."""

    #: From here.
    before: State
    #: To there.
    after: State
    #: Whether every profile has them; if not, each line says whose it is.
    is_everywhere: bool
    #: In order.
    edges: tuple[Edge, ...]


@dataclass(frozen=True)
class Line:
    """Several events of one arrow that read the same but for their names."""

    #: The events, in order.
    events: tuple[E, ...]
    #: What has to hold; empty if nothing has to.
    condition: str
    #: Whose they are; empty if everybody's.
    mark: str
    #: What follows besides the move.
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Graph:
    """One table, ready to be drawn."""

    #: The table.
    spec: MachineSpec
    #: Its states, in order.
    nodes: tuple[Node, ...]
    #: Its edges, by state, then event, then next state.
    edges: tuple[Edge, ...]
    #: Every cell of its alphabet; an empty one is illegal.
    cells: dict[tuple[State, E], tuple[Case, ...]]
    #: Effects that are written once -> their symbol.
    effect_notes: dict[tuple[Effect, ...], str]
    #: Conditions that are written once -> their symbol.
    condition_notes: dict[str, str]

    def node(self, state: State) -> Node:
        """Return a state's node."""
        return next(node for node in self.nodes if node.state is state)

    @property
    def events(self) -> tuple[E, ...]:
        """The alphabet, in the order of the vocabulary."""
        return tuple(event for event in E if event in self.spec.alphabet)

    @property
    def conditions(self) -> dict[str, Guard]:
        """The named conditions that the table mentions."""
        return names_in(c.entry.when for cases in self.cells.values() for c in cases)

    def arrows(self) -> tuple[Arrow, ...]:
        """Return the edges that move, those that may share an arrow together."""
        joined: dict[tuple[State, State, bool], list[Edge]] = {}
        for edge in self.edges:
            if not edge.is_loop:
                key = (edge.before, edge.after, edge.is_everywhere)
                joined.setdefault(key, []).append(edge)
        return tuple(Arrow(*key, tuple(edges)) for key, edges in joined.items())

    def loops(self, state: State) -> tuple[Edge, ...]:
        """Return the edges that stay in a state."""
        return tuple(edge for edge in self.edges if edge.is_loop and edge.before is state)

    def effects_text(self, line: Line) -> str:
        """Word a line's effects for a picture, or give the symbol of their footnote."""
        return self.effect_notes.get(line.effects) or brief(line.effects)

    def condition_text(self, line: Line) -> str:
        """Word a line's condition for a picture, or give the symbol of its footnote."""
        return self.condition_notes.get(line.condition, line.condition)

    def footnotes(self) -> dict[str, str]:
        """Return the text of every symbol."""
        notes = {symbol: text for text, symbol in self.condition_notes.items()}
        return notes | {symbol: brief(effects) for effects, symbol in self.effect_notes.items()}


def graph_of(spec: MachineSpec) -> Graph:
    """Return a table's graph.

    :raise SourceMissingError: if replug is installed without the sources that say what states mean.
    """
    nodes = tuple(
        Node(
            state=state,
            id=state.name.lower(),
            label=state.value,
            meaning=meaning_of(state, states_module),
            is_initial=state is spec.initial,
            is_final=state in spec.final,
        )
        for state in spec.states
    )
    events = [event for event in E if event in spec.alphabet]
    keys = ((state, event) for state in spec.states for event in events)
    cells = {(state, event): _cases(spec, state, event) for state, event in keys}
    edges = _edges(cells)
    return Graph(spec, nodes, edges, cells, _effect_notes(edges), _condition_notes(edges))


def lines_of(edges: Iterable[Edge]) -> tuple[Line, ...]:
    """Return what an arrow says, line by line; events that read the same share a line."""
    merged: dict[tuple[str, str, tuple[Effect, ...]], list[E]] = {}
    for edge in edges:
        for case in edge.cases:
            key = (case.condition, case.keepers.mark, case.effects)
            events = merged.setdefault(key, [])
            if edge.event not in events:
                events.append(edge.event)
    return tuple(
        Line(tuple(events), text, mark, effects) for (text, mark, effects), events in merged.items()
    )


def _cases(spec: MachineSpec, state: State, event: E) -> tuple[Case, ...]:
    cell = spec.entries(state, event)
    cases = []
    for position, entry in enumerate(cell):
        kept = keepers(cell, position)
        left = fold(entry.when, kept.valuations, NAMED) if kept.valuations else entry.when
        text = "" if isinstance(left, bool) or left == ALWAYS else condition(left)
        if is_alternative(cell, position, kept.valuations):
            text = f"else if {text}" if text else "else"
        cases.append(Case(state, event, entry, kept, text))
    return tuple(cases)


def _edges(cells: dict[tuple[State, E], tuple[Case, ...]]) -> tuple[Edge, ...]:
    edges = []
    for (state, event), cases in cells.items():
        rows = [case for case in cases if isinstance(case.entry, Row)]
        rows.sort(key=lambda case: list(type(state)).index(case.after))
        for after, group in groupby(rows, key=lambda case: case.after):
            edges.append(Edge(state, after, event, tuple(group)))
    return tuple(edges)


def _effect_notes(edges: Iterable[Edge]) -> dict[tuple[Effect, ...], str]:
    uses = Counter(case.effects for edge in edges for case in edge.cases)
    noted = (
        effects
        for effects, count in uses.items()
        if count >= NOTED_USES_MIN and len(effects) >= NOTED_EFFECTS_MIN
    )
    return dict(zip(noted, EFFECT_SYMBOLS, strict=False))


def _condition_notes(edges: Iterable[Edge]) -> dict[str, str]:
    uses = Counter(case.condition for edge in edges for case in edge.cases)
    noted = (
        text
        for text, count in uses.items()
        if count >= NOTED_USES_MIN and len(text) >= NOTED_CONDITION_LETTERS_MIN
    )
    return dict(zip(noted, CONDITION_SYMBOLS, strict=False))

"""What a lifecycle's table is made of, and the laws it must keep to be built at all.

Rules kept here:
1. A table is rows of data: state, event, next; a guard and effects may follow.
2. Every cell (state, event) of a table's alphabet moves, is ignored with its reason, is refused
   with a text for the operator, or, where nothing is written, is illegal.
3. Of several rows in one cell the first whose guard holds is taken; then ignored, then refused.
   An entry that an earlier unguarded one hides, a duplicate, an unknown or an unreachable state, a
   state that no row leaves and that is not final is an error at construction; only `Ignored` and
   `Refused` entries that sweep over several cells may meet cells that are decided already, and
   leave these alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from statemachines.effects import Effect
from statemachines.events import E
from statemachines.guards import ALWAYS, Guard, Per
from statemachines.refusals import Field, RefusalKind
from statemachines.states import State

Where = State | Iterable[State]


class SpecError(ValueError):
    """A table that breaks one of the laws; says which table, which row and which law."""


def _states(where: Where) -> tuple[State, ...]:
    return (where,) if isinstance(where, State) else tuple(where)


@dataclass(frozen=True)
class Row:
    """In `state`, on `event`, if `when` holds: go to `next` and then do the effects."""

    #: One state or several.
    state: Where
    #: What happens.
    event: E
    #: The next state; None stays where it is.
    next: State | None
    #: Guard, read before the step.
    when: Guard = ALWAYS
    #: Effects, in order.
    then: tuple[Effect, ...] = ()
    #: Where the rule comes from.
    cite: str = ""

    @property
    def states(self) -> tuple[State, ...]:
        """The states the row is written for."""
        return _states(self.state)

    @property
    def events(self) -> tuple[E, ...]:
        """The event, as `Ignored` has it."""
        return (self.event,)


@dataclass(frozen=True)
class Ignored:
    """In these states these events change nothing, for this reason."""

    #: One state or several.
    state: Where
    #: One event or several.
    event: E | tuple[E, ...]
    #: Why nothing happens.
    reason: str
    #: Guard, read before the step.
    when: Guard = ALWAYS

    @property
    def states(self) -> tuple[State, ...]:
        """The states it is written for."""
        return _states(self.state)

    @property
    def events(self) -> tuple[E, ...]:
        """The events it is written for."""
        return (self.event,) if isinstance(self.event, E) else self.event


@dataclass(frozen=True)
class Refused:
    """In these states the event cannot happen, and its sender is told this text."""

    #: One state or several.
    state: Where
    #: What was asked.
    event: E
    #: The text for the operator; each `%s` in it takes one of the fields.
    text: str
    #: What fills the text, in order.
    fields: tuple[Field, ...] = ()
    #: Its class, for the sender's program.
    kind: RefusalKind = RefusalKind.GENERIC
    #: Guard, read before the step.
    when: Guard = ALWAYS
    #: Where the rule comes from.
    cite: str = ""

    def __post_init__(self) -> None:
        if self.text.count("%s") != len(self.fields) or self.text.count("%") != len(self.fields):
            names = ", ".join(field.value for field in self.fields) or "nothing"
            raise SpecError(f"refusal {self.text!r} needs one '%s' for each field: it has {names}")

    def told(self, values: Mapping[Field, str]) -> str:
        """Return the text with its fields filled in.

        :raise KeyError: if one of `fields` has no value.
        """
        return self.text % tuple(values[field] for field in self.fields)

    @property
    def states(self) -> tuple[State, ...]:
        """The states it is written for."""
        return _states(self.state)

    @property
    def events(self) -> tuple[E, ...]:
        """The event, as `Ignored` has it."""
        return (self.event,)


Entry = Row | Ignored | Refused


def _is_sweeping(entry: Entry) -> bool:
    match entry:
        case Ignored():
            return len(entry.states) * len(entry.events) > 1
        case Refused():
            return len(entry.states) > 1
        case _:
            return False


@dataclass(frozen=True, eq=False)
class MachineSpec:
    """One lifecycle's table."""

    #: Name in journals, diagrams and messages.
    name: str
    #: The lifecycle: its Enum of states.
    states: type[State]
    #: One sentence.
    summary: str
    #: State of a new instance.
    initial: State
    #: States in which nothing more need happen.
    final: frozenset[State]
    #: What it has instances of.
    per: Per
    #: Moves.
    rows: tuple[Row, ...]
    #: Cells that change nothing.
    ignored: tuple[Ignored, ...] = ()
    #: Cells that say no.
    refused: tuple[Refused, ...] = ()
    #: (state, event) -> entries in the order in which they are tried.
    cells: dict[tuple[State, E], tuple[Entry, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cells", self._build_cells())
        self._check_states()

    def _build_cells(self) -> dict[tuple[State, E], tuple[Entry, ...]]:
        cells: dict[tuple[State, E], list[Entry]] = {}
        for state, event, entry in self._entries():
            if not isinstance(state, self.states):
                raise SpecError(f"{self.name}: {state!r} is not a state of this lifecycle")
            before = cells.setdefault((state, event), [])
            if before and before[-1].when == ALWAYS and _is_sweeping(entry):
                continue
            where = f"{self.name}: ({state.name}, {event.name})"
            if any(other.when == entry.when for other in before):
                raise SpecError(f"{where} has two entries with the guard '{entry.when}'")
            if before and before[-1].when == ALWAYS:
                raise SpecError(f"{where}: '{entry.when}' comes after an entry without a guard")
            before.append(entry)
        return {key: tuple(entries) for key, entries in cells.items()}

    def _entries(self) -> Iterator[tuple[State, E, Entry]]:
        for row in self.rows:
            if row.next is not None and not isinstance(row.next, self.states):
                raise SpecError(f"{self.name}: next state {row.next!r} is not of this lifecycle")
            for state in row.states:
                yield state, row.event, row
        for ignored in self.ignored:
            for state in ignored.states:
                for event in ignored.events:
                    yield state, event, ignored
        for refused in self.refused:
            for state in refused.states:
                yield state, refused.event, refused

    def _check_states(self) -> None:
        for state in (self.initial, *self.final):
            if not isinstance(state, self.states):
                raise SpecError(f"{self.name}: {state!r} is not a state of this lifecycle")
        reached, frontier = {self.initial}, [self.initial]
        while frontier:
            here = frontier.pop()
            for row in self.rows:
                if here in row.states and row.next is not None and row.next not in reached:
                    reached.add(row.next)
                    frontier.append(row.next)
        missing = [state.name for state in self.states if state not in reached]
        if missing:
            raise SpecError(f"{self.name}: no row leads to {', '.join(missing)}")
        left = {state for row in self.rows for state in row.states if row.next not in (None, state)}
        stuck = [state.name for state in self.states if state not in left | self.final]
        if stuck:
            raise SpecError(f"{self.name}: no row leads out of {', '.join(stuck)}, nor is it final")

    @property
    def alphabet(self) -> frozenset[E]:
        """The events the table says anything about."""
        return frozenset(event for _, event in self.cells)

    def entries(self, state: State, event: E) -> tuple[Entry, ...]:
        """Return what the table says about a cell; empty means illegal."""
        return self.cells.get((state, event), ())

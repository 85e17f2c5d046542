"""Which rows are left once a profile has fixed its policies: the rows that a check must see fire.

Rules kept here:
1. A row survives if its state can be reached within its lifecycle by rows that survive, its event
   can come about (from outside, or by an effect of a row that survives), its guard can hold there,
   and no entry before it in its cell has the same guard.
2. Lifecycles are looked at one by one: a row that survives here and fires nowhere is news.
"""

from __future__ import annotations

from collections.abc import Iterable

from statemachines.actions import MESSAGE_OF
from statemachines.compile import Model
from statemachines.effects import Command, Message
from statemachines.events import E, Origin
from statemachines.ground import (
    Asks,
    Both,
    Choice,
    Either,
    Ground,
    GroundEvent,
    Happens,
    Heard,
    Kind,
    Negation,
    Says,
    Test,
)
from statemachines.spec import Row

Reach = dict[int, frozenset[int]]


def surviving(model: Model) -> tuple[Row, ...]:
    """Return the rows that survive in a system, in the order of the tables."""
    folded = _Folded(model)
    while folded.grow():
        pass
    kept = {id(row) for row in folded.rows}
    return tuple(row for spec in model.machines for row in spec.rows if id(row) in kept)


class _Folded:
    """What can be reached so far."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._reach: Reach = {
            number: frozenset({field.initial}) for number, field in enumerate(model.fields)
        }
        self._said: set[Message] = set()
        self._asked: set[Command] = set()
        self._raised: set[E] = set()
        self.rows: list[Row] = []
        self._known: set[int] = set()

    def grow(self) -> bool:
        """Add what can be reached in one more round; say whether anything was."""
        before = (len(self._known), sum(len(values) for values in self._reach.values()))
        for event in self._model.events.values():
            if self._can_happen(event.happens.event):
                self._take(event)
        return before != (len(self._known), sum(len(values) for values in self._reach.values()))

    def _can_happen(self, event: E) -> bool:
        match event.info.origin:
            case Origin.RAISED:
                return event in self._raised
            case Origin.PEER:
                return MESSAGE_OF[event] in self._said
            case Origin.ANSWER | Origin.TIME if event in self._model.answers:
                return any(command in self._asked for command in self._model.answers[event])
            case _:
                return True

    def _take(self, event: GroundEvent) -> None:
        for listener in event.listeners:
            for value in self._reach[listener.field] & frozenset(listener.cells):
                for choice in self._possible(listener.field, value, listener.cells[value]):
                    self._add(listener.field, choice)

    def _possible(self, field: int, value: int, choices: tuple[Choice, ...]) -> Iterable[Choice]:
        reach = {**self._reach, field: frozenset({value})}
        seen: list[Ground] = []
        for choice in choices:
            if choice.guard not in seen and can_hold(choice.guard, reach, self._reach):
                yield choice
            seen.append(choice.guard)

    def _add(self, field: int, choice: Choice) -> None:
        if choice.kind is not Kind.ROW or not isinstance(choice.entry, Row):
            return
        if id(choice.entry) not in self._known:
            self._known.add(id(choice.entry))
            self.rows.append(choice.entry)
        if choice.next is not None:
            self._reach[field] |= {choice.next}
        for effect in choice.effects:
            match effect:
                case Happens(event=event):
                    self._raised.add(event)
                case Says(message=message):
                    self._said.add(message)
                case Asks(command=command):
                    self._asked.add(command)


def can_hold(guard: Ground, reach: Reach, heard: Reach) -> bool:
    """Return whether a guard can hold when each field has one of its values, independently.

    `heard` has the values that a message can carry: those of the sender's fields.
    """
    return bool(_narrowed(guard, reach, heard))


def _narrowed(guard: Ground, reach: Reach, heard: Reach) -> Reach | None:
    """Return the values that are left where a guard holds, or None where it cannot."""
    match guard:
        case bool():
            return reach if guard else None
        case Test(field=field, values=values):
            left = reach[field] & values
            return {**reach, field: left} if left else None
        case Heard(field=field, values=values):
            return reach if heard[field] & values else None
        case Both(parts=parts):
            for part in parts:
                narrowed = _narrowed(part, reach, heard)
                if narrowed is None:
                    return None
                reach = narrowed
            return reach
        case Either(parts=parts):
            return reach if any(_narrowed(part, reach, heard) for part in parts) else None
        case Negation(part=part):
            return _narrowed_by_failing(part, reach, heard)


def _narrowed_by_failing(part: Ground, reach: Reach, heard: Reach) -> Reach | None:
    match part:
        case Test(field=field, values=values):
            left = reach[field] - values
            return {**reach, field: left} if left else None
        case Both(parts=parts):
            return _narrowed(Either(tuple(Negation(inner) for inner in parts)), reach, heard)
        case Either(parts=parts):
            return _narrowed(Both(tuple(Negation(inner) for inner in parts)), reach, heard)
        case Negation(part=inner):
            return _narrowed(inner, reach, heard)
        case bool():
            return None if part else reach
        case Heard():
            return reach

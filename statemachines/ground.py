"""What the tables become once policies are folded and instances named: ground rules, as data.

Rules kept here: a ground rule says exactly what its row says, for one event, instance and profile.
The checker's masks, the Promela export and the explorer page are printed from these, and from
nothing else. Nothing here knows how they came about (`compile.py`) or what runs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from statemachines.effects import Command, Message
from statemachines.events import E
from statemachines.spec import Entry

# -- ground guards


@dataclass(frozen=True)
class Test:
    """A field has one of some values."""

    #: Number of the field in the layout.
    field: int
    #: Which values make it true.
    values: frozenset[int]


@dataclass(frozen=True)
class Heard:
    """The message being received carries one of some values for a field."""

    #: Number of the field in the layout (it is the sender's).
    field: int
    #: Which values make it true.
    values: frozenset[int]


@dataclass(frozen=True)
class Negation:
    """The part does not hold."""

    #: What is negated.
    part: Ground


@dataclass(frozen=True)
class Both:
    """Every part holds."""

    #: At least two.
    parts: tuple[Ground, ...]


@dataclass(frozen=True)
class Either:
    """Some part holds."""

    #: At least two.
    parts: tuple[Ground, ...]


Ground = bool | Test | Heard | Negation | Both | Either


def negated(part: Ground) -> Ground:
    """Return what holds where a part does not."""
    if isinstance(part, bool):
        return not part
    return part.part if isinstance(part, Negation) else Negation(part)


def both(parts: Iterable[Ground]) -> Ground:
    """Return the conjunction, folded."""
    kept = [part for part in parts if part is not True]
    if any(part is False for part in kept):
        return False
    return kept[0] if len(kept) == 1 else Both(tuple(kept)) if kept else True


def either(parts: Iterable[Ground]) -> Ground:
    """Return the disjunction, folded."""
    kept = [part for part in parts if part is not False]
    if any(part is True for part in kept):
        return True
    return kept[0] if len(kept) == 1 else Either(tuple(kept)) if kept else False


def fields_read(guard: Ground) -> frozenset[int]:
    """Return the fields of the VM that a ground guard reads."""
    match guard:
        case Test(field=field):
            return frozenset({field})
        case Negation(part=part):
            return fields_read(part)
        case Both(parts=parts) | Either(parts=parts):
            return frozenset[int]().union(*(fields_read(part) for part in parts))
        case _:
            return frozenset()


def holds(guard: Ground, state: Sequence[int], heard: Mapping[int, int] | None = None) -> bool:
    """Return whether a ground guard holds in a state, with what a message carries."""
    match guard:
        case bool():
            return guard
        case Test(field=field, values=values):
            return state[field] in values
        case Heard(field=field, values=values):
            return (heard or {}).get(field, -1) in values
        case Negation(part=part):
            return not holds(part, state, heard)
        case Both(parts=parts):
            return all(holds(part, state, heard) for part in parts)
        case Either(parts=parts):
            return any(holds(part, state, heard) for part in parts)


# -- ground effects and rules


@dataclass(frozen=True)
class Happens:
    """An event of this VM, and whom it is about."""

    #: Which event.
    event: E
    #: Index of the standby or primary; None for the VM.
    index: int | None

    def __str__(self) -> str:
        return self.event.name + (f" {self.index}" if self.index is not None else "")


@dataclass(frozen=True)
class Says:
    """A message is sent; `fields` are latched into it."""

    #: Which message.
    message: Message
    #: Numbers of the fields it carries, in the order in which it carries them.
    fields: tuple[int, ...]


@dataclass(frozen=True)
class Asks:
    """A command is given to the world."""

    #: Which command.
    command: Command
    #: Index of the instance whose row it is.
    index: int
    #: Number of the field that remembers it; None when the world does not answer.
    owed: int | None


GroundEffect = Happens | Says | Asks


class Kind(Enum):
    """What an entry of a table does."""

    #: It moves, or stays and has effects.
    ROW = "row"
    #: It changes nothing.
    IGNORED = "ignored"
    #: It says no.
    REFUSED = "refused"


@dataclass(frozen=True)
class Choice:
    """One entry of a cell, ground."""

    #: When it is taken, if none before it is.
    guard: Ground
    #: What it does.
    kind: Kind
    #: The field's next value; None stays.
    next: int | None
    #: Effects, in order.
    effects: tuple[GroundEffect, ...]
    #: The entry it comes from.
    entry: Entry


@dataclass(frozen=True)
class Listener:
    """How one machine's instance takes one event."""

    #: Number of its field.
    field: int
    #: Present value -> its choices, in the order in which they are tried; a missing one is illegal.
    cells: Mapping[int, tuple[Choice, ...]]


@dataclass(frozen=True)
class Glance:
    """How one observer takes one event or effect."""

    #: Number of its field.
    field: int
    #: In which values it watches.
    values: frozenset[int]
    #: For what: an event that happens, or an effect that a taken row has.
    trigger: Happens | Asks | Says
    #: Guard.
    guard: Ground
    #: The next value.
    next: int


@dataclass(frozen=True)
class GroundEvent:
    """Everything that one event does to one VM."""

    #: Which event.
    happens: Happens
    #: The owner's instance first; the order is that of the effects.
    listeners: tuple[Listener, ...]

    @property
    def choices(self) -> Iterator[Choice]:
        """Every choice of every cell that takes it."""
        for listener in self.listeners:
            for choices in listener.cells.values():
                yield from choices


def trigger_of(effect: GroundEffect) -> object:
    """Return what an observer watches for when it watches for an effect, to be compared."""
    match effect:
        case Says(message=message):
            return message
        case Asks(command=command, index=index):
            return command, index
        case Happens():
            return effect


# -- the layout


@dataclass(frozen=True)
class Field:
    """One field of a VM's joint state."""

    #: Name, such as `primary.1` or `owed.POLL`.
    name: str
    #: Its values in order; a field that is owed has False and True.
    values: tuple[object, ...]
    #: The value it begins with.
    initial: int
    #: Bits it takes.
    bits: int

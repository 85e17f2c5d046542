"""What the guest sees of its VM, and the deeds by which it acts on it.

What may live here: the interface between the guest and whoever runs it, as types. The guest reads
states and never changes one: it asks for a deed, and the tables decide what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from statemachines.events import E
from statemachines.states import State

#: One of the two ways a frame takes in or out of a failover device.
Path: TypeAlias = Literal["primary", "standby"]


@dataclass(frozen=True, slots=True)
class StandbyView:
    """A standby, as its driver finds it."""

    #: The index of its machines.
    index: int
    #: Its name, by which states are latched: its id, or where it is when it has none.
    id: str
    #: Its permanent address, 6 bytes.
    mac: bytes


@dataclass(frozen=True, slots=True)
class PrimaryView:
    """A primary, as its driver finds it once it is plugged."""

    #: The index of its machines.
    index: int
    #: Its id, by which states are latched.
    id: str
    #: Its permanent address, 6 bytes.
    mac: bytes
    #: The index of the standby that its failover_pair_id names.
    standby_index: int
    #: Whether its link is up, as the driver finds it.
    has_carrier: bool = True


class GuestView(Protocol):
    """One VM, as far as its guest can see it."""

    def standbys(self) -> Sequence[StandbyView]:
        """Return the failover standbys there are."""
        ...

    def primaries(self) -> Sequence[PrimaryView]:
        """Return the configured primaries, oldest first, whether plugged or not."""
        ...

    def state(self, lifecycle: type[State], index: int) -> State:
        """Return the present state of an instance; the index of a lifecycle of the VM is 0."""
        ...

    def hotplug_policy(self) -> str:
        """Return how slots are hotplugged: "acpi" or "native"."""
        ...


@dataclass(frozen=True, slots=True)
class Fire:
    """Make an event of the guest's happen."""

    #: Which.
    event: E
    #: Of which standby or primary; None for an event of the VM.
    index: int | None


@dataclass(frozen=True, slots=True)
class OpenPrimary:
    """Have the switch direct the standby's address to this primary's port.

    Answer with `Guest.primary_opened` when it does.
    """

    #: The primary.
    index: int


@dataclass(frozen=True, slots=True)
class ClosePrimary:
    """Have the switch direct the standby's address away from this primary's port.

    Answer with `Guest.primary_closed` when nothing follows there. After a reset this may be asked
    for a primary whose slot is empty, and of a port that was never opened: answer all the same.
    """

    #: The primary.
    index: int


Deed: TypeAlias = Fire | OpenPrimary | ClosePrimary

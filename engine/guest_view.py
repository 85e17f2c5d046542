"""What the guest sees of its machine: the tables' states and the devices' addresses.

Rules kept here: reading only. The guest acts through events alone.
"""

from __future__ import annotations

from typing import Literal, cast

from devices.guest import PrimaryView, StandbyView
from engine.board import Board
from statemachines.runtime import Runtime
from statemachines.states import State


class BoardView:
    """The guest's view of one VM (see `devices.guest.GuestView`)."""

    def __init__(self, runtime: Runtime, board: Board) -> None:
        self._runtime = runtime
        self._board = board

    def standbys(self) -> list[StandbyView]:
        """Return the failover standbys."""
        return [StandbyView(s.index, s.id, s.mac) for s in self._board.standbys.values()]

    def primaries(self) -> list[PrimaryView]:
        """Return the primaries that have a device."""
        return [
            PrimaryView(p.index, p.id, p.mac, p.standby)
            for p in self._board.primaries.values()
            if p.mac is not None
        ]

    def state(self, lifecycle: type[State], index: int) -> State:
        """Return a lifecycle's state."""
        return self._runtime.state(lifecycle, index)

    def hotplug_policy(self) -> Literal["acpi", "native"]:
        """Return how slots are hotplugged."""
        return cast(Literal["acpi", "native"], self._runtime.policy("hotplug"))

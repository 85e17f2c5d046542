"""What the guest sees of its machine: the tables' states and the devices' addresses.

Rules kept here: reading only. The guest acts through events alone.
"""

from __future__ import annotations

from devices.frames import mac_bytes
from devices.guest_view import PrimaryView, StandbyView
from engine.board import Board
from statemachines.runtime import Runtime
from statemachines.states import State


class BoardView:
    """The guest's view of one VM (see `devices.guest_view.GuestView`)."""

    def __init__(self, runtime: Runtime, board: Board) -> None:
        self._runtime = runtime
        self._board = board

    def standbys(self) -> list[StandbyView]:
        """Return the failover standbys."""
        return [
            StandbyView(entry.index, entry.id, mac_bytes(entry.mac))
            for entry in self._board.standbys.values()
        ]

    def primaries(self) -> list[PrimaryView]:
        """Return the primaries; one without a device has its standby's address until it has one."""
        return [
            PrimaryView(
                entry.index,
                entry.id,
                mac_bytes(entry.mac or self._board.standbys[entry.standby].mac),
                entry.standby,
            )
            for entry in self._board.primaries.values()
        ]

    def state(self, lifecycle: type[State], index: int) -> State:
        """Return a lifecycle's state."""
        return self._runtime.state(lifecycle, index)

    def hotplug_policy(self) -> str:
        """Return how slots are hotplugged."""
        return self._runtime.policy("hotplug")

"""What the guest sees of its machine: the tables' states and the devices' addresses.

Rules kept here: reading only. The guest acts through events alone.
"""

from __future__ import annotations

from devices.e1000e import E1000e
from devices.frames import mac_bytes
from devices.guest_view import PrimaryView, StandbyView
from devices.virtio_net import VirtioNet
from engine.board import Board, PrimaryEntry, StandbyEntry
from statemachines.runtime import Runtime
from statemachines.states import State


class BoardView:
    """The guest's view of one VM (see `devices.guest_view.GuestView`)."""

    def __init__(self, runtime: Runtime, board: Board) -> None:
        self._runtime = runtime
        self._board = board
        # The guest looks after every step, and devices hardly ever change.
        self._standbys: dict[int, StandbyView] = {}
        self._primaries: dict[int, PrimaryView] = {}

    def standbys(self) -> list[StandbyView]:
        """Return the failover standbys."""
        return [self._standby(entry) for entry in self._board.standbys.values()]

    def _standby(self, entry: StandbyEntry) -> StandbyView:
        known = self._standbys.get(entry.index)
        if known is None:
            known = StandbyView(entry.index, entry.name, mac_bytes(entry.mac))
            self._standbys[entry.index] = known
        return known

    def primaries(self) -> list[PrimaryView]:
        """Return the primaries; one without a device has its standby's address until it has one."""
        return [self._primary(entry) for entry in self._board.primaries.values()]

    def _primary(self, entry: PrimaryEntry) -> PrimaryView:
        mac = mac_bytes(entry.mac or self._board.standbys[entry.standby].mac)
        state = self._board.states.get(entry.device) if entry.device else None
        has_carrier = not isinstance(state, VirtioNet | E1000e) or state.link_up
        known = self._primaries.get(entry.index)
        if known is None or (known.mac, known.has_carrier) != (mac, has_carrier):
            known = PrimaryView(entry.index, entry.id, mac, entry.standby, has_carrier)
            self._primaries[entry.index] = known
        return known

    def state(self, lifecycle: type[State], index: int) -> State:
        """Return a lifecycle's state."""
        return self._runtime.state(lifecycle, index)

    def hotplug_policy(self) -> str:
        """Return how slots are hotplugged."""
        return self._runtime.policy("hotplug")

"""The VM's NICs on their uplinks: frames in and out by the guest's rules, addresses on the move.

Rules kept here:
1. Which way a frame goes, and whether one that arrives is taken, is asked of the guest, whose
   driver states are the tables'. This module only has the sockets.
2. A NIC whose link is down neither sends nor receives (net/net.c qemu_deliver_packet). What arrives
   is dropped; a numbered frame waits, as the stack of a guest that sees no carrier holds it back.
3. An address moves without losing a frame: its old port is given up and drained before the guest
   is told that the new one is its own. A switch that does not answer is not waited for twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from devices import frames
from devices.e1000e import E1000e
from devices.frames import AnnounceFrame, FrameError, NumberedFrame, mac_bytes
from devices.guest_view import Path
from devices.netdev import Netdev
from devices.virtio_net import VirtioNet
from engine.driver.channel import TransportError
from engine.driver.clock import Clock, Timer
from engine.driver.uplink import Uplink
from engine.vm import Vm

#: Who receives the guest's numbered frames, and sends it its own: the station at the switch.
STATION_MAC = bytes.fromhex("0200000000fe")
#: Flow bytes of numbered frames: from the guest, and to it.
FROM_GUEST, TO_GUEST = 1, 2
#: How long a switch may take to answer an address request before it counts as one that does not.
ANSWER_MS = 200.0

Done = Callable[[], None]


@dataclass(eq=False)
class Nic:
    """One NIC's uplink."""

    #: Where it is connected.
    uplink: Uplink
    #: The index of its own machines.
    index: int
    #: The standby it belongs to: its own, or that of the primary.
    standby: int
    #: Which of the pair it is.
    path: Path
    #: Whether frames are taken although the guest's driver is still coming up.
    opening: bool = False
    #: Whether its switch answers address requests; None before the first.
    answers: bool | None = None
    #: What waits for an answer, by address.
    waiting: dict[bytes, tuple[Done, Timer]] = field(default_factory=dict)


class Network:
    """All uplinks of one VM."""

    def __init__(self, vm: Vm, clock: Clock, wake: Done, warn: Callable[[str], None]) -> None:
        """`wake` is called when an uplink that refused a frame has room again."""
        self._vm = vm
        self._clock = clock
        self._wake = wake
        self._warn = warn
        self._standbys: dict[int, Nic] = {}
        self._primaries: dict[int, Nic] = {}
        #: The standbys that were looked at, with an uplink or not; None while nothing is connected
        #: by itself: before the VM has booted, and after `close`.
        self._seen: set[int] | None = None
        #: Nothing that comes is for the guest: it has not run here yet, or stands still for good.
        self._is_quiet = True
        #: Called with the path of each frame that left.
        self.on_sent: Callable[[Path], None] = lambda path: None

    # -- uplinks

    def connect_standbys(self) -> None:
        """Connect every standby that has an uplink and is not connected."""
        self._seen = set()
        self._connect_new()

    def follow_devices(self) -> None:
        """Let go of NICs whose device is gone, and connect standbys that came since the last look.

        For whenever the machines have settled. A standby whose uplink nobody serves is tried again
        by `connect_standbys` only: it would be warned of at every step.
        """
        if self._seen is None:
            return
        for index in self._standbys.keys() - self._vm.board.standbys.keys():
            self._let_go(self._standbys.pop(index))
        for index in self._primaries.keys() - self._vm.board.primaries.keys():
            self._let_go(self._primaries.pop(index))
        for nic in self._connect_new():
            if self._vm.guest.is_running and self._carrier(nic.standby) is nic:
                self._take_address(nic.standby)

    def _connect_new(self) -> list[Nic]:
        """Connect the standbys that were not looked at yet; return their NICs."""
        connected = []
        seen, self._seen = self._seen or set(), set(self._vm.board.standbys)
        for index in sorted(self._seen - seen - self._standbys.keys()):
            device = self._vm.board.standbys[index].device
            path = _uplink_path(self._vm, device.properties.get("netdev"))
            nic = None if path is None else self._connect(path, index, index, "standby")
            if nic is not None:
                self._standbys[index] = nic
                connected.append(nic)
        return connected

    def _let_go(self, nic: Nic) -> None:
        # Closed before anyone hears of it: whoever waited for an answer drains, and would deliver
        # frames of a device that is gone.
        nic.uplink.close()
        self._lost(nic)

    def _connect(self, path: str, index: int, standby: int, which: Path) -> Nic | None:
        try:
            uplink = Uplink.connect(path, on_frame=lambda frame: None)
        except TransportError as error:
            self._warn(f"warning: {which} of standby {standby}: {error}")
            return None
        nic = Nic(uplink, index, standby, which)
        uplink.on_frame = lambda frame: self._received(nic, frame)
        uplink.on_writable = self._wake
        uplink.on_associated = lambda mac, _: self._answered(nic, mac)
        uplink.on_lost = lambda _: self._lost(nic)
        return nic

    def _lost(self, nic: Nic) -> None:
        for mac in list(nic.waiting):
            self._answered(nic, mac)

    def close(self) -> None:
        """Unplug every cable."""
        self._seen = None
        for nic in (*self._standbys.values(), *self._primaries.values()):
            nic.uplink.close()
        self._standbys.clear()
        self._primaries.clear()

    # -- addresses

    def _request(self, nic: Nic, *, direct_here: bool, done: Done) -> None:
        """Ask for, or give up, the pair's address at this port; `done` when it has happened."""
        mac = mac_bytes(self._vm.board.standbys[nic.standby].mac)
        if nic.answers is False or nic.uplink.closed:
            done()
            return
        if mac in nic.waiting:
            self._answered(nic, mac)
        timer = self._clock.call_later(ANSWER_MS, lambda: self._unanswered(nic, mac))
        nic.waiting[mac] = (done, timer)
        try:
            (nic.uplink.associate if direct_here else nic.uplink.deassociate)(mac)
        except TransportError:
            self._answered(nic, mac)

    def _answered(self, nic: Nic, mac: bytes) -> None:
        if mac in nic.waiting:
            nic.answers = True if nic.answers is None else nic.answers
            done, timer = nic.waiting.pop(mac)
            timer.cancel()
            done()

    def _unanswered(self, nic: Nic, mac: bytes) -> None:
        if nic.answers is None:
            nic.answers = False
        self._answered(nic, mac)

    def open_primary(self, index: int, done: Done) -> None:
        """Direct the pair's address to a primary's port; frames for it are taken from then on."""
        entry = self._vm.board.primaries[index]
        nic = self._primaries.get(index)
        if nic is None and entry.device is not None:
            path = self._primary_uplink(index)
            nic = self._connect(path, index, entry.standby, "primary") if path else None
        if nic is None:
            done()
            return
        self._primaries[index] = nic
        nic.opening = True
        standby = self._standbys.get(entry.standby)

        def opened() -> None:
            if standby is not None and not standby.uplink.closed:
                standby.uplink.drain()
            done()
            nic.opening = False

        self._request(nic, direct_here=True, done=opened)

    def close_primary(self, index: int, done: Done) -> None:
        """Give the pair's address up at a primary's port, then take it on at the standby's."""
        entry = self._vm.board.primaries.get(index)
        nic = self._primaries.pop(index, None)
        if nic is None or entry is None:
            done()
            return

        def closed() -> None:
            nic.uplink.drain()
            done()
            nic.uplink.close()
            self._take_address(nic.standby)

        self._request(nic, direct_here=False, done=closed)

    def _take_address(self, standby: int) -> None:
        nic = self._standbys.get(standby)
        if nic is not None:
            self._request(nic, direct_here=True, done=lambda: None)

    def _primary_uplink(self, index: int) -> str | None:
        entry = self._vm.board.primaries[index]
        device = entry.device
        if device is None:
            return None
        host = device.properties.get("host")
        if isinstance(host, str) and host:
            standby = self._vm.board.standbys[entry.standby]
            uplink = self._vm.board.inventory.virtual_function(host, standby.mac).uplink
            return uplink.removeprefix("unix:") if uplink else None
        return _uplink_path(self._vm, device.properties.get("netdev"))

    # -- the guest's stops and starts

    def resume(self) -> None:
        """The guest runs: have each pair's address directed to the port it sends on."""
        self._is_quiet = False
        self.connect_standbys()
        for standby in self._vm.board.standbys:
            nic = self._carrier(standby)
            if nic is not None:
                self._request(nic, direct_here=True, done=lambda: None)

    def quiesce(self, done: Done) -> None:
        """Have no frame on the way to the guest any more, then call `done`.

        Whatever a switch that does not answer sends after that is dropped: the guest's RAM is not
        what it was told to be any more, or somebody else's.
        """
        nics = [nic for s in self._vm.board.standbys if (nic := self._carrier(s)) is not None]
        left = len(nics)

        def one_is_quiet(nic: Nic) -> None:
            nonlocal left
            if not nic.uplink.closed:
                nic.uplink.drain()
            left -= 1
            if not left:
                end()

        def end() -> None:
            # It may run again by now.
            self._is_quiet = not self._vm.guest.is_running
            done()

        for nic in nics:
            self._request(nic, direct_here=False, done=partial(one_is_quiet, nic))
        if not nics:
            end()

    def _carrier(self, standby: int) -> Nic | None:
        """Return the NIC that the guest sends on for a standby."""
        if self._vm.guest.transmit_path(standby) == "primary":
            mine = (n for n in self._primaries.values() if n.standby == standby)
            return next(mine, None)
        return self._standbys.get(standby)

    # -- frames

    @property
    def ready(self) -> bool:
        """Whether a way the guest sends has an uplink at all, and its link is up."""
        return self._first() is not None

    def _has_link(self, nic: Nic) -> bool:
        """Say whether a NIC's link is up; nobody can take down that of a function of the host."""
        board = self._vm.board
        entry = (board.standbys if nic.path == "standby" else board.primaries).get(nic.index)
        state = board.states.get(entry.device) if entry and entry.device else None
        return not isinstance(state, VirtioNet | E1000e) or state.link_up

    def _first(self) -> int | None:
        """Return the first standby whose frames can leave; if its driver is up, all the better."""
        usable = [
            standby
            for standby in self._vm.board.standbys
            if (nic := self._carrier(standby)) is not None and self._has_link(nic)
        ]
        driven = (s for s in usable if self._vm.guest.transmit_path(s) is not None)
        return next(driven, usable[0] if usable else None)

    def send_numbered(self, sequence: int) -> bool:
        """Send the guest's next numbered frame; False when it has to wait."""
        return self._send(
            lambda mac: NumberedFrame(STATION_MAC, mac, sequence, FROM_GUEST), self._first()
        )

    def announce(self) -> None:
        """Send a gratuitous frame on each pair it is about, so that switches learn where it is."""
        for standby, entry in self._vm.board.standbys.items():
            if not self._vm.guest.announces(standby):
                continue
            entry.state.announce()
            if self._send(AnnounceFrame, standby):
                entry.state.acknowledge_announce()

    def _send(self, build: Callable[[bytes], frames.Frame], standby: int | None) -> bool:
        nic = None if standby is None else self._carrier(standby)
        if nic is None or standby is None or not self._has_link(nic):
            return False
        mac = mac_bytes(self._vm.board.standbys[standby].mac)
        if not nic.uplink.send(frames.build(build(mac))):
            return False
        if nic.path == "standby":
            self._vm.board.standbys[standby].state.transmit()
        self.on_sent(nic.path)
        return True

    def _received(self, nic: Nic, frame: bytes) -> None:
        try:
            parsed = frames.parse(frame)
        except FrameError:
            return
        # A primary's port may still be closing when its standby is gone: then nobody takes it.
        if not isinstance(parsed, NumberedFrame) or nic.standby not in self._vm.board.standbys:
            return
        if self._is_quiet or not self._has_link(nic):
            return
        if nic.opening or self._vm.guest.accepts(nic.path, nic.standby):
            if nic.path == "standby":
                self._vm.board.standbys[nic.standby].state.receive()
            self._vm.guest.receive(parsed.sequence, self._clock.now_ms())


def _uplink_path(vm: Vm, netdev_id: object) -> str | None:
    """Return the unix socket of a stream netdev; None for those whose frames go nowhere."""
    if not isinstance(netdev_id, str) or netdev_id not in vm.board.netdevs:
        return None
    netdev: Netdev = vm.board.netdevs[netdev_id]
    if netdev.type != "stream" or netdev.options.get("server"):
        return None
    path = netdev.options.get("addr.path")
    return path if isinstance(path, str) else None

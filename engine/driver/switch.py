"""A learning switch with named ports, each a unix socket that one NIC connects to.

What may live here: which address is behind which port, and moving frames between the ports and
the switch's own station (whoever runs the switch, and so sits where the network's other end is).
The ports themselves are in `switch_port`.

The rules:

1. An address is learned from the frames it sends, and moves with them. ASSOCIATE pins it to the
   asking port: late frames from another port then no longer move it; only ASSOCIATE elsewhere,
   DEASSOCIATE, or the end of that port's connection does.
2. Unknown unicast is not flooded, as in a data centre's fabric. The station is told that its frame
   cannot be delivered and keeps it (`send` returns False, `on_routable` says when to try again);
   a NIC's frame is counted in `undeliverable_frames`. Group frames go to every other port that has
   room, without that guarantee.
3. Nothing is lost for lack of room: a port that does not read makes `send` return False, and stops
   the reading from ports whose frames it has not taken (as IEEE 802.3x flow control does).
4. ASSOCIATED is answered when every frame for the address that was sent to another port has been
   written (or that port is gone); DEASSOCIATED comes behind all frames written to the port before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from devices.frames import (
    ETHERTYPE_CONTROL,
    MAC_BYTES,
    ControlFrame,
    ControlOperation,
    FrameError,
    build,
    header,
    is_group,
    mac_text,
    parse,
)
from engine.driver.switch_port import SwitchPort

#: Addresses a switch knows, and addresses whose frames were refused, at most.
ADDRESSES_MAX = 1024
#: Moves that are remembered for one address.
HISTORY_MAX = 1024


class SwitchError(Exception):
    """A use of the switch that makes no sense, such as two ports of one name."""


@dataclass(slots=True)
class _Entry:
    """Where an address is."""

    #: The port.
    port: SwitchPort
    #: Whether the port asked for it.
    pinned: bool


class LearningSwitch:
    """The switch; all of it runs on the loop that was running when it was made."""

    def __init__(
        self,
        station_mac: bytes,
        *,
        on_frame: Callable[[str, bytes], None],
        on_routable: Callable[[bytes], None] = lambda mac: None,
        on_port_up: Callable[[str], None] = lambda name: None,
        on_port_down: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Start without ports.

        `on_frame(port_name, frame)` takes what is for the station or for all. `on_routable(mac)`
        follows a refused `send` to that address once it may succeed. All may be replaced.
        """
        if len(station_mac) != MAC_BYTES or is_group(station_mac):
            raise SwitchError("the station needs an address of its own, 6 bytes and not a group's")
        self.station_mac = station_mac
        self.on_frame = on_frame
        self.on_routable = on_routable
        self.on_port_up = on_port_up
        self.on_port_down = on_port_down
        #: Frames from ports for an address that is behind no port, or behind the same one.
        self.undeliverable_frames = 0
        #: Frames that could not be read, or came from a group's or the station's address.
        self.malformed_frames = 0
        #: Copies of group frames for which a port had no room.
        self.dropped_group_frames = 0
        self._ports: dict[str, SwitchPort] = {}
        self._table: dict[bytes, _Entry] = {}
        self._refused: set[bytes] = set()
        self._histories: dict[bytes, list[str]] = {}
        self._unwritten: dict[bytes, int] = {}
        self._unanswered: dict[bytes, set[SwitchPort]] = {}

    def add_port(self, name: str, path: str) -> None:
        """Listen for one NIC at a unix socket.

        SwitchError when the name is taken, TransportError when the socket cannot be made. A second
        NIC is turned away while one is connected.
        """
        if name in self._ports:
            raise SwitchError(f"there is a port {name!r} already; give this one another name")
        self._ports[name] = SwitchPort(
            name, path, on_frame=self._take, on_room=self._room, on_up=self._up, on_down=self._down
        )

    def send(self, frame: bytes) -> bool:
        """Send a frame from the station; False when it cannot be written now: nothing was taken.

        FrameError when it has no header, or is too long; SwitchError when ADDRESSES_MAX other
        addresses have refused frames waiting already.
        """
        receiver, _, _ = header(frame)
        if is_group(receiver):
            self._flood(frame, None)
            return True
        entry = self._table.get(receiver)
        if entry is not None and entry.port.try_send(frame):
            return True
        self._refuse(receiver)
        return False

    def port_of(self, mac: bytes) -> str | None:
        """The port that frames for an address go to now."""
        entry = self._table.get(mac)
        return entry.port.name if entry is not None else None

    def is_up(self, name: str) -> bool:
        """Whether a NIC is connected to a port; SwitchError when there is no such port."""
        if name not in self._ports:
            raise SwitchError(f"there is no port {name!r}, only {', '.join(self._ports) or 'none'}")
        return self._ports[name].is_up

    def path_history(self, mac: bytes) -> list[str]:
        """The ports that frames from an address came from, in order, repeats collapsed."""
        return list(self._histories.get(mac, ()))

    def close(self) -> None:
        """Unplug and remove all ports; nothing is called back after that."""
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        self._table.clear()
        self._refused.clear()
        self._unanswered.clear()

    def _take(self, port: SwitchPort, frame: bytes) -> None:
        receiver, sender, ethertype = header(frame)
        if ethertype == ETHERTYPE_CONTROL:
            self._control(port, frame)
            return
        if is_group(sender) or sender == self.station_mac:
            self.malformed_frames += 1
            return
        self._learn(port, sender)
        if receiver == self.station_mac:
            self.on_frame(port.name, frame)
        elif is_group(receiver):
            self.on_frame(port.name, frame)
            self._flood(frame, port)
        elif (entry := self._table.get(receiver)) is not None and entry.port is not port:
            if not entry.port.forward(frame):
                port.wait_for(entry.port)
        else:
            self.undeliverable_frames += 1

    def _control(self, port: SwitchPort, frame: bytes) -> None:
        try:
            asked = parse(frame)
        except FrameError:
            self.malformed_frames += 1
            return
        match asked:
            case ControlFrame(mac=mac) if is_group(mac) or mac == self.station_mac:
                self.malformed_frames += 1
            case ControlFrame(operation=ControlOperation.ASSOCIATE, mac=mac):
                self._associate(port, mac)
            case ControlFrame(operation=ControlOperation.DEASSOCIATE, mac=mac):
                entry = self._table.get(mac)
                if entry is not None and entry.port is port:
                    self._leave(mac)
                port.forward(build(ControlFrame(ControlOperation.DEASSOCIATED, mac)))
            case _:
                self.malformed_frames += 1

    def _associate(self, port: SwitchPort, mac: bytes) -> None:
        entry = self._table.get(mac)
        if entry is None and len(self._table) >= ADDRESSES_MAX:
            port.lose(f"the switch knows {ADDRESSES_MAX} addresses already")
            return
        if entry is not None and entry.port is not port:
            self._leave(mac)
        self._table[mac] = _Entry(port, pinned=True)
        if mac in self._unwritten:
            self._unanswered.setdefault(mac, set()).add(port)
        else:
            self._answer(port, mac)
        self._routable(mac)

    def _learn(self, port: SwitchPort, mac: bytes) -> None:
        history = self._histories.get(mac)
        if history is None and len(self._histories) < ADDRESSES_MAX:
            history = self._histories[mac] = []
        if history is not None and len(history) < HISTORY_MAX and history[-1:] != [port.name]:
            history.append(port.name)
        entry = self._table.get(mac)
        if entry is None:
            if len(self._table) >= ADDRESSES_MAX:
                return
        elif entry.pinned or entry.port is port:
            return
        else:
            self._leave(mac)
        self._table[mac] = _Entry(port, pinned=False)
        self._routable(mac)

    def _leave(self, mac: bytes) -> None:
        """Take an address off its port, and keep in mind what is not written there yet."""
        port = self._table.pop(mac).port
        if port.pending_frames:
            self._unwritten[mac] = self._unwritten.get(mac, 0) + 1
            port.when_written(partial(self._written, mac))

    def _written(self, mac: bytes) -> None:
        self._unwritten[mac] -= 1
        if not self._unwritten[mac]:
            del self._unwritten[mac]
            for port in self._unanswered.pop(mac, ()):
                self._answer(port, mac)

    def _answer(self, port: SwitchPort, mac: bytes) -> None:
        port.forward(build(ControlFrame(ControlOperation.ASSOCIATED, mac)))

    def _flood(self, frame: bytes, ingress: SwitchPort | None) -> None:
        for port in list(self._ports.values()):
            if port is not ingress and port.is_up and not port.try_send(frame):
                self.dropped_group_frames += 1

    def _refuse(self, mac: bytes) -> None:
        if mac not in self._refused and len(self._refused) >= ADDRESSES_MAX:
            raise SwitchError(
                f"frames for {ADDRESSES_MAX} addresses wait already; wait for on_routable"
            )
        self._refused.add(mac)

    def _routable(self, mac: bytes) -> None:
        if mac in self._refused:
            self._refused.discard(mac)
            self.on_routable(mac)

    def _room(self, port: SwitchPort) -> None:
        for mac in list(self._refused):
            entry = self._table.get(mac)
            if entry is not None and entry.port is port:
                self._routable(mac)

    def _up(self, port: SwitchPort) -> None:
        self.on_port_up(port.name)

    def _down(self, port: SwitchPort) -> None:
        for mac in [mac for mac, entry in self._table.items() if entry.port is port]:
            del self._table[mac]
        for waiting in self._unanswered.values():
            waiting.discard(port)
        self.on_port_down(port.name)

    def __repr__(self) -> str:
        places = ", ".join(f"{mac_text(mac)}@{e.port.name}" for mac, e in self._table.items())
        return f"<LearningSwitch {', '.join(self._ports)}: {places}>"

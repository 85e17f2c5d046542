"""A NIC's cable: the client end of a connection to a switch, or to any `-netdev stream` server.

What may live here: one connection, frames both ways, and the words with the switch port about
which addresses are this NIC's. It does not connect again by itself: a lost cable is reported.

Sending has back-pressure: a frame counts as sent when it was written, and one that was refused is
the caller's to keep. The answer to `associate` or `deassociate` (`devices.frames`) travels behind
every frame that the switch wrote to this port before, so that whoever drains the uplink after
DEASSOCIATED has all of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from devices.frames import (
    ETHERTYPE_CONTROL,
    ControlFrame,
    ControlOperation,
    FrameError,
    build,
    header,
    parse,
)
from engine.driver.channel import TransportError, failed
from engine.driver.framing import FramedSocket


class Uplink:
    """One NIC's connection to its switch port.

    The callbacks run on the loop, or within `drain`; they may be replaced at any time.
    """

    #: Takes each frame that arrives, control frames excepted.
    on_frame: Callable[[bytes], None]
    #: Follows every refused `send`, once there is room again; may come without one.
    on_writable: Callable[[], None]
    #: Takes an answer: the address, and whether it is now directed here.
    on_associated: Callable[[bytes, bool], None]
    #: Told, once, why the connection is over; not after `close`.
    on_lost: Callable[[str], None]

    def __init__(
        self,
        connected: socket.socket,
        *,
        on_frame: Callable[[bytes], None],
        on_writable: Callable[[], None] = lambda: None,
        on_associated: Callable[[bytes, bool], None] = lambda mac, associated: None,
        on_lost: Callable[[str], None] = lambda reason: None,
    ) -> None:
        """Take over a connected stream socket; call only from the running loop."""
        self.on_frame = on_frame
        self.on_writable = on_writable
        self.on_associated = on_associated
        self.on_lost = on_lost
        #: Control frames that could not be read, and requests that only a switch may get.
        self.malformed_frames = 0
        self._link = FramedSocket(
            connected,
            on_frame=self._take,
            on_writable=lambda: self.on_writable(),
            on_lost=lambda reason: self.on_lost(reason),
        )

    @classmethod
    def connect(
        cls,
        path: str,
        *,
        on_frame: Callable[[bytes], None],
        on_writable: Callable[[], None] = lambda: None,
        on_associated: Callable[[bytes, bool], None] = lambda mac, associated: None,
        on_lost: Callable[[str], None] = lambda reason: None,
    ) -> Uplink:
        """Connect to a unix socket, at once; TransportError when nobody listens there."""
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connecting.setblocking(False)
        try:
            connecting.connect(path)
        except OSError as error:
            connecting.close()
            raise failed(f"Failed to connect to '{path}'", error) from error
        return cls(
            connecting,
            on_frame=on_frame,
            on_writable=on_writable,
            on_associated=on_associated,
            on_lost=on_lost,
        )

    @property
    def closed(self) -> bool:
        """Whether the connection is over, by `close` or by loss."""
        return self._link.closed

    @property
    def unwritten_frames(self) -> int:
        """How many frames were taken by `send` or asked for and are not wholly written yet."""
        return self._link.pending_frames

    def send(self, frame: bytes) -> bool:
        """Write a frame; False when there is no room, or no connection: nothing was taken.

        True means written, or written in part with the rest first in line. FramingError when its
        length is none a frame has.
        """
        return self._link.try_send(frame)

    def associate(self, mac: bytes) -> None:
        """Ask that frames for `mac` come here; `on_associated(mac, True)` is the answer.

        TransportError when the connection is over; FramingError when the switch does not read.
        """
        self._ask(ControlOperation.ASSOCIATE, mac)

    def deassociate(self, mac: bytes) -> None:
        """Ask that frames for `mac` come here no longer; `on_associated(mac, False)` is the answer.

        TransportError when the connection is over; FramingError when the switch does not read.
        """
        self._ask(ControlOperation.DEASSOCIATE, mac)

    def drain(self) -> None:
        """Deliver, before returning, every frame that has arrived by now; paused or not."""
        self._link.drain()

    def pause(self) -> None:
        """Take no frames until `resume`; the switch gets back-pressure. A loss goes unnoticed."""
        self._link.pause()

    def resume(self) -> None:
        """Take frames again."""
        self._link.resume()

    def close(self) -> None:
        """Unplug the cable; what was not written is dropped."""
        self._link.close()

    def _ask(self, operation: ControlOperation, mac: bytes) -> None:
        if self._link.closed:
            raise TransportError(
                f"{operation.name} cannot be asked: the uplink is closed; connect a new one"
            )
        self._link.post(build(ControlFrame(operation, mac)))

    def _take(self, frame: bytes) -> None:
        _, _, ethertype = header(frame)
        if ethertype != ETHERTYPE_CONTROL:
            self.on_frame(frame)
            return
        try:
            said = parse(frame)
        except FrameError:
            self.malformed_frames += 1
            return
        match said:
            case ControlFrame(operation=ControlOperation.ASSOCIATED, mac=mac):
                self.on_associated(mac, True)
            case ControlFrame(operation=ControlOperation.DEASSOCIATED, mac=mac):
                self.on_associated(mac, False)
            case _:
                self.malformed_frames += 1

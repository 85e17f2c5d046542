"""One port of the switch: a unix socket that listens, and the one NIC that is connected to it.

What may live here: the connection, its queue, and the waiting of one port for another. Where frames
go is for `switch` to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.driver.framing import FramedSocket, FramingError
from engine.driver.listening import UnixListener

#: Frames that may wait for a port before the ports they come from are stopped.
QUEUED_FRAMES_MAX = 256


class SwitchPort:
    """A named port, up while a NIC is connected."""

    def __init__(
        self,
        name: str,
        path: str,
        *,
        on_frame: Callable[[SwitchPort, bytes], None],
        on_room: Callable[[SwitchPort], None],
        on_up: Callable[[SwitchPort], None],
        on_down: Callable[[SwitchPort], None],
    ) -> None:
        """Listen at `path`; TransportError when that fails."""
        self.name = name
        self._on_frame = on_frame
        self._on_room = on_room
        self._on_up = on_up
        self._on_down = on_down
        self._loop = asyncio.get_running_loop()
        self._link: FramedSocket | None = None
        self._waiting: set[SwitchPort] = set()
        self._waits_for: set[SwitchPort] = set()
        self._listener = UnixListener(path)
        self._loop.add_reader(self._listener.socket.fileno(), self._accept)

    @property
    def is_up(self) -> bool:
        """Whether a NIC is connected."""
        return self._link is not None

    @property
    def pending_frames(self) -> int:
        """Frames that are not written to the NIC yet."""
        return self._link.pending_frames if self._link is not None else 0

    def try_send(self, frame: bytes) -> bool:
        """Write a frame, or begin to; False when there is no room, or no NIC."""
        return self._link is not None and self._link.try_send(frame)

    def forward(self, frame: bytes) -> bool:
        """Write a frame behind those that wait; False when whoever sent it should stop for now.

        The frame is taken in any case. A NIC that lets the queue grow past all bounds, as only one
        that keeps asking without ever reading can, is unplugged.
        """
        if self._link is None:
            return True
        try:
            self._link.post(frame)
        except FramingError as error:
            self._link.lose(str(error))
        return self.pending_frames < QUEUED_FRAMES_MAX

    def when_written(self, callback: Callable[[], None]) -> None:
        """Call back once all that is pending now has been written, or never will be."""
        if self._link is None:
            callback()
        else:
            self._link.when_written(callback)

    def wait_for(self, egress: SwitchPort) -> None:
        """Read nothing more from this port until `egress` has written all that waits for it."""
        if self._link is not None and egress.pending_frames:
            self._waits_for.add(egress)
            egress._waiting.add(self)
            self._link.pause()

    def lose(self, reason: str) -> None:
        """Unplug the NIC."""
        if self._link is not None:
            self._link.lose(reason)

    def close(self) -> None:
        """Unplug the NIC and stop listening, without calling back."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._loop.remove_reader(self._listener.socket.fileno())
        self._listener.close()

    def _accept(self) -> None:
        try:
            connected, _ = self._listener.socket.accept()
        except OSError:
            # Gone again, or no descriptor left for it: the NIC notices, or tries again.
            return
        if self._link is not None and not self._waits_for:
            # The NIC that was here may have left, and its leaving be still unread.
            self._link.drain()
        if self._link is not None:
            connected.close()
            return
        self._link = FramedSocket(
            connected,
            on_frame=self._arrived,
            on_writable=self._has_room,
            on_lost=self._lost,
        )
        self._on_up(self)

    def _arrived(self, frame: bytes) -> None:
        self._on_frame(self, frame)

    def _has_room(self) -> None:
        self._release()
        self._on_room(self)

    def _lost(self, _reason: str) -> None:
        self._link = None
        for egress in self._waits_for:
            egress._waiting.discard(self)
        self._waits_for.clear()
        self._release()
        self._on_down(self)

    def _release(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for ingress in waiting:
            ingress._waits_for.discard(self)
            if not ingress._waits_for and ingress._link is not None:
                ingress._link.resume()

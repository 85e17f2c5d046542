"""Ethernet frames over a stream socket: the length as u32 big-endian, then the frame.

What may live here: the framing of QEMU's `-netdev stream` and `-netdev socket`, bounded buffers and
the loop's readiness callbacks. Who speaks to whom is for `uplink` and `switch` to say.

The rules:

1. Nothing is a task: frames move in callbacks of the loop, as many per turn as are there.
2. A frame is written when the system has taken its last byte. `try_send` has at most one frame cut
   in two; what it does not take was not touched. `post` queues, within a bound.
3. Frames are delivered in order and whole; a piece of a frame at the end of the stream is dropped.
4. The end comes once, through `on_lost`, after every whole frame that arrived has been delivered.
   After `close` nothing is called back but what waits in `when_written`, which is let go.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import socket
import termios
from collections import deque
from collections.abc import Callable
from itertools import islice

from devices.frames import FRAME_BYTES_MAX, HEADER_BYTES
from engine.driver.channel import GATHERED_MAX, consume

#: Frames that `post` lets wait.
POSTED_FRAMES_MAX = 1024

_LENGTH_BYTES = 4
_RECEIVE_BYTES = 64 << 10


class FramingError(Exception):
    """A frame that cannot be sent: of an impossible length, or one too many in the queue."""


class FramedSocket:
    """One end of a connection that carries frames."""

    def __init__(
        self,
        connected: socket.socket,
        *,
        on_frame: Callable[[bytes], None],
        on_writable: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """Take over a connected stream socket; call only from the running loop.

        `on_writable` follows every `try_send` that returned False for lack of room, and may come
        without one. `on_lost` is told why.
        """
        connected.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._on_frame = on_frame
        self._on_writable = on_writable
        self._on_lost = on_lost
        self._received = bytearray()
        self._position = 0
        self._pending: deque[memoryview] = deque()
        self._posted_bytes = 0
        self._written_bytes = 0
        self._written_callbacks: deque[tuple[int, Callable[[], None]]] = deque()
        self._writer_armed = False
        self._paused = False
        self._ended: str | None = None
        self._broken = False
        self._closed = False
        self._loop.add_reader(connected.fileno(), self._on_readable)

    @property
    def closed(self) -> bool:
        """Whether the connection is over, by `close` or by loss."""
        return self._closed

    @property
    def pending_frames(self) -> int:
        """How many frames are not written yet, the one cut in two included."""
        return len(self._pending)

    def try_send(self, frame: bytes) -> bool:
        """Write a frame now, or at least begin to; False when there is no room for its beginning.

        FramingError when its length is none a frame has.
        """
        data = _framed(frame)
        if self._is_over or (self._pending and not self._flush()):
            return False
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            self._arm_writer()
            return False
        except OSError as error:
            self._break(error)
            return False
        self._posted_bytes += len(data)
        self._written_bytes += sent
        if sent < len(data):
            self._pending.append(memoryview(data)[sent:])
            self._arm_writer()
        return True

    def post(self, frame: bytes) -> None:
        """Write a frame after all that are pending; it is dropped when the connection is over.

        FramingError when POSTED_FRAMES_MAX frames wait already, or its length is impossible.
        """
        if self.try_send(frame) or self._is_over:
            return
        if len(self._pending) >= POSTED_FRAMES_MAX:
            raise FramingError(f"{POSTED_FRAMES_MAX} frames wait already; the peer does not read")
        data = _framed(frame)
        self._posted_bytes += len(data)
        self._pending.append(memoryview(data))
        self._arm_writer()

    def when_written(self, callback: Callable[[], None]) -> None:
        """Call back once all that is pending now has been written, or never will be."""
        if self._pending:
            self._written_callbacks.append((self._posted_bytes, callback))
        else:
            callback()

    def drain(self) -> None:
        """Read all that has arrived by now and deliver it before returning, paused or not."""
        if self._closed:
            return
        arrived = array.array("i", [0])
        fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, arrived)
        # At least one attempt: that is how the end of the stream is noticed.
        left = max(arrived[0], 1)
        while left > 0 and self._ended is None and (received := self._receive()):
            left -= received
        self._deliver(even_if_paused=True)

    def pause(self) -> None:
        """Read and deliver no more until `resume`; the peer soon finds no room."""
        if not self._paused and not self._closed:
            self._paused = True
            self._loop.remove_reader(self._socket.fileno())

    def resume(self) -> None:
        """Go on reading; what was read before the pause is delivered from the loop."""
        if self._paused and not self._closed:
            self._paused = False
            if self._ended is None:
                self._loop.add_reader(self._socket.fileno(), self._on_readable)
            self._loop.call_soon(self._deliver)

    def close(self) -> None:
        """End the connection, without `on_lost`; what is pending is dropped."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._pending.clear()
        self._received.clear()
        self._position = 0
        callbacks, self._written_callbacks = self._written_callbacks, deque()
        for _, callback in callbacks:
            callback()

    def lose(self, reason: str) -> None:
        """End the connection as if it had broken, with `on_lost`."""
        if not self._closed:
            self.close()
            self._on_lost(reason)

    @property
    def _is_over(self) -> bool:
        return self._closed or self._broken or self._ended is not None

    def _on_readable(self) -> None:
        if self._receive():
            self._deliver()

    def _receive(self) -> int:
        """Read once; the number of bytes, 0 when there are none or there will be none."""
        try:
            received = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._end(os.strerror(error.errno or 0))
            return 0
        if not received:
            self._end("the peer closed the connection")
        self._received += received
        return len(received)

    def _deliver(self, *, even_if_paused: bool = False) -> None:
        # No local copies: a callback may drain, pause or close.
        while not self._closed and (even_if_paused or not self._paused):
            start = self._position + _LENGTH_BYTES
            if len(self._received) < start:
                break
            length = int.from_bytes(self._received[self._position : start], "big")
            if not HEADER_BYTES <= length <= FRAME_BYTES_MAX:
                self.lose(
                    f"a frame has {HEADER_BYTES} to {FRAME_BYTES_MAX} bytes; the peer announced "
                    f"{length}"
                )
                return
            if len(self._received) < start + length:
                break
            frame = bytes(self._received[start : start + length])
            self._position = start + length
            self._on_frame(frame)
        del self._received[: self._position]
        self._position = 0
        if self._ended is not None and (even_if_paused or not self._paused):
            self.lose(self._ended)

    def _end(self, reason: str) -> None:
        """Nothing more can be read; report it once what was read is delivered."""
        if self._ended is None and not self._closed:
            self._ended = reason
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_soon(self._deliver)

    def _break(self, error: OSError) -> None:
        """A write failed; what the peer had sent before that is still to be delivered."""
        if not self._broken:
            self._broken = True
            self._loop.remove_writer(self._socket.fileno())
            self._loop.call_soon(self._after_break, os.strerror(error.errno or 0))

    def _after_break(self, reason: str) -> None:
        if not self._closed:
            self.drain()
            self.lose(reason)

    def _arm_writer(self) -> None:
        if not self._writer_armed:
            self._writer_armed = True
            self._loop.add_writer(self._socket.fileno(), self._on_room)

    def _on_room(self) -> None:
        if self._flush() and not self._closed:
            self._writer_armed = False
            self._loop.remove_writer(self._socket.fileno())
            self._on_writable()

    def _flush(self) -> bool:
        """Write what is pending; True when nothing is left of it."""
        while self._pending and not self._is_over:
            try:
                sent = self._socket.sendmsg(list(islice(self._pending, GATHERED_MAX)))
            except BlockingIOError:
                break
            except OSError as error:
                self._break(error)
                return False
            self._written_bytes += sent
            consume(self._pending, sent)
        while self._written_callbacks and self._written_callbacks[0][0] <= self._written_bytes:
            self._written_callbacks.popleft()[1]()
        return not self._pending


def _framed(frame: bytes) -> bytes:
    if not HEADER_BYTES <= len(frame) <= FRAME_BYTES_MAX:
        raise FramingError(
            f"a frame has {HEADER_BYTES} to {FRAME_BYTES_MAX} bytes, not {len(frame)}"
        )
    return len(frame).to_bytes(_LENGTH_BYTES, "big") + frame

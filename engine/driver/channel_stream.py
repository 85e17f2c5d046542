"""Channels over descriptors that can be waited for: sockets and pipes.

What may live here: non-blocking reads and gathered writes, with the loop's readiness callbacks,
and the same for RAM in a thread.
A call is tried first and waited for only when the system has nothing to give. A stream that is
always ready would keep the loop to itself, so a turn is given up every `_TURN_BYTES`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby, islice
from typing import Any, cast

from engine.driver.channel import (
    GATHERED_MAX,
    BytesLike,
    Channel,
    Piece,
    Result,
    TransportError,
    consume,
    failed,
    views,
)
from engine.driver.descriptor_thread import DescriptorThread
from engine.driver.page_splice import PageSplice
from engine.live_pages import PagesInPlace

_TURN_BYTES = 1 << 20
_PIPE_BYTES = 1 << 20
_UNIX_BUFFER_BYTES = 4 << 20


class StreamChannel(Channel):
    """What sockets and pipes share; the two system calls are the subclass's."""

    def __init__(self, read_fd: int, write_fd: int, noun: str) -> None:
        """Work on non-blocking descriptors, -1 for none; `noun` is what errors call the channel."""
        self._loop = asyncio.get_running_loop()
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._noun = noun
        self._stopped = False
        self._closed = False
        self._turn_bytes = 0
        self._threads: set[DescriptorThread[Any]] = set()
        # Who waits, and for which descriptor; True: until it can be written to.
        self._waiters: dict[tuple[int, bool], asyncio.Future[None]] = {}

    def _receive(self, max_bytes: int) -> bytes:
        return os.read(self._read_fd, max_bytes)

    def _send(self, buffers: list[memoryview]) -> int:
        return os.writev(self._write_fd, buffers)

    async def read(self, max_bytes: int) -> bytes:
        if self._read_fd < 0 and not self._stopped:
            await self._until_abandoned()
            return b""
        await self._give_up_turn()
        while not self._stopped:
            try:
                received = self._receive(max_bytes)
            except BlockingIOError:
                await self._until(self._read_fd, writable=False)
            except OSError as error:
                raise failed(f"Unable to read from {self._noun}", error) from error
            else:
                self._turn_bytes += len(received)
                return received
        return b""

    async def write(self, buffers: Sequence[Piece]) -> None:
        pending = deque(views(buffers))
        while pending:
            await self._give_up_turn()
            if self._stopped or self._write_fd < 0:
                raise TransportError(f"Unable to write to {self._noun}: Broken pipe")
            try:
                sent = self._send(list(islice(pending, GATHERED_MAX)))
            except BlockingIOError:
                await self._until(self._write_fd, writable=True)
            except OSError as error:
                raise failed(f"Unable to write to {self._noun}", error) from error
            else:
                self._turn_bytes += sent
                consume(pending, sent)

    def _receive_into(self, place: memoryview) -> int:
        return os.readv(self._read_fd, [place])

    async def carry_out(self, writes: Generator[Sequence[Piece], None, Result]) -> Result:
        def work() -> Result:
            while True:
                try:
                    buffers = next(writes)
                except StopIteration as end:
                    return cast(Result, end.value)
                self._write_pieces(thread, buffers)

        thread = self._thread(writing=True)
        return await self._in(thread, work)

    async def fill(self, reads: Generator[memoryview, int, Result]) -> Result:
        def work() -> Result:
            try:
                place = next(reads)
                while True:
                    place = reads.send(self._read_in(thread, place))
            except StopIteration as end:
                return cast(Result, end.value)

        thread = self._thread(writing=False)
        return await self._in(thread, work)

    def _thread(self, *, writing: bool) -> DescriptorThread[Any]:
        fd, doing = (self._write_fd, "write to") if writing else (self._read_fd, "read from")
        try:
            return DescriptorThread(fd, writing=writing)
        except OSError as error:
            # As a rule: no descriptor is left.
            raise failed(f"Unable to {doing} {self._noun}", error) from error

    async def _in(self, thread: DescriptorThread[Result], work: Callable[[], Result]) -> Result:
        self._threads.add(thread)
        thread.ended.add_done_callback(lambda _: self._thread_ended(thread))
        if self._stopped:
            thread.stop()
        return await thread.run(work)

    def _thread_ended(self, thread: DescriptorThread[Any]) -> None:
        self._threads.discard(thread)
        if self._closed and not self._threads:
            self._let_go()

    def _write_pieces(self, thread: DescriptorThread[Any], pieces: Sequence[Piece]) -> None:
        self._write_in(thread, deque(views(pieces)))

    def _write_in(self, thread: DescriptorThread[Any], pending: deque[memoryview]) -> None:
        while pending:
            if thread.stopped:
                raise TransportError(f"Unable to write to {self._noun}: Broken pipe")
            try:
                consume(pending, self._send(list(islice(pending, GATHERED_MAX))))
            except BlockingIOError:
                thread.wait()
            except OSError as error:
                raise failed(f"Unable to write to {self._noun}", error) from error

    def _read_in(self, thread: DescriptorThread[Any], place: memoryview) -> int:
        while not thread.stopped:
            try:
                return self._receive_into(place)
            except BlockingIOError:
                thread.wait()
            except OSError as error:
                raise failed(f"Unable to read from {self._noun}", error) from error
        return 0

    async def flushed(self) -> None:
        if self._stopped:
            raise TransportError(f"Unable to write to {self._noun}: Broken pipe")

    def shutdown(self) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.stop()
        for fd, writable in list(self._waiters):
            self._ready(fd, writable=writable)

    def close(self) -> None:
        if self._closed:
            return
        self.shutdown()
        self._closed = True
        if not self._threads:
            self._let_go()

    def _let_go(self) -> None:
        self._close_descriptors()
        self._read_fd = self._write_fd = -1

    def _close_descriptors(self) -> None:
        for fd in {self._read_fd, self._write_fd} - {-1}:
            os.close(fd)

    async def _until(self, fd: int, *, writable: bool) -> None:
        """Wait until `fd` is ready, or for `shutdown`."""
        waiter = self._waiters.get((fd, writable))
        if waiter is None:
            waiter = self._waiters[fd, writable] = self._loop.create_future()
            add = self._loop.add_writer if writable else self._loop.add_reader
            add(fd, partial(self._ready, fd, writable=writable))
        # Not awaited itself: whoever is cancelled must not cancel it for others.
        await asyncio.wait([waiter])

    def _ready(self, fd: int, *, writable: bool) -> None:
        waiter = self._waiters.pop((fd, writable), None)
        if waiter is not None:
            (self._loop.remove_writer if writable else self._loop.remove_reader)(fd)
            waiter.set_result(None)

    async def _until_abandoned(self) -> None:
        """Wait until what is written has no reader any more, or for `shutdown`."""
        # The write end of a pipe is reported as readable when its last reader goes.
        await self._until(self._write_fd, writable=False)

    async def _give_up_turn(self) -> None:
        if self._turn_bytes >= _TURN_BYTES:
            self._turn_bytes = 0
            await asyncio.sleep(0)


class SocketChannel(StreamChannel):
    """A connected stream socket: both directions."""

    reply_path = True

    def __init__(self, connected: socket.socket) -> None:
        """Take over a connected stream socket."""
        connected.setblocking(False)
        if connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            # TCP finds its own sizes, a unix socket keeps the 208 KiB it begins with: both ends
            # would wait for each other most of the time.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNIX_BUFFER_BYTES)
        super().__init__(connected.fileno(), connected.fileno(), "socket")
        self._socket = connected
        self._is_unix = connected.family == socket.AF_UNIX
        self._splice: PageSplice | None = None
        self._descriptor: int | None = None

    def _receive(self, max_bytes: int) -> bytes:
        if not self._is_unix:
            return self._socket.recv(max_bytes)
        # More than one that nobody has taken is more than there is a use for.
        flags = socket.MSG_CMSG_CLOEXEC
        received, descriptors, _, _ = socket.recv_fds(self._socket, max_bytes, 1, flags)
        for descriptor in descriptors:
            if self._descriptor is None:
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        return received

    async def write_with(self, buffers: Sequence[BytesLike], descriptor: int) -> None:
        if not self._is_unix:
            await super().write_with(buffers, descriptor)
        pending = deque(views(buffers))
        while not self._stopped:
            try:
                sent = socket.send_fds(self._socket, [pending[0]], [descriptor])
            except BlockingIOError:
                await self._until(self._write_fd, writable=True)
            except OSError as error:
                raise failed(f"Unable to write to {self._noun}", error) from error
            else:
                consume(pending, sent)
                break
        await self.write(list(pending))

    def take_descriptor(self) -> int | None:
        descriptor, self._descriptor = self._descriptor, None
        return descriptor

    def splices(self) -> bool:
        """Get ready to move pages into this socket, if the system can do that and it pays.

        Over TCP on one machine it takes a quarter longer than copies do.
        """
        is_stream = self._is_unix and self._socket.type == socket.SOCK_STREAM
        if self._splice is None and is_stream and not self._stopped:
            self._splice = PageSplice.open(self._socket.fileno())
        return self._splice is not None

    def _write_pieces(self, thread: DescriptorThread[Any], pieces: Sequence[Piece]) -> None:
        for in_place, some in groupby(pieces, lambda piece: isinstance(piece, PagesInPlace)):
            if in_place and self._splice is not None:
                for piece in some:
                    self._splice_in(thread, self._splice.moves(cast(PagesInPlace, piece)))
            else:
                super()._write_pieces(thread, list(some))

    def _splice_in(self, thread: DescriptorThread[Any], moves: Iterator[bool]) -> None:
        try:
            for has_moved in moves:
                if not has_moved:
                    thread.wait()
                if thread.stopped:
                    raise TransportError(f"Unable to write to {self._noun}: Broken pipe")
        except OSError as error:
            raise failed(f"Unable to write to {self._noun}", error) from error

    def _receive_into(self, place: memoryview) -> int:
        return self._socket.recv_into(place)

    def _send(self, buffers: list[memoryview]) -> int:
        return self._socket.sendmsg(buffers)

    def end_writing(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def shutdown(self) -> None:
        if not self._stopped:
            # Refused when the peer was faster: then there is nothing left to shut down.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def _close_descriptors(self) -> None:
        self._socket.close()
        if self._splice is not None:
            self._splice.close()
        untaken = self.take_descriptor()
        if untaken is not None:
            os.close(untaken)


class PipeChannel(StreamChannel):
    """One end of a pipe: one direction."""

    reply_path = False

    def __init__(self, fd: int, *, writing: bool, noun: str = "file") -> None:
        """Take over one end of a pipe; a named or anonymous one is QEMU's "file" in errors."""
        os.set_blocking(fd, False)
        enlarge_pipe(fd)
        super().__init__(-1 if writing else fd, fd if writing else -1, noun)


def enlarge_pipe(fd: int) -> None:
    """Give a pipe room for more than its 64 KiB, where the system allows it."""
    # Refused when the user's pipes together are at their limit: it works as it is.
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

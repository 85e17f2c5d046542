"""A channel into or out of a file, file:PATH, or a descriptor that cannot be waited for.

What may live here: reads and writes in a thread, since a disk can take its time and tells nobody
when it is ready. Each channel has one thread of its own, which also closes the descriptor: nothing
is closed under a call in progress.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, cast

from engine.driver.channel import (
    GATHERED_MAX,
    Channel,
    Piece,
    Result,
    TransportError,
    consume,
    failed,
    views,
)


class FileChannel(Channel):
    """A file that is written to, or read from, from where its descriptor stands."""

    reply_path = False

    def __init__(self, fd: int, *, writing: bool) -> None:
        """Take over a descriptor."""
        self._loop = asyncio.get_running_loop()
        self._fd = fd
        self._writing = writing
        self._closed = False
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._thread = ThreadPoolExecutor(1, "migration-file")

    @classmethod
    async def open(cls, path: str, offset_bytes: int, *, writing: bool) -> FileChannel:
        """Open a file at an offset; TransportError when that fails.

        To write: it is made when missing, and cut off at the offset; what is before that stays.
        """
        fd = await asyncio.to_thread(_open, path, offset_bytes, writing=writing)
        return cls(fd, writing=writing)

    @classmethod
    def open_now(cls, path: str, offset_bytes: int, *, writing: bool) -> FileChannel:
        """The same without a thread, for who has nothing else to do meanwhile."""
        return cls(_open(path, offset_bytes, writing=writing), writing=writing)

    async def read(self, max_bytes: int) -> bytes:
        if self._writing:
            await asyncio.wait([self._stopped])
            return b""
        received = await self._call(
            lambda: os.read(self._fd, max_bytes), "Unable to read from file"
        )
        return received or b""

    async def write(self, buffers: Sequence[Piece]) -> None:
        pending = deque(views(buffers))
        doing = "Unable to write to file"
        if await self._call(lambda: _write_all(self._fd, pending), doing) is None:
            raise TransportError(f"{doing}: Broken pipe")

    async def carry_out(self, writes: Generator[Sequence[Piece], None, Result]) -> Result:
        def work() -> Result:
            while not self._stopped.done():
                try:
                    buffers = next(writes)
                except StopIteration as end:
                    return cast(Result, end.value)
                _write_all(self._fd, deque(views(buffers)))
            raise BrokenPipeError(errno.EPIPE, "")

        doing = "Unable to write to file"
        return _unless_given_up(await self._call(lambda: [work()], doing), doing)

    async def fill(self, reads: Generator[memoryview, int, Result]) -> Result:
        def work() -> Result:
            try:
                place = next(reads)
                while True:
                    ended = self._stopped.done()
                    place = reads.send(0 if ended else os.readv(self._fd, [place]))
            except StopIteration as end:
                return cast(Result, end.value)

        doing = "Unable to read from file"
        return _unless_given_up(await self._call(lambda: [work()], doing), doing)

    async def flushed(self) -> None:
        if not self._writing:
            return
        doing = "Unable to flush file"
        if await self._call(lambda: _synchronise(self._fd), doing) is None:
            raise TransportError(f"{doing}: the migration was given up")

    def shutdown(self) -> None:
        if not self._stopped.done():
            self._stopped.set_result(None)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.shutdown()
        self._thread.submit(os.close, self._fd)
        self._thread.shutdown(wait=False)

    async def _call(self, blocking: Callable[[], Result], doing: str) -> Result | None:
        """Run in the thread; None when `shutdown` came first: the call then ends unseen."""
        if self._stopped.done():
            return None
        call = self._loop.run_in_executor(self._thread, blocking)
        call.add_done_callback(_notice)
        first: list[asyncio.Future[Any]] = [call, self._stopped]
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not call.done():
            return None
        try:
            return call.result()
        except OSError as error:
            raise failed(doing, error) from error


def _unless_given_up(result: list[Result] | None, doing: str) -> Result:
    if result is None:
        raise TransportError(f"{doing}: Broken pipe")
    return result[0]


def _notice(call: asyncio.Future[Result]) -> None:
    """Look at the outcome, so that asyncio does not report one that nobody waits for any more."""
    if not call.cancelled():
        call.exception()


def _write_all(fd: int, pending: deque[memoryview]) -> bool:
    while pending:
        consume(pending, os.writev(fd, list(islice(pending, GATHERED_MAX))))
    return True


def _synchronise(fd: int) -> bool:
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        os.fdatasync(fd)
    return True


def _open(path: str, offset_bytes: int, *, writing: bool) -> int:
    # O_NONBLOCK: a named pipe nobody reads is refused instead of waited for; files do not care.
    flags = os.O_CLOEXEC | os.O_NONBLOCK | (os.O_WRONLY | os.O_CREAT if writing else os.O_RDONLY)
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise failed(f"Unable to open {path}", error) from error
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISDIR(mode):
            raise TransportError(
                f"Unable to open {path}: expected a file; use fd: or exec: for a pipe"
            )
        if writing and stat.S_ISREG(mode):
            os.ftruncate(fd, offset_bytes)
        if offset_bytes:
            os.lseek(fd, offset_bytes, os.SEEK_SET)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            raise failed(f"Unable to seek to {offset_bytes} in {path}", error) from error
        raise
    return fd

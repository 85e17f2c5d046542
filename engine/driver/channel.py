"""What a migration stream runs through: the interface, and the error all its kinds raise.

What may live here: what is common to sockets, pipes, commands and files. Each kind has a module of
its own, and `transport` picks one for a URI.

A channel has one reader and one writer at a time. Cancelling a `read` from a socket or a pipe loses
nothing; cancelling any other call leaves the stream cut at an unknown place, so that only
`shutdown` and `close` are left.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from typing import TypeAlias, TypeVar, cast

from engine.live_pages import PagesInPlace

#: Contiguous, of any item type.
BytesLike: TypeAlias = bytes | bytearray | memoryview
#: What `Channel.write` takes: bytes, or pages from where they are.
Piece: TypeAlias = BytesLike | PagesInPlace

Result = TypeVar("Result")

#: The largest number of buffers in one gathered write (IOV_MAX on Linux).
GATHERED_MAX = 1024


class TransportError(Exception):
    """A stream that could not be set up, or that broke; the text is fit for an `error-desc`."""


def failed(doing: str, error: OSError) -> TransportError:
    """Put a failed system call in QEMU's form: what was tried, a colon, the system's text."""
    return TransportError(f"{doing}: {os.strerror(error.errno) if error.errno else error}")


def views(buffers: Iterable[Piece]) -> list[memoryview]:
    """See each buffer as bytes, leaving out empty ones; nothing is copied."""
    seen: list[memoryview] = []
    for buffer in buffers:
        seen += buffer.views() if isinstance(buffer, PagesInPlace) else [memoryview(buffer)]
    return [
        view if view.format == "B" and view.ndim == 1 else view.cast("B")
        for view in seen
        if view.nbytes
    ]


def consume(pending: deque[memoryview], sent: int) -> None:
    """Take the first `sent` bytes off `pending`."""
    while sent:
        first = pending[0]
        if sent < first.nbytes:
            pending[0] = first[sent:]
            return
        sent -= first.nbytes
        pending.popleft()


class Channel(ABC):
    """One migration stream, in one direction or both."""

    #: Whether answers can come back the other way.
    reply_path: bool

    def splices(self) -> bool:
        """Get ready for it, if it can be, that `carry_out` takes pages from where they are."""
        return False

    @abstractmethod
    async def read(self, max_bytes: int) -> bytes:
        """Wait for some bytes and return 1 to `max_bytes` of them; b"" at the end of the stream.

        On a channel that only writes: wait until nobody is there to read any more (or until
        `shutdown`), and return b"". TransportError when the channel broke.
        """

    @abstractmethod
    async def write(self, buffers: Sequence[Piece]) -> None:
        """Write all of these, one after another, without joining them.

        Returns when the system has taken the last byte; the buffers must keep their contents until
        then. TransportError when the channel broke, or was shut down: QEMU's text, such as
        "Unable to write to socket: Broken pipe".
        """

    async def write_with(self, buffers: Sequence[BytesLike], descriptor: int) -> None:
        """Write all of these, with a descriptor for the other end; TransportError if impossible."""
        raise TransportError("Unable to pass a descriptor: only a unix socket can")

    def take_descriptor(self) -> int | None:
        """Hand out the descriptor that came with what was read, if one did; to be closed."""
        return None

    async def carry_out(self, writes: Generator[Sequence[Piece], None, Result]) -> Result:
        """Write what `writes` yields, piece after piece, and return what it returns.

        Pages in place may change until the other end has read them: what it reads then is what
        they are by that time.
        Errors are those of `write`. Where a descriptor is behind the channel this happens in a
        thread, and the loop goes on meanwhile.
        """
        while True:
            try:
                buffers = next(writes)
            except StopIteration as end:
                return cast(Result, end.value)
            await self.write(buffers)

    async def fill(self, reads: Generator[memoryview, int, Result]) -> Result:
        """Fill the places that `reads` yields, as far as something comes, and return its result.

        It is sent how many bytes came, 0 at the end of the stream; errors are those of `read`.
        Where a descriptor is behind the channel this happens in a thread.
        """
        try:
            place = next(reads)
            while True:
                received = await self.read(len(place))
                place[: len(received)] = received
                place = reads.send(len(received))
        except StopIteration as end:
            return cast(Result, end.value)

    @abstractmethod
    async def flushed(self) -> None:
        """Say that nothing more will be written, and wait until what was is where it belongs.

        For a file: on the disk. For a command: it has seen the end and has exited, with status 0.
        For a socket and for a pipe there is nothing to wait for. TransportError otherwise.
        """

    def end_writing(self) -> None:
        """Say that nothing more will be written, where reading goes on; nothing to do elsewhere."""
        return

    @abstractmethod
    def shutdown(self) -> None:
        """End both directions at once: a `read` in progress returns b"", a `write` fails."""

    @abstractmethod
    def close(self) -> None:
        """Shut down and give back the descriptors; a command that still runs is terminated."""

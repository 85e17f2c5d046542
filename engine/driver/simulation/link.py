"""The channels between simulated VMs, and what can happen to them.

What may live here: bytes on their way, with latency, bandwidth, pieces, a bounded buffer; cuts,
stalls, damage, resets, descriptors that are passed along. Rules:

1. Bytes of one direction arrive in order and at most once; where a read ends is chosen at random.
2. The end of a channel follows the bytes before it. Who closes over bytes that it has not read may
   take back what it said last, as a socket does.
3. A descriptor comes with the first of the bytes that it was sent with, is a duplicate of the
   sender's, and is closed with whatever it is lost with.
4. While the network is stalled nothing arrives, no end either.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, TypeAlias

from engine.driver.channel import BytesLike, Channel, Piece, TransportError, views
from engine.live_pages import PagesInPlace

#: What the loop takes for the same moment.
_TICK_SECONDS = 1e-9
_RESET = "Connection reset by peer"
#: A read that is cut short on purpose returns no more than this.
_SHORT_READ_BYTES_MAX = 48


@dataclass(frozen=True)
class LinkConditions:
    """What a link is like."""

    #: How long a byte is on its way.
    latency_ms: float = 0.1
    #: How fast bytes follow each other.
    bytes_per_ms: float = 1e6
    #: How often, of 1, a read ends in the middle of something.
    short_reads: float = 0.0
    #: How much may be on its way or unread before a writer waits.
    buffer_bytes: int = 1 << 20


@dataclass(frozen=True)
class _End:
    """The last thing on a wire."""

    #: What a reader is told; None: an end of file.
    error: str | None
    #: Whether the sender takes nothing any more either.
    closes: bool


@dataclass(frozen=True)
class _Passed:
    """Bytes that a descriptor comes with."""

    #: Belongs to whoever has this.
    descriptor: int
    #: The bytes.
    data: bytes


#: A view is of a source's RAM: it may be written to until it is read.
_Parcel: TypeAlias = bytes | memoryview | _Passed | _End


def _bytes_of(parcel: _Parcel) -> bytes | memoryview:
    if isinstance(parcel, _Passed):
        return parcel.data
    return b"" if isinstance(parcel, _End) else parcel


def _close_passed(parcels: Iterable[_Parcel]) -> None:
    for parcel in parcels:
        if isinstance(parcel, _Passed):
            os.close(parcel.descriptor)


class Weather(Protocol):
    """What all links of a network have in common."""

    conditions: LinkConditions
    random: Random
    stalled: bool


class Wire:
    """One direction of one channel."""

    def __init__(self, network: Weather) -> None:
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._flying: deque[tuple[float, _Parcel]] = deque()
        self._arrived: deque[bytes | memoryview | _Passed] = deque()
        self._free_at = 0.0
        self._bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        #: The descriptor that came with what was read and that nobody has taken.
        self.passed: int | None = None
        #: How it ended for the reader.
        self.end: _End | None = None
        #: Whether the reader is gone, as far as the writer knows.
        self.broken = False
        #: The wire the other way: it breaks when this one brings a close.
        self.back: Wire | None = None

    # -- writing

    def put(self, parcel: _Parcel) -> None:
        """Send something after all that was sent before."""
        conditions = self._network.conditions
        size = len(_bytes_of(parcel))
        start = max(self._loop.time(), self._free_at)
        self._free_at = start + size / conditions.bytes_per_ms / 1000
        arrives = self._free_at + conditions.latency_ms / 1000
        self._bytes += size
        self._flying.append((arrives, parcel))
        self._loop.call_at(arrives, self.arrive)

    async def room(self) -> None:
        """Wait until something may be written."""
        while self._bytes >= self._network.conditions.buffer_bytes and not self.broken:
            self._writer = self._loop.create_future()
            await self._writer

    def interrupt(self) -> None:
        """Wake reader and writer: something has changed."""
        for waiting in (self._reader, self._writer):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    # -- arriving

    def arrive(self) -> None:
        """Let everything arrive whose time has come."""
        if self._network.stalled:
            return
        now = self._loop.time() + _TICK_SECONDS
        while self._flying and self._flying[0][0] <= now:
            self._land()
        self.interrupt()

    def _land(self) -> None:
        """Let arrive what is next."""
        _, parcel = self._flying.popleft()
        if not isinstance(parcel, _End):
            self._arrived.append(parcel)
            return
        self.end = self.end or parcel
        if parcel.closes and self.back is not None:
            self.back.broken = True
            self.back.interrupt()

    def lose_flying(self) -> None:
        """Lose what is on its way."""
        kept = [(at, parcel) for at, parcel in self._flying if isinstance(parcel, _End)]
        self._bytes -= sum(len(_bytes_of(parcel)) for _, parcel in self._flying)
        _close_passed(parcel for _, parcel in self._flying)
        self._flying = deque(kept)

    def close(self) -> None:
        """Close the descriptors that nobody will take any more."""
        _close_passed((*self._arrived, *(parcel for _, parcel in self._flying)))
        self._arrived.clear()
        self._flying.clear()
        if self.passed is not None:
            os.close(self.passed)
            self.passed = None

    def damage(self) -> bool:
        """Change one bit of what arrives next; False when nothing is on its way."""
        for at, (arrives, parcel) in enumerate(self._flying):
            if _bytes_of(parcel):
                changed = bytearray(_bytes_of(parcel))
                changed[self._network.random.randrange(len(changed))] ^= 0x10
                if isinstance(parcel, _Passed):
                    self._flying[at] = (arrives, replace(parcel, data=bytes(changed)))
                else:
                    self._flying[at] = (arrives, bytes(changed))
                return True
        return False

    # -- reading

    @property
    def unread(self) -> bool:
        """Whether bytes are here, or on their way, that nobody has read."""
        return bool(self._arrived) or any(not isinstance(p, _End) for _, p in self._flying)

    async def take(self, max_bytes: int) -> bytes | None:
        """Return bytes, b"" at an end of file, or None when woken for another reason."""
        if self._arrived:
            return self._take_now(max_bytes)
        if self.end is not None:
            if self.end.error is not None:
                raise TransportError(f"Unable to read from socket: {self.end.error}")
            return b""
        self._reader = self._loop.create_future()
        await self._reader
        return None

    def _take_now(self, max_bytes: int) -> bytes:
        conditions, random = self._network.conditions, self._network.random
        if conditions.short_reads and random.random() < conditions.short_reads:
            max_bytes = min(max_bytes, random.randint(1, _SHORT_READ_BYTES_MAX))
        first = self._arrived.popleft()
        if isinstance(first, _Passed):
            if self.passed is not None:
                # More than one that nobody has taken is more than there is a use for.
                os.close(self.passed)
            self.passed, first = first.descriptor, first.data
        if len(first) > max_bytes:
            self._arrived.appendleft(first[max_bytes:])
            first = first[:max_bytes]
        self._bytes -= len(first)
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
        return bytes(first)


class SimulatedChannel(Channel):
    """One end of a link."""

    def __init__(
        self,
        network: Weather,
        incoming: Wire,
        outgoing: Wire,
        *,
        reply_path: bool = True,
        passes_descriptors: bool = False,
    ) -> None:
        self.reply_path = reply_path
        self._passes_descriptors = passes_descriptors
        self._network = network
        self._incoming = incoming
        self._outgoing = outgoing
        self._stopped = False
        self._closed = False
        #: Whether what was written does not get to where it belongs.
        self.spoilt = False

    @property
    def closed(self) -> bool:
        """Whether this end was let go of."""
        return self._closed

    def splices(self) -> bool:
        """Pages are under way as what they are, and are read when they have arrived."""
        return True

    async def read(self, max_bytes: int) -> bytes:
        while not self._stopped:
            received = await self._incoming.take(max_bytes)
            if received is not None:
                return received
        return b""

    async def write(self, buffers: Sequence[Piece]) -> None:
        for buffer in buffers:
            is_live = isinstance(buffer, PagesInPlace)
            for view in views([buffer]):
                await self._outgoing.room()
                if self._stopped or self._outgoing.broken:
                    raise TransportError("Unable to write to socket: Broken pipe")
                self._outgoing.put(view if is_live else bytes(view))

    async def write_with(self, buffers: Sequence[BytesLike], descriptor: int) -> None:
        if not self._passes_descriptors:
            await super().write_with(buffers, descriptor)
        await self._outgoing.room()
        if self._stopped or self._outgoing.broken:
            raise TransportError("Unable to write to socket: Broken pipe")
        first, *others = views(buffers)
        self._outgoing.put(_Passed(os.dup(descriptor), bytes(first)))
        await self.write(others)

    def take_descriptor(self) -> int | None:
        descriptor, self._incoming.passed = self._incoming.passed, None
        return descriptor

    async def flushed(self) -> None:
        if self._stopped or self.spoilt:
            raise TransportError("Unable to write to socket: Broken pipe")

    def end_writing(self) -> None:
        self._outgoing.put(_End(None, closes=False))

    def shutdown(self) -> None:
        self._stopped = True
        self._incoming.interrupt()
        self._outgoing.interrupt()

    def close(self) -> None:
        if self._closed:
            return
        self.shutdown()
        self._closed = True
        error = None
        if self._incoming.unread:
            error = _RESET
            if self._network.random.random() < 0.5:
                self._outgoing.lose_flying()
        self._outgoing.put(_End(error, closes=True))

    def cut(self, *, keeps_flying: bool, with_error: bool) -> None:
        """Lose the other end, with or without what is on its way from there."""
        if not keeps_flying:
            self._incoming.lose_flying()
        self._incoming.put(_End(_RESET if with_error else None, closes=True))

    def damage(self) -> bool:
        """Change one bit of what this end receives next; False when nothing is coming."""
        return self._incoming.damage()

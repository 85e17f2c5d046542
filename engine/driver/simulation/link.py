"""The simulated network: who listens, the channels between VMs, and what can happen to these.

What may live here: bytes on their way, with latency, bandwidth, pieces, a bounded buffer; cuts,
stalls, damage, resets. Rules:

1. Bytes of one direction arrive in order and at most once; where a read ends is chosen at random.
2. The end of a channel follows the bytes before it. Who closes over bytes that it has not read may
   take back what it said last, as a socket does.
3. While the network is stalled nothing arrives, no end either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from engine.driver.channel import BytesLike, Channel, TransportError, views
from engine.driver.transport import Listener
from engine.uri import TcpUri, Uri

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


_Parcel: TypeAlias = bytes | _End


class Wire:
    """One direction of one channel."""

    def __init__(self, network: SimulatedNetwork) -> None:
        self._network = network
        self._loop = asyncio.get_running_loop()
        self._flying: deque[tuple[float, _Parcel]] = deque()
        self._arrived: deque[bytes] = deque()
        self._free_at = 0.0
        self._bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
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
        size = len(parcel) if isinstance(parcel, bytes) else 0
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
        if isinstance(parcel, bytes):
            self._arrived.append(parcel)
            return
        self.end = self.end or parcel
        if parcel.closes and self.back is not None:
            self.back.broken = True
            self.back.interrupt()

    def lose_flying(self) -> None:
        """Lose what is on its way."""
        kept = [(at, parcel) for at, parcel in self._flying if isinstance(parcel, _End)]
        self._bytes -= sum(len(p) for _, p in self._flying if isinstance(p, bytes))
        self._flying = deque(kept)

    def damage(self) -> bool:
        """Change one bit of what arrives next; False when nothing is on its way."""
        for at, (arrives, parcel) in enumerate(self._flying):
            if isinstance(parcel, bytes) and parcel:
                changed = bytearray(parcel)
                changed[self._network.random.randrange(len(changed))] ^= 0x10
                self._flying[at] = (arrives, bytes(changed))
                return True
        return False

    # -- reading

    @property
    def unread(self) -> bool:
        """Whether bytes are here, or on their way, that nobody has read."""
        return bool(self._arrived) or any(isinstance(p, bytes) for _, p in self._flying)

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
        if len(first) > max_bytes:
            self._arrived.appendleft(first[max_bytes:])
            first = first[:max_bytes]
        self._bytes -= len(first)
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
        return first


class SimulatedChannel(Channel):
    """One end of a link."""

    def __init__(self, network: SimulatedNetwork, incoming: Wire, outgoing: Wire) -> None:
        self.reply_path = not network.one_way
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

    async def read(self, max_bytes: int) -> bytes:
        while not self._stopped:
            received = await self._incoming.take(max_bytes)
            if received is not None:
                return received
        return b""

    async def write(self, buffers: Sequence[BytesLike]) -> None:
        for view in views(buffers):
            await self._outgoing.room()
            if self._stopped or self._outgoing.broken:
                raise TransportError("Unable to write to socket: Broken pipe")
            self._outgoing.put(bytes(view))

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


class SimulatedListener(Listener):
    """One VM that waits for a stream."""

    def __init__(
        self, network: SimulatedNetwork, uri: TcpUri, accepted: Callable[[Channel], None]
    ) -> None:
        self._network = network
        self._uri = uri
        self._accepted = accepted
        self.addresses = [
            {"type": "inet", "host": uri.host, "port": str(uri.port), "ipv4": True},
        ]
        self._waiting: deque[SimulatedChannel] = deque()
        self._changed: asyncio.Future[None] | None = None
        self._closed = False

    def offer(self, channel: SimulatedChannel) -> None:
        """Hand in a channel from a source."""
        self._waiting.append(channel)
        self._wake()

    async def accept(self) -> Channel:
        while not self._closed:
            if self._waiting:
                channel = self._waiting.popleft()
                self._accepted(channel)
                return channel
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        raise TransportError("The listener is closed")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._network.forget(self._uri)
        while self._waiting:
            self._waiting.popleft().close()
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class SimulatedNetwork:
    """All links of one simulation."""

    def __init__(self, conditions: LinkConditions, random: Random) -> None:
        self.conditions = conditions
        self.random = random
        #: Whether nothing arrives at the moment.
        self.stalled = False
        #: Whether nobody can connect at the moment.
        self.refuses = False
        #: Whether nobody can answer on the links that are made.
        self.one_way = False
        self._listeners: dict[tuple[str, int], SimulatedListener] = {}
        self._wires: list[Wire] = []
        #: The two ends of every link that either still holds, oldest first: the source's, the
        #: target's.
        self.ends: list[tuple[SimulatedChannel, SimulatedChannel]] = []
        self._names = 0

    def new_name(self) -> bytes:
        """Make a name for a migration."""
        self._names += 1
        return self._names.to_bytes(16, "big")

    async def connect(self, uri: Uri) -> Channel:
        """Open the outgoing end of a stream."""
        assert isinstance(uri, TcpUri)
        await asyncio.sleep(2 * self.conditions.latency_ms / 1000)
        listener = self._listeners.get((uri.host, uri.port))
        # What cannot answer may be a file: nobody need be there.
        nobody = listener is None and not self.one_way
        if nobody or self.refuses or self.stalled:
            reason = "Connection timed out" if self.stalled else "Connection refused"
            raise TransportError(f"Failed to connect to '{uri.host}:{uri.port}': {reason}")
        ends = self._link()
        self.ends = [each for each in self.ends if not (each[0].closed and each[1].closed)]
        self.ends.append(ends)
        if listener is not None:
            self._offer(listener, ends[1])
        return ends[0]

    def _link(self) -> tuple[SimulatedChannel, SimulatedChannel]:
        """Make a link; return the source's end and the target's."""
        there, back = self._wire(), self._wire()
        there.back, back.back = back, there
        self._wires += [there, back]
        return SimulatedChannel(self, back, there), SimulatedChannel(self, there, back)

    def _wire(self) -> Wire:
        return Wire(self)

    def _offer(self, listener: SimulatedListener, channel: SimulatedChannel) -> None:
        """Let a listener know of a channel."""
        listener.offer(channel)

    def listen(self, uri: Uri, accepted: Callable[[Channel], None]) -> Listener:
        """Open the incoming end of a stream; `accepted` is told of each that comes."""
        assert isinstance(uri, TcpUri)
        if (uri.host, uri.port) in self._listeners:
            raise TransportError(
                f"Failed to bind socket to {uri.host}:{uri.port}: Address already in use"
            )
        listener = SimulatedListener(self, uri, accepted)
        self._listeners[uri.host, uri.port] = listener
        return listener

    def forget(self, uri: TcpUri) -> None:
        """Let nobody connect there any more."""
        del self._listeners[uri.host, uri.port]

    def stall(self, stalled: bool) -> None:
        """Let nothing arrive from now on; or everything that had to wait."""
        self.stalled = stalled
        for wire in self._wires:
            wire.arrive()

    def cut(self, *, keeps_to_source: bool, keeps_to_target: bool, with_error: bool) -> None:
        """Cut every link."""
        for ends in self.ends:
            ends[0].cut(keeps_flying=keeps_to_source, with_error=with_error)
            ends[1].cut(keeps_flying=keeps_to_target, with_error=with_error)

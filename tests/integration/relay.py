"""A relay between a source and a target that knows the frames: it can withhold, cut and damage.

Rules kept here: frames are forwarded in order and whole unless a rule says otherwise; what passed
was decoded with the codec first, so that a rule names a message, not an offset. A rule acts once.
A relay that is silent does not tell one side that the other has gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from engine.codec import StreamDecoder
from engine.framing import FRAME_HEADER_BYTES, STREAM_HEADER_BYTES
from engine.messages import Direction, Message

Kind = type[Any]


class Way(Enum):
    """What a rule does with the frame it waits for."""

    #: Keep it and everything behind it, until released.
    WITHHOLD = "withhold"
    #: End both connections instead of forwarding it.
    CUT_BEFORE = "cut before"
    #: End both connections once it is forwarded.
    CUT_AFTER = "cut after"
    #: Forward half of it, then end both connections.
    TRUNCATE = "truncate"
    #: Flip one bit in the middle of it.
    DAMAGE = "damage"


class Pump(asyncio.Protocol):
    """One direction: it is the protocol of the connection that it reads from."""

    def __init__(self, relay: Relay, direction: Direction) -> None:
        self._relay = relay
        self._decoder = StreamDecoder(direction)
        self._rules: dict[Kind, Way] = {}
        self._frames: deque[tuple[Message | None, bytes]] = deque()
        self._buffer = bytearray()
        self._header_done = False
        self._withholding = False
        self._silent = False
        #: The connection it forwards to.
        self.writer: asyncio.WriteTransport | None = None

    def rule(self, kind: Kind, way: Way) -> None:
        """Do something with the next message of a kind."""
        self._rules[kind] = way

    def hold(self) -> None:
        """Forward nothing from now on, not even the end."""
        self._silent = True

    def release(self) -> None:
        """Go on forwarding."""
        self._silent = self._withholding = False
        self._forward()

    def data_received(self, data: bytes) -> None:
        """Take what one side sent."""
        self._split(data)
        self._forward()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the other side, unless silence was asked for."""
        if not self._silent:
            self._relay.cut()

    def _split(self, data: bytes) -> None:
        self._buffer += data
        self._decoder.feed(data)
        if not self._header_done and len(self._buffer) >= STREAM_HEADER_BYTES:
            self._frames.append((None, self._take(STREAM_HEADER_BYTES)))
            self._header_done = True
        while (item := self._decoder.next()) is not None:
            body_bytes = int.from_bytes(self._buffer[4:8], "little")
            self._frames.append((item[1], self._take(FRAME_HEADER_BYTES + body_bytes)))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _is_open(self) -> bool:
        return not self._silent and not self._withholding

    def _forward(self) -> None:
        while self._frames and self._is_open() and self.writer is not None:
            message, frame = self._frames.popleft()
            way = self._rules.pop(type(message), None)
            if way is not None:
                self._relay.reached.add(type(message))
                self._relay.tell()
            match way:
                case Way.WITHHOLD:
                    self._frames.appendleft((message, frame))
                    self._withholding = True
                    return
                case Way.CUT_BEFORE:
                    self._relay.cut()
                    return
                case Way.TRUNCATE:
                    self.writer.write(frame[: len(frame) // 2])
                    self._relay.cut()
                    return
                case Way.DAMAGE:
                    damaged = bytearray(frame)
                    damaged[len(frame) // 2] ^= 0x10
                    self.writer.write(bytes(damaged))
                case _:
                    self.writer.write(frame)
            self._relay.passed.append(type(message))
            self._relay.tell()
            if way is Way.CUT_AFTER:
                self._relay.cut()
                return


class Relay:
    """Listens at one path, connects to another, and stands in between."""

    def __init__(self, here: str, there: str) -> None:
        """Take the paths of two unix sockets."""
        self._here = here
        self._there = there
        #: What was forwarded, by kind, in order.
        self.passed: list[Kind] = []
        #: Kinds for which a rule has acted.
        self.reached: set[Kind] = set()
        self.to_target = Pump(self, "from_source")
        self.to_source = Pump(self, "from_target")
        self._news = asyncio.Event()
        self._transports: list[asyncio.Transport] = []
        self._server: asyncio.Server | None = None

    @property
    def uri(self) -> str:
        """Where the source connects to."""
        return f"unix:{self._here}"

    async def __aenter__(self) -> Relay:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Accepted(self), self._here)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    async def connect(self, source: asyncio.Transport) -> None:
        """Connect to the target for a source that has come."""
        loop = asyncio.get_running_loop()
        target, _ = await loop.create_unix_connection(lambda: self.to_source, self._there)
        self._transports = [source, target]
        self.to_target.writer, self.to_source.writer = target, source
        accepted = source.get_protocol()
        assert isinstance(accepted, _Accepted)
        source.set_protocol(self.to_target)
        accepted.hand_over(self.to_target)
        source.resume_reading()

    def cut(self) -> None:
        """End both connections, after what was forwarded."""
        self.to_target.writer = self.to_source.writer = None
        for transport in self._transports:
            transport.close()

    def stall(self) -> None:
        """Be silent in both directions from now on."""
        self.to_target.hold()
        self.to_source.hold()

    def tell(self) -> None:
        """Wake whoever waits."""
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that what passed decides."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def until_passed(self, kind: Kind) -> None:
        """Wait until a message of a kind was forwarded."""
        await self.until(lambda: kind in self.passed)

    async def until_reached(self, kind: Kind) -> None:
        """Wait until a rule for a kind has acted."""
        await self.until(lambda: kind in self.reached)


class _Accepted(asyncio.Protocol):
    """A source that has just come.

    Before Python 3.11.4 a transport that is paused as it is made reads all the same: what came
    meanwhile is kept for the pump.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._early = bytearray()

    def data_received(self, data: bytes) -> None:
        self._early += data

    def hand_over(self, pump: Pump) -> None:
        """Give what has come to the pump that takes over."""
        if self._early:
            pump.data_received(bytes(self._early))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        self._task = asyncio.create_task(self._relay.connect(transport))

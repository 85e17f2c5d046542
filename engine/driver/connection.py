"""One end of a live migration stream: a channel with the codec on it, a writer and a reader.

Rules kept here: messages leave in the order they were given, RAM among them; the first thing that
goes wrong ends it and is told once. It knows nothing of what the messages mean. RAM is written and
read by the channel in one go, in a thread where there are threads: nothing else happens on that
direction of the channel meanwhile, and everything else goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from engine.arriving_ram import ArrivingRam
from engine.codec import Prepared, StreamDecoder, StreamEncoder
from engine.driver.channel import Channel, TransportError
from engine.driver.tasks import Defect, Tasks
from engine.errors import StreamError
from engine.messages import Direction, Message, RamMessage
from engine.ram_receiving import receive_ram
from engine.ram_sending import Sending, Sent

#: Bytes read at a time, of what is not RAM.
READ_BYTES = 64 << 10
#: How long a closed connection may take to write what was queued, such as ABORT, and a broken one
#: to read what the peer said last.
LINGER_SECONDS = 1.0


class RamTaker(Protocol):
    """Who takes what comes of RAM."""

    def begin(self) -> None:
        """Hear that RAM comes now; StreamError when this is not the time."""

    def heard(self) -> None:
        """Hear that some of it has come, in whatever thread."""

    def take(self, message: RamMessage) -> None:
        """Take one message, in whatever thread; StreamError when it cannot be."""

    def land(self, arriving: ArrivingRam) -> list[memoryview] | None:
        """Find places in RAM for the pages of one that arrives; None to have it whole first."""

    def landed(self, arriving: ArrivingRam) -> None:
        """Hear that they are in place, all of them, in whatever thread."""


@dataclass(frozen=True)
class _Job:
    """RAM to be written."""

    sending: Sending
    #: What was sent; None when the connection ended.
    done: asyncio.Future[Sent | None]


@dataclass(frozen=True)
class _Passing:
    """A message with a descriptor for the peer."""

    prepared: Prepared
    descriptor: int


_Item: TypeAlias = bytes | Prepared | _Job | _Passing


class Connection:
    """A stream being written and read; made on a running event loop."""

    def __init__(
        self,
        channel: Channel,
        *,
        hears: Direction,
        on_message: Callable[[Message], None],
        on_lost: Callable[[Exception | None], None],
        ram: RamTaker | None = None,
    ) -> None:
        """Start on an open channel.

        `hears` is the direction read; `on_lost` is called once, with the error or None at an end
        of file, unless `close` came first. `ram` takes what comes of RAM. After a StreamError
        nothing more is read, and what is sent until `close` still leaves: the peer can be told
        what was wrong. After a Defect the channel is as it was: whoever is told may `close` it.
        """
        self._channel = channel
        self._encoder = StreamEncoder()
        self._decoder = StreamDecoder(hears, lends=True)
        self._ram = ram
        self._job: _Job | None = None
        self._on_message = on_message
        self._on_lost = on_lost
        self._queue: deque[_Item] = deque()
        self._is_writing = False
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._closed = False
        self._reading = True
        self._told = False
        self._broken: Exception | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        # A stream that only comes in is never written to, not even a header.
        if channel.reply_path or hears == "from_target":
            self._enqueue(self._encoder.header())
        tasks = Tasks(self._fell_over)
        self._writer = tasks.start(self._write(), "migration writer")
        self._reader = tasks.start(self._read(), "migration reader")

    @property
    def channel(self) -> Channel:
        """The channel underneath."""
        return self._channel

    @property
    def encoder(self) -> StreamEncoder:
        """The encoder of what is written; only for use within `send_ram`."""
        return self._encoder

    @property
    def ended(self) -> bool:
        """Whether it was closed or lost; may be asked from any thread."""
        return self._closed

    def send(self, message: Message) -> None:
        """Queue a message."""
        if not self._closed:
            self._enqueue(self._encoder.prepare(message))

    def send_with(self, message: Message, descriptor: int) -> None:
        """Queue a message with a descriptor for the peer, which is closed once it has left."""
        if self._closed:
            os.close(descriptor)
        else:
            self._enqueue(_Passing(self._encoder.prepare(message), descriptor))

    def _enqueue(self, item: _Item) -> None:
        self._queue.append(item)
        self._wake.set()

    async def send_ram(self, sending: Sending) -> Sent | None:
        """Write RAM after all that is queued; None once the connection has ended."""
        if self._closed:
            return None
        job = _Job(sending, asyncio.get_running_loop().create_future())
        self._enqueue(job)
        return await job.done

    async def drained(self) -> bool:
        """Wait until everything queued is written; False once the connection has ended."""
        while (self._queue or self._is_writing) and not self._closed:
            self._moved.clear()
            await self._moved.wait()
        return not self._closed

    def stop_reading(self) -> None:
        """Take nothing more from the peer: its end of file is no loss."""
        self._reading = False
        if asyncio.current_task() is not self._reader:
            self._reader.cancel()

    def pause_reading(self) -> None:
        """Take nothing more from the peer, nor notice its end, until `resume_reading`."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Go on where `pause_reading` stopped."""
        self._may_read.set()

    def close(self) -> None:
        """End it: what is queued may still leave, nothing more comes in."""
        if self._closed:
            return
        self._closed = True
        self._give_up()
        self.stop_reading()
        self._wake.set()
        loop = asyncio.get_running_loop()
        limit = loop.call_later(LINGER_SECONDS, self._writer.cancel)

        def let_go(_: object) -> None:
            limit.cancel()
            self._channel.close()

        self._writer.add_done_callback(let_go)

    async def finished(self) -> None:
        """Wait until a closed connection has let go of its channel."""
        await asyncio.wait([self._writer])

    def _give_up(self) -> None:
        """Tell who waits that it is over; RAM that waits to be written is not written."""
        self._moved.set()
        jobs = [item for item in (self._job, *self._queue) if isinstance(item, _Job)]
        for job in jobs:
            if not job.done.done():
                job.done.set_result(None)
        for item in self._queue:
            if isinstance(item, _Passing):
                os.close(item.descriptor)
        kept = (item for item in self._queue if not isinstance(item, _Job | _Passing))
        self._queue = deque(kept)

    def abandon(self, error: Exception) -> None:
        """End it as lost, with `error`: what belongs to it is lost.

        Nothing but what is queued is written, and the peer's last word may say why: it is heard
        first, unless reading has stopped. A peer that does not come to its end is not waited for
        long.
        """
        if self._closed or self._broken is not None:
            return
        self._broken = error
        if not self._may_read.is_set() or self._reader.done():
            self._give_peer_up(error)
            return
        self._wake.set()
        limit = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._give_peer_up, error)
        self._reader.add_done_callback(lambda _: limit.cancel())

    def _fell_over(self, defect: Defect) -> None:
        if not self._closed:
            self._give_up()
            self._on_lost(defect)

    def _give_peer_up(self, error: Exception) -> None:
        self.stop_reading()
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._give_up()
            self._tell(error)
            self._writer.cancel()
            self._channel.shutdown()
            self._channel.close()

    def _tell(self, error: Exception | None) -> None:
        self._reading = False
        if not self._told:
            self._told = True
            self._on_lost(error)

    async def _write(self) -> None:
        try:
            while True:
                self._is_writing = True
                while self._queue:
                    await self._write_next()
                self._is_writing = False
                self._moved.set()
                if self._closed:
                    await self._linger()
                    return
                if self._broken is not None:
                    self._channel.end_writing()
                    return
                self._wake.clear()
                await self._wake.wait()
        except TransportError as error:
            # The peer's last answer may say why it took no more: it is heard first.
            self._broken = error
            await asyncio.wait([self._reader], timeout=LINGER_SECONDS)
            self._lose(error)

    async def _write_next(self) -> None:
        match self._queue.popleft():
            case _Job(sending=sending, done=done) as job:
                # Known to `_lose` while it is under way.
                self._job = job
                sent = await self._channel.carry_out(sending)
                self._job = None
                if not done.done():
                    done.set_result(None if self._closed else sent)
            case _Passing(prepared=prepared, descriptor=descriptor):
                try:
                    frame = self._encoder.number(prepared)
                    await self._channel.write_with(frame, descriptor)
                finally:
                    os.close(descriptor)
            case Prepared() as prepared:
                await self._channel.write(self._encoder.number(prepared))
            case header:
                await self._channel.write([header])

    async def _linger(self) -> None:
        """Take what still comes: a socket closed over unread data takes its last answer back."""
        await asyncio.wait([self._reader])
        if self._channel.reply_path:
            self._channel.end_writing()
            while await self._channel.read(READ_BYTES):
                pass

    async def _read(self) -> None:
        try:
            while self._reading:
                await self._may_read.wait()
                message = await self._next()
                if message is None:
                    self._end_of_file()
                    return
                if self._reading:
                    self._on_message(message)
        except TransportError as error:
            self._lose(error)
        except StreamError as error:
            self._tell(error)
            self._lose(error)

    async def _next(self) -> Message | None:
        """Wait for a message that is not RAM, and return it; None at an end of file."""
        while True:
            if self._decoder.begins_ram and (ram := self._ram) is not None:
                ram.begin()
                return await self._channel.fill(
                    receive_ram(self._decoder, ram.take, ram.land, ram.landed, ram.heard)
                )
            if (item := self._decoder.next()) is not None:
                return item[1]
            data = await self._channel.read(READ_BYTES)
            if not data:
                return None
            self._decoder.feed(data)

    def _end_of_file(self) -> None:
        try:
            if self._decoder.header_read:
                self._decoder.eof()
        except StreamError as error:
            self._lose(error)
        else:
            self._lose(self._broken)

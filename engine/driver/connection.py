"""One end of a live migration stream: a channel with the codec on it, a writer and a reader.

Rules kept here: messages leave in the order they were given; what is queued is bounded; the first
thing that goes wrong ends it and is told once. It knows nothing of what the messages mean.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from engine.codec import StreamDecoder, StreamEncoder
from engine.driver.channel import Channel, TransportError
from engine.errors import StreamError
from engine.messages import Direction, Message
from engine.shapes import BytesLike, size_bytes

#: Bytes that may wait to be written before `writable` waits.
WINDOW_BYTES = 8 << 20
#: Bytes read at a time.
READ_BYTES = 1 << 20
#: How long a closed connection may take to write what was queued, such as ABORT, and a broken one
#: to read what the peer said last.
LINGER_SECONDS = 1.0


class Connection:
    """A stream being written and read; made on a running event loop."""

    def __init__(
        self,
        channel: Channel,
        *,
        hears: Direction,
        on_message: Callable[[Message], None],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        """Start on an open channel.

        `hears` is the direction read; `on_lost` is called once, with the error or None at an end
        of file, unless `close` came first. After a StreamError nothing more is read, and what is
        sent until `close` still leaves: the peer can be told what was wrong.
        """
        self._channel = channel
        self._encoder = StreamEncoder()
        self._decoder = StreamDecoder(hears)
        self._on_message = on_message
        self._on_lost = on_lost
        self._queue: deque[list[BytesLike]] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._closed = False
        self._reading = True
        self._told = False
        self._broken: TransportError | None = None
        self._may_read = asyncio.Event()
        self._may_read.set()
        # A stream that only comes in is never written to, not even a header.
        if channel.reply_path or hears == "from_target":
            self._enqueue([self._encoder.header()])
        self._writer = asyncio.create_task(self._write(), name="migration writer")
        self._reader = asyncio.create_task(self._read(), name="migration reader")

    @property
    def channel(self) -> Channel:
        """The channel underneath."""
        return self._channel

    def send(self, message: Message) -> int:
        """Queue a message and return its size on the wire in bytes."""
        if self._closed:
            return 0
        buffers = self._encoder.encode(message)
        return self._enqueue(buffers)

    def _enqueue(self, buffers: list[BytesLike]) -> int:
        size = sum(size_bytes(buffer) for buffer in buffers)
        self._queue.append(buffers)
        self._queued_bytes += size
        self._wake.set()
        return size

    async def writable(self) -> bool:
        """Wait until the queue has room; False once the connection has ended."""
        return await self._until(lambda: self._queued_bytes < WINDOW_BYTES)

    async def drained(self) -> bool:
        """Wait until everything queued is written; False once the connection has ended."""
        return await self._until(lambda: not self._queued_bytes)

    async def _until(self, condition: Callable[[], bool]) -> bool:
        while not condition() and not self._closed:
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
        self._moved.set()
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

    def _lose(self, error: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._moved.set()
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
                while self._queue:
                    buffers = self._queue.popleft()
                    await self._channel.write(buffers)
                    self._queued_bytes -= sum(size_bytes(buffer) for buffer in buffers)
                    self._moved.set()
                if self._closed:
                    await self._linger()
                    return
                self._wake.clear()
                await self._wake.wait()
        except TransportError as error:
            # The peer's last answer may say why it took no more: it is heard first.
            self._broken = error
            await asyncio.wait([self._reader], timeout=LINGER_SECONDS)
            self._lose(error)

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
                data = await self._channel.read(READ_BYTES)
                if not data:
                    self._end_of_file()
                    return
                self._decoder.feed(data)
                await self._take_messages()
        except TransportError as error:
            self._lose(error)
        except StreamError as error:
            self._tell(error)
            self._lose(error)

    async def _take_messages(self) -> None:
        while self._reading and (item := self._decoder.next()) is not None:
            self._on_message(item[1])
            await self._may_read.wait()

    def _end_of_file(self) -> None:
        try:
            if self._decoder.header_read:
                self._decoder.eof()
        except StreamError as error:
            self._lose(error)
        else:
            self._lose(self._broken)

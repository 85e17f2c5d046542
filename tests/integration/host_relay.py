"""A relay between two VMs of one host, for any number of connections and for descriptors.

What may live here: withholding one message of the first connection, which is the main one, and
ending connections. Rules: bytes and descriptors are forwarded as they come, by a thread for each
direction; nothing else is known of the connections for RAM.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from engine.codec import StreamDecoder
from engine.framing import FRAME_HEADER_BYTES, STREAM_HEADER_BYTES
from engine.messages import Direction

Kind = type[Any]
Forward = Callable[[bytes, list[int]], None]
#: Whoever comes while a VM is busy waits here.
_BACKLOG = 64


class HostRelay:
    """Listens at one path, connects to another, and stands in between."""

    def __init__(self, here: str, there: str) -> None:
        """Take the paths of two unix sockets."""
        self._here = here
        self._there = there
        self._loop = asyncio.get_running_loop()
        self._withheld: set[Kind] = set()
        self._reached: dict[Kind, asyncio.Event] = {}
        self._released = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        #: Both ends of each connection, in the order in which they came.
        self._links: list[tuple[socket.socket, socket.socket]] = []
        self._came = asyncio.Event()
        self._threads: list[threading.Thread] = []

    @property
    def uri(self) -> str:
        """Where the source connects to."""
        return f"unix:{self._here}"

    async def until_connected(self, connections: int) -> None:
        """Wait until so many connections have come, the main one included."""
        while len(self._links) < connections:
            self._came.clear()
            await self._came.wait()

    def withhold(self, kind: Kind) -> None:
        """Keep the next message of a kind, and everything behind it."""
        self._withheld.add(kind)
        self._reached[kind] = asyncio.Event()

    async def until_reached(self, kind: Kind) -> None:
        """Wait until a message of a kind is withheld."""
        await self._reached[kind].wait()

    async def __aenter__(self) -> HostRelay:
        self._listener.bind(self._here)
        self._listener.listen(_BACKLOG)
        self._run(self._accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        for each in (self._listener, *(end for link in self._links for end in link)):
            each.close()

    def cut(self) -> None:
        """End every connection."""
        self._released.set()
        for number in range(len(self._links)):
            self.cut_link(number)

    def cut_link(self, number: int) -> None:
        """End one connection, at both ends; 0 is the main one."""
        for end in self._links[number]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    # -- in threads

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                source, _ = self._listener.accept()
            except OSError:
                return
            target = socket.socket(socket.AF_UNIX)
            try:
                target.connect(self._there)
            except OSError:
                source.close()
                continue
            number = len(self._links)
            self._links.append((source, target))
            self._loop.call_soon_threadsafe(self._came.set)
            self._run(self._pump, number, source, target, "from_source")
            self._run(self._pump, number, target, source, "from_target")

    def _pump(
        self, number: int, source: socket.socket, target: socket.socket, direction: Direction
    ) -> None:
        forward = _forward_to(target)
        if number == 0:
            forward = self._watched(direction, forward)
        with suppress(OSError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(source, 1 << 16, 8)
                if not data:
                    break
                forward(data, descriptors)
            target.shutdown(socket.SHUT_WR)
            if number:
                return
        # The main one ends as a whole, as far as either side can see.
        self.cut_link(number)

    def _watched(self, direction: Direction, forward: Forward) -> Forward:
        """Forward whole messages, up to one that is withheld."""
        decoder, buffer = StreamDecoder(direction), bytearray()
        # Of a descriptor it is only known that it came with what was read: it goes with what is
        # forwarded next, and is there before the message that it belongs to is whole.
        waiting: list[int] = []
        header_bytes = STREAM_HEADER_BYTES

        def watched(data: bytes, descriptors: list[int]) -> None:
            nonlocal header_bytes
            buffer.extend(data)
            waiting.extend(descriptors)
            decoder.feed(data)
            due = 0
            if header_bytes and len(buffer) >= header_bytes:
                due, header_bytes = header_bytes, 0
            while (item := decoder.next()) is not None:
                body_bytes = int.from_bytes(buffer[due + 4 : due + 8], "little")
                if type(item[1]) in self._withheld:
                    forward(bytes(buffer[:due]), waiting)
                    self._hold(type(item[1]))
                    raise OSError("what was withheld is lost")
                due += FRAME_HEADER_BYTES + body_bytes
            if due:
                forward(bytes(buffer[:due]), waiting)
                waiting.clear()
                del buffer[:due]

        return watched

    def _hold(self, kind: Kind) -> None:
        self._withheld.discard(kind)
        self._loop.call_soon_threadsafe(self._reached[kind].set)
        self._released.wait()


def _forward_to(end: socket.socket) -> Forward:
    def forward(data: bytes, descriptors: list[int]) -> None:
        try:
            if not data:
                return
            sent = socket.send_fds(end, [data], descriptors) if descriptors else 0
            end.sendall(data[sent:])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    return forward

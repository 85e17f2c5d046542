"""A tunnel between a source and a target that outlives the target, as one over ssh does.

It takes all that the source writes and keeps the source's connection open after the target has
gone: without it, the source's last write and the target's refusal race, and QEMU ends either way.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Tunnel:
    """Listens at one path and forwards what comes, one way, to another."""

    def __init__(self, here: str, there: str) -> None:
        """Take the paths of two unix sockets."""
        self._here = here
        self._there = there
        self._server: asyncio.Server | None = None

    @property
    def uri(self) -> str:
        """Where the source connects to."""
        return f"unix:{self._here}"

    async def __aenter__(self) -> Tunnel:
        self._server = await asyncio.start_unix_server(self._forward, self._here)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _forward(self, source: asyncio.StreamReader, to_source: asyncio.StreamWriter) -> None:
        _, target = await asyncio.open_unix_connection(self._there)
        while data := await source.read(1 << 16):
            with suppress(ConnectionError):
                target.write(data)
                await target.drain()
        for writer in (target, to_source):
            writer.close()

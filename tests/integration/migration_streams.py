"""Both ends of a migration stream from a URI, with a deadline: what several tests need."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from engine.driver.channel import Channel
from engine.driver.transport import Listener, connect, listen
from engine.uri import parse_uri

_Result = TypeVar("_Result")

#: More than any socket or pipe buffers, so that partial writes and waiting are met.
PAYLOAD = bytes(range(256)) * (8 << 12)
#: What only a hang can reach.
DEADLINE_S = 20


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    async def bounded() -> _Result:
        async with asyncio.timeout(DEADLINE_S):
            return await main

    return asyncio.run(bounded())


def no_fd(name: str) -> int:
    raise LookupError(f"no descriptor was expected to be looked up, but {name}")


async def outgoing(uri: str, fd: int = -1) -> Channel:
    return await connect(parse_uri(uri, incoming=False), lambda _: fd if fd >= 0 else no_fd(_))


async def incoming(uri: str, fd: int = -1) -> Listener:
    return listen(parse_uri(uri, incoming=True), lambda _: fd if fd >= 0 else no_fd(_))


async def read_all(channel: Channel) -> bytes:
    parts = []
    while part := await channel.read(100_000):
        assert len(part) <= 100_000
        parts.append(part)
    return b"".join(parts)


def waits(channel: Channel, count: int) -> bool:
    return len(getattr(channel, "_waiters")) == count  # noqa: B009 - not part of the interface

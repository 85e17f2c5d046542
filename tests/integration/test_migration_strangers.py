"""Peers that do not keep to the conversation: whatever they say, the VM stays where it is."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

import pytest

from engine.codec import StreamEncoder
from engine.messages import (
    Abort,
    Accept,
    Commit,
    End,
    Heartbeat,
    Loaded,
    LoadFailed,
    Message,
    RamPages,
    Refuse,
    Running,
    State,
    ZeroPages,
)
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import failed_at_target, migrates_again, stayed
from tests.integration.vms import GUEST


def stream_of(messages: Sequence[Message]) -> bytes:
    encoder = StreamEncoder()
    parts = [encoder.header()]
    parts += [bytes(piece) for message in messages for piece in encoder.encode(message)]
    return b"".join(parts)


@pytest.mark.parametrize(
    "messages",
    [
        [Accept(), Accept()],
        [Loaded(None)],
        [Accept(), Loaded(None)],
        [Accept(), Loaded(b"0123456789abcdef")],
        [Running()],
        [Accept(), Running()],
        [Accept(), Refuse("no")],
        [Accept(), LoadFailed("no")],
        [Refuse("no"), Accept()],
        [Commit()],
        [Heartbeat(1)] * 100,
    ],
    ids=lambda messages: "-".join(type(message).__name__ for message in messages[:3]),
)
@scenario
async def test_target_that_talks_out_of_turn(lab: Lab, messages: list[Message]) -> None:
    lab.has_strangers = True
    source = await lab.vm("source", guest=f"{GUEST},eject=never")
    await source.on_primaries()
    source.forget()
    left = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(stream_of(messages))
        if isinstance(messages[0], Heartbeat):
            writer.write_eof()
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                pass
        writer.close()
        left.set_result(None)

    server = await asyncio.start_unix_server(talk, lab.path("stranger"))
    await source.command("migrate", uri=lab.uri("stranger"))
    report = await stayed(source, "failed")
    assert report["error-desc"]
    await left
    server.close()
    await source.tell_guest("eject", "prompt")
    await migrates_again(lab, source)


@scenario
async def test_target_goes_without_having_read(lab: Lab) -> None:
    """The kernel makes a reset of its end, as something was left unread; the words are the same."""
    lab.has_strangers = True
    source = await lab.vm("source", guest=GUEST)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(lab.path("deaf"))
        listener.listen()
        await source.command("migrate", uri=f"unix:{lab.path('deaf')}")
        deaf, _ = await loop.sock_accept(listener)
        with deaf:
            await loop.sock_recv(deaf, 1)
        report = await stayed(source, "failed")
    assert "answer to HELLO" in report["error-desc"]
    await migrates_again(lab, source)


PAGE = bytes(4096)


@pytest.mark.parametrize(
    "messages",
    [
        [Commit()],
        [End(1, 32 << 20, None)],
        [State([], {"resume": "run"})],
        [RamPages(1, struct.pack("<2Q", 0, 1), PAGE)],
        [ZeroPages(struct.pack("<2Q", 1 << 40, 1))],
        [Abort("stranger")],
        [Accept()],
        [Heartbeat(1)],
        [],
    ],
    ids=lambda messages: "-".join(type(message).__name__ for message in messages) or "nothing",
)
@scenario
async def test_source_that_never_says_hello(lab: Lab, messages: list[Message]) -> None:
    target = await lab.vm("target", incoming=lab.uri(), guest="")
    _, writer = await asyncio.open_unix_connection(lab.path("migration"))
    writer.write(stream_of(messages))
    await writer.drain()
    writer.write_eof()
    await failed_at_target(target)
    writer.close()
    assert target.events[-1] == "MIGRATION failed"

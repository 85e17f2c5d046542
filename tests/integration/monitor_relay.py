"""A relay between clients and a VM's monitor that keeps one command back, or loses its clients.

Rules kept here: a client sends a command when the one before is answered, so what has come is one
command as soon as it is JSON; what the VM says is passed on as it is.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path


class MonitorRelay:
    """Listens at `path` for a VM whose monitor is elsewhere; an asynchronous context."""

    def __init__(self, path: str, monitor: Path, withheld: str | None = None) -> None:
        self.path = path
        self._monitor = monitor
        self._withheld = withheld
        #: The command has come; the VM is not told of it.
        self.reached = asyncio.Event()
        #: For each client that is gone, in the order in which they went: the commands it sent.
        self.gone: asyncio.Queue[list[str]] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._clients: list[asyncio.StreamWriter] = []

    def lose(self) -> None:
        """Lose the clients that are connected; others are let in."""
        for client in self._clients:
            client.close()

    async def __aenter__(self) -> MonitorRelay:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        self._clients.append(answers)
        vm, commands = await asyncio.open_unix_connection(self._monitor)
        answering = asyncio.create_task(_copy(vm, answers))
        sent, text = list[str](), b""
        while data := await client.read(1 << 16):
            text += data
            try:
                name = json.loads(text)["execute"]
            except ValueError:
                continue
            sent.append(name)
            if name == self._withheld:
                self.reached.set()
            else:
                commands.write(text)
            text = b""
        commands.close()
        await answering
        self.gone.put_nowait(sent)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()

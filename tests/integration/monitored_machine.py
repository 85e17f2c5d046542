"""A machine behind the real monitor server, and a client that is nothing but a socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

from engine.driver.clock import LoopClock
from engine.driver.monitor import MonitorServer
from engine.driver.monitor_client import ClientContext
from engine.monitor_options import UnixEndpoint
from engine.qmp.errors import generic_error
from engine.qmp.introspection import query_qmp_schema

#: Only a hang takes this long.
PATIENCE_S = 20.0
VERSION = {"major": 7, "minor": 2, "micro": 22}
NEGOTIATE = b'{"execute":"qmp_capabilities"}'
STAMP = (1_700_000_000, 123_456)


class StampedClock(LoopClock):
    """The loop's clock, on one known day."""

    def wall(self) -> tuple[int, int]:
        return STAMP


class Machine:
    """What the monitors of these tests command, and everything they said about themselves."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.commands: list[str] = []
        self.contexts: list[ClientContext] = []
        self.taken: dict[str, int] = {}
        self.clock = StampedClock()
        self.server = MonitorServer(
            self.dispatch, VERSION, "replug test", self.clock, log=self.log.append
        )

    def dispatch(self, command: str, arguments: dict[str, Any], context: ClientContext) -> Any:
        self.commands.append(command)
        self.contexts.append(context)
        match command:
            case "query-status":
                return {"status": "running", "running": True, "singlestep": False}
            case "query-qmp-schema":
                return query_qmp_schema()
            case "stop":
                self.server.emit("STOP", None)
                return {}
            case "getfd":
                descriptor = context.take_fd()
                if descriptor is None:
                    raise generic_error("No file descriptor supplied via SCM_RIGHTS")
                self.taken[arguments["fdname"]] = descriptor
                return {}
            case "cont":
                raise ZeroDivisionError("no\nsuch luck")
            case "query-name":
                return {"name": object()}
        return {}


class Raw:
    """A client that is nothing but a socket. `run` closes those that are still open."""

    all: ClassVar[list[Raw]] = []

    def __init__(self, connected: socket.socket) -> None:
        Raw.all.append(self)
        self.socket = connected
        self.received = b""

    @classmethod
    async def connect(cls, address: Any) -> Raw:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        connecting = socket.socket(family, socket.SOCK_STREAM)
        connecting.setblocking(False)
        client = cls(connecting)
        await asyncio.get_running_loop().sock_connect(connecting, address)
        return client

    @classmethod
    async def negotiated(cls, path: str) -> Raw:
        client = await cls.connect(path)
        await client.send(NEGOTIATE)
        assert "QMP" in await client.line()
        assert await client.line() == {"return": {}}
        return client

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def line(self) -> dict[str, Any]:
        """The next line, decoded; {} at the end of the connection."""
        while b"\r\n" not in self.received:
            try:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self.received
                return {}
            self.received += data
        line, _, self.received = self.received.partition(b"\r\n")
        decoded: dict[str, Any] = json.loads(line)
        return decoded

    def pass_fds(self, *descriptors: int, text: bytes = b" ") -> None:
        socket.send_fds(self.socket, [text], list(descriptors))


Scenario = Callable[[Machine, str], Awaitable[None]]


def run(directory: Path, scenario: Scenario) -> Machine:
    """Serve on a unix socket, let `scenario` talk to its path, and close."""
    machines: list[Machine] = []

    async def main() -> None:
        machine = Machine()
        machines.append(machine)
        path = str(directory / "vm.qmp")
        await machine.server.listen(UnixEndpoint(path))
        try:
            await asyncio.wait_for(scenario(machine, path), PATIENCE_S)
        finally:
            await machine.server.close(0)
            while Raw.all:
                Raw.all.pop().socket.close()
        assert machine.server.clients == 0
        assert not os.path.exists(path)

    asyncio.run(main())
    return machines[0]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until something is so; `run` limits how long."""
    while not condition():
        await asyncio.sleep(0)


def pipe() -> tuple[int, int]:
    """A pipe whose reading end never waits: it raises BlockingIOError."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return reading, writing

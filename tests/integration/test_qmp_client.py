"""The unmodified client `qemu.qmp` against QmpSession behind a unix socket.

The server is this file's: it wraps one session per connection and carries out four commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from qemu.qmp import ExecuteError, QMPClient

from engine.parameters import Capabilities
from engine.qmp.errors import QmpError, device_not_found
from engine.qmp.introspection import query_qmp_schema
from engine.qmp.session import QmpSession, Request

#: Only a hang takes this long.
PATIENCE_S = 20.0
VERSION = {"major": 7, "minor": 2, "micro": 22}


class Server:
    """A monitor with a run state, capabilities, and no VM."""

    def __init__(self) -> None:
        self.clients: dict[QmpSession, asyncio.StreamWriter] = {}
        self.capabilities = Capabilities()
        self.running = True
        self.connections: list[asyncio.Task[None]] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.append(task)
        session = QmpSession(VERSION, "replug test")
        self.clients[session] = writer
        writer.write(session.greeting())
        try:
            while data := await reader.read(4096):
                for outcome in session.receive(data):
                    if isinstance(outcome, Request):
                        outcome = self.do(session, outcome)
                    writer.write(outcome)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            del self.clients[session]
            writer.close()

    def do(self, session: QmpSession, request: Request) -> bytes:
        try:
            return session.reply(request.id, self.answer(request))
        except QmpError as error:
            return session.error(request.id, error)

    def answer(self, request: Request) -> Any:
        match request.command:
            case "query-status":
                status = "running" if self.running else "paused"
                return {"status": status, "running": self.running, "singlestep": False}
            case "query-qmp-schema":
                return query_qmp_schema()
            case "stop":
                self.running = False
                self.emit("STOP", None)
            case "migrate-set-capabilities":
                self.capabilities.set_all(request.arguments["capabilities"])
            case "query-migrate-capabilities":
                return self.capabilities.query()
            case "device_del":
                raise device_not_found(request.arguments["id"])
        return {}

    def emit(self, name: str, data: dict[str, Any] | None) -> None:
        for session, writer in self.clients.items():
            line = session.event(name, data, (1_700_000_000, 123_456))
            if line is not None:
                writer.write(line)


def run(directory: Path, scenario: Callable[[Server, str], Awaitable[None]]) -> None:
    """Start a server, let `scenario` talk to its path, and end every connection."""

    async def main() -> None:
        server = Server()
        path = str(directory / "qmp.sock")
        listener = await asyncio.start_unix_server(server.connected, path)
        async with listener:
            await asyncio.wait_for(scenario(server, path), PATIENCE_S)
            await asyncio.wait_for(asyncio.gather(*server.connections), PATIENCE_S)

    asyncio.run(main())


def test_greeting_negotiation_and_a_command(tmp_path: Path) -> None:
    async def scenario(server: Server, path: str) -> None:
        client = QMPClient("one")
        await client.connect(path)
        assert client.greeting is not None
        assert client.greeting.QMP.version["qemu"] == VERSION
        assert client.greeting.QMP.version["package"] == "replug test"
        assert list(client.greeting.QMP.capabilities) == ["oob"]
        assert await client.execute("query-status") == {
            "status": "running",
            "running": True,
            "singlestep": False,
        }
        await client.disconnect()

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("command", "arguments", "error_class", "description"),
    [
        ("nosuch", {}, "CommandNotFound", "The command nosuch has not been found"),
        ("migrate", {}, "GenericError", "Parameter 'uri' is missing"),
        ("device_del", {"id": "pri0"}, "DeviceNotFound", "Device 'pri0' not found"),
        (
            "qmp_capabilities",
            {},
            "CommandNotFound",
            "Capabilities negotiation is already complete, command ignored",
        ),
    ],
)
def test_the_client_sees_error_classes(
    tmp_path: Path,
    command: str,
    arguments: dict[str, object],
    error_class: str,
    description: str,
) -> None:
    async def scenario(server: Server, path: str) -> None:
        client = QMPClient("one")
        await client.connect(path)
        with pytest.raises(ExecuteError) as refusal:
            await client.execute(command, arguments)
        assert refusal.value.error_class == error_class
        assert str(refusal.value) == description
        await client.disconnect()

    run(tmp_path, scenario)


def test_events_reach_every_client_that_has_negotiated(tmp_path: Path) -> None:
    async def scenario(server: Server, path: str) -> None:
        one, two = QMPClient("one"), QMPClient("two")
        silent = QMPClient("silent")
        silent.negotiate = False
        for client in (one, two, silent):
            await client.connect(path)
        with two.listener("STOP") as stops, silent.listener() as heard:
            await one.execute("stop")
            event = await stops.get()
            assert event["timestamp"] == {"seconds": 1_700_000_000, "microseconds": 123_456}
            assert "data" not in event
            # The refusal comes after the event would have, on the same connection.
            with pytest.raises(ExecuteError, match="Expecting capabilities negotiation"):
                await silent.execute("query-status")
            assert heard.empty()
        with one.listener() as events, two.listener() as others:
            server.emit("UNPLUG_PRIMARY", {"device-id": "pri0"})
            for listener in (events, others):
                event = await listener.get()
                assert (event["event"], event["data"]) == ("UNPLUG_PRIMARY", {"device-id": "pri0"})
        for client in (one, two, silent):
            await client.disconnect()

    run(tmp_path, scenario)


def test_several_clients_see_one_vm_and_get_their_own_replies(tmp_path: Path) -> None:
    async def scenario(server: Server, path: str) -> None:
        clients = [QMPClient(str(number)) for number in range(4)]
        for client in clients:
            await client.connect(path)
        on = {"capabilities": [{"capability": "events", "state": True}]}
        await clients[0].execute("migrate-set-capabilities", on)
        answers = await asyncio.gather(
            *(client.execute("query-migrate-capabilities") for client in clients for _ in range(8))
        )
        for answer in answers:
            assert isinstance(answer, list)
            assert [each["capability"] for each in answer if each["state"]] == ["events"]
        await clients[0].disconnect()
        assert await clients[1].execute("query-status")
        for client in clients[1:]:
            await client.disconnect()

    run(tmp_path, scenario)


def test_the_whole_schema_arrives(tmp_path: Path) -> None:
    async def scenario(server: Server, path: str) -> None:
        client = QMPClient("one")
        await client.connect(path)
        assert await client.execute("query-qmp-schema") == query_qmp_schema()
        await client.disconnect()

    run(tmp_path, scenario)


def test_the_client_may_use_exec_oob_where_it_is_allowed(tmp_path: Path) -> None:
    async def scenario(server: Server, path: str) -> None:
        client = QMPClient("one")
        client.negotiate = False
        await client.connect(path)
        await client.execute("qmp_capabilities", {"enable": ["oob"]})
        with pytest.raises(ExecuteError, match="only supported during postcopy-active"):
            await client.execute("migrate-pause", oob=True)
        with pytest.raises(ExecuteError, match="The command stop does not support OOB"):
            await client.execute("stop", oob=True)
        assert server.running
        await client.disconnect()

    run(tmp_path, scenario)

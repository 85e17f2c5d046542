"""engine.driver.monitor: clients, commands, events and the end, over real sockets.

`qemu.qmp` where a client behaves, raw sockets elsewhere. The commands are `Machine`'s.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from qemu.qmp import ExecuteError, QMPClient

from engine.driver.monitor_client import BUSY_BYTES
from engine.qmp.errors import UndeclaredEvent
from engine.qmp.introspection import query_qmp_schema
from tests.integration.monitored_machine import (
    NEGOTIATE,
    PATIENCE_S,
    STAMP,
    VERSION,
    Machine,
    Raw,
    run,
    until,
)

FLUSH_MS = PATIENCE_S * 1000


def test_greeting_commands_and_errors(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = QMPClient("one")
        await client.connect(path)
        assert client.greeting is not None
        assert client.greeting.QMP.version == {"qemu": VERSION, "package": "replug test"}
        assert await client.execute("query-status") == {
            "status": "running",
            "running": True,
            "singlestep": False,
        }
        assert await client.execute("query-qmp-schema") == query_qmp_schema()
        with pytest.raises(ExecuteError, match="No file descriptor supplied via SCM_RIGHTS"):
            await client.execute("getfd", {"fdname": "a"})
        with pytest.raises(ExecuteError, match="The command nosuch has not been found"):
            await client.execute("nosuch")
        await client.disconnect()

    machine = run(tmp_path, scenario)
    assert machine.log == []


def test_several_clients_hear_every_event_and_get_their_own_replies(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        clients = [QMPClient(str(number)) for number in range(4)]
        for client in clients:
            await client.connect(path)
        silent = await Raw.connect(path)
        await asyncio.gather(
            *(client.execute("query-status") for client in clients for _ in range(16))
        )
        with ExitStack() as stack:
            heard = [stack.enter_context(client.listener("STOP")) for client in clients]
            await clients[0].execute("stop")
            for listener in heard:
                event = await listener.get()
                assert event["timestamp"] == {"seconds": STAMP[0], "microseconds": STAMP[1]}
        # A client that has not negotiated hears nothing.
        await silent.send(b'{"execute":"query-status"}')
        assert "QMP" in await silent.line()
        assert (await silent.line())["error"]["class"] == "CommandNotFound"
        silent.socket.close()
        for client in clients:
            await client.disconnect()

    run(tmp_path, scenario)


def test_an_event_of_a_command_precedes_its_reply(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = await Raw.negotiated(path)
        await client.send(b'{"execute":"stop","id":1}{"execute":"query-status","id":2}')
        assert (await client.line())["event"] == "STOP"
        assert await client.line() == {"return": {}, "id": 1}
        assert (await client.line())["id"] == 2

    run(tmp_path, scenario)


def test_an_event_that_is_not_declared_is_refused_though_nobody_listens(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        with pytest.raises(UndeclaredEvent):
            machine.server.emit("NOSUCH", None)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("command", "logged"),
    [
        ("cont", "command cont broke: ZeroDivisionError: no such luck ("),
        ("query-name", "command query-name broke: TypeError: Object of type object is not JSON"),
    ],
)
def test_an_exception_is_an_error_reply_and_one_line(
    tmp_path: Path, command: str, logged: str
) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = QMPClient("one")
        await client.connect(path)
        with pytest.raises(ExecuteError, match=f"Internal error in {command}: ") as caught:
            await client.execute(command)
        assert caught.value.error_class == "GenericError"
        assert await client.execute("query-status")
        await client.disconnect()

    machine = run(tmp_path, scenario)
    (line,) = machine.log
    assert line.startswith(logged)
    assert ".py:" in line
    assert "\n" not in line


def test_a_client_that_does_not_read_is_dropped_and_others_are_not(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        await Raw.negotiated(path)
        other = await Raw.negotiated(path)
        data = {"device-id": "x" * (64 << 10)}
        events = 0
        while not machine.log:
            machine.server.emit("UNPLUG_PRIMARY", data)
            events += 1
            assert events < 1000
            assert (await other.line())["data"] == data
        assert events * (64 << 10) > 8 << 20
        await until(lambda: machine.server.clients == 1)
        await other.send(b'{"execute":"query-status"}')
        assert "return" in await other.line()

    machine = run(tmp_path, scenario)
    (line,) = machine.log
    assert "does not read" in line


def test_requests_wait_while_their_answers_are_not_read(tmp_path: Path) -> None:
    requests = 600

    async def scenario(machine: Machine, path: str) -> None:
        client = await Raw.negotiated(path)
        await client.send(b'{"execute":"query-qmp-schema"}' * requests)
        schema_bytes = len(json.dumps(query_qmp_schema()))
        await until(lambda: len(machine.commands) > 0)
        for _ in range(50):
            await asyncio.sleep(0)
        # What the system buffers for a socket comes on top of what waits here.
        assert 0 < len(machine.commands) * schema_bytes < 4 * BUSY_BYTES
        assert requests * schema_bytes > 16 * BUSY_BYTES
        for _ in range(requests):
            assert "return" in await client.line()

    machine = run(tmp_path, scenario)
    assert machine.commands == ["query-qmp-schema"] * requests
    assert machine.log == []


def test_garbage_is_answered_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = await Raw.negotiated(path)
        for garbage in (b"\x00\x01\xff", b"}\n", b"GET / HTTP/1.1\n", b"[1]\n", b'{"a":1}\n'):
            await client.send(garbage)
            assert (await client.line())["error"]["class"] == "GenericError"
        await client.send(b'{"execute":"query-st')
        await client.send(b'atus","id":{"a":[null]}}')
        assert (await client.line())["id"] == {"a": [None]}

    machine = run(tmp_path, scenario)
    assert machine.log == []


def test_a_client_that_leaves_in_the_middle_of_a_command(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        half = await Raw.negotiated(path)
        await half.send(b'{"execute":"sto')
        half.socket.close()
        gone = await Raw.negotiated(path)
        # It has left before its command is looked at: nobody reads the reply.
        await gone.send(b'{"execute":"stop"}' * 3)
        gone.socket.close()
        await until(lambda: machine.server.clients == 0)
        client = await Raw.negotiated(path)
        await client.send(b'{"execute":"query-status"}')
        assert "return" in await client.line()
        client.socket.close()

    machine = run(tmp_path, scenario)
    assert set(machine.commands) <= {"stop", "query-status"}
    assert machine.log == []


def test_a_client_that_has_said_all_gets_all_its_answers(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = await Raw.connect(path)
        await client.send(NEGOTIATE + b'{"execute":"query-qmp-schema"}' * 100)
        client.socket.shutdown(socket.SHUT_WR)
        lines = 0
        while await client.line():
            lines += 1
        assert lines == 102

    run(tmp_path, scenario)


def test_close_gives_what_waits_time_to_be_read(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = await Raw.negotiated(path)
        data = {"device-id": "x" * BUSY_BYTES}
        machine.server.emit("UNPLUG_PRIMARY", data)
        closing = asyncio.create_task(machine.server.close(FLUSH_MS))
        assert (await client.line())["data"] == data
        assert await client.line() == {}
        await closing
        with pytest.raises(FileNotFoundError):
            await Raw.connect(path)

    run(tmp_path, scenario)


def test_the_reply_to_quit_is_read_though_the_server_closes_at_once(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = QMPClient("one")
        await client.connect(path)
        quitting = asyncio.create_task(client.execute("quit"))
        await until(lambda: machine.commands == ["quit"])
        await machine.server.close(FLUSH_MS)
        assert await quitting == {}
        with pytest.raises(EOFError):
            await client.disconnect()

    run(tmp_path, scenario)


def test_close_does_not_wait_for_a_client_that_does_not_read(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        await Raw.negotiated(path)
        machine.server.emit("UNPLUG_PRIMARY", {"device-id": "x" * (2 << 20)})
        await asyncio.gather(machine.server.close(1), machine.server.close(FLUSH_MS))
        assert machine.server.clients == 0

    run(tmp_path, scenario)

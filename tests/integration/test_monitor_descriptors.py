"""engine.driver.monitor: descriptors that clients pass by SCM_RIGHTS."""

from __future__ import annotations

import os
from pathlib import Path

from qemu.qmp import QMPClient

from engine.driver.monitor_client import DESCRIPTORS_MAX
from tests.integration.monitored_machine import (
    Machine,
    Raw,
    pipe,
    run,
    until,
)


def test_descriptors_of_qemu_qmp(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = QMPClient("one")
        await client.connect(path)
        reading, writing = pipe()
        client.send_fd_scm(writing)
        os.close(writing)
        await client.execute("getfd", {"fdname": "fd-mig"})
        taken = machine.taken["fd-mig"]
        assert not os.get_inheritable(taken)
        os.write(taken, b"stream")
        os.close(taken)
        assert os.read(reading, 100) == b"stream"
        assert os.read(reading, 100) == b""
        os.close(reading)
        await client.disconnect()

    run(tmp_path, scenario)


def test_descriptors_are_taken_oldest_first_and_leftovers_are_closed(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        one, other = await Raw.negotiated(path), await Raw.negotiated(path)
        pipes = [pipe() for _ in range(3)]
        one.pass_fds(pipes[0][1], pipes[1][1])
        one.pass_fds(pipes[2][1], text=b'{"execute":"getfd","arguments":{"fdname":"first"}}')
        assert await one.line() == {"return": {}}
        for _, writing in pipes:
            os.close(writing)
        os.write(machine.taken["first"], b"0")
        os.close(machine.taken["first"])
        assert os.read(pipes[0][0], 10) == b"0"
        # They are one client's own.
        await other.send(b'{"execute":"getfd","arguments":{"fdname":"second"}}')
        assert "No file descriptor" in (await other.line())["error"]["desc"]
        assert machine.server.clients == 2
        one.socket.close()
        await until(lambda: machine.server.clients == 1)
        # Reading ends only when every copy of the other end is closed.
        for reading, _ in pipes:
            assert os.read(reading, 10) == b""
            os.close(reading)
        assert machine.contexts[0].take_fd() is None
        other.socket.close()

    run(tmp_path, scenario)


def test_descriptors_that_nobody_takes_are_bounded(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        client = await Raw.negotiated(path)
        reading, writing = os.pipe()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(4):
            client.pass_fds(*[writing] * DESCRIPTORS_MAX)
        client.pass_fds(*[writing] * 100)
        await client.send(b'{"execute":"query-status"}')
        assert "return" in await client.line()
        assert len(os.listdir("/proc/self/fd")) == before + DESCRIPTORS_MAX
        client.socket.close()
        await until(lambda: machine.server.clients == 0)
        assert len(os.listdir("/proc/self/fd")) == before - 2
        os.close(reading)
        os.close(writing)

    machine = run(tmp_path, scenario)
    assert len(machine.log) == 4
    assert f"more than {DESCRIPTORS_MAX} descriptors" in machine.log[0]

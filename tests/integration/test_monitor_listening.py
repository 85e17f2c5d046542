"""engine.driver.monitor: where it listens, and who is let in."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from qemu.qmp import QMPClient

from engine.driver.channel import TransportError
from engine.driver.clock import Timer
from engine.driver.monitor import CLIENTS_MAX
from engine.monitor_options import TcpEndpoint, UnixEndpoint
from tests.integration.monitored_machine import (
    Machine,
    Raw,
    run,
    until,
)


def test_one_client_too_many_is_turned_away(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        clients = [await Raw.negotiated(path) for _ in range(CLIENTS_MAX)]
        late = await Raw.connect(path)
        assert await late.line() == {}
        late.socket.close()
        clients.pop().socket.close()
        await until(lambda: machine.server.clients == CLIENTS_MAX - 1)
        clients.append(await Raw.negotiated(path))
        for client in clients:
            client.socket.close()

    machine = run(tmp_path, scenario)
    (line,) = machine.log
    assert "turned away" in line


def test_tcp_on_a_free_port(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        await machine.server.listen(TcpEndpoint("127.0.0.1", 0))
        unix, tcp = machine.server.addresses
        assert unix == UnixEndpoint(path)
        assert isinstance(tcp, TcpEndpoint)
        client = QMPClient("one")
        await client.connect((tcp.host, tcp.port))
        assert await client.execute("query-status")
        await client.disconnect()
        with pytest.raises(TransportError, match=r"Failed to bind socket to .*: Address already"):
            await machine.server.listen(tcp)
        with pytest.raises(TransportError, match="address resolution failed for no such host:1"):
            await machine.server.listen(TcpEndpoint("no such host", 1))

    run(tmp_path, scenario)


def test_tcp_on_every_address_has_one_port(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        await machine.server.listen(TcpEndpoint("", 0))
        addresses = [each for each in machine.server.addresses if isinstance(each, TcpEndpoint)]
        assert len({address.port for address in addresses}) == 1
        client = await Raw.connect(("127.0.0.1", addresses[0].port))
        assert "QMP" in await client.line()

    run(tmp_path, scenario)


def test_a_path_where_somebody_listens_is_left_alone(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        with pytest.raises(TransportError, match="Address already in use"):
            await Machine().server.listen(UnixEndpoint(path))
        await Raw.negotiated(path)

    run(tmp_path, scenario)


def test_a_path_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    async def scenario(machine: Machine, path: str) -> None:
        file = tmp_path / "file"
        file.write_text("mine")
        with pytest.raises(TransportError, match="Failed to bind socket to"):
            await machine.server.listen(UnixEndpoint(str(file)))
        assert file.read_text() == "mine"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(str(tmp_path / "datagrams"))
            with pytest.raises(TransportError, match="Address already in use"):
                await machine.server.listen(UnixEndpoint(str(tmp_path / "datagrams")))
        with pytest.raises(TransportError, match="No such file or directory"):
            await machine.server.listen(UnixEndpoint(str(tmp_path / "nowhere" / "vm.qmp")))

    run(tmp_path, scenario)


def test_a_path_that_nobody_listens_at_any_more_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left_behind:
        left_behind.bind(str(tmp_path / "vm.qmp"))
        left_behind.listen()
    assert stat.S_ISSOCK(os.lstat(tmp_path / "vm.qmp").st_mode)

    async def scenario(machine: Machine, path: str) -> None:
        await Raw.negotiated(path)

    run(tmp_path, scenario)


def test_running_out_of_descriptors_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted(socket.socket):
        """Listens, and cannot accept."""

        attempts = 0

        def accept(self) -> tuple[socket.socket, Any]:
            Exhausted.attempts += 1
            if Exhausted.attempts == 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    async def scenario(machine: Machine, path: str) -> None:
        other = str(tmp_path / "other.qmp")
        with monkeypatch.context() as patch:
            patch.setattr("engine.driver.listening.socket.socket", Exhausted)
            await machine.server.listen(UnixEndpoint(other))
        again: list[Callable[[], None]] = []

        def call_later(ms: float, callback: Callable[[], None]) -> Timer:
            again.append(callback)
            return Mock(spec=Timer)

        client = await Raw.connect(other)
        with monkeypatch.context() as patch:
            patch.setattr(machine.clock, "call_later", call_later)
            await until(lambda: bool(again))
            # It does not ask again by itself, although the client still waits.
            for _ in range(10):
                await asyncio.sleep(0)
        assert Exhausted.attempts == 1
        again[0]()
        assert "QMP" in await client.line()

    machine = run(tmp_path, scenario)
    assert machine.log == ["cannot accept a monitor client: Too many open files"]

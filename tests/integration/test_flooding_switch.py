"""A switch that answers nothing and sends to every port: frames for a guest that stands still."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress

import pytest

from devices.frames import NumberedFrame, build, mac_bytes
from engine.driver.network import STATION_MAC, TO_GUEST
from tests.integration.lab import Lab, scenario
from tests.integration.test_migration_traffic import FRAMES, MAC
from tests.integration.vms import ROOTS, Vm


class FloodedPorts:
    """Ports that send one numbered frame after the other, whatever they are told."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._sending: list[asyncio.Task[None]] = []

    async def listen(self, path: str) -> None:
        """Be a port at this path."""
        self._servers.append(await asyncio.start_unix_server(self._connected, path))

    def close(self) -> None:
        """Listen no more, and send no more to who is there."""
        for server in self._servers:
            server.close()
        for sending in self._sending:
            sending.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sending = asyncio.create_task(self._send(writer))
        self._sending.append(sending)
        while await reader.read(1 << 16):
            pass
        sending.cancel()
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        sequence = 0
        with suppress(ConnectionError):
            while True:
                frame = build(NumberedFrame(mac_bytes(MAC), STATION_MAC, sequence, TO_GUEST))
                writer.write(len(frame).to_bytes(4, "big") + frame)
                await writer.drain()
                sequence += 1
                await asyncio.sleep(0)


async def flooded(lab: Lab, ports: FloodedPorts, name: str, incoming: str | None) -> Vm:
    """Start a VM whose standby is at such a port."""
    await ports.listen(lab.path(f"{name}.port"))
    devices = (
        *ROOTS,
        f"-netdev stream,id=hostnet1,server=off,addr.type=unix,addr.path={lab.path(name)}.port",
        f"-device virtio-net-pci,netdev=hostnet1,id=net1,mac={MAC},bus=root2,failover=on",
    )
    guest = FRAMES if incoming is None else ""
    return await lab.vm(name, incoming=incoming, guest=guest, devices=devices)


@pytest.mark.parametrize("capability", ["x-verify-ram", "x-share-memory"])
@scenario
async def test_ram_stays_what_it_was_while_the_guest_stands_still(
    lab: Lab, capability: str
) -> None:
    ports = FloodedPorts()
    with closing(ports):
        await migrates(lab, ports, capability)


async def migrates(lab: Lab, ports: FloodedPorts, capability: str) -> None:
    source = await flooded(lab, ports, "source", None)
    target = await flooded(lab, ports, "target", lab.uri())
    await target.reaches("link", "listening")
    await source.until_frames(20)
    source.forget()
    await source.capability(capability)
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    before = (await target.guest("frames"))["received"]
    await target.until_frames(before + 20)

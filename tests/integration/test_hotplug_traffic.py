"""Frames through a switch while standby and primary are added to, and taken from, a running VM."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devices.frames import mac_bytes
from engine.driver.clock import LoopClock
from engine.driver.station import Station
from tests.integration.lab import Lab, scenario
from tests.integration.test_migration_traffic import (
    FRAMES,
    MAC,
    connected_devices,
    nothing_lost,
)
from tests.integration.vms import Vm

STANDBY: dict[str, Any] = {
    "driver": "virtio-net-pci",
    "netdev": "hostnet1",
    "id": "net1",
    "mac": MAC,
    "bus": "root2",
    "failover": True,
}
PRIMARY: dict[str, Any] = {
    "driver": "vfio-pci",
    "host": "5e:00.2",
    "id": "hostdev0",
    "bus": "root1",
    "failover_pair_id": "net1",
}


async def add(vm: Vm, device: dict[str, Any]) -> None:
    """Add a device; its properties keep their underscores."""
    await vm.qmp.execute("device_add", device)


@asynccontextmanager
async def bare_vm(lab: Lab) -> AsyncIterator[tuple[Vm, Station]]:
    """Run a VM that has ports, backends and cables, but no NIC yet; its station is not started."""
    station = Station(mac_bytes(MAC), 1.0, LoopClock())
    try:
        devices = connected_devices(lab, station, "vm")
        nics = ("-device virtio-net-pci", "-device vfio-pci")
        yield (
            await lab.vm(
                "vm", guest=FRAMES, devices=[word for word in devices if not word.startswith(nics)]
            ),
            station,
        )
    finally:
        station.close()


@scenario
async def test_a_standby_that_is_added_carries_frames_until_its_primary_does(lab: Lab) -> None:
    async with bare_vm(lab) as (vm, station):
        await add(vm, STANDBY)
        await station.heard_from("vm standby")
        station.start()
        await vm.until_frames(20)
        await add(vm, PRIMARY)
        await station.heard_from("vm primary")
        await station.received(station.arrivals().received + 20)
        await nothing_lost(station, vm)
        assert station.path() == ["vm standby", "vm primary"]


@scenario
async def test_a_standby_that_is_added_to_its_primary_hands_over_to_it(lab: Lab) -> None:
    async with bare_vm(lab) as (vm, station):
        await add(vm, PRIMARY)
        await add(vm, STANDBY)
        await vm.on_primaries()
        await station.heard_from("vm primary")
        station.start()
        await vm.until_frames(20)
        await vm.command("device_del", id="hostdev0")
        await station.heard_from("vm standby")
        await vm.until_frames(station.sent + 20)
        await nothing_lost(station, vm)


@pytest.mark.parametrize("with_primary", [False, True])
@scenario
async def test_a_standby_that_is_deleted_lets_go_of_its_cables(
    lab: Lab, with_primary: bool
) -> None:
    async with bare_vm(lab) as (vm, station):
        down: asyncio.Queue[str] = asyncio.Queue()
        station.switch.on_port_down = down.put_nowait
        await add(vm, STANDBY)
        await station.heard_from("vm standby")
        if with_primary:
            await add(vm, PRIMARY)
            await station.heard_from("vm primary")
        station.start()
        await vm.until_frames(20)
        await vm.command("device_del", id="net1")
        unplugged = {await down.get() for _ in range(1 + with_primary)}
        assert unplugged == {"vm standby", "vm primary"} if with_primary else {"vm standby"}
        # What is sent now reaches nobody. The standby that comes again finds the primary there.
        await add(vm, STANDBY)
        await station.received(station.arrivals().received + 20)
        frames = await vm.guest("frames")
        await vm.until_frames(frames["received"] + 20)
        if with_primary:
            await vm.on_primaries()

"""Numbered frames through a switch while the VM moves: none is lost, none comes twice."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import closing
from pathlib import Path

import pytest

from devices.frames import mac_bytes
from engine.driver.clock import LoopClock
from engine.driver.station import Station
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import moved, stayed
from tests.integration.vms import GUEST, ROOTS, Vm

MAC = "52:54:00:6f:55:cc"
FRAMES = f"{GUEST},frames=1ms"


def connected_devices(lab: Lab, station: Station, name: str) -> tuple[str, ...]:
    """Give a VM a port for its standby and one for its primary."""
    for path in ("standby", "primary"):
        station.switch.add_port(f"{name} {path}", lab.path(f"{name}.{path}"))
    hosts = Path(lab.path(f"{name}.hosts"))
    function = {"address": "5e:00.2", "mac": MAC, "uplink": f"unix:{lab.path(f'{name}.primary')}"}
    hosts.write_text(json.dumps([function]))
    return (
        *ROOTS,
        f"-netdev stream,id=hostnet1,server=off,addr.type=unix,addr.path={lab.path(name)}.standby",
        f"-device virtio-net-pci,netdev=hostnet1,id=net1,mac={MAC},bus=root2,failover=on",
        "-device vfio-pci,host=5e:00.2,id=hostdev0,bus=root1,failover_pair_id=net1",
        f"-host {hosts}",
    )


async def nothing_lost(station: Station, vm: Vm) -> None:
    """Check both directions, once everything that is under way has arrived."""
    station.stop()
    frames = await vm.guest("frames")
    await station.received(frames["sent"] - 1)
    arrivals = station.arrivals()
    assert (arrivals.missing, arrivals.duplicated) == (0, 0)
    await vm.until_frames(station.sent)
    frames = await vm.guest("frames")
    assert (frames["lost_inside"], frames["duplicated"], frames["untold"]) == (0, 0, 0)


def path_of(turns: int) -> str:
    """Write what the frames' path must match; a guest may find its new primary before it sends."""
    hops = "".join(
        f" vm{turn} standby( vm{turn + 1} standby)? vm{turn + 1} primary" for turn in range(turns)
    )
    return f"vm0 primary{hops}"


@pytest.mark.parametrize("turns", [1, 10])
@scenario
async def test_there_and_back(lab: Lab, turns: int) -> None:
    station = Station(mac_bytes(MAC), 1.0, LoopClock())
    with closing(station):
        vm = await lab.vm("vm0", guest=FRAMES, devices=connected_devices(lab, station, "vm0"))
        await vm.on_primaries()
        await station.heard_from("vm0 primary")
        station.start()
        for turn in range(1, turns + 1):
            name = f"vm{turn}"
            devices = connected_devices(lab, station, name)
            there = await lab.vm(name, incoming=lab.uri(name), guest="", devices=devices)
            vm.forget()
            await vm.command("migrate", uri=lab.uri(name))
            await moved(vm, there)
            await station.heard_from(f"{name} primary")
            await vm.end()
            vm = there
        await nothing_lost(station, vm)
        assert re.fullmatch(path_of(turns), " ".join(station.path()))


@scenario
async def test_cancel_brings_the_traffic_back(lab: Lab) -> None:
    station = Station(mac_bytes(MAC), 1.0, LoopClock())
    with closing(station):
        source, target = await asyncio.gather(
            lab.vm("source", guest=FRAMES, devices=connected_devices(lab, station, "source")),
            lab.vm(
                "target",
                incoming=lab.uri(),
                guest="",
                devices=connected_devices(lab, station, "target"),
            ),
        )
        await source.on_primaries()
        await station.heard_from("source primary")
        station.start()
        source.forget()
        await source.parameters(max_bandwidth=300_000)
        await source.command("migrate", uri=lab.uri())
        await source.status("active")
        await station.received(station.arrivals().received + 20)
        await source.command("migrate_cancel")
        await stayed(source, "cancelled")
        await station.received(station.arrivals().received + 20)
        await nothing_lost(station, source)
        assert station.path() == ["source primary", "source standby", "source primary"]
        assert await target.exit_status() == 1

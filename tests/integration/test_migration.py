"""Migrations that succeed, between two real processes, in profile `native`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from qemu.qmp import QMPClient

from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import migrates_again, moved
from tests.integration.vms import PAIR, Vm

SOURCE = [
    "MIGRATION setup",
    "UNPLUG_PRIMARY hostdev0",
    "MIGRATION_PASS 1",
    "MIGRATION wait-unplug",
    "MIGRATION active",
    "MIGRATION_PASS 2",
    "STOP",
    "MIGRATION device",
    "MIGRATION_PASS 3",
    "MIGRATION completed",
]
TARGET = [
    "MIGRATION active",
    "FAILOVER_NEGOTIATED net1",
    "RESUME",
    "MIGRATION completed",
]


async def migrate(source: Vm, target: Vm, uri: str, run_state: str = "running") -> dict[str, Any]:
    await source.command("migrate", uri=uri)
    return await moved(source, target, run_state)


def without_frames(events: list[str]) -> list[str]:
    return [line for line in events if not line.startswith("X_REPLUG_FIRST_FRAME")]


@scenario
async def test_events_and_reports(lab: Lab) -> None:
    source, target = await lab.pair()
    report = await migrate(source, target, lab.uri())
    assert source.events == SOURCE
    assert without_frames(target.events) == TARGET
    assert set(report) == {"status", "setup-time", "total-time", "downtime", "ram", "x-replug"}
    assert report["ram"]["remaining"] == 0
    assert report["ram"]["total"] == 32 << 20
    assert report["x-replug"]["handover"] == "two-phase"
    there = await target.query()
    assert there["status"] == "completed"
    assert there["x-replug"]["handover"] == "two-phase"
    assert there["x-replug"]["states"] == ["none", "setup", "active", "completed"]
    assert "The VM has moved to the target" in await source.refusal("cont")
    assert "due to previous migration" in await source.refusal("migrate", uri="unix:/x")


@scenario
async def test_a_standby_without_legacy_interface_is_one_too(lab: Lab) -> None:
    devices = [
        option.replace("virtio-net-pci", "virtio-net-pci-non-transitional") for option in PAIR
    ]
    source, target = await lab.pair(devices=devices)
    await migrate(source, target, lab.uri())
    assert "UNPLUG_PRIMARY hostdev0" in source.events
    assert without_frames(target.events) == TARGET


@scenario
async def test_two_standbys_without_id_move_with_the_pair(lab: Lab) -> None:
    nameless = (
        *("-netdev user,id=hostnet2", "-device virtio-net-pci,netdev=hostnet2,failover=on"),
        *("-netdev user,id=hostnet3", "-device virtio-net-pci,netdev=hostnet3,failover=on"),
    )
    source, target = await lab.pair(devices=(*PAIR, *nameless), settled=False)
    states = {"0000:00:03.0": "standby", "0000:00:04.0": "standby", "net1": "primary"}
    for name, state in states.items():
        await source.reaches("net_failover", state, name)
    await source.command("migrate", uri=lab.uri())
    await target.status("completed")
    for name, state in states.items():
        await target.reaches("net_failover", state, name)


@scenario
async def test_memory_is_compared(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.capability("x-verify-ram")
    report = await migrate(source, target, lab.uri())
    assert report["x-replug"]["digest-equal"] is True


@scenario
async def test_over_tcp(lab: Lab) -> None:
    source, target = await lab.pair(uri="tcp:127.0.0.1:0")
    (address,) = (await target.query())["socket-address"]
    assert address["type"] == "inet"
    await migrate(source, target, f"tcp:{address['host']}:{address['port']}")


@scenario
async def test_deferred_incoming_twice(lab: Lab) -> None:
    source = await lab.vm("source")
    for name in ("first", "second"):
        target = await lab.vm(name, incoming="defer", guest="")
        assert await target.run_state() == "inmigrate"
        await target.command("migrate-incoming", uri=lab.uri(name))
        again = await target.refusal("migrate-incoming", uri=lab.uri("elsewhere"))
        assert again == "The incoming migration has already been started"
        await source.on_primaries()
        source.forget()
        await migrate(source, target, lab.uri(name))
        source = target


@scenario
async def test_there_and_back_ten_times(lab: Lab) -> None:
    vm = await lab.vm("vm0")
    await vm.on_primaries()
    for turn in range(1, 11):
        there = await migrates_again(lab, vm, f"vm{turn}")
        await vm.end()
        vm = there
    assert vm.events.count("UNPLUG_PRIMARY hostdev0") == 0


# -- paused


@scenario
async def test_paused_guest_has_to_run_to_eject(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.command("stop")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("cont")
    await moved(source, target)


@scenario
async def test_vm_paused_while_active_arrives_paused(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.parameters(max_bandwidth=300_000)
    await source.command("migrate", uri=lab.uri())
    await source.status("active")
    await source.command("stop")
    await source.parameters(max_bandwidth=0)
    await moved(source, target, "paused")
    assert "RESUME" not in target.events
    target.forget()
    await target.command("cont")
    await target.event("RESUME")
    await target.on_primaries()
    await migrates_again(lab, target)


@scenario
async def test_vm_that_was_never_started_arrives_paused(lab: Lab) -> None:
    source, target = await lab.pair(source_options=["-S"], settled=False)
    assert await source.run_state() == "prelaunch"
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    assert await target.run_state() == "paused"
    assert not any("UNPLUG" in line for line in source.events)
    await target.command("cont")
    await target.on_primaries()
    assert (await target.guest("verify"))["count"] == 0


@scenario
async def test_target_started_with_s_holds_the_vm(lab: Lab) -> None:
    source, target = await lab.pair(target_options=["-S"])
    await migrate(source, target, lab.uri(), "paused")
    await target.command("cont")
    await target.on_primaries()


# -- two terminals, and a client of its own


async def answer(client: QMPClient, command: str, member: str) -> Any:
    reply = await client.execute(command)
    assert isinstance(reply, dict)
    return reply[member]


@pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
@pytest.mark.parametrize("transport", ["unix", "tcp"])
@scenario
async def test_plain_client_and_two_terminals(lab: Lab, profile: str, transport: str) -> None:
    options = [f"-profile {profile}", "-incoming defer"]
    terminals = await asyncio.gather(
        lab.start("source", options[0], executed=True),
        lab.start("target", *options, guest="", executed=True),
    )
    clients = []
    for terminal in terminals:
        await terminal.booted()
        client = QMPClient(terminal.name)
        await client.connect(str(terminal.monitor_path))
        clients.append(client)
    source, target = clients
    uri = lab.uri() if transport == "unix" else "tcp:127.0.0.1:0"
    await target.execute("migrate-incoming", {"uri": uri})
    if transport == "tcp":
        (address,) = await answer(target, "query-migrate", "socket-address")
        uri = f"tcp:{address['host']}:{address['port']}"
    enable = {"capabilities": [{"capability": "events", "state": True}]}
    await source.execute("migrate-set-capabilities", enable)
    await source.execute("migrate", {"uri": uri})
    async for event in source.events:
        if dict(event).get("data") in ({"status": "completed"}, {"status": "failed"}):
            break
    assert await answer(source, "query-migrate", "status") == "completed"
    async for event in target.events:
        if event["event"] == "RESUME":
            break
    assert await answer(target, "query-status", "status") == "running"
    for client, terminal in zip(clients, terminals, strict=True):
        await client.execute("quit")
        assert await terminal.exit_status() == 0
        with suppress(EOFError):
            await client.disconnect()

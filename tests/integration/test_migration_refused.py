"""What a target refuses, and what a guest does not do: nothing is lost, and the reason is told."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import failed_at_target, migrates_again, moved, stayed
from tests.integration.vms import GUEST, PAIR, ROOTS, STANDBY

NO_FAILOVER = tuple(option.replace(",failover=on", "") for option in STANDBY)
ANOTHER_DEVICE = "-device e1000e,id=extra,bus=pcie.0,addr=9,mac=52:54:00:00:00:01"
SECOND_PAIR = (
    "-device pcie-root-port,id=root3,bus=pcie.0,chassis=3",
    "-device pcie-root-port,id=root4,bus=pcie.0,chassis=4",
    "-netdev user,id=hostnet2",
    "-device virtio-net-pci,netdev=hostnet2,id=net2,mac=52:54:00:6f:55:dd,bus=root4,failover=on",
    "-device vfio-pci,host=5e:00.3,id=hostdev1,bus=root3,failover_pair_id=net2",
)


@pytest.mark.parametrize("uri", ["unix:{}/nobody", "tcp:127.0.0.1:{}"])
@scenario
async def test_nobody_listens(lab: Lab, uri: str) -> None:
    source = await lab.vm("source")
    await source.on_primaries()
    source.forget()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        await source.command("migrate", uri=uri.format(lab.folder if "unix" in uri else port))
        report = await stayed(source, "failed")
    assert report["error-desc"].startswith("Failed to connect to ")
    assert source.events == ["MIGRATION setup", "MIGRATION failed"]
    await migrates_again(lab, source)


REFUSALS = {
    "no primary": (ROOTS + STANDBY, (), "there is no primary for standby 'net1' here"),
    "failover=off": (ROOTS + NO_FAILOVER, (), "'net1' has {'failover': True} on the source"),
    "another device": (
        (*PAIR, ANOTHER_DEVICE),
        (),
        "this target has e1000e 'extra' at pcie.0 09.0",
    ),
    "a second pair": (PAIR + SECOND_PAIR, (), "the source has nothing there"),
    "less RAM": (PAIR, ("-m", "16M"), "Length mismatch: pc.ram: 0x2000000 in != 0x1000000"),
    "another profile": (
        PAIR,
        ("-profile", "qemu-7.2"),
        "the source uses profile native, this target qemu-7.2: give both the same -profile",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@scenario
async def test_target_refuses(lab: Lab, name: str) -> None:
    devices, options, reason = REFUSALS[name]
    size = {"-M": "q35", "-m": "32M"} | dict(zip(options[::2], options[1::2], strict=True))
    size.pop("-profile", None)
    profile = [" ".join(options)] if options[:1] == ("-profile",) else []
    source, target = await lab.pair(
        target_devices=devices,
        target_options=profile,
        target_size=[word for pair in size.items() for word in pair],
    )
    await source.command("migrate", uri=lab.uri())
    report = await stayed(source, "failed")
    assert reason in report["error-desc"]
    # A target of qemu-7.2 has no word for refusing: what it has is a failed load.
    fails = "The target could not load the VM: " if profile else "The target refuses this VM: "
    assert report["error-desc"].startswith(fails)
    assert source.events == ["MIGRATION setup", "MIGRATION failed"]
    assert reason in await failed_at_target(target)
    await migrates_again(lab, source)


@scenario
async def test_native_target_refuses_a_source_of_another_profile(lab: Lab) -> None:
    source, target = await lab.pair(source_options=["-profile qemu-7.2"])
    await source.command("migrate", uri=lab.uri())
    await source.status("failed")
    await source.on_primaries()
    assert await source.run_state() == "running"
    assert "the source uses profile qemu-7.2, this target native" in await failed_at_target(target)


@scenario
async def test_target_whose_function_is_taken(lab: Lab) -> None:
    hosts = Path(lab.path("hosts.json"))
    hosts.write_text(
        json.dumps([{"address": "5e:00.2", "mac": "52:54:00:6f:55:cc", "available": False}])
    )
    source, target = await lab.pair(target_options=[f"-host {hosts}"])
    await source.command("migrate", uri=lab.uri())
    report = await stayed(source, "failed")
    assert "primary 'hostdev0' cannot be plugged here" in report["error-desc"]
    await failed_at_target(target)


@scenario
async def test_garbage_is_no_stream(lab: Lab) -> None:
    target = await lab.vm("target", incoming=lab.uri(), guest="")
    await target.reaches("link", "listening")
    _, writer = await asyncio.open_unix_connection(lab.path("migration"))
    writer.write(b"QEVM\0\0\0\3garbage")
    await failed_at_target(target)
    writer.close()
    assert target.events == ["MIGRATION active", "MIGRATION failed"]


@pytest.mark.parametrize("uri", ["unix:/nonexistent-folder/x", "tcp:192.0.2.1:0"])
@scenario
async def test_command_line_that_cannot_listen_ends_the_process(lab: Lab, uri: str) -> None:
    target = await lab.start("target", incoming=uri, guest="")
    assert await target.exit_status() == 1
    assert "Failed to bind socket to " in target.stderr


@scenario
async def test_migrate_incoming_that_cannot_listen_may_be_tried_again(lab: Lab) -> None:
    source, target = await asyncio.gather(
        lab.vm("source"), lab.vm("target", incoming="defer", guest="")
    )
    reason = await target.refusal("migrate-incoming", uri="unix:/nonexistent-folder/x")
    assert reason.startswith("Failed to bind socket to /nonexistent-folder/x: ")
    assert await target.run_state() == "inmigrate"
    await target.command("migrate-incoming", uri=lab.uri())
    await source.on_primaries()
    await source.command("migrate", uri=lab.uri())
    await moved(source, target)


# -- the guest


@scenario
async def test_guest_without_the_feature_migrates_without_unplug(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},standby=off", settled=False)
    await source.reaches("standby", "driver-ok", "net1")
    source.forget()
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    assert not any("UNPLUG" in line or "wait-unplug" in line for line in source.events)
    assert target.is_in("primary", "hidden", "hostdev0")
    assert target.is_in("feature", "not-acked", "net1")
    assert await target.run_state() == "running"


@scenario
async def test_deadline_of_the_wait(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    await source.parameters(x_unplug_timeout_ms=100)
    await source.command("migrate", uri=lab.uri())
    report = await stayed(source, "failed")
    assert report["error-desc"].startswith("The guest did not release hostdev0 within 100 ms")
    await failed_at_target(target)
    assert source.events[-2:] == ["MIGRATION wait-unplug", "MIGRATION failed"]
    await source.tell_guest("eject", "prompt")
    await migrates_again(lab, source)


@scenario
async def test_no_deadline(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    await source.parameters(x_unplug_timeout_ms=0)
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    assert (await source.query())["x-replug"]["pending"] == ["hostdev0"]
    await source.tell_guest("eject", "hostdev0")
    await moved(source, target)


@pytest.mark.parametrize("cancelled", [False, True])
@scenario
async def test_two_pairs_of_which_one_ejects_late(lab: Lab, cancelled: bool) -> None:
    source, target = await lab.pair(devices=PAIR + SECOND_PAIR, guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    assert sorted((await source.query())["x-replug"]["pending"]) == ["hostdev0", "hostdev1"]
    await source.tell_guest("eject", "hostdev1")
    assert (await source.query())["x-replug"]["pending"] == ["hostdev0"]
    assert (await source.query())["status"] == "wait-unplug"
    if cancelled:
        await source.command("migrate_cancel")
        await stayed(source, "cancelled")
        await failed_at_target(target)
        return
    await source.tell_guest("eject", "hostdev0")
    await moved(source, target)
    assert [line for line in source.events if line.startswith("UNPLUG_PRIMARY")] == [
        "UNPLUG_PRIMARY hostdev0",
        "UNPLUG_PRIMARY hostdev1",
    ]


@scenario
async def test_reboot_in_wait_unplug_ejects(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("system_reset")
    await source.status("completed")
    await target.status("completed")
    assert await target.run_state() == "running"
    await target.on_primaries()

"""Profile qemu-7.2: the events, keys, texts and defects of QEMU 7.2, as its traces have them."""

from __future__ import annotations

import pytest

from engine.messages import LivePages, LoadFailed, RamPages
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import stayed
from tests.integration.relay import Relay, Way
from tests.integration.vms import GUEST, PAIR, ROOTS, STANDBY

PROFILE = "-profile qemu-7.2"
SLOW = {"max_bandwidth": 300_000}
SOURCE = [
    "MIGRATION setup",
    "UNPLUG_PRIMARY hostdev0",
    "MIGRATION_PASS 1",
    "MIGRATION wait-unplug",
    "MIGRATION active",
    "MIGRATION_PASS 2",
    "STOP",
    "MIGRATION_PASS 3",
    "MIGRATION completed",
]
TARGET = [
    "MIGRATION setup",
    "MIGRATION active",
    "FAILOVER_NEGOTIATED net1",
    "RESUME",
    "MIGRATION completed",
]
UNDER_WAY = {"status", "setup-time", "total-time", "expected-downtime", "ram"}
NO_FAILOVER = tuple(option.replace(",failover=on", "") for option in STANDBY)
BROKEN_PIPE = "Unable to write to socket: Broken pipe"


@scenario
async def test_events_in_their_order(lab: Lab) -> None:
    source = await lab.vm("source", PROFILE)
    target = await lab.vm("target", PROFILE, incoming="defer", guest="")
    await source.on_primaries()
    source.forget()
    assert await source.query() == {}
    await target.command("migrate-incoming", uri=lab.uri())
    listening = await target.query()
    assert set(listening) == {"socket-address"}
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    assert source.events == SOURCE
    assert target.events == TARGET
    assert await source.run_state() == "postmigrate"
    assert await target.run_state() == "running"
    assert await target.query() == {"status": "completed"}
    report = await source.query()
    assert set(report) == {"status", "setup-time", "downtime", "total-time", "ram"}
    await target.on_primaries()


@pytest.mark.parametrize("return_path", [False, True])
@scenario
async def test_pause_before_switchover(lab: Lab, return_path: bool) -> None:
    source, target = await lab.pair(PROFILE)
    await source.capability("pause-before-switchover")
    if return_path:
        await source.capability("return-path")
    await source.command("migrate", uri=lab.uri())
    await source.status("pre-switchover")
    assert set(await source.query()) == UNDER_WAY
    await source.command("migrate-continue", state="pre-switchover")
    await source.status("completed")
    await target.status("completed")
    assert source.events[-6:] == [
        "MIGRATION_PASS 2",
        "STOP",
        "MIGRATION pre-switchover",
        "MIGRATION device",
        "MIGRATION_PASS 3",
        "MIGRATION completed",
    ]


@scenario
async def test_keys_of_each_status(lab: Lab) -> None:
    source, _ = await lab.pair(PROFILE, guest=f"{GUEST},eject=never")
    await source.parameters(**SLOW)
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    assert await source.query() == {"status": "wait-unplug"}
    await source.tell_guest("eject", "hostdev0")
    await source.status("active")
    assert set(await source.query()) == UNDER_WAY
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")
    assert await source.query() == {"status": "cancelled"}


@scenario
async def test_cancel_waits_for_the_eject(lab: Lab) -> None:
    source, _ = await lab.pair(
        PROFILE, "-global replug.cancel_wait_ms=600000", guest=f"{GUEST},eject=never"
    )
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    for _ in range(2):
        await source.command("migrate_cancel")
    assert set(await source.query()) == UNDER_WAY
    assert "MIGRATION cancelled" not in source.events
    await source.tell_guest("eject", "hostdev0")
    await stayed(source, "cancelled")
    assert source.events[-3:] == ["MIGRATION cancelling"] * 2 + ["MIGRATION cancelled"]


@scenario
async def test_cancel_gives_up_waiting_and_the_late_eject_deletes(lab: Lab) -> None:
    source, _ = await lab.pair(PROFILE, guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("migrate_cancel")
    await source.status("cancelled")
    assert "warning: migration: partially unplugged device on failure" in source.stderr
    await source.tell_guest("eject", "hostdev0")
    await source.event("DEVICE_DELETED")
    await source.reaches("primary", "absent", "hostdev0")


@scenario
async def test_target_dies_in_wait_unplug_unnoticed_until_the_eject(lab: Lab) -> None:
    source, target = await lab.pair(PROFILE, guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    target.kill()
    await source.reaches("link", "lost")
    assert (await source.query())["status"] == "wait-unplug"
    await source.tell_guest("eject", "hostdev0")
    report = await stayed(source, "failed")
    assert report["error-desc"] == BROKEN_PIPE
    assert source.events[-3:] == [
        "MIGRATION wait-unplug",
        "MIGRATION active",
        "MIGRATION failed",
    ]


@scenario
async def test_target_dies_in_active(lab: Lab) -> None:
    source, target = await lab.pair(PROFILE)
    await source.parameters(**SLOW)
    await source.command("migrate", uri=lab.uri())
    await source.status("active")
    target.kill()
    report = await stayed(source, "failed")
    assert "socket: " in report["error-desc"]


@scenario
async def test_target_without_failover_loses_the_vm(lab: Lab) -> None:
    source, target = await lab.pair(PROFILE, target_devices=ROOTS + NO_FAILOVER)
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    assert await source.run_state() == "postmigrate"
    assert await target.exit_status() == 1
    assert "load of migration failed: Operation not permitted" in target.stderr


@scenario
async def test_return_path_saves_it(lab: Lab) -> None:
    source, target = await lab.pair(PROFILE, target_devices=ROOTS + NO_FAILOVER)
    await source.capability("return-path")
    await source.command("migrate", uri=lab.uri())
    report = await stayed(source, "failed")
    assert report == {"status": "failed"}
    assert source.events[-2:] == ["MIGRATION failed", "RESUME"]
    assert await target.exit_status() == 1
    assert "load of migration failed: Operation not permitted" in target.stderr


@scenario
async def test_target_without_primary(lab: Lab) -> None:
    source, target = await lab.pair(PROFILE, target_devices=ROOTS + STANDBY)
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    assert await target.run_state() == "running"
    assert target.stderr.splitlines() == [
        "replug: warning: Primary device not found",
        "Virtio-net failover will not work. Make sure primary device has parameter "
        "failover_pair_id=net1",
    ]


@scenario
async def test_less_ram_at_the_target(lab: Lab) -> None:
    source, target = await lab.pair(PROFILE, target_size=("-M", "q35", "-m", "16M"))
    await source.command("migrate", uri=lab.uri())
    await stayed(source, "failed")
    assert await target.exit_status() == 1
    assert "Length mismatch: pc.ram: 0x2000000 in != 0x1000000" in target.stderr


@pytest.mark.parametrize("return_path", [False, True])
@scenario
async def test_damage(lab: Lab, return_path: bool) -> None:
    source, target = await lab.pair(PROFILE)
    if return_path:
        await source.capability("return-path")
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_target.rule(RamPages, Way.DAMAGE)
        await source.command("migrate", uri=relay.uri)
        assert await target.exit_status() == 1
        await source.until(
            lambda: source.journal[-1]["state"]["migration"] in ("failed", "completed")
        )
        assert (LoadFailed in relay.passed) is return_path
    if return_path:
        await stayed(source, "failed")


@pytest.mark.parametrize("return_path", [False, True])
@scenario
async def test_a_source_that_does_not_wait_for_the_target_sends_copies(
    lab: Lab, return_path: bool
) -> None:
    """It may be run again while the target still reads what it sent."""
    source, target = await lab.pair(PROFILE)
    if return_path:
        await source.capability("return-path")
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        await source.command("migrate", uri=relay.uri)
        await source.status("completed")
        await target.status("completed")
    assert RamPages in relay.passed
    assert LivePages not in relay.passed


@scenario
async def test_source_may_be_run_again_after_completed(lab: Lab) -> None:
    source, target = await lab.pair(PROFILE)
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    await target.command("stop")
    await source.command("cont")
    assert await source.run_state() == "running"


@scenario
async def test_migrated_vm_migrates_on(lab: Lab) -> None:
    source, target = await lab.pair(PROFILE)
    await source.command("migrate", uri=lab.uri())
    await target.status("completed")
    await target.on_primaries()
    onward = await lab.vm("onward", PROFILE, incoming=lab.uri("onward"), guest="", devices=PAIR)
    target.forget()
    await target.command("migrate", uri=lab.uri("onward"))
    await onward.status("completed")
    # Each monitor's events come in their order, but the two have none between them.
    await target.status("completed")
    assert target.events == SOURCE

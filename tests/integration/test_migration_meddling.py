"""What operators and guests do while a migration is under way."""

from __future__ import annotations

import asyncio
import signal

import pytest

from engine.messages import Loaded
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import failed_at_target, migrates_again, moved, stayed
from tests.integration.relay import Relay, Way
from tests.integration.vms import GUEST

SLOW = {"max_bandwidth": 300_000}
NEVER = f"{GUEST},eject=never"
NATIVE_HOTPLUG = "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"


@pytest.mark.parametrize("way", ["quit", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("side", ["source", "target"])
@scenario
async def test_ending_a_process_on_purpose(lab: Lab, way: str, side: str) -> None:
    source, target = await lab.pair()
    await source.parameters(**SLOW)
    await source.command("migrate", uri=lab.uri())
    await source.status("active")
    ended = source if side == "source" else target
    if way == "quit":
        await ended.command("quit")
    else:
        ended.process.send_signal(signal.Signals[way])
    assert await ended.exit_status() == 0
    if side == "source":
        await failed_at_target(target)
    else:
        await stayed(source, "failed")


@scenario
async def test_second_migrate_is_refused(lab: Lab) -> None:
    source, target = await lab.pair(guest=NEVER)
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    reason = await source.refusal("migrate", uri=lab.uri("other"))
    assert reason == "There's a migration process in progress"
    capability = {"capability": "return-path", "state": True}
    reason = await source.refusal("migrate-set-capabilities", capabilities=[capability])
    assert reason == "There's a migration process in progress"
    await source.tell_guest("eject", "hostdev0")
    await moved(source, target)


@scenario
async def test_migrate_again_before_the_guest_has_answered_the_first(lab: Lab) -> None:
    source, _ = await lab.pair(guest=NEVER)
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("migrate_cancel")
    await source.status("cancelled")
    second = await lab.vm("second", incoming=lab.uri("second"), guest="")
    source.forget()
    await source.command("migrate", uri=lab.uri("second"))
    await source.status("wait-unplug")
    await source.tell_guest("eject", "hostdev0")
    await moved(source, second)
    assert source.events.count("UNPLUG_PRIMARY hostdev0") == 1


@scenario
async def test_stopped_in_the_wait_and_cancelled(lab: Lab) -> None:
    source, target = await lab.pair(guest=NEVER)
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("stop")
    await source.command("migrate_cancel")
    await stayed(source, "cancelled", "paused")
    await failed_at_target(target)
    await source.command("cont")
    await source.on_primaries()
    await source.tell_guest("eject", "prompt")
    await migrates_again(lab, source)


@scenario
async def test_stopped_while_active_and_failed(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Loaded, Way.CUT_BEFORE)
        await source.parameters(**SLOW)
        await source.command("migrate", uri=relay.uri)
        await source.status("active")
        await source.command("stop")
        await source.parameters(max_bandwidth=0)
        await stayed(source, "failed", "paused")
    await target.event("X_REPLUG_IN_DOUBT")
    await target.command("x-replug-resolve", keep="source")
    await failed_at_target(target)
    assert "RESUME" not in source.events
    await source.command("cont")
    await source.on_primaries()
    await migrates_again(lab, source)


@scenario
async def test_primary_deleted_by_the_user_in_the_wait(lab: Lab) -> None:
    source, _ = await lab.pair(guest=NEVER)
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    reason = await source.refusal("device_del", id="hostdev0")
    assert reason == "Device hostdev0 is already in the process of unplug"
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")


@scenario
async def test_primary_deleted_before_stays_deleted(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.command("device_del", id="hostdev0")
    await source.event("DEVICE_DELETED")
    source.forget()
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    assert not any("UNPLUG" in line for line in source.events)
    assert await target.run_state() == "running"


@pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
@scenario
async def test_hotplug_of_the_slot_itself(lab: Lab, profile: str) -> None:
    options = (NATIVE_HOTPLUG, f"-profile {profile}")
    source, target = await lab.pair(*options, guest=f"{GUEST},blink=50ms,power-off=20ms")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await moved(source, target)


@pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
@scenario
async def test_cancel_while_the_indicator_blinks(lab: Lab, profile: str) -> None:
    options = (NATIVE_HOTPLUG, f"-profile {profile}")
    source, _ = await lab.pair(*options, guest=f"{GUEST},blink=100ms,power-off=20ms")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("migrate_cancel")
    await source.status("cancelled")
    await source.until(lambda: any(e["event"] == "GUEST_POWERS_OFF" for e in source.journal))
    await stayed(source, "cancelled")
    assert not any(line.startswith("DEVICE_DELETED") for line in source.events)


@scenario
async def test_reset_while_active(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.parameters(**SLOW)
    await source.command("migrate", uri=lab.uri())
    await source.status("active")
    await source.command("system_reset")
    await source.parameters(max_bandwidth=0)
    await source.status("completed")
    await target.status("completed")
    assert await target.run_state() == "running"
    await target.on_primaries()


@scenario
async def test_reset_in_pre_switchover(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.capability("pause-before-switchover")
    await source.command("migrate", uri=lab.uri())
    await source.status("pre-switchover")
    await source.command("system_reset")
    await source.command("migrate-continue", state="pre-switchover")
    await source.status("completed")
    await target.status("completed")
    assert await target.run_state() == "running"
    await target.on_primaries()


@scenario
async def test_many_cancels_in_a_row(lab: Lab) -> None:
    source = await lab.vm("source")
    await source.on_primaries()
    for turn in range(5):
        name = f"target{turn}"
        target = await lab.vm(name, incoming=lab.uri(name), guest="")
        source.forget()
        await asyncio.gather(
            source.command("migrate", uri=lab.uri(name)),
            *(source.command("migrate_cancel") for _ in range(turn)),
        )
        await source.command("migrate_cancel")
        await stayed(source, "cancelled")
        await target.end()
    await migrates_again(lab, source)

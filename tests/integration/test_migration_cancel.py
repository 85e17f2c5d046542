"""migrate_cancel in every status: the VM is as it was, and can be migrated again."""

from __future__ import annotations

import asyncio

import pytest

from engine.messages import Abort, Accept, Loaded, RamPages, Running
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import failed_at_target, migrates_again, stayed
from tests.integration.relay import Relay, Way
from tests.integration.vms import GUEST

#: So slow that a migration does not end by itself.
SLOW = {"max_bandwidth": 300_000}


@scenario
async def test_in_setup(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Accept, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Accept)
        await source.command("migrate_cancel")
        await stayed(source, "cancelled")
        assert Abort in relay.passed or await until_passed(relay, Abort)
        assert "The source gave up: cancelled by migrate_cancel" in await failed_at_target(target)
    assert source.events == [f"MIGRATION {s}" for s in ("setup", "cancelling", "cancelled")]
    await migrates_again(lab, source)


async def until_passed(relay: Relay, kind: type) -> bool:
    await relay.until_passed(kind)
    return True


@scenario
async def test_in_wait_unplug(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")
    await failed_at_target(target)
    assert source.events[-2:] == ["MIGRATION cancelling", "MIGRATION cancelled"]
    assert source.is_in("primary", "plugged", "hostdev0")


@scenario
async def test_late_eject_after_a_cancel_is_answered_by_a_replug(lab: Lab) -> None:
    source, _ = await lab.pair(guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("migrate_cancel")
    await source.status("cancelled")
    await source.tell_guest("eject", "hostdev0")
    await source.until(lambda: source.journal[-1]["event"] != "GUEST_EJECTS")
    await stayed(source, "cancelled")
    assert not any(line.startswith("DEVICE_DELETED") for line in source.events)
    await source.tell_guest("eject", "prompt")
    await migrates_again(lab, source)


@pytest.mark.parametrize("delay", ["50ms", "200ms"])
@scenario
async def test_delayed_eject_after_a_cancel(lab: Lab, delay: str) -> None:
    source, _ = await lab.pair(guest=f"{GUEST},eject={delay}")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("migrate_cancel")
    await source.status("cancelled")
    await source.until(lambda: any(e["event"] == "GUEST_EJECTS" for e in source.journal))
    await stayed(source, "cancelled")
    await migrates_again(lab, source)


@scenario
async def test_in_active(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.parameters(**SLOW)
    await source.command("migrate", uri=lab.uri())
    await source.status("active")
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")
    await failed_at_target(target)
    await source.parameters(max_bandwidth=0)
    await migrates_again(lab, source)


@scenario
async def test_in_active_behind_a_full_pipe(lab: Lab) -> None:
    source, target = await lab.pair(guest="fill=15M,working-set=4M")
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_target.rule(RamPages, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(RamPages)
        await source.command("migrate_cancel")
        await stayed(source, "cancelled")
    await failed_at_target(target)
    await migrates_again(lab, source)


@scenario
async def test_in_pre_switchover(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.capability("pause-before-switchover")
    await source.command("migrate", uri=lab.uri())
    await source.status("pre-switchover")
    assert await source.run_state() == "finish-migrate"
    assert "Migration is not finalized yet" in await source.refusal("cont")
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")
    await failed_at_target(target)
    assert source.events[-4:] == [
        "MIGRATION pre-switchover",
        "MIGRATION cancelling",
        "RESUME",
        "MIGRATION cancelled",
    ]


@scenario
async def test_after_pre_switchover_it_goes_on(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.capability("pause-before-switchover")
    await source.command("migrate", uri=lab.uri())
    await source.status("pre-switchover")
    await source.command("migrate-continue", state="pre-switchover")
    await source.status("completed")
    assert await target.run_state() == "running"


@scenario
async def test_before_commit_and_after_it(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Loaded, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Loaded)
        await source.command("migrate_cancel")
        await stayed(source, "cancelled")
        assert await target.exit_status() == 1
    second = await lab.vm("second", incoming=lab.uri("second"), guest="")
    await second.reaches("link", "listening")
    async with Relay(lab.path("relay2"), lab.path("second")) as relay:
        relay.to_source.rule(Running, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Running)
        reason = await source.refusal("migrate_cancel")
        assert reason == "The VM has been handed to the target: it can no longer be cancelled"
        relay.to_source.release()
        await source.status("completed")
    assert await second.run_state() == "running"


@scenario
async def test_while_connecting_is_harmless(lab: Lab) -> None:
    source, _ = await lab.pair()
    await asyncio.gather(source.command("migrate", uri=lab.uri()), source.command("migrate_cancel"))
    await stayed(source, "cancelled")
    await source.command("migrate_cancel")
    assert (await source.query())["status"] == "cancelled"

"""A peer or the link is lost, at every step: who has the VM is known, or both ends say they doubt.

Nothing is ever run twice (checked after every scenario), and nothing is lost: either the source
goes on, or the target runs, or whoever holds the VM in doubt runs it when told to.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

import pytest

from engine.messages import (
    Accept,
    Commit,
    End,
    Heartbeat,
    Hello,
    LivePages,
    Loaded,
    PassEnd,
    RamPages,
    Running,
    State,
)
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import (
    failed_at_target,
    kept_at_source,
    migrates_again,
    moved,
    source_in_doubt,
    stayed,
    target_in_doubt,
)
from tests.integration.relay import Relay, Way
from tests.integration.vms import GUEST

SLOW = {"max_bandwidth": 300_000}


# -- the target dies


@scenario
async def test_target_dies_in_wait_unplug(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    target.kill()
    report = await stayed(source, "failed")
    assert report["error-desc"].startswith("The target is gone")
    await source.tell_guest("eject", "prompt")
    await migrates_again(lab, source)


@scenario
async def test_target_dies_in_active(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.parameters(**SLOW)
    await source.command("migrate", uri=lab.uri())
    await source.status("active")
    target.kill()
    report = await stayed(source, "failed")
    assert report["error-desc"]
    await source.parameters(max_bandwidth=0)
    await migrates_again(lab, source)


@pytest.mark.parametrize("kind", [Accept, Loaded])
@scenario
async def test_target_dies_before_commit(lab: Lab, kind: type) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(kind, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(kind)
        target.kill()
        report = await stayed(source, "failed")
    assert report["error-desc"].startswith("The target is gone")
    assert ("answer to HELLO" in report["error-desc"]) is (kind is Accept)
    await migrates_again(lab, source)


@scenario
async def test_target_dies_after_commit(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Running, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Running)
        target.kill()
        await source_in_doubt(source)
    await target.exit_status()
    await kept_at_source(lab, source)


@scenario
async def test_target_dies_before_commit_arrives(lab: Lab) -> None:
    """The target never ran it, which the source cannot know: COMMIT is sent, so it is in doubt."""
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_target.rule(Commit, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Commit)
        target.kill()
        await source_in_doubt(source)
    await target.exit_status()
    assert not any(entry["event"] == "RECV_COMMIT" for entry in target.journal)
    assert Running not in relay.passed
    await kept_at_source(lab, source)


# -- the source dies


@pytest.mark.parametrize("eject", ["never", "prompt"])
@scenario
async def test_source_dies_before_loaded(lab: Lab, eject: str) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject={eject}")
    await source.parameters(**SLOW)
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug" if eject == "never" else "active")
    source.kill()
    await failed_at_target(target)


@scenario
async def test_source_dies_before_hello(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_target.rule(Hello, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Hello)
        source.kill()
        await failed_at_target(target)


@pytest.mark.parametrize("keep", ["target", "source"])
@scenario
async def test_source_dies_after_loaded(lab: Lab, keep: str) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Loaded, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Loaded)
        source.kill()
        await source.exit_status()
        await target_in_doubt(target)
    await target.command("x-replug-resolve", keep=keep)
    if keep == "source":
        await failed_at_target(target)
        return
    await target.status("completed")
    assert await target.run_state() == "running"
    assert (await target.guest("verify"))["count"] == 0
    await target.on_primaries()
    await migrates_again(lab, target)


@scenario
async def test_source_dies_after_commit(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Running, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Running)
        source.kill()
    await target.status("completed")
    assert await target.run_state() == "running"
    await target.on_primaries()
    await migrates_again(lab, target)


@scenario
async def test_source_dies_before_its_commit_arrives(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_target.rule(Commit, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Commit)
        source.kill()
        await target_in_doubt(target)
    await target.command("x-replug-resolve", keep="target")
    await target.status("completed")
    assert await target.run_state() == "running"
    await target.on_primaries()
    await migrates_again(lab, target)


# -- the link is cut


@pytest.mark.parametrize("kind", [Hello, RamPages, LivePages, PassEnd, State, End])
@pytest.mark.parametrize("way", [Way.CUT_BEFORE, Way.CUT_AFTER, Way.TRUNCATE, Way.DAMAGE])
@scenario
async def test_link_cut_before_loaded(lab: Lab, kind: type, way: Way) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        if kind is End and way is Way.CUT_AFTER:
            relay.to_source.rule(Loaded, Way.CUT_BEFORE)
        else:
            relay.to_target.rule(kind, way)
        await source.command("migrate", uri=relay.uri)
        report = await stayed(source, "failed")
        if way is Way.DAMAGE:
            does_not = "refuses this VM" if kind is Hello else "could not load the VM"
            what = "all pages" if kind is LivePages else "frame"
            expected = f"The target {does_not}: Corrupted migration stream: expected {what}"
            assert report["error-desc"].startswith(expected)
        else:
            assert report["error-desc"].startswith("The target is gone")
        if kind is End and way is Way.CUT_AFTER:
            await target_in_doubt(target)
            await target.command("x-replug-resolve", keep="source")
        await failed_at_target(target)
    await migrates_again(lab, source)


@pytest.mark.parametrize("way", [Way.CUT_AFTER, Way.TRUNCATE, Way.DAMAGE])
@pytest.mark.parametrize("kind", [RamPages, LivePages])
@scenario
async def test_what_is_read_straight_into_memory_is_not_run_unless_it_is_whole(
    lab: Lab, way: Way, kind: type
) -> None:
    source, target = await lab.pair(target_options=["-mem-prealloc"])
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_target.rule(kind, way)
        await source.command("migrate", uri=relay.uri)
        report = await stayed(source, "failed")
        if way is Way.DAMAGE:
            expected = "The target could not load the VM: Corrupted migration stream: expected"
            assert report["error-desc"].startswith(expected)
        await failed_at_target(target)
    await migrates_again(lab, source)


@pytest.mark.parametrize("way", [Way.CUT_BEFORE, Way.TRUNCATE, Way.DAMAGE])
@scenario
async def test_commit_is_lost(lab: Lab, way: Way) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_target.rule(Commit, way)
        await source.command("migrate", uri=relay.uri)
        await source_in_doubt(source)
        await target_in_doubt(target)
    await target.command("x-replug-resolve", keep="source")
    assert await target.exit_status() == 1
    await kept_at_source(lab, source)


@scenario
async def test_commit_is_lost_and_the_target_keeps_the_vm(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_target.rule(Commit, Way.CUT_BEFORE)
        await source.command("migrate", uri=relay.uri)
        await source_in_doubt(source)
        await target_in_doubt(target)
    await source.command("x-replug-resolve", keep="target")
    await target.command("x-replug-resolve", keep="target")
    await moved(source, target)
    await migrates_again(lab, target)


@pytest.mark.parametrize("way", [Way.CUT_BEFORE, Way.TRUNCATE, Way.DAMAGE])
@scenario
async def test_running_is_lost(lab: Lab, way: Way) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Running, way)
        await source.command("migrate", uri=relay.uri)
        await source_in_doubt(source)
    await target.status("completed")
    await source.command("x-replug-resolve", keep="target")
    await moved(source, target)


@pytest.mark.parametrize("way", [Way.CUT_BEFORE, Way.TRUNCATE, Way.DAMAGE])
@scenario
async def test_accept_is_lost(lab: Lab, way: Way) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Accept, way)
        await source.command("migrate", uri=relay.uri)
        await stayed(source, "failed")
        assert not any(line.startswith("UNPLUG") for line in source.events)
    await failed_at_target(target)
    await migrates_again(lab, source)


@scenario
async def test_link_cut_after_running_harms_nobody(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Running, Way.CUT_AFTER)
        await source.command("migrate", uri=relay.uri)
        await moved(source, target)


# -- the link is silent


@scenario
async def test_silence_in_active(lab: Lab) -> None:
    source, target = await lab.pair()
    for vm in (source, target):
        await vm.parameters(x_heartbeat_ms=400)
    await source.parameters(**SLOW)
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        await source.command("migrate", uri=relay.uri)
        await source.status("active")
        relay.stall()
        report = await stayed(source, "failed")
        assert report["error-desc"] == "Nothing was heard from the target for 400 ms"
        await failed_at_target(target)
    await source.parameters(max_bandwidth=0)
    await migrates_again(lab, source)


@pytest.mark.parametrize("kind", [Loaded, Running])
@scenario
async def test_silence_around_the_hand_over(lab: Lab, kind: type) -> None:
    source, target = await lab.pair()
    for vm in (source, target):
        await vm.parameters(x_heartbeat_ms=400)
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(kind, Way.WITHHOLD)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(kind)
        relay.stall()
        if kind is Loaded:
            await stayed(source, "failed")
            await target_in_doubt(target)
            await target.command("x-replug-resolve", keep="source")
            assert await target.exit_status() == 1
        else:
            await source_in_doubt(source)
            assert await target.run_state() == "running"
            await source.command("x-replug-resolve", keep="target")
            await moved(source, target)


@scenario
async def test_a_pause_longer_than_the_heartbeat_is_no_silence(lab: Lab) -> None:
    source, target = await lab.pair()
    for vm in (source, target):
        await vm.parameters(x_heartbeat_ms=200)
    await source.capability("pause-before-switchover")
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        await source.command("migrate", uri=relay.uri)
        await source.status("pre-switchover")
        # At 50 ms each, both ways: more than the limit.
        beats = relay.passed.count(Heartbeat)
        await relay.until(lambda: relay.passed.count(Heartbeat) >= beats + 12)
        await source.command("migrate-continue", state="pre-switchover")
        await moved(source, target)


@scenario
async def test_processes_that_were_stopped_do_not_take_each_other_for_lost(lab: Lab) -> None:
    source, target = await lab.pair()
    for vm in (source, target):
        await vm.parameters(x_heartbeat_ms=200)
    await source.capability("pause-before-switchover")
    await source.command("migrate", uri=lab.uri())
    await source.status("pre-switchover")
    for vm in (source, target):
        vm.process.send_signal(signal.SIGSTOP)
    with suppress(TimeoutError):
        await asyncio.wait_for(source.exit_status(), 0.5)
    for vm in (source, target):
        vm.process.send_signal(signal.SIGCONT)
    await source.command("migrate-continue", state="pre-switchover")
    await moved(source, target)


@scenario
async def test_a_limit_below_the_interval_takes_nobody_for_lost(lab: Lab) -> None:
    source, target = await lab.pair()
    for vm in (source, target):
        await vm.parameters(x_heartbeat_ms=1)
    await source.capability("pause-before-switchover")
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        await source.command("migrate", uri=relay.uri)
        await source.status("pre-switchover")
        await relay.until(lambda: relay.passed.count(Heartbeat) >= 8)
        await source.command("migrate-continue", state="pre-switchover")
        await moved(source, target)

"""A peer, the link or one channel is lost, whichever way RAM goes: by each that is allowed.

What may live here: the losses that the way of RAM makes a difference to. A few ways are gone in
the fast tests, the others in the slow ones. Rules: what is in doubt is resolved, and whoever keeps
the VM has it whole, and can migrate it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from engine.driver.simulation.ways import Way, every_way
from engine.messages import Commit, Loaded
from tests.integration.host_relay import HostRelay
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import (
    failed_at_target,
    kept_at_source,
    migrates_again,
    source_in_doubt,
    stayed,
    target_in_doubt,
)
from tests.integration.vms import Vm

SLOWLY = {"max_bandwidth": 300_000}
SHARED = Way("unix", 0, "none", adaptive=False, shared=True)
CHANNELLED = Way("unix", 2, "zstd", adaptive=True, shared=False)
ADAPTIVE = Way("unix", 0, "none", adaptive=True, shared=False)


def ways(
    fast: Iterable[Way], which: Callable[[Way], bool] = lambda _: True
) -> pytest.MarkDecorator:
    """Go every allowed way through a unix socket, by default only those that are `fast`."""
    found = [way for way in every_way() if way.allowed and way.transport == "unix" and which(way)]
    assert set(fast) <= set(found)
    marks = {way: () if way in fast else (pytest.mark.slow,) for way in found}
    each = [pytest.param(way, id=str(way), marks=marks[way]) for way in found]
    return pytest.mark.parametrize("way", each)


async def pair(lab: Lab, way: Way, **parameters: Any) -> tuple[Vm, Vm]:
    """Start a source and a target, set up for a way."""
    source, target = await lab.pair()
    for name in way.capabilities:
        await source.capability(name)
    if way.channels:
        await source.parameters(multifd_channels=way.channels)
    await source.parameters(multifd_compression=way.compression, **parameters)
    return source, target


def relay_of(lab: Lab) -> HostRelay:
    return HostRelay(lab.path("relay"), lab.path("migration"))


@ways(fast=(SHARED, CHANNELLED))
@scenario
async def test_target_dies_before_commit(lab: Lab, way: Way) -> None:
    source, target = await pair(lab, way)
    async with relay_of(lab) as relay:
        relay.withhold(Loaded)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Loaded)
        target.kill()
        report = await stayed(source, "failed")
    assert report["error-desc"].startswith("The target is gone")
    await migrates_again(lab, source)


@ways(fast=(SHARED, CHANNELLED))
@scenario
async def test_source_dies_after_loaded(lab: Lab, way: Way) -> None:
    source, target = await pair(lab, way)
    async with relay_of(lab) as relay:
        relay.withhold(Loaded)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Loaded)
        source.kill()
        await source.exit_status()
        await target_in_doubt(target)
    await target.command("x-replug-resolve", keep="target")
    await target.status("completed")
    assert await target.run_state() == "running"
    assert (await target.guest("verify"))["count"] == 0
    await target.on_primaries()
    await migrates_again(lab, target)


@ways(fast=(SHARED,))
@scenario
async def test_target_dies_before_it_hears_commit(lab: Lab, way: Way) -> None:
    """The source has parted with its memory, and gets it back as it was."""
    source, target = await pair(lab, way)
    async with relay_of(lab) as relay:
        relay.withhold(Commit)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Commit)
        target.kill()
        await source_in_doubt(source)
    await kept_at_source(lab, source)


@pytest.mark.parametrize("keep", ["source", "target"])
@ways(fast=(SHARED,))
@scenario
async def test_commit_is_lost(lab: Lab, way: Way, keep: str) -> None:
    source, target = await pair(lab, way)
    async with relay_of(lab) as relay:
        relay.withhold(Commit)
        await source.command("migrate", uri=relay.uri)
        await relay.until_reached(Commit)
        relay.cut()
        await source_in_doubt(source)
        await target_in_doubt(target)
    await target.command("x-replug-resolve", keep=keep)
    if keep == "source":
        assert await target.exit_status() == 1
        await kept_at_source(lab, source)
        return
    await source.command("x-replug-resolve", keep=keep)
    await target.status("completed")
    await target.on_primaries()
    assert (await target.guest("verify"))["count"] == 0
    await migrates_again(lab, target)


@pytest.mark.parametrize("who", ["source", "target"])
@ways(fast=(CHANNELLED,), which=lambda way: not way.shared)
@scenario
async def test_one_dies_in_active(lab: Lab, way: Way, who: str) -> None:
    source, target = await pair(lab, way, **SLOWLY)
    await source.command("migrate", uri=lab.uri())
    await source.status("active")
    if who == "source":
        source.kill()
        await failed_at_target(target)
        return
    target.kill()
    report = await stayed(source, "failed")
    assert report["error-desc"]
    await source.parameters(max_bandwidth=0)
    await migrates_again(lab, source)


@ways(fast=(CHANNELLED,), which=lambda way: way.channels > 0)
@scenario
async def test_one_channel_is_lost_in_a_pass(lab: Lab, way: Way) -> None:
    """The others live, and the main one; both sides give up, and neither waits for a time."""
    source, target = await pair(lab, way, **SLOWLY)
    async with relay_of(lab) as relay:
        await source.command("migrate", uri=relay.uri)
        await source.status("active")
        # The source may be ahead of the relay: a connection that waits to be accepted is one.
        await relay.until_connected(1 + way.channels)
        relay.cut_link(way.channels)
        report = await stayed(source, "failed")
        assert report["error-desc"].startswith("The target is gone")
        await failed_at_target(target)
    await source.parameters(max_bandwidth=0)
    await migrates_again(lab, source)

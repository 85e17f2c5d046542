"""A guest that dirties its RAM faster than the link carries it: with auto-converge, and without."""

from __future__ import annotations

from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import moved, stayed
from tests.integration.vms import Vm

#: 2 MiB, rewritten 32 times a second.
GUEST = "fill=2M,working-set=2M,dirty=64M,link-delay=5ms,probe-delay=1ms"
#: Each pass is a period to be judged by, instead of each second.
PERIODS = ("-global", "replug.throttle_period_ms=1")
#: Two passes for a step of the throttle, and the one before there is anything to judge.
FIRST_STEP = 3


async def pair(lab: Lab) -> tuple[Vm, Vm]:
    source, target = await lab.pair(source_options=PERIODS, guest=GUEST)
    await source.capability("auto-converge")
    return source, target


@scenario
async def test_it_converges_once_the_guest_is_slow_enough(lab: Lab) -> None:
    source, target = await pair(lab)
    await source.capability("x-verify-ram")
    await source.parameters(**{"max-bandwidth": 16 << 20, "downtime-limit": 30})
    await source.command("migrate", uri=lab.uri())
    await source.event(f"MIGRATION_PASS {FIRST_STEP + 1}")
    # At 20 or 30 percent less it still writes three times what the link carries.
    assert (await source.query())["cpu-throttle-percentage"] >= 20
    report = await moved(source, target)
    assert "cpu-throttle-percentage" not in report
    assert report["x-replug"]["digest-equal"] is True


@scenario
async def test_it_does_not_without_and_no_throttle_is_left_after_a_cancel(lab: Lab) -> None:
    source, _ = await pair(lab)
    # A fifth of 64M is more than the link carries, so it cannot converge.
    await source.parameters(**{"cpu-throttle-initial": 80, "max-cpu-throttle": 80})
    await source.parameters(**{"max-bandwidth": 8 << 20, "downtime-limit": 30})
    await source.command("migrate", uri=lab.uri())
    await source.event(f"MIGRATION_PASS {FIRST_STEP + 1}")
    assert (await source.query())["cpu-throttle-percentage"] == 80
    assert await source.guest("throttle") == 80
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")
    assert await source.guest("throttle") == 0
    again = await lab.vm("again", incoming=lab.uri("again"), guest="")
    await again.reaches("link", "listening")
    source.forget()
    off = [{"capability": "auto-converge", "state": False}]
    await source.command("migrate-set-capabilities", capabilities=off)
    await source.parameters(**{"max-bandwidth": 24 << 20})
    await source.command("migrate", uri=lab.uri("again"))
    await source.event("MIGRATION_PASS 16")
    during = await source.query()
    assert during["status"] == "active"
    assert "cpu-throttle-percentage" not in during
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")

"""Many seeds: no property is broken, and together they go everywhere.

Rules kept here: the seeds are fixed. What has to be reached is listed by name, so that a plan that
has become too tame, or too wild to let anything complete, is noticed.
"""

from __future__ import annotations

from functools import cache

import pytest

from engine.driver.simulation.campaign import Totals, run_seeds
from engine.driver.simulation.plan import START, Action, Plan
from engine.driver.simulation.run import simulate
from engine.driver.simulation.safety import Violation
from statemachines.states import Incoming, Migration

SEEDS = {"native": range(200), "qemu-7.2": range(60)}


@cache
def ran(profile: str) -> tuple[Totals, tuple[tuple[int, Violation], ...]]:
    """Run the seeds of a profile once; return the totals, and what was broken."""
    totals, broken = Totals(), []
    for seed, outcome in run_seeds(SEEDS[profile], profile=profile, jobs=1):
        totals.add(outcome)
        if outcome.violation is not None:
            broken.append((seed, outcome.violation))
    return totals, tuple(broken)


@pytest.mark.parametrize("profile", SEEDS)
def test_no_property_is_broken(profile: str) -> None:
    totals, broken = ran(profile)
    assert broken == ()
    assert totals.seeds == len(SEEDS[profile])


@pytest.mark.parametrize("profile", SEEDS)
def test_the_seeds_are_about_migrations(profile: str) -> None:
    """Most begin one, a good part completes, and a good part does not."""
    totals, _ = ran(profile)
    assert totals.migrations > 0.8 * totals.seeds
    assert 0.3 * totals.migrations < totals.completed < 0.9 * totals.migrations


def test_every_status_and_every_doubt_is_reached() -> None:
    totals, _ = ran("native")
    expected = {f"source {status.value}" for status in Migration} - {"source none"}
    expected |= {f"target {status.value}" for status in Incoming} - {"target none"}
    expected |= {"source in-doubt", "target in-doubt"}
    assert set(totals.reached) == expected


def test_what_qemu_breaks_is_seen_and_told_apart() -> None:
    """The mirror of QEMU mirrors its defects; they are counted, and are no violations."""
    totals, _ = ran("qemu-7.2")
    assert "the migration is completed and nobody has the VM" in totals.defects
    assert not ran("native")[0].defects


def test_a_late_eject_deletes_under_qemu() -> None:
    """The cancel waits for the eject 30 s, then the late eject deletes what it asked for."""
    plan = Plan(
        seed=1,
        profile="qemu-7.2",
        guest="fill=64K,working-set=64K,eject=35s",
        actions=(
            Action("migrate", START, 50.0),
            Action("cancel", "source migration wait-unplug", 10.0),
            # Keeps the operator from looking, and helping, too early.
            Action("query", START, 36_000.0),
        ),
    )
    outcome = simulate(plan)
    assert outcome.violation is None
    assert "a primary that only the migration asked for is deleted" in outcome.defects

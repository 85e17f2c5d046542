"""engine.auto_converge: QEMU's rule, period by period."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.auto_converge import AutoConverge, Throttling
from engine.parameters import Parameters

PERIOD_MS = 1000.0
#: QEMU's defaults.
DEFAULTS = Throttling(20, 10, 99, 50, False)


class Migration:
    """A migration that synchronises once in each period."""

    def __init__(self, throttling: Throttling | None = DEFAULTS) -> None:
        self.throttling = throttling
        self.rule = AutoConverge(PERIOD_MS)
        self.now_ms = self.dirtied = self.sent = 0
        self.synchronise()

    def synchronise(self) -> int:
        return self.rule.synchronised(
            self.now_ms,
            dirtied_bytes=self.dirtied,
            sent_bytes=self.sent,
            throttling=self.throttling,
        )

    def period(self, dirtied: int, sent: int = 100, ms: int = 1001) -> int:
        self.now_ms, self.dirtied, self.sent = (
            self.now_ms + ms,
            self.dirtied + dirtied,
            self.sent + sent,
        )
        return self.synchronise()


def test_the_defaults_are_those_of_the_parameters() -> None:
    assert Parameters().throttling == DEFAULTS


def test_every_second_high_period_throttles_more_up_to_the_maximum() -> None:
    migration = Migration()
    steps = [migration.period(dirtied=1000) for _ in range(22)]
    assert steps[:7] == [0, 20, 20, 30, 30, 40, 40]
    assert steps[-5:] == [99, 99, 99, 99, 99]
    assert migration.rule.percent == 99


@pytest.mark.parametrize(("dirtied", "percent"), [(50, 0), (51, 20)])
def test_a_period_is_high_beyond_the_threshold(dirtied: int, percent: int) -> None:
    migration = Migration()
    migration.period(dirtied)
    assert migration.period(dirtied) == percent


def test_high_periods_need_not_follow_each_other_and_low_ones_take_nothing_back() -> None:
    migration = Migration()
    assert [migration.period(dirtied) for dirtied in (90, 0, 0, 90, 0, 0)] == [0, 0, 0, 20, 20, 20]


def test_what_comes_within_a_period_counts_when_it_is_over() -> None:
    migration = Migration()
    for _ in range(2):
        assert migration.period(dirtied=1000, sent=0, ms=500) == 0
        assert migration.period(dirtied=0, sent=1999, ms=500) == 0
        migration.period(dirtied=0, sent=0, ms=1)
    assert migration.rule.percent == 20, "a period is longer than a second, and whole"


def test_without_the_capability_nothing_is_high() -> None:
    migration = Migration(throttling=None)
    assert {migration.period(dirtied=1000) for _ in range(9)} == {0}
    migration.throttling = DEFAULTS
    assert [migration.period(dirtied=1000) for _ in range(2)] == [0, 20]


def test_the_parameters_are_those_of_the_moment() -> None:
    migration = Migration()
    steps = [migration.period(dirtied=1000) for _ in range(2)]
    migration.throttling = replace(DEFAULTS, increment_percent=50, percent_max=60)
    steps += [migration.period(dirtied=1000) for _ in range(2)]
    assert steps == [0, 20, 20, 60]


@pytest.mark.parametrize(("dirtied", "percent"), [(1000, 30), (53, 25), (51, 22)])
def test_a_slow_tail_stops_where_dirtying_would_meet_the_threshold(
    dirtied: int, percent: int
) -> None:
    """QEMU: of 80 left, 80 * 50 / dirtied would do; a step is what lies between, 10 at most."""
    migration = Migration(replace(DEFAULTS, is_tailslow=True))
    for _ in range(2):
        migration.period(dirtied=1000)
    migration.period(dirtied)
    assert migration.period(dirtied) == percent

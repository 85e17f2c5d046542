"""The bandwidth limit, on a clock that the test turns."""

from __future__ import annotations

import pytest

from engine.bandwidth import BURST_MS, TokenBucket


@pytest.mark.parametrize(
    ("rate", "write_bytes"),
    [
        (300_000, 4_096),
        (300_000, 1 << 20),
        (128 << 20, 64 << 10),
        (128 << 20, 1 << 20),
        (5 << 30, 1 << 20),
        (5 << 30, 64 << 20),
    ],
)
def test_over_some_seconds_it_is_kept_within_five_percent(rate: int, write_bytes: int) -> None:
    now_ms, written = 0.0, 0
    bucket = TokenBucket()
    while now_ms < 20_000 and written < 20 * rate:
        now_ms += bucket.wait_ms(rate, now_ms)
        bucket.spend(write_bytes)
        written += write_bytes
    now_ms += bucket.wait_ms(rate, now_ms)
    assert written / (now_ms / 1000) == pytest.approx(rate, rel=0.05)


def test_what_was_not_used_is_kept_for_a_moment_only() -> None:
    bucket = TokenBucket()
    for now_ms in (0.0, 60_000.0):
        assert bucket.wait_ms(1_000_000, now_ms) == 0
    bucket.spend(150_000)
    assert bucket.wait_ms(1_000_000, 60_000.0) == pytest.approx(150 - BURST_MS)


def test_nothing_is_saved_before_the_first_look() -> None:
    bucket = TokenBucket()
    assert bucket.wait_ms(1_000_000, 60_000.0) == 0
    bucket.spend(1_000)
    assert bucket.wait_ms(1_000_000, 60_000.0) == pytest.approx(1)


def test_what_held_up_one_write_is_made_up_for() -> None:
    rate, bucket, now_ms = 1_000_000, TokenBucket(), 0.0
    for write in range(100):
        now_ms += bucket.wait_ms(rate, now_ms)
        now_ms += BURST_MS if write == 50 else 5.0
        bucket.spend(10_000)
    now_ms += bucket.wait_ms(rate, now_ms)
    assert 100 * 10_000 * 1000 / now_ms == pytest.approx(rate, rel=0.01)


def test_without_a_limit_nothing_waits_and_nothing_is_owed_later() -> None:
    bucket = TokenBucket()
    bucket.spend(1 << 40)
    assert bucket.wait_ms(0, 1.0) == 0
    assert bucket.wait_ms(1000, 1.0) == 0


def test_a_higher_rate_shortens_the_wait_that_is_left() -> None:
    bucket = TokenBucket()
    bucket.spend(1_000_000)
    assert bucket.wait_ms(1_000_000, 0.0) == pytest.approx(1000)
    assert bucket.wait_ms(10_000_000, 500.0) == 0

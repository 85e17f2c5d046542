"""What goes next, and when what is left fits the downtime limit."""

from __future__ import annotations

import pytest

from devices.page_runs import Runs, indexes_of, page_count
from devices.ram import PAGE_BYTES, BitmapRam
from engine.messages import PassEnd
from engine.precopy import (
    PORTION_PAGES_MAX,
    PORTION_PAGES_MIN,
    PORTION_PAGES_SHARED_MIN,
    Precopy,
)
from engine.ram_sending import Sent
from engine.statistics import RamStatistics

PAGES = 4096


#: Bytes per second.
SPEED = 1_000_000_000


def begun(
    downtime_limit_ms: float = 300.0, *, shortens_downtime: bool = False, is_measured: bool = True
) -> tuple[Precopy, BitmapRam, RamStatistics]:
    """A migration in its first pass; it goes at SPEED, if anything is known of that."""
    ram, statistics = BitmapRam(bytearray(PAGES * PAGE_BYTES)), RamStatistics()
    precopy = Precopy(
        ram,
        statistics,
        downtime_limit_ms=downtime_limit_ms,
        shortens_downtime=shortens_downtime,
    )
    if is_measured:
        precopy.measured(Sent(SPEED, normal_pages=SPEED // PAGE_BYTES), 1000.0)
    assert precopy.setup() == 1
    precopy.collect(0.0)
    return precopy, ram, statistics


def drained(precopy: Precopy) -> int:
    pages = 0
    while len(portion := precopy.portion(0)):
        pages += page_count(portion)
    return pages


def test_the_first_pass_is_all_of_ram_and_the_next_what_was_written() -> None:
    precopy, ram, statistics = begun()
    assert drained(precopy) == PAGES
    ram.write(7 * PAGE_BYTES, b"x")
    assert precopy.synchronise(500.0) == 2
    assert precopy.passed() == PassEnd(1, 1)
    assert precopy.portion(0).tolist() == [[7, 8]]
    assert statistics.dirty_pages_rate == 2
    assert (precopy.synchronise(600.0), precopy.last_passed()) == (3, PassEnd(3, 0))


def test_what_was_not_handed_out_stays_for_the_next_pass() -> None:
    precopy, ram, _ = begun()
    first = page_count(precopy.portion(0))
    ram.write((PAGES - 1) * PAGE_BYTES, b"x")
    ram.write(0, b"x")
    precopy.synchronise(1.0)
    assert precopy.queued_pages == PAGES - first + 1


def test_what_is_written_again_before_its_turn_comes_waits_for_the_next_pass() -> None:
    precopy, ram, statistics = begun()
    assert precopy.portion(0).tolist() == [[PAGES - 256, PAGES]], "from the top"
    ram.write(100 * PAGE_BYTES, b"x" * 2 * PAGE_BYTES)
    ram.write((PAGES - 1) * PAGE_BYTES, b"x")
    assert statistics.remaining_pages == PAGES - 256
    assert drained(precopy) == PAGES - 256 - 2
    assert statistics.remaining_pages == 2, "left out, but known to be dirty"
    precopy.synchronise(1.0)
    assert statistics.remaining_pages == 3
    assert precopy.portion(0).tolist() == [[100, 102], [PAGES - 1, PAGES]]


def test_what_is_all_dirty_again_is_passed_over_in_a_few_looks() -> None:
    precopy, ram, statistics = begun()
    looks = []

    def looked(runs: Runs) -> Runs:
        looks.append(page_count(runs))
        return BitmapRam.dirty_among(ram, runs)

    ram.dirty_among = looked  # type: ignore[method-assign]
    limit = PORTION_PAGES_MIN * PAGE_BYTES * 40  # a portion is 25 ms
    clean = {3, 4, 700, *range(1000, 1030)}
    for page in set(range(PAGES)) - clean:
        ram.write(page * PAGE_BYTES, b"x")
    handed_out: list[int] = []
    while len(portion := precopy.portion(limit)):
        assert page_count(portion) <= PORTION_PAGES_MIN
        handed_out += indexes_of(portion).tolist()
    assert sorted(handed_out) == sorted(clean)
    assert len(looks) < 40
    assert statistics.remaining_pages == PAGES - len(clean)
    precopy.synchronise(1.0)
    assert precopy.queued_pages == PAGES - len(clean)


def test_the_last_pass_leaves_nothing_out() -> None:
    precopy, ram, _ = begun()
    drained(precopy)
    ram.write(7 * PAGE_BYTES, b"x")
    precopy.synchronise(1.0)
    ram.write(7 * PAGE_BYTES, b"y")
    assert precopy.portion(0, is_last=True).tolist() == [[7, 8]]


def test_no_channel_is_left_alone_with_the_rest() -> None:
    precopy, _, _ = begun()
    for _ in range(20):
        precopy.sent(Sent(), took_ms=1.0)
    sizes = []
    while pages := page_count(precopy.portion(0, channels=2)):
        sizes.append(pages)
    assert sizes == [PAGES // 2, PORTION_PAGES_SHARED_MIN, PORTION_PAGES_SHARED_MIN]


def test_bytes_of_the_downtime_are_told_apart() -> None:
    precopy, _, statistics = begun()
    precopy.sent(Sent(1000), took_ms=1.0)
    precopy.sent(Sent(200), took_ms=1.0, guest_runs=False)
    told = statistics.as_qmp()
    assert [told[f"{name}-bytes"] for name in ("precopy", "downtime")] == [1000, 200]


def test_portions_become_what_takes_their_time() -> None:
    precopy, _, _ = begun()
    for _ in range(20):
        precopy.sent(Sent(), took_ms=1.0)
    assert page_count(precopy.portion(0)) == min(PORTION_PAGES_MAX, PAGES)
    precopy.synchronise(1.0)
    for _ in range(20):
        precopy.sent(Sent(), took_ms=1000.0)
    precopy, _, _ = begun()
    for _ in range(20):
        precopy.sent(Sent(), took_ms=1000.0)
    assert page_count(precopy.portion(0)) == PORTION_PAGES_MIN


def test_under_a_limit_portions_are_small() -> None:
    precopy, _, _ = begun()
    assert page_count(precopy.portion(1_000_000)) == PORTION_PAGES_MIN
    assert page_count(precopy.portion(40_000_000)) == 244


def test_it_has_converged_when_the_rest_fits_the_downtime_limit() -> None:
    precopy, ram, statistics = begun(downtime_limit_ms=10.0)
    drained(precopy)
    for _ in range(30):
        precopy.measured(Sent(50_000_000, normal_pages=50_000_000 // PAGE_BYTES), 1000.0)
    for page in range(120):
        ram.write(page * PAGE_BYTES, b"x")
    precopy.synchronise(1.0)
    assert statistics.expected_downtime_ms == pytest.approx(9.83, rel=0.01)
    assert precopy.converged()
    precopy.downtime_limit_ms = 9.0
    assert not precopy.converged()


def converges(precopy: Precopy, ram: BitmapRam, *, dirty: int, now_ms: float) -> bool:
    """Send all, have so many pages written, synchronise, and return whether that is the end."""
    drained(precopy)
    ram.write(0, b"x" * dirty * PAGE_BYTES)
    precopy.synchronise(now_ms)
    return precopy.converged()


def test_one_more_pass_is_made_where_it_halves_the_downtime_and_only_once() -> None:
    precopy, ram, _ = begun(10.0, shortens_downtime=True)
    assert not converges(precopy, ram, dirty=2000, now_ms=100.0)  # 8 of 10 ms, 80 MB/s
    assert converges(precopy, ram, dirty=500, now_ms=108.0)
    assert converges(precopy, ram, dirty=2000, now_ms=208.0)


@pytest.mark.parametrize(
    ("dirty", "now_ms"),
    [
        pytest.param(240, 100.0, id="less than a tenth of the limit"),
        pytest.param(2000, 15.0, id="as much would be dirty again"),
    ],
)
def test_no_pass_is_made_that_would_not_pay(dirty: int, now_ms: float) -> None:
    precopy, ram, _ = begun(10.0, shortens_downtime=True)
    assert converges(precopy, ram, dirty=dirty, now_ms=now_ms)


def test_what_is_over_the_limit_does_not_use_the_pass_up() -> None:
    precopy, ram, _ = begun(10.0, shortens_downtime=True)
    assert not converges(precopy, ram, dirty=3000, now_ms=100.0)
    assert not converges(precopy, ram, dirty=2000, now_ms=200.0)
    assert converges(precopy, ram, dirty=2000, now_ms=300.0)


def test_what_is_compressed_gets_over_sooner_than_the_bandwidth_says() -> None:
    precopy, _, statistics = begun()
    for _ in range(30):
        precopy.measured(Sent(10_000_000, normal_pages=50_000_000 // PAGE_BYTES), 1000.0)
    assert statistics.bandwidth_bytes_per_second == pytest.approx(10_000_000, rel=0.01)
    precopy.converged()
    rest_bytes = PAGES * PAGE_BYTES
    assert statistics.expected_downtime_ms == pytest.approx(rest_bytes / 50_000, rel=0.01)


def test_zeros_say_nothing_about_the_bandwidth() -> None:
    precopy, _, statistics = begun()
    precopy.measured(Sent(100, zero_pages=1 << 20), 1000.0)
    assert statistics.bandwidth_bytes_per_second == SPEED


def test_the_first_measurement_is_what_is_known() -> None:
    precopy, _, statistics = begun(is_measured=False)
    assert statistics.bandwidth_bytes_per_second == 0
    assert statistics.expected_downtime_ms == 300
    precopy.measured(Sent(10_000_000, normal_pages=10_000_000 // PAGE_BYTES), 1000.0)
    assert statistics.bandwidth_bytes_per_second == 10_000_000
    precopy.converged()
    assert statistics.expected_downtime_ms == pytest.approx(PAGES * PAGE_BYTES / 10_000, rel=0.01)


def test_while_no_speed_is_known_only_a_little_is_left_for_the_downtime() -> None:
    precopy, ram, _ = begun(is_measured=False)
    assert not converges(precopy, ram, dirty=65, now_ms=100.0)
    little, ram, _ = begun(is_measured=False)
    assert converges(little, ram, dirty=64, now_ms=100.0)


def test_a_guest_that_writes_zeros_over_zeros_is_not_waited_for() -> None:
    precopy, ram, _ = begun(is_measured=False)
    assert not converges(precopy, ram, dirty=PAGES, now_ms=100.0)
    precopy.measured(Sent(100, zero_pages=PAGES), 1.0)
    assert converges(precopy, ram, dirty=PAGES, now_ms=200.0)

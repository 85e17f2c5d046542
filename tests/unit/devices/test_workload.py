"""devices.workload: how much it writes, where, and that a damaged page is found."""

from __future__ import annotations

import pytest

from devices.guest_memory import RAM_BYTES_MIN, WORKLOAD_FIRST_PAGE, GuestMemory, GuestMemoryError
from devices.guest_options import GuestOptions, parse_guest_options
from devices.page_runs import indexes_of
from devices.ram import PAGE_BYTES, BitmapRam
from devices.workload import PAGES_PER_CALL_MAX, Workload, workload_sizes


def workload(text: str, ram_bytes: int = RAM_BYTES_MIN) -> tuple[Workload, GuestMemory]:
    memory, options = GuestMemory(BitmapRam(bytearray(ram_bytes))), parse_guest_options(text)
    working, fill = workload_sizes(memory, options)
    memory.boot(seed=options.seed, working_pages=working, fill_pages=fill, options=text)
    made = Workload(memory, options)
    made.fill()
    return made, memory


def page(memory: GuestMemory, place: int) -> bytes:
    return memory.ram.read((WORKLOAD_FIRST_PAGE + place) * PAGE_BYTES, PAGE_BYTES)


@pytest.mark.parametrize(
    ("text", "ram_bytes", "expected"),
    [
        ("", 1 << 20, (127, 127)),
        ("", 4 << 20, (512, 512)),
        ("working-set=64K", 1 << 20, (16, 16)),
        ("working-set=64K,fill=128K", 1 << 20, (16, 32)),
        ("working-set=4097,fill=0", 1 << 20, (1, 0)),
    ],
)
def test_sizes_in_pages(text: str, ram_bytes: int, expected: tuple[int, int]) -> None:
    memory = GuestMemory(BitmapRam(bytearray(ram_bytes)))
    assert workload_sizes(memory, parse_guest_options(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("working-set=1M", "working-set expects 4096 to 520192 bytes in RAM of 1048576, got"),
        ("working-set=4095", "working-set expects 4096"),
        ("fill=1M", "fill expects 0 to 520192"),
    ],
)
def test_sizes_that_do_not_fit(text: str, message: str) -> None:
    memory = GuestMemory(BitmapRam(bytearray(1 << 20)))
    with pytest.raises(GuestMemoryError, match=message):
        workload_sizes(memory, parse_guest_options(text))


def test_the_fill_is_all_there_and_nothing_more() -> None:
    made, memory = workload("working-set=32K,fill=16K")
    assert all(any(page(memory, place)) for place in range(4))
    assert not any(any(page(memory, place)) for place in range(4, 127))
    assert made.verify() == []


def test_the_rate_is_kept_over_many_small_steps() -> None:
    made, memory = workload("dirty=1M,working-set=128K")
    memory.ram.start_tracking()
    written = [made.advance(3.0) for _ in range(1000)]
    assert abs(sum(written) - 3 * (1 << 20) // PAGE_BYTES) <= 1
    assert max(written) == 1, "1 MiB/s is 0.768 pages in 3 ms"
    assert made.verify() == []


def test_it_walks_the_working_set_in_order_and_comes_round() -> None:
    made, memory = workload("dirty=40960,working-set=12K,fill=4K")
    places = []
    for _ in range(7):
        memory.ram.start_tracking()
        made.advance(50.0)
        made.advance(50.0)
        dirty = [index for index in indexes_of(memory.ram.take_dirty()).tolist() if index]
        places += [index - WORKLOAD_FIRST_PAGE for index in dirty]
        assert made.verify() == []
    assert places == [0, 1, 2, 0, 1, 2, 0]
    assert (memory.cursor, memory.generation) == (1, 4)


def test_a_call_that_comes_late_catches_up_a_little_only() -> None:
    made, _ = workload("dirty=4M,working-set=256K")
    assert made.advance(60_000.0) == 4 * 256 * 50 // 1000
    assert made.advance(-5.0) == 0


def test_a_call_does_not_last_however_high_the_rate() -> None:
    made, _ = workload("dirty=100G,working-set=64K,fill=0")
    assert made.advance(50.0) == PAGES_PER_CALL_MAX
    assert made.verify() == []


@pytest.mark.parametrize(("percent", "expected"), [(0, 250), (20, 200), (99, 2)])
def test_a_throttle_slows_it_down(percent: int, expected: int) -> None:
    made, _ = workload("dirty=1000K,working-set=64K")
    made.throttle(percent)
    assert sum(made.advance(10.0) for _ in range(100)) == pytest.approx(expected, abs=1)


def test_a_throttle_slows_a_guest_down_that_does_all_it_can() -> None:
    made, _ = workload("dirty=100G,working-set=64K")
    made.throttle(75)
    assert made.throttle_percent == 75
    assert made.advance(50.0) == PAGES_PER_CALL_MAX // 4


@pytest.mark.parametrize("percent", [-1, 100])
def test_it_cannot_be_throttled_to_a_standstill(percent: int) -> None:
    made, _ = workload("dirty=1M")
    with pytest.raises(ValueError, match="0 to 99 percent"):
        made.throttle(percent)


def test_without_a_rate_it_rests() -> None:
    made, memory = workload("working-set=64K")
    memory.ram.start_tracking()
    assert (made.is_busy, made.advance(50.0), memory.ram.dirty_count) == (False, 0, 0)


def test_another_rate_goes_on_at_the_same_place() -> None:
    made, memory = workload("dirty=400K,working-set=64K")
    made.advance(50.0)
    assert memory.cursor == 5
    made.use(GuestOptions(dirty_per_second_bytes=800 << 10))
    assert (made.advance(50.0), memory.cursor) == (10, 15)


# -- what verify finds


def test_a_stale_page_is_found_although_it_is_sound() -> None:
    made, memory = workload("dirty=4M,working-set=64K")
    old = page(memory, 3)
    while memory.generation < 4:
        made.advance(1.0)
    memory.ram.write_pages(WORKLOAD_FIRST_PAGE + 3, old)
    assert made.verify() == [WORKLOAD_FIRST_PAGE + 3]


def test_a_page_in_the_wrong_place_is_found() -> None:
    made, memory = workload("working-set=64K")
    memory.ram.write_pages(WORKLOAD_FIRST_PAGE + 5, page(memory, 6))
    assert made.verify() == [WORKLOAD_FIRST_PAGE + 5]


def test_a_page_that_was_lost_is_found_and_so_is_one_too_many() -> None:
    made, memory = workload("working-set=64K,fill=32K")
    memory.ram.write_pages(WORKLOAD_FIRST_PAGE + 2, bytes(PAGE_BYTES))
    memory.ram.write((WORKLOAD_FIRST_PAGE + 9) * PAGE_BYTES + 17, b"\x01")
    assert made.verify() == [WORKLOAD_FIRST_PAGE + 2, WORKLOAD_FIRST_PAGE + 9]


def test_a_control_page_that_cannot_be_believed_is_the_bad_page() -> None:
    made, memory = workload("working-set=64K")
    memory.cursor = 999
    assert made.verify() == [0]


def test_nothing_to_verify_before_boot() -> None:
    memory = GuestMemory(BitmapRam(bytearray(RAM_BYTES_MIN)))
    assert Workload(memory, GuestOptions()).verify() == []

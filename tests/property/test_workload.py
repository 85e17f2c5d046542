"""The law of the workload: its RAM, and nothing else, says what every page must hold.

Whatever the steps, sizes and rates, a second workload over a copy of the RAM finds it clean and
goes on where the first one stood; one changed bit in any page of the workload is found.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devices.guest_memory import RAM_BYTES_MIN, WORKLOAD_FIRST_PAGE, GuestMemory
from devices.guest_options import GuestOptions
from devices.ram import PAGE_BYTES, BitmapRam
from devices.workload import CATCH_UP_MS, Workload, workload_sizes

PAGES_MAX = 20


@st.composite
def worked(draw: st.DrawFn) -> tuple[GuestMemory, GuestOptions]:
    """A memory in which a workload has run for a few steps of any length."""
    options = GuestOptions(
        dirty_per_second_bytes=draw(st.integers(0, 8 << 20)),
        working_set_bytes=draw(st.integers(1, PAGES_MAX)) * PAGE_BYTES,
        fill_bytes=draw(st.integers(0, PAGES_MAX)) * PAGE_BYTES,
        seed=draw(st.integers(0, (1 << 64) - 1)),
    )
    memory = GuestMemory(BitmapRam(bytearray(RAM_BYTES_MIN)))
    working, fill = workload_sizes(memory, options)
    memory.boot(seed=options.seed, working_pages=working, fill_pages=fill, options="")
    workload = Workload(memory, options)
    workload.fill()
    for elapsed_ms in draw(st.lists(st.floats(0, 100), max_size=5)):
        workload.advance(elapsed_ms)
    return memory, options


def copied(memory: GuestMemory) -> GuestMemory:
    return GuestMemory(BitmapRam(bytearray(memory.ram.read(0, memory.ram.size_bytes))))


@given(worked(), st.floats(0, 100))
def test_a_copy_is_clean_and_goes_on_alike(
    source: tuple[GuestMemory, GuestOptions], elapsed_ms: float
) -> None:
    memory, options = source
    other = copied(memory)
    one, two = Workload(memory, options), Workload(other, options)
    assert two.verify() == []
    assert one.advance(elapsed_ms) == two.advance(elapsed_ms)
    assert two.verify() == []
    assert memory.ram.read(0, RAM_BYTES_MIN) == other.ram.read(0, RAM_BYTES_MIN)


@given(worked(), st.integers(0, PAGE_BYTES * 8 - 1), st.data())
def test_one_changed_bit_is_found(
    source: tuple[GuestMemory, GuestOptions], bit: int, data: st.DataObject
) -> None:
    memory, options = source
    pages = max(memory.working_pages, memory.fill_pages)
    index = WORKLOAD_FIRST_PAGE + data.draw(st.integers(0, pages - 1))
    offset = index * PAGE_BYTES + bit // 8
    byte = memory.ram.read(offset, 1)[0]
    memory.ram.write(offset, bytes([byte ^ 1 << bit % 8]))
    assert Workload(memory, options).verify() == [index]


@given(st.integers(1, 1 << 30), st.lists(st.floats(0, CATCH_UP_MS), min_size=1, max_size=30))
def test_no_work_is_lost_or_invented_between_steps(rate: int, steps_ms: list[float]) -> None:
    """Steps within the bound add up to the rate, to the page."""
    options = GuestOptions(
        dirty_per_second_bytes=min(rate, 4 << 20), working_set_bytes=4 * PAGE_BYTES, fill_bytes=0
    )
    memory = GuestMemory(BitmapRam(bytearray(RAM_BYTES_MIN)))
    memory.boot(seed=1, working_pages=4, fill_pages=0, options="")
    workload = Workload(memory, options)
    written = sum(workload.advance(elapsed_ms) for elapsed_ms in steps_ms)
    exact = options.dirty_per_second_bytes * sum(steps_ms) / 1000 / PAGE_BYTES
    assert exact - 1.001 <= written <= exact + 0.001
    assert (memory.generation - 2) * 4 + memory.cursor == written

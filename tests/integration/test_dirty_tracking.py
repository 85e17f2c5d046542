"""Guest RAM in a real mapping: what was written is found, and nobody can write unseen."""

from __future__ import annotations

import gc
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from devices.page_runs import Runs, indexes_of, page_count
from devices.ram import PAGE_BYTES, BitmapRam
from engine.driver import dirty_kernel
from engine.driver.guest_ram import GuestRam
from engine.driver.memory import (
    GuestMemory,
    GuestMemoryError,
    MemoryLentError,
    MemoryTrackedError,
)
from engine.profile import DirtyTracking
from tests.integration.kernel_tracking import TRACKINGS, needs_the_kernel

#: Three of the areas that one page table serves, and one page.
PAGES = 3 * 512 + 1


def dirty_pages(ram: BitmapRam) -> list[int]:
    return [int(page) for page in indexes_of(ram.take_dirty())]


def runs(*rows: tuple[int, int]) -> Runs:
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def page(fill: int) -> bytes:
    return bytes([fill]) * PAGE_BYTES


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    made = GuestMemory(PAGES * PAGE_BYTES)
    yield made
    made.close()


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_only_what_was_touched_is_dirty_at_first(
    memory: GuestMemory, tracking: DirtyTracking
) -> None:
    ram = GuestRam(memory, tracking)
    assert ram.tracked_by == tracking
    ram.write_pages(600, page(1) * 2)
    ram.write(PAGES * PAGE_BYTES - 1, b"x")
    ram.start_tracking(all_dirty=True)
    ram.write(3, b"x")
    assert ram.dirty_count == 4
    assert ram.take_dirty().tolist() == [[0, 1], [600, 602], [PAGES - 1, PAGES]]
    assert ram.take_dirty().tolist() == []
    assert memory.allocated_bytes == 4 * PAGE_BYTES


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_each_way_to_write_is_seen_and_no_reading_is(
    memory: GuestMemory, tracking: DirtyTracking, tmp_path: Path
) -> None:
    ram = GuestRam(memory, tracking)
    ram.write_pages(0, page(1) * 20)
    ram.start_tracking()
    ram.read(0, 20 * PAGE_BYTES)
    bytes(ram.view()[: 20 * PAGE_BYTES])
    ram.split_zero(runs((0, 20), (700, 800)))
    assert ram.take_dirty().tolist() == []
    ram.write(2 * PAGE_BYTES, b"x")
    ram.write_pages(4, page(2))
    ram.place(runs((6, 7), (513, 514)), memoryview(page(3) * 2))
    ram.zero_runs(runs((8, 9), (600, 900)))
    path = tmp_path / "pages"
    path.write_bytes(page(4) * 2)
    with path.open("rb", buffering=0) as file:
        assert os.readv(file.fileno(), [ram.receive_view(10, 2)]) == 2 * PAGE_BYTES
    ram.place(runs((520, 522)), memoryview(page(5) * 2))
    expected = [[2, 3], [4, 5], [6, 7], [8, 9], [10, 12], [513, 514], [520, 522]]
    assert ram.dirty_count == 9
    assert ram.take_dirty().tolist() == expected
    assert ram.dirty_count == 0
    ram.write(0, b"x")
    ram.stop_tracking()
    assert (ram.dirty_count, ram.take_dirty().tolist()) == (0, [])


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_tracking_can_begin_again(memory: GuestMemory, tracking: DirtyTracking) -> None:
    ram = GuestRam(memory, tracking)
    ram.write_pages(0, page(1) * 4)
    ram.start_tracking(all_dirty=True)
    ram.take_dirty()
    ram.stop_tracking()
    ram.write(PAGE_BYTES, b"unseen")
    ram.start_tracking()
    ram.write(2 * PAGE_BYTES, b"x")
    assert dirty_pages(ram) == [2]
    ram.stop_tracking()
    ram.start_tracking(all_dirty=True)
    ram.write(2 * PAGE_BYTES, b"x")
    assert dirty_pages(ram) == [0, 1, 2, 3]
    assert dirty_pages(ram) == []


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_a_stream_reads_what_is_there_now_and_reading_counts_as_no_write(
    memory: GuestMemory, tracking: DirtyTracking
) -> None:
    ram = GuestRam(memory, tracking)
    lent = memory.lend()
    # Not through the mapping: nothing of it is used yet.
    os.pwrite(lent, page(1) * 100, 0)
    os.close(lent)
    memory.take_back()
    ram.start_tracking(all_dirty=True)
    ram.take_dirty()
    view = ram.stream_view()
    assert view.readonly
    assert view[: 100 * PAGE_BYTES] == page(1) * 100
    assert ram.take_dirty().tolist() == []
    ram.write(3 * PAGE_BYTES, page(2))
    assert view[3 * PAGE_BYTES : 5 * PAGE_BYTES] == page(2) + page(1)
    assert ram.take_dirty().tolist() == [[3, 4]]


@needs_the_kernel
def test_what_was_used_through_the_tracked_mapping_is_read_there(memory: GuestMemory) -> None:
    ram = GuestRam(memory, DirtyTracking.KERNEL)
    ram.write_pages(0, page(1) * 100)
    before = mappings()
    assert ram.stream_view()[0] == 1
    assert mappings() == before
    lent = memory.lend()
    os.pwrite(lent, page(1) * 100, 200 * PAGE_BYTES)
    os.close(lent)
    assert ram.stream_view()[200 * PAGE_BYTES] == 1
    assert mappings() == before + 1
    ram.stream_view()
    assert mappings() == before + 1


def mappings() -> int:
    """Count how often this process has mapped guest memory, but for what nobody sees any more."""
    gc.collect()
    return Path("/proc/self/maps").read_text().count("memfd:replug-ram")


def test_zeros_that_a_stream_brings_cost_nothing_where_nothing_was_written(
    memory: GuestMemory,
) -> None:
    ram = GuestRam(memory)
    ram.write_pages(3, page(1))
    ram.place(runs((5, 6)), memoryview(page(2)))
    ram.write_scattered(np.array([7, 9]), np.ones((2, PAGE_BYTES // 8), dtype=np.uint64))
    ram.receive_view(11, 1)[:] = page(3)
    ram.zero_runs(runs((0, PAGES)))
    assert not any(ram.view())
    # Put there behind its back: it is not looked at.
    with mmap.mmap(_descriptor_of(memory), PAGES * PAGE_BYTES) as elsewhere:
        elsewhere[20 * PAGE_BYTES] = 1
        ram.zero_runs(runs((0, PAGES)))
        assert elsewhere[20 * PAGE_BYTES] == 1
    # Once somebody else could write to it, all has to be looked at.
    os.close(memory.lend())
    ram.zero_runs(runs((0, PAGES)))
    assert not any(ram.view())


def _descriptor_of(memory: GuestMemory) -> int:
    return int(vars(memory)["_fd"])


@pytest.mark.parametrize("tracking", TRACKINGS)
@pytest.mark.parametrize("which", [runs((3, 9)), runs(*((n, n + 1) for n in range(0, 80, 2)))])
def test_preallocated_memory_is_all_there_and_takes_what_a_stream_brings(
    which: Runs, tracking: DirtyTracking
) -> None:
    memory = GuestMemory(PAGES * PAGE_BYTES, preallocated=True)
    ram = GuestRam(memory, tracking)
    assert memory.allocated_bytes == PAGES * PAGE_BYTES
    data = np.random.default_rng(1).bytes(page_count(which) * PAGE_BYTES)
    ram.place(which, memoryview(data))
    places = ram.landing(which)
    assert GuestRam(memory).landing(which) is not None or len(which) > 16
    if places is not None:
        assert b"".join(places) == data
        assert GuestRam(GuestMemory(PAGES * PAGE_BYTES)).landing(which) is None
    placed = np.frombuffer(ram.view(), dtype=np.uint8).reshape(PAGES, -1)
    assert placed[indexes_of(which)].tobytes() == data
    assert not np.delete(placed, indexes_of(which), axis=0).any()
    ram.start_tracking(all_dirty=True)
    assert ram.take_dirty().tolist() == [[0, PAGES]]
    memory.close()


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_what_was_never_touched_is_not_allocated_by_looking_or_clearing(
    memory: GuestMemory, tracking: DirtyTracking
) -> None:
    ram = GuestRam(memory, tracking)
    ram.write_pages(700, page(0) + page(1))
    everything = runs((0, PAGES))
    full, zero = ram.split_zero(everything)
    assert full.tolist() == [[701, 702]]
    assert zero.tolist() == [[0, 701], [702, PAGES]]
    ram.zero_runs(everything)
    ram.zero_pages(np.arange(PAGES))
    assert memory.allocated_bytes == 2 * PAGE_BYTES
    assert not any(ram.view()[700 * PAGE_BYTES : 702 * PAGE_BYTES])


@needs_the_kernel
def test_a_page_that_was_written_and_then_taken_out_of_the_page_tables_is_not_lost(
    memory: GuestMemory,
) -> None:
    """As when it is swapped out: its entry is empty, and the file has its contents."""
    ram = GuestRam(memory, DirtyTracking.KERNEL)
    ram.write_pages(0, page(1) * 8)
    ram.start_tracking(all_dirty=True)
    ram.take_dirty()
    ram.write(3 * PAGE_BYTES, b"x")
    ram.write(700 * PAGE_BYTES, b"x")
    memory._mapping.madvise(mmap.MADV_DONTNEED)
    assert dirty_pages(ram) == [3, 700]
    ram.read(0, PAGES * PAGE_BYTES)
    assert 3 not in dirty_pages(ram), "reading it back is no write"


# -- nobody writes unseen


@pytest.mark.parametrize("tracking", TRACKINGS)
def test_the_descriptor_is_not_to_be_had_while_writes_are_tracked(
    memory: GuestMemory, tracking: DirtyTracking
) -> None:
    ram = GuestRam(memory, tracking)
    ram.start_tracking(all_dirty=True)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(MemoryTrackedError, match="end the migration"):
        memory.lend()
    assert os.listdir("/proc/self/fd") == before
    ram.stop_tracking()
    os.close(memory.lend())
    with pytest.raises(MemoryLentError, match="take it back"):
        ram.start_tracking(all_dirty=True)
    assert dirty_pages(ram) == [], "what was refused has not begun"
    memory.take_back()
    ram.start_tracking(all_dirty=True)


def test_no_public_name_is_a_descriptor(memory: GuestMemory) -> None:
    open_ones = {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2}
    public = {name for name in dir(memory) if not name.startswith("_")}
    values = {name: getattr(memory, name) for name in public}
    numbers = {name: value for name, value in values.items() if isinstance(value, int)}
    assert not [name for name, value in numbers.items() if value in open_ones]
    assert not [name for name, value in values.items() if isinstance(value, mmap.mmap)]


def test_the_view_of_ram_cannot_be_written_to(memory: GuestMemory) -> None:
    ram = GuestRam(memory)
    for view in (ram.view(), ram.page_view(0, 1)):
        with pytest.raises(TypeError, match="read-only"):
            view[0] = 1
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            np.frombuffer(view, dtype=np.uint8).setflags(write=True)


def test_a_child_process_inherits_neither_mapping_nor_descriptor() -> None:
    memory = GuestMemory(PAGE_BYTES, name="inherited-by-nobody")
    ram = GuestRam(memory)
    ram.start_tracking(all_dirty=True)
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        if not os.path.lexists(path):
            continue
        if re.search("inherited-by-nobody|userfaultfd|pagemap", os.readlink(path)):
            assert not os.get_inheritable(int(name))
    (flags,) = re.findall(
        r"inherited-by-nobody(?s:.*?)VmFlags:(.*)", Path("/proc/self/smaps").read_text()
    )
    assert "dc" in flags.split(), "not copied by fork"
    memory.close()


# -- without the kernel


def test_a_kernel_that_cannot_is_replaced_unless_it_was_asked_for(
    memory: GuestMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(address: int, size_bytes: int) -> None:
        raise OSError(38, "userfaultfd: Function not implemented")

    monkeypatch.setattr(dirty_kernel, "WriteProtection", refuse)
    assert GuestRam(memory).tracked_by == "bitmap"
    with pytest.raises(GuestMemoryError, match="dirty_tracking=bitmap"):
        GuestRam(memory, DirtyTracking.KERNEL)


@needs_the_kernel
def test_a_record_that_cannot_be_had_leaves_nothing_open() -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Invalid argument"):
        dirty_kernel.KernelDirtyRecord(PAGE_BYTES // 2, PAGE_BYTES, lambda some: some)
    assert os.listdir("/proc/self/fd") == before

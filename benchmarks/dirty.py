"""What it costs to find what a guest wrote to 1 GiB of RAM: by the kernel, beside a bitmap.

The kernel walks page tables, the bitmap a byte for each page; both give the same runs of pages.
Writing costs too: with the kernel a fault for the first store to a page after each pass, with the
bitmap a mark. Last, zero pages: by the first word of each and then whole, beside the obvious way,
a comparison of the bytes of each page with those of a page of zeros.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from devices.page_runs import one_run, page_count
from devices.ram import PAGE_BYTES
from engine.driver.guest_ram import GuestRam
from engine.driver.memory import GuestMemory, GuestMemoryError
from engine.profile import DirtyTracking

SIZE_BYTES = 1 << 30
PAGES = SIZE_BYTES // PAGE_BYTES
ROUNDS = 5
#: One page in this many is written, in the pass with few.
_SPARSE = 128
_BLOCK_PAGES = 4096


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long something took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def filled(ram: GuestRam) -> None:
    """Write to every page, a block at a time."""
    block = np.full(_BLOCK_PAGES * PAGE_BYTES, 7, dtype=np.uint8)
    for first in range(0, PAGES, _BLOCK_PAGES):
        ram.write_pages(first, block)


def scattered(ram: GuestRam) -> None:
    """Write to one page in _SPARSE."""
    indexes = np.arange(0, PAGES, _SPARSE)
    ram.write_scattered(indexes, np.full((indexes.size, PAGE_BYTES // 8), 7, dtype=np.uint64))


def measured(tracking: DirtyTracking) -> dict[str, float]:
    """Return the median of each time, in milliseconds."""
    memory = GuestMemory(SIZE_BYTES)
    ram = GuestRam(memory, tracking)
    filled(ram)
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        took = {"start": seconds_of(lambda: ram.start_tracking(all_dirty=True))}
        took["prepare, in a thread"] = seconds_of(ram.prepare_tracking)
        took["first pass"] = seconds_of(ram.take_dirty)
        took["nothing dirty"] = seconds_of(ram.take_dirty)
        scattered(ram)
        took[f"1 page in {_SPARSE}"] = seconds_of(ram.take_dirty)
        took["guest writes all"] = seconds_of(lambda: filled(ram))
        assert page_count(one_run(0, PAGES)) == ram.dirty_count
        took["all dirty"] = seconds_of(ram.take_dirty)
        took["stop"] = seconds_of(ram.stop_tracking)
        rounds.append(took)
    memory.close()
    return {what: 1000 * statistics.median(each[what] for each in rounds) for what in rounds[0]}


def zero_pages() -> tuple[float, float]:
    """Return GiB a second in which zero pages are found: ours, and page by page."""
    contents = bytearray(SIZE_BYTES // 4)
    memory = GuestMemory(len(contents))
    ram = GuestRam(memory)
    ram.write(0, contents)
    every, nothing = one_run(0, ram.pages), bytes(PAGE_BYTES)
    view = ram.view()

    def plainly() -> None:
        for start in range(0, len(contents), PAGE_BYTES):
            _ = bytes(view[start : start + PAGE_BYTES]) == nothing

    ours = min(seconds_of(lambda: ram.split_zero(every)) for _ in range(ROUNDS))
    theirs = min(seconds_of(plainly) for _ in range(2))
    memory.close()
    return len(contents) / ours / 2**30, len(contents) / theirs / 2**30


def main() -> None:
    """Measure and print."""
    try:
        kernel = measured(DirtyTracking.KERNEL)
    except GuestMemoryError as error:
        print(error)
        kernel = {}
    bitmap = measured(DirtyTracking.BITMAP)
    print(f"{'1 GiB, milliseconds':24} {'kernel':>9} {'bitmap':>9}")
    for what, took in bitmap.items():
        print(f"{what:24} {kernel.get(what, float('nan')):9.3f} {took:9.3f}")
    ours, theirs = zero_pages()
    print(f"zero pages: {ours:.1f} GiB/s, page by page {theirs:.1f} GiB/s")


if __name__ == "__main__":
    main()

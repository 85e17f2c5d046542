"""What the guest's programs do to its memory: fill it, rewrite it, and know what it must hold.

What may live here: which pages are written, how fast, and what each of them must hold. Page
contents are made in pattern.py; where the workload keeps its place is in guest_memory.py.

The rules:

1. At boot the first `fill_pages` pages of the workload's region get generation FILL_GENERATION.
2. From then on the workload walks its working set, page after page and round after round. A page
   it writes gets the generation of the round; the cursor says how far the round has come. So, of
   the working set, pages before the cursor have this round's generation and the others the last
   round's; in the first round, pages that were never filled are zero.
3. Contents are made from the page's index in RAM. Seed, extents, cursor and generation are in
   RAM, so whoever holds the RAM, and nothing else, can go on and can verify every page.
4. Work that was missed is not made up for: one call does at most CATCH_UP_MS worth, and at most
   PAGES_PER_CALL_MAX pages, so that a call does not last.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from devices.guest_memory import (
    FILL_GENERATION,
    WORKLOAD_FIRST_PAGE,
    GuestMemory,
    GuestMemoryError,
)
from devices.guest_options import WORKING_SET_BYTES_DEFAULT, GuestOptions
from devices.pattern import generations, page_rows, verify_rows
from devices.ram import PAGE_BYTES, PAGE_WORDS

#: The most time one call makes up for.
CATCH_UP_MS = 50.0
#: The most pages one call writes: 16 MiB.
PAGES_PER_CALL_MAX = 4096
#: The most a workload can be slowed down, in percent (QEMU's CPU_THROTTLE_PCT_MAX).
THROTTLE_PERCENT_MAX = 99

#: Pages that are made, or compared, in one go.
_BLOCK_PAGES = 1024


def workload_sizes(memory: GuestMemory, options: GuestOptions) -> tuple[int, int]:
    """Return how many pages the working set and the filled part have in this RAM.

    GuestMemoryError when what the options ask for does not fit, or is no whole page to work on.
    """
    available = memory.workload_pages_max
    working, fill = options.working_set_bytes, options.fill_bytes
    if working is None:
        working = min(WORKING_SET_BYTES_DEFAULT, memory.ram.size_bytes // 2, available * PAGE_BYTES)
    if fill is None:
        fill = working
    for name, size_bytes, pages_min in (("working-set", working, 1), ("fill", fill, 0)):
        if not pages_min <= size_bytes // PAGE_BYTES <= available:
            raise GuestMemoryError(
                f"guest option {name} expects {pages_min * PAGE_BYTES} to "
                f"{available * PAGE_BYTES} bytes in RAM of {memory.ram.size_bytes}, got "
                f"{size_bytes}"
            )
    return working // PAGE_BYTES, fill // PAGE_BYTES


class Workload:
    """The writer of one guest's memory; everything it must remember is in that memory."""

    def __init__(self, memory: GuestMemory, options: GuestOptions) -> None:
        self._memory = memory
        self._rate_bytes = options.dirty_per_second_bytes
        self._owed_pages = 0.0
        self._throttle_percent = 0

    @property
    def is_busy(self) -> bool:
        """Whether it writes at all as time passes."""
        return self._rate_bytes > 0

    @property
    def throttle_percent(self) -> int:
        """By how much of its rate it is slowed down."""
        return self._throttle_percent

    def throttle(self, percent: int) -> None:
        """Slow the workload down by `percent` of its rate: 0 to THROTTLE_PERCENT_MAX."""
        if not 0 <= percent <= THROTTLE_PERCENT_MAX:
            raise ValueError(
                f"expected a throttle of 0 to {THROTTLE_PERCENT_MAX} percent, got {percent}"
            )
        self._throttle_percent = percent

    def use(self, options: GuestOptions) -> None:
        """Go on at the rate of `options`; throttle and place stay."""
        self._rate_bytes = options.dirty_per_second_bytes

    def fill(self) -> None:
        """Do what the guest does at boot: fill its first pages, and zero what it will work on."""
        memory = self._memory
        for first, rows_count in _blocks(0, memory.fill_pages):
            self._write(first, rows_count, FILL_GENERATION)
        for first, rows_count in _blocks(memory.fill_pages, memory.working_pages):
            memory.ram.zero_pages(_indexes(first, rows_count))

    def advance(self, elapsed_ms: float) -> int:
        """Let time pass and return how many pages were written.

        What is left of a page is carried to the next call. Time beyond CATCH_UP_MS, and work
        beyond PAGES_PER_CALL_MAX, is lost. Needs a booted guest.
        """
        share = (100 - self._throttle_percent) / 100
        worked_ms = min(max(elapsed_ms, 0.0), CATCH_UP_MS)
        wanted = self._rate_bytes * worked_ms / 1000 / PAGE_BYTES
        # A guest that does all it can is slowed down as well.
        self._owed_pages += min(wanted, PAGES_PER_CALL_MAX) * share
        pages = min(int(self._owed_pages), PAGES_PER_CALL_MAX)
        self._owed_pages -= pages
        self._rewrite(pages)
        return pages

    def _rewrite(self, pages: int) -> None:
        memory = self._memory
        working = memory.working_pages
        while pages:
            cursor, generation = memory.cursor, memory.generation
            count = min(pages, working - cursor, _BLOCK_PAGES)
            self._write(cursor, count, generation)
            if cursor + count == working:
                memory.cursor, memory.generation = 0, generation + 1
            else:
                memory.cursor = cursor + count
            pages -= count

    def _write(self, first: int, count: int, generation: int) -> None:
        rows = page_rows(self._memory.seed, _indexes(first, count), generation)
        self._memory.ram.write_pages(WORKLOAD_FIRST_PAGE + first, rows)

    def verify(self) -> list[int]:
        """Compare every page of the workload with what it must hold now; return the bad ones.

        Indexes are those of RAM, ascending. The guest must not be writing meanwhile. When the
        control page itself cannot be believed, that page, 0, is the one returned. RAM in which no
        guest has booted has nothing to compare.
        """
        memory = self._memory
        try:
            memory.check()
        except GuestMemoryError:
            return [0]
        if not memory.is_booted:
            return []
        ram: npt.NDArray[np.uint64] = np.frombuffer(memory.ram.view(), dtype=np.uint64)
        rows = ram.reshape(-1, PAGE_WORDS)
        bad: list[int] = []
        for first, count in _blocks(0, max(memory.working_pages, memory.fill_pages)):
            indexes = _indexes(first, count)
            found = rows[WORKLOAD_FIRST_PAGE + first : WORKLOAD_FIRST_PAGE + first + count]
            good = self._is_good(indexes, found)
            bad += indexes[~good].tolist()
        return bad

    def _is_good(
        self, indexes: npt.NDArray[np.int64], rows: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.bool_]:
        memory = self._memory
        places = indexes - WORKLOAD_FIRST_PAGE
        expected = np.full(len(places), FILL_GENERATION, dtype=np.uint64)
        working = places < memory.working_pages
        expected[working] = memory.generation - 1
        expected[places < memory.cursor] = memory.generation
        untouched = (places >= memory.fill_pages) & (expected == FILL_GENERATION)
        good: npt.NDArray[np.bool_] = generations(rows) == expected
        good &= verify_rows(memory.seed, indexes, rows)
        good[untouched] = ~rows[untouched].any(axis=1)
        return good


def _indexes(first: int, count: int) -> npt.NDArray[np.int64]:
    """Return the indexes in RAM of `count` pages of the workload's region."""
    start = WORKLOAD_FIRST_PAGE + first
    return np.arange(start, start + count, dtype=np.int64)


def _blocks(first: int, end: int) -> list[tuple[int, int]]:
    """Divide the pages from `first` up to `end` into blocks: first page and number of pages."""
    return [(start, min(_BLOCK_PAGES, end - start)) for start in range(first, end, _BLOCK_PAGES)]

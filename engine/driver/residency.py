"""Which pages of a mapped file hold data, without touching any of them.

What may live here: asking the kernel. A page that holds no data was never touched: it is zero, and
would be allocated by being read.

It is asked in the order of what an answer costs:

1. Pages that this process has used and that are in memory: by its page tables, a few nanoseconds
   a page at most. (Where the kernel cannot walk those, by mincore(2), which is slow for what is
   not there.) For what was written lately that says all.
2. For the others, the file: where its next data is (SEEK_DATA). One call passes over a hole of any
   size, so as a rule a few say all. But it takes long to find the end of much data, so a few pages
   are looked up by mincore(2) before.
3. Where data and holes alternate without end, how much data the file has (st_blocks): when the
   pages known so far are as many, there is no more of it. If not, because some is swapped out or
   was put there by another process, it takes a call for each stretch of data.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from devices.page_runs import (
    Runs,
    difference,
    intersection,
    one_run,
    page_count,
    runs_of_marks,
    union,
)
from devices.ram import PAGE_BYTES
from engine.driver.page_map import PageMap

#: Runs no further apart than this are asked about in one call.
_GAP_PAGES_MAX = 4096
#: Stretches of data that the file is asked for before it is asked how much it has.
_SEEKS_MAX = 64
#: Pages that are looked up one by one, at the most.
_LOOKED_UP_PAGES_MAX = 4096
#: How much of the data is most of it: from there on its own mapping is the cheaper one to read.
_MOST = 7 / 8
#: What st_blocks counts in.
_STAT_BLOCK_BYTES = 512

_MINCORE = ctypes.CDLL(None, use_errno=True).mincore
_MINCORE.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class Residency:
    """Where one file, mapped whole and shared, holds data."""

    def __init__(self, fd: int, address: int, size_bytes: int) -> None:
        """Ask about the file `fd` that is mapped at `address`."""
        self._fd = fd
        self._address = address
        self._all = one_run(0, size_bytes // PAGE_BYTES)
        try:
            self._page_map: PageMap | None = PageMap()
        except OSError:
            self._page_map = None

    def close(self) -> None:
        """Ask no more; the file is left alone."""
        if self._page_map is not None:
            self._page_map.close()

    @property
    def allocated_bytes(self) -> int:
        """How much data there is."""
        return os.fstat(self._fd).st_blocks * _STAT_BLOCK_BYTES

    def holding(self, runs: Runs) -> Runs:
        """Return those of the pages that hold data."""
        known = self._used(runs)
        unknown = difference(runs, known)
        if 0 < page_count(unknown) <= _LOOKED_UP_PAGES_MAX:
            known = union(known, self._asked(unknown, self._in_memory))
            unknown = difference(runs, known)
        if not len(unknown):
            return runs
        found, unknown = self._seek(unknown, _SEEKS_MAX)
        known = union(known, found)
        if len(unknown) and self._has_more_than(known):
            found, _ = self._seek(unknown, len(unknown) + page_count(unknown))
            known = union(known, found)
        return intersection(runs, known)

    def is_mostly_used(self) -> bool:
        """Say whether this process has used nearly all the data there is."""
        used = page_count(self._used(self._all)) * PAGE_BYTES
        return used >= _MOST * self.allocated_bytes

    def extents(self) -> list[tuple[int, int]]:
        """Return where it holds data: (start, end) in bytes, ascending; the rest is zero."""
        rows = (self.holding(self._all) * PAGE_BYTES).tolist()
        return [(start, end) for start, end in rows]

    def _used(self, runs: Runs) -> Runs:
        """Return those of the pages that this process has used and that are in memory."""
        has_page_map = self._page_map is not None
        return self._asked(runs, self._in_page_tables if has_page_map else self._in_memory)

    def _asked(self, runs: Runs, ask: Callable[[int, int], Runs]) -> Runs:
        found = [ask(int(some[0, 0]), int(some[-1, 1])) for some in _stretches(runs)]
        return intersection(runs, np.concatenate(found)) if found else runs

    def _in_page_tables(self, first: int, end: int) -> Runs:
        assert self._page_map is not None
        start, stop = self._address + first * PAGE_BYTES, self._address + end * PAGE_BYTES
        return (self._page_map.present(start, stop) - self._address) // PAGE_BYTES

    def _in_memory(self, first: int, end: int) -> Runs:
        answer: npt.NDArray[np.uint8] = np.empty(end - first, dtype=np.uint8)
        start, length = self._address + first * PAGE_BYTES, (end - first) * PAGE_BYTES
        if _MINCORE(start, length, answer.ctypes.data):
            raise OSError(ctypes.get_errno(), f"mincore: {os.strerror(ctypes.get_errno())}")
        return runs_of_marks((answer & 1).view(np.bool_)) + first

    def _has_more_than(self, known: Runs) -> bool:
        """Say whether there is data besides these pages and all that are in use."""
        accounted = page_count(union(known, self._used(self._all)))
        # Asked last: what comes in between must not stand for what is still to be found.
        return accounted < self.allocated_bytes // PAGE_BYTES

    def _seek(self, runs: Runs, seeks_max: int) -> tuple[Runs, Runs]:
        """Find data from the first of the pages on; return it, and the pages not reached."""
        found: list[tuple[int, int]] = []
        number, page = 0, int(runs[0, 0])
        while number < len(runs) and len(found) < seeks_max:
            data = _next_data(self._fd, page * PAGE_BYTES)
            if data is None:
                return _as_runs(found), one_run(0, 0)
            end = os.lseek(self._fd, data, os.SEEK_HOLE) // PAGE_BYTES
            found.append((data // PAGE_BYTES, end))
            number = int(np.searchsorted(runs[:, 1], end, side="right"))
            page = max(end, int(runs[number, 0])) if number < len(runs) else end
        return _as_runs(found), intersection(runs, one_run(page, int(self._all[-1, 1])))


def _as_runs(found: list[tuple[int, int]]) -> Runs:
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _stretches(runs: Runs) -> list[Runs]:
    """Group runs that lie close together."""
    is_far = runs[1:, 0] - runs[:-1, 1] > _GAP_PAGES_MAX
    return np.split(runs, np.flatnonzero(is_far) + 1) if len(runs) else []


def _next_data(fd: int, start: int) -> int | None:
    """Return where the next data begins, or None when there is none."""
    try:
        return os.lseek(fd, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise

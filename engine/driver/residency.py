"""Which pages of a mapped file hold data, without touching any of them.

What may live here: asking the kernel. A page that holds no data was never touched: it is zero, and
would be allocated by being read.

Two questions are put. mincore(2) is asked first: it answers for all pages at once, a millisecond
for a GiB, but takes a page that is swapped out for one that is not there. So for what it denies,
the file is asked where its next data is (SEEK_DATA): as a rule one call says that there is none.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from devices.page_runs import Marks, Runs, indexes_of, split, union
from devices.ram import PAGE_BYTES

#: Runs no further apart than this are asked about in one call.
_GAP_PAGES_MAX = 4096

_MINCORE = ctypes.CDLL(None, use_errno=True).mincore
_MINCORE.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def pages_with_data(fd: int, address: int, runs: Runs) -> Runs:
    """Return those pages of the runs that hold data in the file mapped whole at `address`."""
    if not len(runs):
        return runs
    there = np.concatenate([_resident(address, some) for some in _stretches(runs)])
    if there.all():
        return runs
    resident, denied = split(runs, there)
    swapped = np.array(list(_data_within(fd, denied)), dtype=np.int64)
    return union(resident, swapped) if swapped.size else resident


def data_extents(fd: int, size_bytes: int) -> list[tuple[int, int]]:
    """Return where the file holds data: (start, end) in bytes, ascending; the rest is zero."""
    found: list[tuple[int, int]] = []
    end = 0
    while end < size_bytes and (start := _next_data(fd, end)) is not None:
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size_bytes)
        found.append((start, end))
    return found


def _stretches(runs: Runs) -> list[Runs]:
    """Group runs that lie close together."""
    is_far = runs[1:, 0] - runs[:-1, 1] > _GAP_PAGES_MAX
    return np.split(runs, np.flatnonzero(is_far) + 1)


def _resident(address: int, runs: Runs) -> Marks:
    """Say for each page of the runs whether it is in memory, asking for their whole stretch."""
    first, end = int(runs[0, 0]), int(runs[-1, 1])
    answer: npt.NDArray[np.uint8] = np.empty(end - first, dtype=np.uint8)
    start, length = address + first * PAGE_BYTES, (end - first) * PAGE_BYTES
    if _MINCORE(start, length, answer.ctypes.data):
        raise OSError(ctypes.get_errno(), f"mincore: {os.strerror(ctypes.get_errno())}")
    marks: Marks = (answer & 1).view(np.bool_)
    return marks if len(runs) == 1 else marks[indexes_of(runs) - first]


def _data_within(fd: int, runs: Runs) -> Iterator[tuple[int, int]]:
    """Yield the parts of the runs, in pages, where the file holds data nevertheless."""
    number, begin = 0, 0
    while number < len(runs):
        first, end = int(runs[number, 0]), int(runs[number, 1])
        data = _next_data(fd, max(first, begin) * PAGE_BYTES)
        if data is None:
            return
        page = data // PAGE_BYTES
        if page >= end:
            number = int(np.searchsorted(runs[:, 1], page, side="right"))
            continue
        begin = min(-(-os.lseek(fd, data, os.SEEK_HOLE) // PAGE_BYTES), end)
        yield page, begin
        number += begin == end


def _next_data(fd: int, start: int) -> int | None:
    """Return where the next data begins, or None when there is none."""
    try:
        return os.lseek(fd, start, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise

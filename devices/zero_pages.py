"""Telling zero pages from others at the speed of memory.

What may live here: looking at pages, and nothing that changes them.

A page with contents nearly always shows it at its beginning, and is read no further than that; a
page of zeros has to be read whole. Pages next to each other are read where they are; lone ones are
brought together first, a cache's worth at a time, because starting numpy costs as much as copying a
few pages. numpy lets other threads run meanwhile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from devices.page_runs import Marks, Runs, indexes_of

#: From how many pages on a run is read where it is.
_RUN_PAGES_MIN = 8
#: Lone pages brought together in one go: 512 KiB, which stays in the cache.
_GATHERED_PAGES = 128


def filled_marks(rows: npt.NDArray[Any]) -> Marks:
    """Say for each of some pages next to each other whether it holds anything but zeros."""
    # Over bytes seen as truth values this stops at the first that is true.
    marks: Marks = np.logical_or.reduce(rows.view(np.bool_), axis=1)
    return marks


def nonzero_marks(rows: npt.NDArray[np.uint64], runs: Runs) -> Marks:
    """Say the same for each page of the runs, in order.

    `rows` are all pages, one row of words each. Every page of the runs is touched.
    """
    lengths = runs[:, 1] - runs[:, 0]
    is_long = lengths >= _RUN_PAGES_MIN
    ends = np.cumsum(lengths)
    marks: Marks = np.zeros(int(ends[-1]) if ends.size else 0, dtype=np.bool_)
    for (first, after), end in zip(runs[is_long].tolist(), ends[is_long].tolist(), strict=True):
        marks[end - (after - first) : end] = filled_marks(rows[first:after])
    lone = indexes_of(runs[~is_long])
    filled = rows[lone, 0] != 0
    unsure = np.flatnonzero(~filled)
    for start in range(0, unsure.size, _GATHERED_PAGES):
        places = unsure[start : start + _GATHERED_PAGES]
        filled[places] = filled_marks(rows[lone[places]])
    marks[np.repeat(~is_long, lengths)] = filled
    return marks

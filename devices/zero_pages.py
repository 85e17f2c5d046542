"""Telling zero pages from others at the speed of memory.

What may live here: looking at pages, and nothing that changes them.

A page with contents nearly always shows it in its first word, so one word of each page is looked
at first. Only the pages that are zero there are read on, up to their first byte that is not zero:
a page of zeros has to be read whole. Pages next to each other are read where they are; lone ones
are brought together first, a cache's worth at a time, because starting numpy costs as much as
copying a few pages. numpy lets other threads run meanwhile.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from devices.page_runs import Marks, Runs, indexes_of, pieces_of

#: From how many pages on a piece is read where it is.
_PIECE_PAGES_MIN = 8
#: Lone pages brought together in one go: 512 KiB, which stays in the cache.
_GATHERED_PAGES = 128


def filled_marks(rows: npt.NDArray[np.uint64]) -> Marks:
    """Say the same for each of some pages next to each other that are in the cache already."""
    marks: Marks = rows[:, 0] != 0
    return marks if marks.all() else np.bitwise_or.reduce(rows, axis=1) != 0


def nonzero_marks(rows: npt.NDArray[np.uint64], runs: Runs) -> Marks:
    """Say for each page of the runs, in order, whether it holds anything but zeros.

    `rows` are all pages, one row of words each. Every page of the runs is touched.
    """
    indexes = indexes_of(runs)
    marks: Marks = rows[indexes, 0] != 0
    pieces, marked = pieces_of(runs, marks)
    unsure = pieces[~marked]
    is_long = unsure[:, 1] - unsure[:, 0] >= _PIECE_PAGES_MIN
    # `any` over bytes seen as truth values stops at the first that is true.
    truths = rows.view(np.bool_)
    for first, end in unsure[is_long].tolist():
        page = int(indexes[first])
        truths[page : page + end - first].any(axis=1, out=marks[first:end])
    lone = indexes_of(unsure[~is_long])
    for start in range(0, lone.size, _GATHERED_PAGES):
        places = lone[start : start + _GATHERED_PAGES]
        marks[places] = truths[indexes[places]].any(axis=1)
    return marks

"""Runs of pages: many pages said in few numbers, and the arithmetic on them.

What may live here: making runs of indexes or marks and back, and combining them. Nothing here
reads a page or knows how many there are.

The rules:

1. Runs are an int64 array of shape (n, 2): each row a first page and the page after the last.
2. Rows ascend, do not overlap and do not touch: two runs that touch are one. So the same set of
   pages is always the same array.
3. Everything is done on whole arrays; what takes runs relies on rule 2, what returns them keeps it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Indexes: TypeAlias = npt.NDArray[np.int64]
Marks: TypeAlias = npt.NDArray[np.bool_]
#: Pages as rows [first page, page after the last]: see the rules of this module.
Runs: TypeAlias = npt.NDArray[np.int64]


def one_run(first_page: int, end_page: int) -> Runs:
    """Return the pages from `first_page` up to `end_page`; no run when there are none."""
    if first_page >= end_page:
        return np.empty((0, 2), dtype=np.int64)
    return np.array([[first_page, end_page]], dtype=np.int64)


def page_count(runs: Runs) -> int:
    """Return how many pages these are."""
    if len(runs) == 1:
        return int(runs[0, 1]) - int(runs[0, 0])
    return int((runs[:, 1] - runs[:, 0]).sum())


def runs_of(indexes: Indexes) -> Runs:
    """Return pages given one by one, ascending and each once, as runs."""
    if not indexes.size:
        return one_run(0, 0)
    gaps = np.flatnonzero(indexes[1:] - indexes[:-1] != 1)
    runs = np.empty((gaps.size + 1, 2), dtype=np.int64)
    runs[0, 0], runs[-1, 1] = indexes[0], indexes[-1] + 1
    runs[1:, 0], runs[:-1, 1] = indexes[gaps + 1], indexes[gaps] + 1
    return runs


def runs_of_marks(marks: Marks) -> Runs:
    """Return the pages that are marked, the first mark being that of page 0."""
    framed = np.zeros(marks.size + 2, dtype=np.bool_)
    framed[1:-1] = marks
    edges = np.flatnonzero(framed[1:] != framed[:-1])
    return edges.reshape(-1, 2).astype(np.int64, copy=False)


def indexes_of(runs: Runs) -> Indexes:
    """Return each page of the runs, ascending."""
    if len(runs) == 1:
        return np.arange(runs[0, 0], runs[0, 1], dtype=np.int64)
    lengths = runs[:, 1] - runs[:, 0]
    before = np.cumsum(lengths) - lengths
    pages: Indexes = np.arange(page_count(runs), dtype=np.int64)
    pages += np.repeat(runs[:, 0] - before, lengths)
    return pages


def split(runs: Runs, marks: Marks) -> tuple[Runs, Runs]:
    """Divide runs by a mark for each of their pages, in order: those marked, those not."""
    if len(runs) == 1:
        # As a rule, and in a fifth of the time.
        first = runs[0, 0]
        return runs_of_marks(marks) + first, runs_of_marks(~marks) + first
    pieces, marked = pieces_of(runs, marks)
    found = np.empty_like(pieces)
    found[:, 0] = indexes_of(runs)[pieces[:, 0]]
    found[:, 1] = found[:, 0] + pieces[:, 1] - pieces[:, 0]
    return found[marked], found[~marked]


def pieces_of(runs: Runs, marks: Marks) -> tuple[Runs, Marks]:
    """Cut runs wherever the mark of a page differs from that of the page before.

    Returns the pieces, as rows of places in `marks` (which may touch), and the mark of each.
    """
    lengths = runs[:, 1] - runs[:, 0]
    begins = np.zeros(marks.size, dtype=np.bool_)
    begins[np.cumsum(lengths) - lengths] = True
    begins[1:] |= marks[1:] != marks[:-1]
    first = np.flatnonzero(begins)
    pieces = np.empty((first.size, 2), dtype=np.int64)
    pieces[:, 0] = first
    pieces[:-1, 1], pieces[-1:, 1] = first[1:], marks.size
    return pieces, marks[first]


def union(some: Runs, others: Runs) -> Runs:
    """Return the pages that are in either; rows of `others` may touch or overlap."""
    rows = np.concatenate((some, others))
    if not len(rows):
        return rows
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    reached = np.maximum.accumulate(rows[:, 1])
    gaps = np.flatnonzero(rows[1:, 0] > reached[:-1])
    runs = np.empty((gaps.size + 1, 2), dtype=np.int64)
    runs[0, 0], runs[-1, 1] = rows[0, 0], reached[-1]
    runs[1:, 0], runs[:-1, 1] = rows[gaps + 1, 0], reached[gaps]
    return runs


def intersection(some: Runs, others: Runs) -> Runs:
    """Return the pages that are in both."""
    low = np.searchsorted(others[:, 1], some[:, 0], side="right")
    high = np.searchsorted(others[:, 0], some[:, 1], side="left")
    pairs = np.maximum(high - low, 0)
    # Each run of `some` beside each run of `others` that it meets.
    left = np.repeat(some, pairs, axis=0)
    before = np.repeat(np.cumsum(pairs) - pairs - low, pairs)
    right = others[np.arange(before.size) - before]
    left[:, 0] = np.maximum(left[:, 0], right[:, 0])
    left[:, 1] = np.minimum(left[:, 1], right[:, 1])
    return left


def difference(some: Runs, others: Runs) -> Runs:
    """Return the pages of the first that are not in the second."""
    bounds = np.iinfo(np.int64)
    edges = np.concatenate(([bounds.min], others.reshape(-1), [bounds.max]))
    return intersection(some, edges.reshape(-1, 2))

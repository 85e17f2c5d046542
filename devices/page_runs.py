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
    return int((runs[:, 1] - runs[:, 0]).sum())


def runs_of(indexes: Indexes) -> Runs:
    """Return pages given one by one, ascending and each once, as runs."""
    if not indexes.size:
        return one_run(0, 0)
    last = np.append(np.flatnonzero(np.diff(indexes) != 1), indexes.size - 1)
    first = np.insert(last[:-1] + 1, 0, 0)
    return np.stack((indexes[first], indexes[last] + 1), axis=1).astype(np.int64, copy=False)


def runs_of_marks(marks: Marks) -> Runs:
    """Return the pages that are marked, the first mark being that of page 0."""
    edges = np.flatnonzero(np.diff(marks, prepend=False, append=False))
    return edges.reshape(-1, 2).astype(np.int64, copy=False)


def indexes_of(runs: Runs) -> Indexes:
    """Return each page of the runs, ascending."""
    lengths = runs[:, 1] - runs[:, 0]
    before = np.cumsum(lengths) - lengths
    pages: Indexes = np.arange(page_count(runs), dtype=np.int64)
    pages += np.repeat(runs[:, 0] - before, lengths)
    return pages


def split(runs: Runs, marks: Marks) -> tuple[Runs, Runs]:
    """Divide runs by a mark for each of their pages, in order: those marked, those not."""
    pieces, marked = pieces_of(runs, marks)
    pages = indexes_of(runs)[pieces[:, 0]]
    found = np.stack((pages, pages + pieces[:, 1] - pieces[:, 0]), axis=1)
    return found[marked], found[~marked]


def pieces_of(runs: Runs, marks: Marks) -> tuple[Runs, Marks]:
    """Cut runs wherever the mark of a page differs from that of the page before.

    Returns the pieces, as rows of places in `marks` (which may touch), and the mark of each.
    """
    lengths = runs[:, 1] - runs[:, 0]
    begins = np.zeros(marks.size, dtype=np.bool_)
    begins[np.cumsum(lengths) - lengths] = True
    begins[1:] |= marks[1:] != marks[:-1]
    first = np.flatnonzero(begins).astype(np.int64, copy=False)
    return np.stack((first, np.append(first[1:], marks.size)[: first.size]), axis=1), marks[first]


def union(some: Runs, others: Runs) -> Runs:
    """Return the pages that are in either."""
    return _combine(some, others, np.array([False, True, True, True]))


def intersection(some: Runs, others: Runs) -> Runs:
    """Return the pages that are in both."""
    return _combine(some, others, np.array([False, False, False, True]))


def difference(some: Runs, others: Runs) -> Runs:
    """Return the pages of the first that are not in the second."""
    return _combine(some, others, np.array([False, True, False, False]))


def _combine(some: Runs, others: Runs, is_kept: Marks) -> Runs:
    """Keep pages by where they are: `is_kept` of 1 for `some` plus 2 for `others`."""
    edges = np.concatenate((some[:, 0], some[:, 1], others[:, 0], others[:, 1]))
    if not edges.size:
        return one_run(0, 0)
    counts = [len(some), len(some), len(others), len(others)]
    changes = np.repeat(np.array([1, -1, 2, -2]), counts)
    places, inverse = np.unique(edges, return_inverse=True)
    change = np.bincount(inverse, weights=changes, minlength=places.size).astype(np.int64)
    # After the last edge no run is open: that place is never kept.
    kept = runs_of_marks(is_kept[np.cumsum(change)])
    return places[kept].reshape(-1, 2)

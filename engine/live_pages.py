"""RAM out, without a copy: pages that are written to the stream from where they are.

What may live here: which of some pages hold contents, their sums, and what names them to whoever
writes. Rules:

- the guest may write to a page until the other end has read it. What arrives then is neither the
  old page nor the new one, and has not the sum that was sent before; but it is dirty, and comes
  again. The other end keeps to that: see suspect_pages.py;
- so the guest of a source that sends like this must not run again as long as pages are under way
  that count: it waits for the target's answer, or the migration is off;
- what is told to be zero was looked at whole: the sum of other pages may be 0, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from devices.page_copies import Pages
from devices.page_runs import Marks, Runs, page_count, split, union
from devices.page_sums import Sums, page_sums
from devices.zero_pages import filled_marks
from engine.page_pieces import in_pieces
from engine.wire_runs import RunQueue

_NO_SUMS: Sums = np.zeros(0, dtype=np.uint64)
#: Pages that are summed in one go where others lie between them.
_SUMMED_PAGES = 256
#: Every so many pages one is looked at to tell whether all of them may have contents.
_PROBED = 64


@dataclass(frozen=True, eq=False)
class PagesInPlace:
    """Pages as a piece of a write, to be taken from where they are."""

    #: All pages there are, a row each.
    rows: Pages
    #: Which of them.
    runs: Runs

    def __len__(self) -> int:
        """Return how many bytes they have."""
        return page_count(self.runs) * int(self.rows.shape[1])

    def views(self) -> list[memoryview]:
        """Return them as views of where they are, one for each run."""
        return [self.rows[first:end].data.cast("B") for first, end in self.runs.tolist()]


class LivePacking:
    """Pages on their way into frames of at most so many; those of zeros are noted."""

    def __init__(self, rows: Pages, runs: Runs, scratch: Pages, together: Pages) -> None:
        """Take the pages of `runs` among `rows`; as many as `scratch` has rows go in a frame.

        `together` is more room for pages.
        """
        self._pieces = in_pieces(rows, runs, scratch)
        self._frame_pages = len(scratch)
        self._together = together
        self._found = RunQueue()
        self._sums = _NO_SUMS
        #: Runs of pages that were found to be zero.
        self.zeros: list[Runs] = []

    def next(self) -> tuple[Runs, Sums]:
        """Return the next pages with contents, and their sums; none when all are done."""
        while len(self._found) < self._frame_pages:
            piece = next(self._pieces, None)
            if piece is None:
                break
            # What is sent of a piece that was brought together may be newer than that, as ever.
            self._sort(*piece)
        runs = self._found.take(self._frame_pages)
        taken = page_count(runs)
        sums, self._sums = self._sums[:taken], self._sums[taken:]
        return runs, sums

    def _sums_of(self, pages: Pages, marks: Marks) -> Iterator[Sums]:
        """Sum the marked pages, brought together a cache's worth at a time."""
        which = np.flatnonzero(marks)
        for start in range(0, which.size, _SUMMED_PAGES):
            some = which[start : start + _SUMMED_PAGES]
            together = pages.take(some, axis=0, out=self._together[: some.size], mode="clip")
            yield page_sums(together)

    def _sort(self, runs: Runs, pages: Pages) -> None:
        """Tell the pages of runs, which are seen here, apart, and sum those with contents."""
        if pages[::_PROBED].view(np.uint64)[:, 0].all():
            sums = page_sums(pages)
            marks = sums != 0 if sums.all() else filled_marks(pages)
            self._sums = np.concatenate([self._sums, sums[marks]])
        else:
            # Zeros are not worth summing.
            marks = filled_marks(pages)
            self._sums = np.concatenate([self._sums, *self._sums_of(pages, marks)])
        contents, zeros = split(runs, marks)
        self._found = RunQueue(union(self._found.rest(), contents))
        if len(zeros):
            self.zeros.append(zeros)

"""RAM that is to be compressed, sorted before: noise, what else there is, and zeros.

What may live here: which of some pages go into which frame. Rules:

- sorted like that it takes little more than half the time to compress, and is smaller: noise
  between two pages of text fills the table in which zstd looks for what it has seen;
- pages in a row are looked at where they are, and copied once they are sorted. One that is written
  to meanwhile may be taken for what it was; but it is dirty, and comes again.
"""

from __future__ import annotations

from devices.page_copies import Pages
from devices.page_runs import Runs, split, union
from devices.varied_pages import varied_marks
from devices.zero_pages import filled_marks
from engine.page_pieces import in_pieces
from engine.wire_runs import RunQueue


class NoiseSorting:
    """Pages on their way into frames of at most so many; those of zeros are noted."""

    def __init__(self, rows: Pages, runs: Runs, scratch: Pages) -> None:
        """Take the pages of `runs` among `rows`; as many as `scratch` has rows go in a frame."""
        self._pieces = in_pieces(rows, runs, scratch)
        self._frame_pages = len(scratch)
        self._noise = RunQueue()
        self._others = RunQueue()
        #: Runs of pages that were found to be zero.
        self.zeros: list[Runs] = []

    def next(self) -> tuple[Runs, bool]:
        """Return the next pages, and whether they are noise; none when all are done.

        That they are is a guess: see devices/varied_pages.py.
        """
        while max(len(self._noise), len(self._others)) < self._frame_pages:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._sort(*piece)
        is_noise = len(self._noise) > len(self._others)
        return (self._noise if is_noise else self._others).take(self._frame_pages), is_noise

    def _sort(self, runs: Runs, pages: Pages) -> None:
        marks = filled_marks(pages)
        contents, zeros = split(runs, marks)
        if len(zeros):
            self.zeros.append(zeros)
        if len(contents):
            noise, others = split(contents, varied_marks(pages, marks))
            self._noise = RunQueue(union(self._noise.rest(), noise))
            self._others = RunQueue(union(self._others.rest(), others))

"""Runs of pages between memory and the wire, and their cutting into messages.

What may live here: the two forms of runs and the queue that hands them out piece by piece. On the
wire a run is its first page and how many there are (u64, little-endian); in memory, as in
`devices.page_runs`, its first page and the page after its last. Rule: what comes from the wire is
ascending, disjoint and inside RAM, or it is a MalformedMessage.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from devices.page_runs import Runs, one_run
from engine.errors import MalformedMessage
from engine.message_shape import RUNS_MAX
from engine.shapes import BytesLike

_NO_RUNS = one_run(0, 0)


def runs_to_wire(runs: Runs) -> bytes:
    """Return runs as a message has them."""
    wire = runs.astype("<u8")
    wire[:, 1] -= wire[:, 0]
    return wire.tobytes()


def runs_from_wire(wire: BytesLike, pages: int) -> Runs:
    """Return the runs of a message; MalformedMessage unless they are runs in a RAM of `pages`."""
    given: npt.NDArray[np.uint64] = np.frombuffer(wire, dtype="<u8").reshape(-1, 2)
    # Both below 2^63 once they are below `pages`: their sum cannot wrap.
    if int(given.max(initial=0)) > pages:
        raise _outside(pages, f"{int(given.max())}")
    runs: Runs = given.astype(np.int64)
    runs[:, 1] += runs[:, 0]
    edges = runs.reshape(-1)
    if edges.size and int(edges[-1]) > pages:
        raise _outside(pages, f"page {int(edges[-1]) - 1}")
    if not (edges[1:] > edges[:-1]).all():
        raise MalformedMessage(
            expected="runs of pages that ascend and do not touch",
            came="others",
            remedy="the stream is damaged; migrate again",
        )
    return runs


def _outside(pages: int, came: str) -> MalformedMessage:
    return MalformedMessage(
        expected=f"pages below {pages}",
        came=came,
        remedy="the stream is damaged, or of another VM",
    )


class RunQueue:
    """Runs that are handed out from either end, in pieces of any size."""

    def __init__(self, runs: Runs = _NO_RUNS) -> None:
        self._runs = runs
        #: Pages up to the end of each run.
        self._ends = np.cumsum(runs[:, 1] - runs[:, 0])
        #: What is left, counted in pages.
        self._start, self._end = 0, self.pages

    def __len__(self) -> int:
        """Return how many pages are left."""
        return self._end - self._start

    @property
    def pages(self) -> int:
        """How many pages there were at first."""
        return int(self._ends[-1]) if self._ends.size else 0

    def take(self, pages_max: int, runs_max: int = RUNS_MAX) -> Runs:
        """Hand out what comes first: at most so many pages in at most so many runs."""
        if not len(self):
            return _NO_RUNS
        first = int(self._ends.searchsorted(self._start, "right"))
        last = min(first + runs_max, self._ends.size) - 1
        end = min(self._start + pages_max, self._end, int(self._ends[last]))
        piece = self._piece(self._start, end)
        self._start = end
        return piece

    def take_last(self, pages_max: int, runs_max: int = RUNS_MAX) -> Runs:
        """Hand out what comes last: at most so many pages in at most so many runs."""
        if not len(self):
            return _NO_RUNS
        last = int(self._ends.searchsorted(self._end, "left"))
        before = int(self._ends[last - runs_max]) if last >= runs_max else 0
        start = max(self._end - pages_max, self._start, before)
        piece = self._piece(start, self._end)
        self._end = start
        return piece

    def rest(self) -> Runs:
        """Return what is left, without taking it."""
        return self._piece(self._start, self._end) if len(self) else _NO_RUNS

    def _piece(self, start: int, end: int) -> Runs:
        """Return some pages of all there were at first; at least one."""
        first = int(self._ends.searchsorted(start, "right"))
        last = int(self._ends.searchsorted(end, "left"))
        piece = self._runs[first : last + 1].copy()
        piece[0, 0] = self._runs[first, 1] - (int(self._ends[first]) - start)
        piece[-1, 1] = self._runs[last, 1] - (int(self._ends[last]) - end)
        return piece

"""Copies of whole pages, between their places in memory and one piece where they are in a row.

What may live here: the two copies, with numpy, which lets other threads run meanwhile. Pages are
rows of bytes; the runs are inside memory, and as many pages as the piece has, or it is an error of
the caller's.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from devices.page_runs import Runs, indexes_of

Pages: TypeAlias = npt.NDArray[np.uint8]

#: Up to so many runs are copied one by one, more page by page: starting numpy costs as much as
#: copying a few pages.
_COPIED_RUNS_MAX = 16


def page_buffer(pages: int, page_bytes: int) -> Pages:
    """Return room for so many pages, which begins where a page of the host's begins.

    From a page to a place a few bytes further on in another page the processor copies five times
    slower: each load seems to be of what has just been stored (4K aliasing).
    """
    room = np.empty((pages + 1) * page_bytes, dtype=np.uint8)
    start = -room.ctypes.data % page_bytes
    return room[start : start + pages * page_bytes].reshape(-1, page_bytes)


def gather(memory: Pages, runs: Runs, piece: Pages) -> None:
    """Copy the pages of the runs to `piece`, one after the other."""
    if len(runs) > _COPIED_RUNS_MAX:
        # Any other mode would copy once more, to undo it all should an index be wrong.
        memory.take(indexes_of(runs), axis=0, out=piece, mode="clip")
        return
    start = 0
    for first, after in runs.tolist():
        np.copyto(piece[start : start + after - first], memory[first:after])
        start += after - first


def scatter(memory: Pages, runs: Runs, piece: Pages) -> None:
    """Copy `piece`, page after page, to the pages of the runs."""
    if len(runs) > _COPIED_RUNS_MAX:
        memory[indexes_of(runs)] = piece
        return
    start = 0
    for first, after in runs.tolist():
        np.copyto(memory[first:after], piece[start : start + after - first])
        start += after - first

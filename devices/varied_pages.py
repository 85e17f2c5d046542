"""Telling pages that will not compress from others, before anything tries.

What may live here: looking at pages, and nothing that changes them.

Pages of random bytes, and of bytes that were compressed or encrypted before, have one thing in
common that is cheap to see: a few of their bytes, taken at equal distances, are nearly all
different. In text, in code, in tables of numbers or of pointers, some come again and again. It is
a guess: whoever would lose by a wrong one has to try a sample of what it says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from devices.page_runs import Marks

#: Every so many bytes one is looked at: odd, so that each place within a word has its turn.
_DISTANCE_BYTES = 127
#: Of the 33 bytes this takes of a page, so many are different at least: of random ones 31 are, and
#: fewer than this in one page of fifty; of words about 15.
_DIFFERENT_MIN = 28


def varied_marks(pages: npt.NDArray[np.uint8]) -> Marks:
    """Say for each page, one row of bytes each, whether it looks like it will not compress."""
    few = np.sort(pages[:, ::_DISTANCE_BYTES], axis=1)
    different = np.count_nonzero(few[:, 1:] != few[:, :-1], axis=1) + 1
    return np.asarray(different >= _DIFFERENT_MIN)

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
#: How many different bytes there are.
_BYTES = 256
#: Of the 33 bytes this takes of a page, so many are different at least: of random ones 31 are, and
#: fewer than this in one page of fifty; of words about 15.
_DIFFERENT_MIN = 28


def varied_marks(pages: npt.NDArray[np.uint8], among: Marks) -> Marks:
    """Say for each marked page, one row of bytes each, whether it looks like it will not compress.

    `among` has a mark for each page, what is returned one for each that has it.
    """
    few = pages[:, ::_DISTANCE_BYTES][among]
    # A table of the bytes each page has: half of what sorting them takes.
    places = few + np.arange(len(few))[:, np.newaxis] * _BYTES
    seen = np.zeros(len(few) * _BYTES, dtype=np.uint8)
    seen[places.reshape(-1)] = 1
    different = np.count_nonzero(seen.reshape(-1, _BYTES), axis=1)
    return np.asarray(different >= _DIFFERENT_MIN)

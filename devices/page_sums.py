"""A checksum for each of many pages at once.

What may live here: the sum, which is part of the stream (docs/stream.md), and nothing that changes
a page.

It is the sum of a page's 64-bit words, each times a weight of its place, modulo 2^64. The weights
are odd, so a page in which one word has changed always has another sum; all are different, so one
in which two words have changed places has, too, unless they differ in their highest bits alone.
numpy takes all pages in one go and lets other threads run meanwhile; a CRC-32 would be a call for
each page.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Sums: TypeAlias = npt.NDArray[np.uint64]

#: The bytes of one sum.
SUM_BYTES = 8
#: 2^64 divided by the golden ratio.
_GOLDEN = 0x9E3779B97F4A7C15


def page_sums(pages: npt.NDArray[np.uint8]) -> Sums:
    """Return the sum of each page, one row of bytes each; the size is a multiple of 8 bytes."""
    words = pages.view("<u8")
    sums: Sums = np.einsum("ij,j->i", words, _weights(words.shape[1]))
    return sums


@lru_cache(maxsize=4)
def _weights(count: int) -> Sums:
    # 1, 3, 5, … times an odd number: odd, and no two alike.
    weights: Sums = np.arange(1, 2 * count, 2, dtype=np.uint64) * np.uint64(_GOLDEN)
    return weights

"""A checksum for each of many pages at once.

What may live here: the sum, which is part of the stream (docs/stream.md), and nothing that changes
a page.

It is the sum of a page's 64-bit words, each times a weight of its place, modulo 2^64: 1, 3, 5, …
The weights are odd, so a page in which one word has changed, or a burst of up to 64 bits, always
has another sum; they differ, so one in which words have changed places has, too, unless these
differ in their highest bits alone. It is weaker than a CRC-32 where the same high bit of several
words is wrong: of pages with two such errors in bit 63, 62, 61, … all, a half, a quarter, … go
unnoticed. numpy takes all pages in one go and lets other threads run meanwhile; a CRC-32 would be a
call for each page.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Sums: TypeAlias = npt.NDArray[np.uint64]


def page_sums(pages: npt.NDArray[np.uint8]) -> Sums:
    """Return the sum of each page, one row of bytes each; the size is a multiple of 8 bytes."""
    words = pages.view("<u8")
    sums: Sums = np.einsum("ij,j->i", words, _weights(words.shape[1]))
    return sums


@lru_cache(maxsize=4)
def _weights(count: int) -> Sums:
    return np.arange(1, 2 * count, 2, dtype=np.uint64)

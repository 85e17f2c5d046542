"""Page contents that prove themselves: what the test workload writes into guest RAM.

What may live here: making such pages and judging them. Which pages are written, and when, is the
guest's affair.

A page is 512 words of 64 bits, little-endian on every machine replug runs on:

    word 0        the page's index: tells a page that was put in the wrong place
    word 1        its generation: how often the workload has written it; tells a stale page
    word 2..511   a mix of (seed, index, generation, number of the word): tells a damaged one

    key     = splitmix64(splitmix64(splitmix64(seed) ^ index) ^ generation)
    word[w] = fold((key ^ w * GOLDEN) * MULTIPLIER)        fold(x) = x ^ x >> 29

The key costs a full mix but is made once per page; the words take four passes of numpy over a
block that stays in the cache, about 2.5 GiB/s on one core. All arithmetic is modulo 2**64.
A page of zeros is not of this kind: such a page was never written by the workload.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from devices.ram import PAGE_WORDS

#: The word of a row that carries the page's index.
INDEX_WORD = 0
#: The word of a row that carries the generation.
GENERATION_WORD = 1

Rows: TypeAlias = npt.NDArray[np.uint64]

_HEADER_WORDS = 2
_BLOCK_ROWS = 64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST_MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9)
_SECOND_MULTIPLIER = np.uint64(0x94D049BB133111EB)
_FOLD_BITS = np.uint64(29)
_MIX_BITS = (np.uint64(30), np.uint64(27), np.uint64(31))
_WORD_SALT: Rows = np.arange(PAGE_WORDS, dtype=np.uint64) * _GOLDEN


def page_rows(
    seed: int, indexes: npt.NDArray[np.integer], generation: npt.NDArray[np.integer] | int
) -> Rows:
    """Make the contents of these pages.

    `indexes` has shape (n,); `generation` is one number for all, or has the same shape. Both are
    taken modulo 2**64. Returns uint64 of shape (n, PAGE_WORDS).
    """
    wide = _wide(indexes)
    count = wide.size
    generations = np.broadcast_to(_wide(np.asarray(generation)), (count,))
    keys = _keys(seed, wide, generations)
    rows = np.empty((count, PAGE_WORDS), dtype=np.uint64)
    scratch = np.empty((min(count, _BLOCK_ROWS), PAGE_WORDS), dtype=np.uint64)
    for start in range(0, count, _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS]
        _fill(block, keys[start : start + _BLOCK_ROWS], scratch[: len(block)])
    rows[:, INDEX_WORD] = wide
    rows[:, GENERATION_WORD] = generations
    return rows


def verify_rows(seed: int, indexes: npt.NDArray[np.integer], rows: Rows) -> npt.NDArray[np.bool_]:
    """Say for each row whether it is what `page_rows` makes for its index and its own generation.

    `rows` has shape (n, PAGE_WORDS). A row is compared whole, against a recomputation. That the
    generation is the expected one is for the caller to compare, with `generations`.
    """
    good = np.empty(len(rows), dtype=np.bool_)
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        block = rows[part]
        good[part] = (page_rows(seed, indexes[part], generations(block)) == block).all(axis=1)
    return good


def generations(rows: Rows) -> Rows:
    """Read the generation out of each row."""
    return rows[:, GENERATION_WORD]


def _fill(block: Rows, keys: Rows, scratch: Rows) -> None:
    np.bitwise_xor(keys[:, np.newaxis], _WORD_SALT, out=block)
    np.multiply(block, _FIRST_MULTIPLIER, out=block)
    np.right_shift(block, _FOLD_BITS, out=scratch)
    np.bitwise_xor(block, scratch, out=block)


def _keys(seed: int, indexes: Rows, generation: Rows) -> Rows:
    return _mix(_mix(_salted(seed % (1 << 64)) ^ indexes) ^ generation)


@lru_cache(maxsize=8)
def _salted(seed: int) -> Rows:
    return _mix(np.full(1, seed, dtype=np.uint64))


def _mix(words: Rows) -> Rows:
    """Steele, Lea and Flood's splitmix64 finalizer, after one step of its generator."""
    words = words + _GOLDEN
    words = (words ^ (words >> _MIX_BITS[0])) * _FIRST_MULTIPLIER
    words = (words ^ (words >> _MIX_BITS[1])) * _SECOND_MULTIPLIER
    return words ^ (words >> _MIX_BITS[2])


def _wide(numbers: npt.NDArray[np.integer]) -> Rows:
    return numbers.astype(np.uint64, copy=False)

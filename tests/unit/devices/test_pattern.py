"""devices.pattern: the documented layout, recomputed word by word, and what damage it notices."""

from __future__ import annotations

import numpy as np
import pytest

from devices.pattern import generations, page_rows, verify_rows
from devices.ram import PAGE_WORDS

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIER = 0xBF58476D1CE4E5B9


def splitmix64(word: int) -> int:
    """The published finalizer, in Python's integers."""
    word = (word + GOLDEN) & MASK
    word = (word ^ word >> 30) * MULTIPLIER & MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & MASK
    return word ^ word >> 31


def documented_word(seed: int, index: int, generation: int, number: int) -> int:
    if number == 0:
        return index
    if number == 1:
        return generation
    key = splitmix64(splitmix64(splitmix64(seed) ^ index) ^ generation)
    mixed = (key ^ number * GOLDEN & MASK) * MULTIPLIER & MASK
    return mixed ^ mixed >> 29


def test_splitmix64_is_the_published_one() -> None:
    # The first output for seed 1234567, as the reference C program prints it.
    assert splitmix64(1234567) == 6457827717110365317


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_a_row_is_what_the_layout_says(seed: int) -> None:
    indexes = np.array([0, 1, 262_143, 2**40], dtype=np.int64)
    written = np.array([0, 5, 1, 2**33], dtype=np.int64)
    made = page_rows(seed, indexes, written)
    assert made.dtype == np.uint64
    assert made.tolist() == [
        [documented_word(seed, index, generation, number) for number in range(PAGE_WORDS)]
        for index, generation in zip(indexes.tolist(), written.tolist(), strict=True)
    ]


def test_blocks_do_not_show() -> None:
    indexes = np.arange(200)
    whole = page_rows(3, indexes, 9)
    assert (whole == np.vstack([page_rows(3, indexes[i : i + 1], 9) for i in indexes])).all()
    assert verify_rows(3, indexes, whole).all()
    assert set(generations(whole).tolist()) == {9}


def test_no_pages_at_all_is_fine() -> None:
    assert page_rows(1, np.arange(0), 0).shape == (0, PAGE_WORDS)
    assert verify_rows(1, np.arange(0), page_rows(1, np.arange(0), 0)).shape == (0,)


@pytest.mark.parametrize("word", [0, 1, 2, 300, PAGE_WORDS - 1])
@pytest.mark.parametrize("bit", [0, 31, 63])
def test_one_flipped_bit_is_noticed_in_its_row_alone(word: int, bit: int) -> None:
    indexes = np.arange(100, 200)
    rows = page_rows(7, indexes, 2)
    rows[70, word] ^= np.uint64(1 << bit)
    assert np.flatnonzero(~verify_rows(7, indexes, rows)).tolist() == [70]


def test_a_page_in_the_wrong_place_is_noticed() -> None:
    rows = page_rows(7, np.array([4, 5]), 2)
    assert not verify_rows(7, np.array([5, 4]), rows).any()


def test_another_run_s_page_and_a_page_of_zeros_are_noticed() -> None:
    indexes = np.arange(3)
    assert not verify_rows(8, indexes, page_rows(7, indexes, 2)).any()
    assert not verify_rows(7, indexes, np.zeros((3, PAGE_WORDS), dtype=np.uint64)).any()


def test_a_stale_page_is_whole_and_shows_its_generation() -> None:
    indexes = np.arange(3)
    rows = page_rows(7, indexes, np.array([6, 5, 6]))
    assert verify_rows(7, indexes, rows).all()
    assert generations(rows).tolist() == [6, 5, 6]

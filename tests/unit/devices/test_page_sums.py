"""The sums of pages: those that docs/stream.md describes, and what they find."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.page_sums import page_sums

PAGE_BYTES = 512
RANDOM = np.random.default_rng(7).integers(0, 256, (3, PAGE_BYTES), dtype=np.uint8)


def by_the_book(page: bytes) -> int:
    words = struct.unpack(f"<{len(page) // 8}Q", page)
    total: int = sum((2 * i + 1) * word for i, word in enumerate(words))
    return total % 2**64


@pytest.mark.parametrize("page_bytes", [512, 4096, 1 << 21])
def test_they_are_the_documented_ones(page_bytes: int) -> None:
    pages = np.random.default_rng(1).integers(0, 256, (2, page_bytes), dtype=np.uint8)
    pages[0, : page_bytes // 2] = 255
    assert page_sums(pages).tolist() == [by_the_book(page.tobytes()) for page in pages]


def test_they_are_the_same_wherever_a_page_begins() -> None:
    room = np.zeros(3 + RANDOM.nbytes, dtype=np.uint8)
    moved = room[3:].reshape(RANDOM.shape)
    moved[:] = RANDOM
    assert (page_sums(moved) == page_sums(RANDOM)).all()


def test_the_sum_of_zeros_is_zero() -> None:
    assert not page_sums(np.zeros((2, PAGE_BYTES), dtype=np.uint8)).any()


def test_a_page_with_contents_may_have_the_sum_of_zeros() -> None:
    words = np.zeros((1, PAGE_BYTES // 8), dtype=np.uint64)
    # 1·2^62 + 3·2^62 is 2^64.
    words[0, 0], words[0, 1] = 1 << 62, 1 << 62
    assert page_sums(words.view(np.uint8)).tolist() == [0]


@given(st.integers(0, PAGE_BYTES - 8), st.binary(min_size=8, max_size=8).filter(any))
def test_a_burst_of_eight_bytes_is_always_found(start: int, burst: bytes) -> None:
    damaged = RANDOM.copy()
    damaged[1, start : start + 8] ^= np.frombuffer(burst, dtype=np.uint8)
    assert (page_sums(damaged) != page_sums(RANDOM)).tolist() == [False, True, False]


@given(st.lists(st.integers(0, PAGE_BYTES // 8 - 1), min_size=2, max_size=2, unique=True))
def test_words_that_have_changed_places_are_found(places: list[int]) -> None:
    words = RANDOM.view(np.uint64).copy()
    words[1, places] = words[1, places[::-1]]
    found = page_sums(words.view(np.uint8)) != page_sums(RANDOM)
    assert found.tolist() == [False, True, False]

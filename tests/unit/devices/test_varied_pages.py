"""devices.varied_pages: what will not compress, by a look at a few bytes of each page."""

from __future__ import annotations

import zlib

import numpy as np

from devices.ram import PAGE_BYTES
from devices.varied_pages import varied_marks

PAGES = 400


def marked(data: bytes) -> float:
    """The share of these pages that is marked."""
    pages = np.frombuffer(data, dtype=np.uint8).reshape(-1, PAGE_BYTES)
    marks = varied_marks(pages, np.ones(len(pages), dtype=np.bool_))
    assert marks.shape == (len(pages),)
    return float(marks.mean())


def test_noise_and_what_was_compressed_before_is_marked() -> None:
    random = np.random.default_rng(1)
    assert marked(random.bytes(PAGES * PAGE_BYTES)) > 0.9
    numbers = "".join(f"{number} " for number in random.integers(0, 1 << 40, 400_000))
    packed = zlib.compress(numbers.encode())
    assert marked(packed[: len(packed) // PAGE_BYTES * PAGE_BYTES]) > 0.9


def test_text_numbers_and_zeros_are_not() -> None:
    random = np.random.default_rng(1)
    text = bytes(random.choice(np.frombuffer(b"etaoin shrdlu,ETAOIN.", dtype=np.uint8), 1 << 20))
    assert marked(text) == 0
    # Numbers of which one byte in two is noise, and pointers into one region.
    assert marked(random.integers(0, 1 << 32, 1 << 17, dtype=np.uint64).tobytes()) < 0.01
    assert marked((random.integers(0, 1 << 24, 1 << 17) + 0x7F00_0000_0000).tobytes()) < 0.01
    assert marked(bytes(PAGE_BYTES)) == 0


def test_only_those_that_are_asked_about_are_told_of() -> None:
    pages = np.zeros((4, PAGE_BYTES), dtype=np.uint8)
    pages[2] = np.random.default_rng(1).integers(0, 256, PAGE_BYTES)
    among = np.array([True, False, True, False])
    assert varied_marks(pages, among).tolist() == [False, True]

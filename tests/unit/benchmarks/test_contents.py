"""Contents can be made again, are what their name says, and are compared whole."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
import zstandard

from benchmarks.ram import contents
from benchmarks.ram.contents import BLOCK_BYTES, FIRST_BYTE, PAGE_BYTES, Contents, RamDiffers

SIZE_BYTES = 3 * BLOCK_BYTES


@pytest.fixture
def fds() -> Iterator[tuple[int, int]]:
    """Two files of RAM's size, nothing written in either."""
    pair = os.memfd_create("one"), os.memfd_create("other")
    for fd in pair:
        os.ftruncate(fd, SIZE_BYTES)
    yield pair
    for fd in pair:
        os.close(fd)


@pytest.mark.parametrize("kind", Contents)
def test_a_block_is_the_same_again_and_zero_only_where_it_should_be(kind: Contents) -> None:
    first, other = contents.block(kind, 1), contents.block(kind, 2)
    assert first.nbytes == BLOCK_BYTES
    assert (first == contents.block(kind, 1)).all()
    assert (first == other).all() == (kind in (Contents.UNTOUCHED, Contents.ZERO))


def test_half_of_mixed_is_zero_and_a_quarter_compresses_to_a_third() -> None:
    block = contents.block(Contents.MIXED, 5)
    pages = [row.tobytes() for row in block]
    zero = [page for page in pages if not any(page)]
    text = [page for page in pages if page.isascii() and any(page)]
    assert len(pages) == BLOCK_BYTES // PAGE_BYTES
    assert abs(len(zero) / len(pages) - 1 / 2) < 0.05
    assert abs(len(text) / len(pages) - 1 / 4) < 0.05
    joined = b"".join(text)
    assert 0.25 < len(zstandard.compress(joined, 1)) / len(joined) < 0.4


def test_random_does_not_compress_and_no_page_comes_twice() -> None:
    block = contents.block(Contents.RANDOM, 3)
    assert len(zstandard.compress(block.tobytes(), 1)) >= block.nbytes
    assert len(np.unique(block, axis=0)) == len(block)


@pytest.mark.parametrize("kind", Contents)
def test_what_was_filled_and_copied_compares_equal(kind: Contents, fds: tuple[int, int]) -> None:
    one, other = fds
    contents.fill(one, kind, SIZE_BYTES)
    contents.copy(one, other, SIZE_BYTES)
    contents.compare(one, other, 0, SIZE_BYTES)
    contents.compare_with(other, kind, SIZE_BYTES)
    assert os.pread(other, FIRST_BYTE, 0) == bytes(FIRST_BYTE)
    # Of never-touched RAM nothing is allocated; elsewhere all but the first mebibyte.
    expected_bytes = 0 if kind is Contents.UNTOUCHED else SIZE_BYTES - FIRST_BYTE
    assert os.fstat(other).st_blocks * 512 == expected_bytes


@pytest.mark.parametrize("offset", [FIRST_BYTE, BLOCK_BYTES, SIZE_BYTES - 1])
def test_one_wrong_byte_is_found(offset: int, fds: tuple[int, int]) -> None:
    one, other = fds
    contents.fill(one, Contents.ZERO, SIZE_BYTES)
    os.pwrite(other, b"\1", offset)
    with pytest.raises(RamDiffers, match="RAM differs"):
        contents.compare(one, other, 0, SIZE_BYTES)
    with pytest.raises(RamDiffers, match="not what was put there"):
        contents.compare_with(other, Contents.ZERO, SIZE_BYTES)


def test_a_byte_that_only_one_side_has_is_found_in_a_hole_of_the_other(
    fds: tuple[int, int],
) -> None:
    one, other = fds
    os.pwrite(one, b"\1", SIZE_BYTES - 1)
    for pair in ((one, other), (other, one)):
        with pytest.raises(RamDiffers):
            contents.compare(*pair, 0, SIZE_BYTES)


def test_nothing_is_compared_before_the_start(fds: tuple[int, int]) -> None:
    one, other = fds
    os.pwrite(one, b"\1", BLOCK_BYTES - 1)
    contents.compare(one, other, BLOCK_BYTES, SIZE_BYTES)


def test_a_file_that_is_too_short_differs(fds: tuple[int, int]) -> None:
    one, other = fds
    contents.fill(one, Contents.RANDOM, SIZE_BYTES)
    os.ftruncate(other, SIZE_BYTES - 1)
    with pytest.raises(RamDiffers, match="bytes from"):
        contents.compare(one, other, 0, SIZE_BYTES)

"""What guest RAM holds in a measurement: the same bytes on both sides, made again at will.

What may live here: making contents, putting them into a file that is guest RAM, comparing two
such files. Rules:

1. Contents depend on their kind and on the place in RAM, on nothing else: a block can be made
   again by itself, so that nothing has to be kept to compare with.
2. The first mebibyte is left alone: replug's guest and QEMU's keep their own records there.
3. A hole of the file stays one, for pages that were never touched are a measure of their own: it
   is neither written nor read through a mapping.

The kinds: `untouched`, nothing is written; `zero`, zeros are written; `random`, nothing that
compresses; `mixed`, by a hash of the page's number, of every four pages two zero, one random and
one of words, which zstd's level 1 makes about a third of.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from enum import Enum

import numpy as np
import numpy.typing as npt

PAGE_BYTES = 4096
#: Where contents begin.
FIRST_BYTE = 1 << 20
#: Contents are made, written and compared in blocks of this size.
BLOCK_BYTES = 4 << 20

_SEED = 20
_TOKEN_BYTES = 8
_VOCABULARY = 4096
_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
#: Which kind a page of `mixed` has, by two bits of its hash.
_RANDOM, _WORDS = 2, 3


class Contents(Enum):
    """What RAM holds."""

    #: Nothing was ever written.
    UNTOUCHED = "never-touched RAM"
    #: Zeros were written.
    ZERO = "zero RAM"
    #: Every page is incompressible.
    RANDOM = "random"
    #: Half zero, a quarter random, a quarter words.
    MIXED = "mixed"


class RamDiffers(Exception):
    """Two files that must hold the same do not."""


def block(contents: Contents, number: int) -> npt.NDArray[np.uint64]:
    """Make the BLOCK_BYTES from `number` * BLOCK_BYTES on, as pages of 64-bit words."""
    pages, words = BLOCK_BYTES // PAGE_BYTES, PAGE_BYTES // 8
    if contents in (Contents.UNTOUCHED, Contents.ZERO):
        return np.zeros((pages, words), dtype=np.uint64)
    random = np.random.Generator(np.random.SFC64([_SEED, number]))
    raw = random.bit_generator.random_raw
    if contents is Contents.RANDOM:
        return np.asarray(raw(pages * words), dtype=np.uint64).reshape(pages, words)
    rows = np.zeros((pages, words), dtype=np.uint64)
    kinds = _kinds(np.arange(number * pages, (number + 1) * pages, dtype=np.uint64))
    random_pages, word_pages = kinds == _RANDOM, kinds == _WORDS
    count = int(random_pages.sum())
    rows[random_pages] = np.asarray(raw(count * words), dtype=np.uint64).reshape(count, words)
    rows[word_pages] = _words(random, int(word_pages.sum()) * words).reshape(-1, words)
    return rows


def _kinds(pages: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed = pages * np.uint64(0x9E3779B97F4A7C15)
    return (mixed ^ (mixed >> np.uint64(29))) >> np.uint64(7) & np.uint64(3)


def _words(random: np.random.Generator, count: int) -> npt.NDArray[np.uint64]:
    """Draw `count` words, frequent ones more often, and now and then a number."""
    first, second = random.integers(0, 1 << 16, size=(2, count), dtype=np.uint32)
    # The product of two uniform numbers: few words make up most of a text.
    chosen: npt.NDArray[np.uint64] = _TOKENS[(first * second) >> np.uint32(20)]
    numbers = first % np.uint32(8) == 0
    digits = second[numbers].astype(np.uint64) * np.uint64(0x0001000100010001)
    chosen[numbers] = digits & np.uint64(0x0707070707070707) | np.uint64(0x3030303030303030)
    return chosen


def _tokens() -> npt.NDArray[np.uint64]:
    random = np.random.Generator(np.random.SFC64(_SEED))
    places = random.integers(0, len(_LETTERS), size=(_VOCABULARY, _TOKEN_BYTES))
    letters = _LETTERS[places]
    lengths = random.integers(2, _TOKEN_BYTES, size=(_VOCABULARY, 1))
    letters[np.arange(_TOKEN_BYTES) >= lengths] = ord(" ")
    return np.ascontiguousarray(letters).view(np.uint64).reshape(_VOCABULARY)


_TOKENS = _tokens()


def fill(fd: int, contents: Contents, end_byte: int) -> None:
    """Write contents into a file from FIRST_BYTE up to `end_byte`, which ends a block.

    UNTOUCHED writes nothing.
    """
    if contents is Contents.UNTOUCHED:
        return
    for number in range(end_byte // BLOCK_BYTES):
        offset = number * BLOCK_BYTES
        start = max(offset, FIRST_BYTE)
        _write(fd, block(contents, number).tobytes()[start - offset :], start)


def copy(from_fd: int, to_fd: int, size_bytes: int) -> None:
    """Copy what one file has from FIRST_BYTE on into another, holes left out."""
    read = _Reader()
    for start, end in _extents(from_fd, size_bytes):
        for offset in range(max(start, FIRST_BYTE), end, BLOCK_BYTES):
            _write(to_fd, read(from_fd, offset, min(BLOCK_BYTES, end - offset)), offset)


def compare(one_fd: int, other_fd: int, start_byte: int, end_byte: int) -> None:
    """Compare two files byte for byte over a range; RamDiffers names the first block that differs.

    What is a hole in both is equal and is not read.
    """
    read_one, read_other = _Reader(), _Reader()
    for start, end in _joined(one_fd, other_fd, end_byte):
        for offset in range(max(start, start_byte), end, BLOCK_BYTES):
            length = min(BLOCK_BYTES, end - offset)
            one, other = read_one(one_fd, offset, length), read_other(other_fd, offset, length)
            if not np.array_equal(_bytes(one), _bytes(other)):
                raise RamDiffers(f"RAM differs within the {length} bytes from {offset} on")


def compare_with(fd: int, contents: Contents, end_byte: int) -> None:
    """Compare a file from FIRST_BYTE on with contents made anew; RamDiffers if it differs."""
    for number in range(end_byte // BLOCK_BYTES):
        compare_block(fd, contents, number)


def compare_block(fd: int, contents: Contents, number: int) -> None:
    """Compare one block like `compare_with`."""
    offset = number * BLOCK_BYTES
    start = max(offset, FIRST_BYTE)
    expected = block(contents, number).tobytes()[start - offset :]
    if not np.array_equal(_bytes(_Reader()(fd, start, len(expected))), _bytes(expected)):
        raise RamDiffers(f"RAM is not what was put there, in the block from {start} on")


def _joined(one_fd: int, other_fd: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield where either file may hold data, in order, without overlap."""
    found = sorted([*_extents(one_fd, size_bytes), *_extents(other_fd, size_bytes)])
    done = 0
    for start, end in found:
        if end > done:
            yield max(start, done), end
            done = end


def _extents(fd: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield where a file holds data: (start, end), ascending, up to `size_bytes`."""
    end = 0
    while end < size_bytes:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        if start >= size_bytes:
            return
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size_bytes)
        yield start, end


class _Reader:
    """Reads blocks into one buffer, again and again: making one each time takes longer."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BLOCK_BYTES))

    def __call__(self, fd: int, offset: int, length: int) -> memoryview:
        """Return so many bytes from there, good until the next call; RamDiffers at the end."""
        found = os.preadv(fd, [self._buffer[:length]], offset)
        if found != length:
            raise RamDiffers(f"the file has {found} of {length} bytes from {offset} on")
        return self._buffer[:length]


def _bytes(data: memoryview | bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _write(fd: int, data: memoryview | bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written

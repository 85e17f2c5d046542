"""Guest RAM: the pages a migration moves, and the record of which of them were written.

What may live here: the interface `Ram`, and `BitmapRam`, which keeps it over any writable buffer
(a bytearray in tests, a shared mapping in the driver). Where the buffer comes from is not said.

The rules:

1. The unit is the page of `PAGE_BYTES`. A page index is an int64 in [0, pages).
2. Every access is checked whole before its first byte moves; a refused one changes nothing.
3. Tracking starts clean: `take_dirty` reports what was written since `start_tracking` or since the
   last `take_dirty`, each page once, in ascending order. A first pass over all pages is the
   business of whoever streams them (`start_tracking(all_dirty=True)` asks for it).
4. A page is marked after its bytes are in place, and `take_dirty` clears exactly the marks that it
   reports. A writer on another thread may therefore cause a page to be sent twice, never missed.
5. Everything works on arrays of pages; there is no Python loop per page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

#: Bytes in a page, on the wire and in the dirty bitmap (x86's; QEMU's TARGET_PAGE_SIZE there).
PAGE_BYTES = 4096
#: 64-bit words in a page.
PAGE_WORDS = PAGE_BYTES // 8

#: Pages looked at in one go when searching for zeros: 512 KiB, which stays in the cache.
_SCAN_PAGES = 128
#: Bytes given to a hash function in one go: large enough for hashlib to let other threads run.
_DIGEST_BYTES = 16 << 20

Indexes: TypeAlias = npt.NDArray[np.int64]
Rows: TypeAlias = npt.NDArray[np.uint64]
Buffer: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8] | npt.NDArray[np.uint64]


class RamError(ValueError):
    """An access to guest RAM that was refused; nothing was changed."""


class RamRangeError(RamError):
    """An access that lies outside guest RAM."""


class RamShapeError(RamError):
    """Page data whose size or type does not fit the pages it was given for."""


class Ram(Protocol):
    """What streams, loads or writes guest RAM may rely on."""

    @property
    def size_bytes(self) -> int:
        """The size of RAM, a multiple of PAGE_BYTES."""
        ...

    @property
    def pages(self) -> int:
        """The number of pages."""
        ...

    @property
    def dirty_count(self) -> int:
        """How many pages `take_dirty` would return now; 0 while not tracking."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Copy out `length` bytes at `offset`; RamRangeError when they are not all inside."""
        ...

    def write(self, offset: int, data: Buffer) -> None:
        """Write `data` at `offset` and mark the pages it touches."""
        ...

    def write_pages(self, first_page: int, array: Buffer) -> None:
        """Write whole pages, one after another from `first_page`, and mark them."""
        ...

    def write_scattered(self, page_indexes: Indexes, rows_uint64_2d: Rows) -> None:
        """Write row i, of PAGE_WORDS words, to page `page_indexes[i]`, and mark the pages."""
        ...

    def view(self) -> memoryview:
        """Give a read-only view of the whole of RAM, without copying."""
        ...

    def load_pages(self, page_indexes: Indexes, data: Buffer) -> None:
        """Scatter the pages in `data`, in order, to `page_indexes` (the target's side)."""
        ...

    def zero_pages(self, indexes: Indexes) -> None:
        """Make these pages zero, writing only to those that are not."""
        ...

    def nonzero_mask(self, indexes: Indexes) -> npt.NDArray[np.bool_]:
        """Say for each of these pages whether it holds anything but zeros."""
        ...

    def start_tracking(self, *, all_dirty: bool = False) -> None:
        """Start recording writes, with no page marked, or with all of them."""
        ...

    def take_dirty(self) -> Indexes:
        """Return the marked pages, ascending, and clear their marks."""
        ...

    def stop_tracking(self) -> None:
        """Stop recording writes and forget all marks."""
        ...

    def digest(self, update: Callable[[memoryview], object]) -> None:
        """Hand the whole of RAM, in order, to `update` (such as `hashlib.sha256().update`)."""
        ...


class BitmapRam:
    """Guest RAM over a writable buffer, with one byte per page to record writes."""

    def __init__(self, buffer: bytearray | memoryview | npt.NDArray[np.uint8]) -> None:
        """Use `buffer` as RAM, without copying.

        RamShapeError when it is read-only, empty or not a whole number of pages.
        """
        given = memoryview(buffer.data if isinstance(buffer, np.ndarray) else buffer)
        if not given.c_contiguous or given.nbytes == 0:
            raise RamShapeError("RAM needs a contiguous buffer of at least one page")
        view = given.cast("B")
        if view.readonly or view.nbytes % PAGE_BYTES:
            raise RamShapeError(
                f"RAM needs a writable buffer of a whole number of {PAGE_BYTES}-byte pages, not "
                f"{view.nbytes} {'read-only ' if view.readonly else ''}bytes"
            )
        self._view = view
        self._bytes: npt.NDArray[np.uint8] = np.frombuffer(view, dtype=np.uint8)
        self._rows: Rows = self._bytes.view(np.uint64).reshape(-1, PAGE_WORDS)
        self._dirty = np.zeros(self.pages, dtype=np.bool_)
        self._tracking = False

    @property
    def size_bytes(self) -> int:
        return self._view.nbytes

    @property
    def pages(self) -> int:
        return self._view.nbytes // PAGE_BYTES

    @property
    def dirty_count(self) -> int:
        return int(np.count_nonzero(self._dirty))

    def read(self, offset: int, length: int) -> bytes:
        self._check_span(offset, length)
        return bytes(self._view[offset : offset + length])

    def write(self, offset: int, data: Buffer) -> None:
        given = _as_bytes(data)
        self._check_span(offset, given.size)
        self._put(offset, given)

    def write_pages(self, first_page: int, array: Buffer) -> None:
        given = _as_bytes(array)
        if given.size % PAGE_BYTES:
            raise RamShapeError(
                f"write_pages takes whole pages of {PAGE_BYTES} bytes, not {given.size} bytes"
            )
        self._check_span(first_page * PAGE_BYTES, given.size)
        self._put(first_page * PAGE_BYTES, given)

    def write_scattered(self, page_indexes: Indexes, rows_uint64_2d: Rows) -> None:
        indexes = self._check_indexes(page_indexes)
        if rows_uint64_2d.dtype != np.uint64 or rows_uint64_2d.shape != (indexes.size, PAGE_WORDS):
            raise RamShapeError(
                f"{indexes.size} pages need rows of uint64 in shape ({indexes.size}, {PAGE_WORDS}),"
                f" not {rows_uint64_2d.dtype} in shape {rows_uint64_2d.shape}"
            )
        self._rows[indexes] = rows_uint64_2d
        if self._tracking:
            self._dirty[indexes] = True

    def view(self) -> memoryview:
        return self._view.toreadonly()

    def load_pages(self, page_indexes: Indexes, data: Buffer) -> None:
        indexes = self._check_indexes(page_indexes)
        given = _as_bytes(data)
        if given.size != indexes.size * PAGE_BYTES:
            raise RamShapeError(
                f"{indexes.size} pages need {indexes.size * PAGE_BYTES} bytes, not {given.size}"
            )
        # numpy takes care of data that starts at an odd address, as a network buffer may.
        self._rows[indexes] = given.view(np.uint64).reshape(-1, PAGE_WORDS)
        if self._tracking:
            self._dirty[indexes] = True

    def zero_pages(self, indexes: Indexes) -> None:
        checked = self._check_indexes(indexes)
        written = checked[self._nonzero(checked)]
        self._rows[written] = 0
        if self._tracking:
            self._dirty[written] = True

    def nonzero_mask(self, indexes: Indexes) -> npt.NDArray[np.bool_]:
        return self._nonzero(self._check_indexes(indexes))

    def start_tracking(self, *, all_dirty: bool = False) -> None:
        self._dirty[:] = all_dirty
        self._tracking = True

    def take_dirty(self) -> Indexes:
        taken = np.flatnonzero(self._dirty).astype(np.int64, copy=False)
        self._dirty[taken] = False
        return taken

    def stop_tracking(self) -> None:
        self._tracking = False
        self._dirty[:] = False

    def digest(self, update: Callable[[memoryview], object]) -> None:
        whole = self.view()
        for start in range(0, self.size_bytes, _DIGEST_BYTES):
            update(whole[start : start + _DIGEST_BYTES])

    def _nonzero(self, indexes: Indexes) -> npt.NDArray[np.bool_]:
        # Most pages that are not zero show it in their first word; only the rest is read whole.
        mask: npt.NDArray[np.bool_] = self._rows[indexes, 0] != 0
        unsure = np.flatnonzero(~mask)
        for start in range(0, unsure.size, _SCAN_PAGES):
            places = unsure[start : start + _SCAN_PAGES]
            mask[places] = self._rows[indexes[places]].any(axis=1)
        return mask

    def _put(self, offset: int, given: npt.NDArray[np.uint8]) -> None:
        if given.size == 0:
            return
        end = offset + given.size
        self._bytes[offset:end] = given
        if self._tracking:
            self._dirty[offset // PAGE_BYTES : (end - 1) // PAGE_BYTES + 1] = True

    def _check_span(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise RamRangeError(
                f"{length} bytes at offset {offset} are not inside RAM of {self.size_bytes} bytes"
            )

    def _check_indexes(self, indexes: Indexes) -> Indexes:
        if indexes.ndim != 1 or not np.issubdtype(indexes.dtype, np.integer):
            raise RamShapeError(
                "page indexes are a one-dimensional array of integers, not "
                f"{indexes.ndim}-dimensional of {indexes.dtype}"
            )
        # Compared as they come: uint64 beyond int64 would turn negative when converted first.
        if indexes.size and (int(indexes.min()) < 0 or int(indexes.max()) >= self.pages):
            raise RamRangeError(
                f"page indexes from {int(indexes.min())} to {int(indexes.max())} are not inside "
                f"RAM of {self.pages} pages"
            )
        return indexes.astype(np.int64, copy=False)


def _as_bytes(data: Buffer) -> npt.NDArray[np.uint8]:
    """See `data` as bytes without copying; RamShapeError when it is not contiguous."""
    if isinstance(data, np.ndarray):
        if not data.flags.c_contiguous:
            raise RamShapeError("page data must be contiguous; pass a copy of this array")
        return data.reshape(-1).view(np.uint8)
    return np.frombuffer(data, dtype=np.uint8)

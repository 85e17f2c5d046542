"""Guest RAM: the pages a migration moves, and the record of which of them were written.

What may live here: the interface `Ram`, and `BitmapRam`, which keeps it over any writable buffer
(a bytearray in tests, a shared mapping in the driver). Where the buffer comes from is not said;
how writes are recorded is dirty.py's, how zero pages are told from others zero_pages.py's.

The rules:

1. The unit is the page of `PAGE_BYTES`. A page index is an int64 in [0, pages).
2. Every access is checked whole before its first byte moves; a refused one changes nothing.
3. Tracking starts clean: `take_dirty` reports what was written since `start_tracking` or since the
   last `take_dirty`, each page once, in ascending order. A first pass over all pages is the
   business of whoever streams them (`start_tracking(all_dirty=True)` asks for it).
4. A page is marked after its bytes are in place, and `take_dirty` clears exactly the marks that it
   reports. A writer on another thread may therefore cause a page to be sent twice, never missed.
   A record may name a page that was not written, too.
5. Everything works on arrays of pages or of runs (page_runs.py); there is no Python loop per page.
6. Whether a page is zero is said without touching it where that is known: `_holding` names the
   pages that may hold contents, the others are zero and stay as they are.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from devices.dirty import DirtyBitmap, DirtyRecord
from devices.page_copies import scatter
from devices.page_runs import (
    Indexes,
    Runs,
    difference,
    indexes_of,
    one_run,
    page_count,
    runs_of,
    split,
)
from devices.zero_pages import nonzero_marks

#: Bytes in a page, on the wire and in the dirty bitmap (x86's; QEMU's TARGET_PAGE_SIZE there).
PAGE_BYTES = 4096
#: 64-bit words in a page.
PAGE_WORDS = PAGE_BYTES // 8

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
    def tracked_by(self) -> str:
        """What notes writes while tracking: `bitmap`, or another record's name."""
        ...

    @property
    def dirty_count(self) -> int:
        """How many pages `take_dirty` would return now; 0 while not tracking.

        Costs a scan of the whole record, so it is asked once per pass, not once per batch.
        """
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

    def stream_view(self) -> memoryview:
        """Give the same as `view`, to whoever reads much of RAM once, by the cheapest way in.

        It shows this RAM until RAM is handed over; ask for it anew for each migration.
        """
        ...

    def page_view(self, first_page: int, count: int) -> memoryview:
        """Give a read-only view of whole pages, without copying."""
        ...

    def receive_view(self, first_page: int, count: int) -> memoryview:
        """Give a writable view of whole pages, for a stream to be read into, without copying.

        While tracking, the pages count as written from now on. Whoever fills it later than the
        next `take_dirty` has to ask for it anew.
        """
        ...

    def place(self, runs: Runs, data: memoryview) -> None:
        """Write the pages of these runs, one after another in `data`, as a stream brings them."""
        ...

    def landing(self, runs: Runs) -> list[memoryview] | None:
        """Give writable views of these runs, in order, where a stream is best read straight there.

        None where `place` is the better way. They count as written, as with `receive_view`.
        """
        ...

    def zero_pages(self, indexes: Indexes) -> None:
        """Make these pages zero, writing only to those that are not."""
        ...

    def zero_runs(self, runs: Runs) -> None:
        """Make the pages of these runs zero, writing only to those that are not.

        Pages that were never touched stay so; the cost is in the pages that were.
        """
        ...

    def split_zero(self, runs: Runs) -> tuple[Runs, Runs]:
        """Divide runs into those with contents and those of zeros, at the speed of memory.

        Pages that were never touched are not read.
        """
        ...

    def start_tracking(self, *, all_dirty: bool = False) -> None:
        """Start recording writes, with no page marked, or with all of them."""
        ...

    def prepare_tracking(self) -> None:
        """Do what takes long of having started, in whatever thread; or who first asks does it."""
        ...

    def take_dirty(self, *, ahead: bool = False) -> Runs:
        """Return the marked pages, and clear their marks.

        With `ahead`, where every page is marked, this does not wait until writes are recorded. A
        page may then be read once `dirty_among` has been asked about it, or once the marked pages
        are taken again.
        """
        ...

    def dirty_among(self, runs: Runs) -> Runs:
        """Return those of these pages that are marked, and leave their marks.

        Pages that never held anything may be among them, though `take_dirty` leaves those out.
        """
        ...

    def stop_tracking(self) -> None:
        """Stop recording writes and forget all marks."""
        ...


class BitmapRam:
    """Guest RAM over a writable buffer; writes are recorded with one byte per page."""

    def __init__(
        self,
        buffer: bytearray | memoryview | npt.NDArray[np.uint8],
        record: DirtyRecord | None = None,
    ) -> None:
        """Use `buffer` as RAM, without copying, and `record` instead of the bytes per page.

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
        self._record = DirtyBitmap(self.pages) if record is None else record

    @property
    def size_bytes(self) -> int:
        return self._view.nbytes

    @property
    def pages(self) -> int:
        return self._view.nbytes // PAGE_BYTES

    @property
    def tracked_by(self) -> str:
        return self._record.name

    @property
    def dirty_count(self) -> int:
        return self._record.count()

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
        self._note_scattered(indexes)

    def view(self) -> memoryview:
        return self._view.toreadonly()

    def stream_view(self) -> memoryview:
        return self.view()

    def page_view(self, first_page: int, count: int) -> memoryview:
        return self._pages(first_page, count).toreadonly()

    def receive_view(self, first_page: int, count: int) -> memoryview:
        pages = self._pages(first_page, count)
        self._note(first_page, first_page + count)
        return pages

    def place(self, runs: Runs, data: memoryview) -> None:
        checked = self._check_placed(runs, data)
        pages = np.frombuffer(data, dtype=np.uint8).reshape(-1, PAGE_BYTES)
        scatter(self._bytes.reshape(-1, PAGE_BYTES), checked, pages)
        self._note_runs(checked)

    def landing(self, runs: Runs) -> list[memoryview] | None:
        return None

    def zero_pages(self, indexes: Indexes) -> None:
        self._zero(runs_of(np.unique(self._check_indexes(indexes))))

    def zero_runs(self, runs: Runs) -> None:
        self._zero(self._check_runs(runs))

    def split_zero(self, runs: Runs) -> tuple[Runs, Runs]:
        checked = self._check_runs(runs)
        full = self._with_contents(checked)
        return full, difference(checked, full)

    def start_tracking(self, *, all_dirty: bool = False) -> None:
        self._record.start(one_run(0, self.pages if all_dirty else 0))

    def prepare_tracking(self) -> None:
        self._record.prepare()

    def take_dirty(self, *, ahead: bool = False) -> Runs:
        return self._record.take(ahead=ahead)

    def dirty_among(self, runs: Runs) -> Runs:
        return self._record.among(runs)

    def stop_tracking(self) -> None:
        self._record.stop()

    def _holding(self, runs: Runs) -> Runs:
        """Return the pages of the runs that may hold contents; the rest is known to be zero."""
        return runs

    def _with_contents(self, runs: Runs) -> Runs:
        holding = self._holding(runs)
        if not len(holding):
            return holding
        return split(holding, nonzero_marks(self._rows, holding))[0]

    def _zero(self, runs: Runs) -> None:
        full = self._with_contents(runs)
        if not len(full):
            return
        written = indexes_of(full)
        self._rows[written] = 0
        self._note_scattered(written)

    def _put(self, offset: int, given: npt.NDArray[np.uint8]) -> None:
        if given.size == 0:
            return
        end = offset + given.size
        self._bytes[offset:end] = given
        self._note(offset // PAGE_BYTES, (end - 1) // PAGE_BYTES + 1)

    def _note(self, first_page: int, end_page: int) -> None:
        """Hear that these pages were written."""
        self._record.mark(first_page, end_page)

    def _note_scattered(self, indexes: Indexes) -> None:
        """Hear that each of these pages was written."""
        self._record.mark_scattered(indexes)

    def _note_runs(self, runs: Runs) -> None:
        self._note_scattered(indexes_of(runs))

    def _check_placed(self, runs: Runs, data: memoryview) -> Runs:
        checked = self._check_runs(runs)
        if data.nbytes != page_count(checked) * PAGE_BYTES:
            raise RamShapeError(f"{page_count(checked)} pages are not {data.nbytes} bytes")
        return checked

    def _check_span(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise RamRangeError(
                f"{length} bytes at offset {offset} are not inside RAM of {self.size_bytes} bytes"
            )

    def _pages(self, first_page: int, count: int) -> memoryview:
        start, length = first_page * PAGE_BYTES, count * PAGE_BYTES
        self._check_span(start, length)
        return self._view[start : start + length]

    def _check_runs(self, runs: Runs) -> Runs:
        if runs.ndim != 2 or runs.shape[1] != 2 or runs.dtype != np.int64:
            raise RamShapeError(
                f"runs of pages are int64 in shape (n, 2), not {runs.dtype} in shape {runs.shape}"
            )
        edges = runs.reshape(-1)
        if not (edges[1:] > edges[:-1]).all():
            raise RamShapeError("runs of pages ascend, none is empty and no two touch")
        if edges.size and (edges[0] < 0 or edges[-1] > self.pages):
            raise RamRangeError(
                f"runs from page {edges[0]} up to page {edges[-1]} are not inside RAM of "
                f"{self.pages} pages"
            )
        return runs

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

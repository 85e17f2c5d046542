"""The record of written pages that the kernel keeps: nobody marks, whoever writes.

What may live here: `KernelDirtyRecord`, which makes a `DirtyRecord` (devices/dirty.py) of the
protection in write_protection.py.

The rules:

1. The kernel notes stores, and what system calls put into memory, through the one mapping it was
   given. It sees no store through another mapping and no write to the file: nobody may have
   either while this records, which memory.py sees to.
2. To start with every page costs nothing. All of it is protected piece by piece: 20 to 40 ms for a
   GiB, which `prepare` does in a thread while what is protected already is sent. It begins at the
   top, as a pass does, and leaves pieces without contents to the end: nobody waits for those.
   Who asks what was written of some pages (`among`) waits until they are protected, and may read
   them then. What was used when it was protected, and was not taken before, is given out with the
   next ones: it may have been written to in between, and nobody saw it. Before the first `take`
   nobody keeps that: whatever holds contents by then is taken.
   A thread that was given up may still be at it when the next begins, which waits for it: it would
   undo what has been noted by then.
3. The kernel names pages that hold nothing as well (see there). They are not asked for their
   contents, which would allocate them: `holding` says which have any.
4. To stop only stops asking. Undoing the protection takes 25 ms for a GiB, in the middle of a
   guest's downtime (QEMU, too, puts off the end of dirty logging until the VM runs again); it goes
   by itself, page by page, when they are next written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from devices.page_runs import (
    Indexes,
    Marks,
    Runs,
    difference,
    intersection,
    one_run,
    page_count,
    runs_of_marks,
    union,
)
from devices.ram import PAGE_BYTES
from engine.driver.write_protection import WriteProtection

_NONE = one_run(0, 0)
#: Pages in a piece, which is protected in one go: 64 MiB, a few milliseconds.
_PIECE_PAGES = 16_384


class KernelDirtyRecord:
    """What was written to one mapping, as the kernel saw it."""

    name = "kernel"

    def __init__(self, address: int, size_bytes: int, holding: Callable[[Runs], Runs]) -> None:
        """Take charge of the mapping at `address`; OSError where the kernel cannot do this.

        `holding` returns those of some pages that may hold contents, without touching any.
        """
        self._address = address
        self._size_bytes = size_bytes
        self._pages = size_bytes // PAGE_BYTES
        self._protection = WriteProtection(address, size_bytes)
        self._all = one_run(0, self._pages)
        self._holding = holding
        #: What counts as marked whatever was written, until the next `take`.
        self._given = _NONE
        #: What was taken of all pages while not all were protected.
        self._taken = self._all
        #: What held contents before their protection began.
        self._held = _NONE
        self._is_started = False
        self._starts = 0
        #: Pieces that are still to be protected: which, and from the last one on, in what order.
        self._is_unprotected: Marks = np.zeros(-(-self._pages // _PIECE_PAGES), dtype=np.bool_)
        self._unprotected: list[int] = []
        self._is_protecting = False
        self._turn = threading.Condition(threading.Lock())

    def start(self, dirty: Runs) -> None:
        with self._turn:
            self._given = dirty
            self._taken = self._all
            self._is_started = True
            self._starts += 1
            self._is_unprotected[:] = True
            self._unprotected = []
        if page_count(dirty) < self._pages:
            # Writes to the others count from now on.
            self.prepare()

    def prepare(self) -> None:
        self._protect_while(self._is_unprotected.any)

    def mark(self, first_page: int, end_page: int) -> None:
        """Do nothing: the kernel has seen it."""

    def mark_scattered(self, indexes: Indexes) -> None:
        """Do nothing: the kernel has seen it."""

    def take(self, *, ahead: bool = False) -> Runs:
        if not self._is_started:
            return _NONE
        if ahead and page_count(self._given) == self._pages:
            return self._take_ahead()
        self.prepare()
        given, self._given = self._given, _NONE
        return self._holding(union(given, self._written(protect=True)))

    def _take_ahead(self) -> Runs:
        # What holds contents is known with the first piece.
        self._protect_while(self._is_unprotected.all)
        # What is protected from here on is held against what was taken.
        with self._turn:
            pieces = runs_of_marks(~self._is_unprotected) * _PIECE_PAGES
            protected = intersection(pieces, self._all)
            for each in protected.tolist():
                self._written(*each, protect=True)
            # Not what the scans name: what was first used while its piece was being protected was
            # named, and protected, then.
            came = self._holding(difference(protected, self._held))
            self._taken = union(self._held, came)
            self._given = _NONE
            return self._taken

    def among(self, runs: Runs) -> Runs:
        if not (self._is_started and len(runs)):
            return _NONE
        wanted = self._pieces(runs)
        self._protect_while(lambda: (wanted & self._is_unprotected).any())
        written = self._written(int(runs[0, 0]), int(runs[-1, 1]), protect=False)
        return intersection(runs, union(self._given, written))

    def count(self) -> int:
        if not self._is_started:
            return 0
        self.prepare()
        return page_count(self._holding(union(self._given, self._written(protect=False))))

    def stop(self) -> None:
        self._is_started = False

    def renew(self) -> None:
        """Take charge of what has been mapped at the address since; OSError if that fails."""
        self.close()
        self._protection = WriteProtection(self._address, self._size_bytes)

    def close(self) -> None:
        """Let go of the mapping."""
        self._is_started = False
        with self._turn:
            self._turn.wait_for(lambda: not self._is_protecting)
            self._protection.close()

    def _written(self, first: int = 0, end: int | None = None, *, protect: bool) -> Runs:
        end = self._pages if end is None else min(end, self._pages)
        found = self._protection.scan(first * PAGE_BYTES, end * PAGE_BYTES, protect=protect)
        return found // PAGE_BYTES

    def _protect_while(self, is_wanted: Callable[[], object]) -> None:
        """Protect pieces, or wait for who is at it, as long as that is wanted."""
        with self._turn:
            while self._is_started and is_wanted():
                if self._is_protecting:
                    self._turn.wait()
                else:
                    self._protect_next()

    def _protect_next(self) -> None:
        """Protect the next piece, letting others take their turn meanwhile."""
        start, held, unprotected = self._starts, self._held, self._unprotected
        self._is_protecting = True
        self._turn.release()
        try:
            if not unprotected:
                held = self._holding(self._all)
                unprotected = self._order(held)
            piece = unprotected[-1]
            pages = one_run(piece * _PIECE_PAGES, min((piece + 1) * _PIECE_PAGES, self._pages))
            written = self._protect(pages, intersection(pages, held))
        finally:
            self._turn.acquire()
            self._is_protecting = False
            self._turn.notify_all()
        if start == self._starts:
            unprotected.pop()
            self._held, self._unprotected = held, unprotected
            self._is_unprotected[piece] = False
            late = difference(written, intersection(pages, self._taken))
            self._given = union(self._given, late)

    def _protect(self, pages: Runs, held: Runs) -> Runs:
        """Protect what holds contents, and whatever else has been used; return what was not."""
        written = self._written(*pages[0].tolist(), protect=True)
        # What the scan did not name is protected already, or is in the file and not mapped yet.
        for first, end in difference(held, written).tolist():
            self._protection.protect(first * PAGE_BYTES, end * PAGE_BYTES)
        return written

    def _order(self, held: Runs) -> list[int]:
        """Return all pieces; from the last one on they are to be protected."""
        holds = self._pieces(held)
        return [*np.flatnonzero(~holds).tolist(), *np.flatnonzero(holds).tolist()]

    def _pieces(self, runs: Runs) -> Marks:
        """Mark the pieces in which pages of the runs are."""
        steps: npt.NDArray[np.int64] = np.zeros(self._is_unprotected.size + 1, dtype=np.int64)
        np.add.at(steps, runs[:, 0] // _PIECE_PAGES, 1)
        np.add.at(steps, (runs[:, 1] - 1) // _PIECE_PAGES + 1, -1)
        marks: Marks = np.cumsum(steps[:-1]) > 0
        return marks

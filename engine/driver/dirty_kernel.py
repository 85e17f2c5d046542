"""The record of written pages that the kernel keeps: nobody marks, whoever writes.

What may live here: `KernelDirtyRecord`, which makes a `DirtyRecord` (devices/dirty.py) of the
protection in write_protection.py.

The rules:

1. The kernel notes stores, and what system calls put into memory, through the one mapping it was
   given. It sees no store through another mapping and no write to the file: nobody may have
   either while this records, which memory.py sees to.
2. To start with every page costs nothing. All of it is protected by and by, from the top down: 20
   to 40 ms for a GiB, which `prepare` does in a thread while what is protected already is sent.
   Who asks what was written of some pages (`among`) waits until they are protected, and may read
   them then. What was used when it was protected, and was not taken before, is given out with the
   next ones: it may have been written to in between, and nobody saw it.
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

from devices.page_runs import (
    Indexes,
    Runs,
    difference,
    intersection,
    one_run,
    page_count,
    union,
)
from devices.ram import PAGE_BYTES
from engine.driver.write_protection import WriteProtection

_NONE = one_run(0, 0)
#: Pages protected in one go: 64 MiB, a few milliseconds.
_PROTECTED_PAGES = 16_384


class KernelDirtyRecord:
    """What was written to one mapping, as the kernel saw it."""

    name = "kernel"

    def __init__(self, address: int, size_bytes: int, holding: Callable[[Runs], Runs]) -> None:
        """Take charge of the mapping at `address`; OSError where the kernel cannot do this.

        `holding` returns those of some pages that may hold contents, without touching any.
        """
        self._address = address
        self._size_bytes = size_bytes
        self._protection = WriteProtection(address, size_bytes)
        self._all = one_run(0, size_bytes // PAGE_BYTES)
        self._holding = holding
        #: What counts as marked whatever was written, until the next `take`.
        self._given = _NONE
        #: What was taken of all pages while not all were protected.
        self._taken = self._all
        #: What held contents when their protection began; what came later came by the mapping.
        self._held = _NONE
        self._is_started = False
        self._starts = 0
        #: Pages below this one are still to be protected.
        self._unprotected = 0
        self._is_protecting = False
        self._turn = threading.Condition(threading.Lock())

    def start(self, dirty: Runs) -> None:
        with self._turn:
            self._given = dirty
            self._taken = self._all
            self._is_started = True
            self._starts += 1
            self._unprotected = int(self._all[0, 1])
        if page_count(dirty) < page_count(self._all):
            # Writes to the others count from now on.
            self.prepare()

    def prepare(self) -> None:
        self._protect_down_to(0)

    def mark(self, first_page: int, end_page: int) -> None:
        """Do nothing: the kernel has seen it."""

    def mark_scattered(self, indexes: Indexes) -> None:
        """Do nothing: the kernel has seen it."""

    def take(self, *, ahead: bool = False) -> Runs:
        if not self._is_started:
            return _NONE
        if ahead and page_count(self._given) == page_count(self._all):
            return self._take_ahead()
        self.prepare()
        given, self._given = self._given, _NONE
        return self._holding(union(given, self._written(protect=True)))

    def _take_ahead(self) -> Runs:
        self._protect_down_to(int(self._all[0, 1]) - 1)
        # What is protected from here on is held against what was taken.
        with self._turn:
            written = self._written(self._unprotected, protect=True)
            self._taken = union(self._held, self._holding(written))
            self._given = _NONE
            return self._taken

    def among(self, runs: Runs) -> Runs:
        if not (self._is_started and len(runs)):
            return _NONE
        start, end = int(runs[0, 0]), int(runs[-1, 1])
        self._protect_down_to(start)
        return intersection(runs, union(self._given, self._written(start, end, protect=False)))

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
        end = int(self._all[0, 1]) if end is None else end
        if first >= end:
            return _NONE
        found = self._protection.scan(first * PAGE_BYTES, end * PAGE_BYTES, protect=protect)
        return found // PAGE_BYTES

    def _protect_down_to(self, page: int) -> None:
        """Have all pages from this one on protected, by whoever is at it."""
        with self._turn:
            while self._is_started and self._unprotected > page:
                if self._is_protecting:
                    self._turn.wait()
                else:
                    self._protect_next()

    def _protect_next(self) -> None:
        """Protect the next pages, letting others take their turn meanwhile."""
        start, end = self._starts, self._unprotected
        first = max(end - _PROTECTED_PAGES, 0)
        self._is_protecting = True
        self._turn.release()
        try:
            if end == self._all[0, 1]:
                self._held = self._holding(self._all)
            written = self._protect(first, end)
        finally:
            self._turn.acquire()
            self._is_protecting = False
            self._turn.notify_all()
        if start == self._starts:
            self._unprotected = first
            self._given = union(self._given, difference(written, self._taken))

    def _protect(self, first: int, end: int) -> Runs:
        """Protect what holds contents, and whatever else has been used; return what was not."""
        written = self._written(first, end, protect=True)
        held = intersection(self._held, one_run(first, end))
        # What the scan did not name is protected already, or is in the file and not mapped yet.
        for start, after in difference(held, written).tolist():
            self._protection.protect(start * PAGE_BYTES, after * PAGE_BYTES)
        return written

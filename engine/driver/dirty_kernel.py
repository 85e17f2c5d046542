"""The record of written pages that the kernel keeps: nobody marks, whoever writes.

What may live here: `KernelDirtyRecord`, which makes a `DirtyRecord` (devices/dirty.py) of the
protection in write_protection.py.

The rules:

1. The kernel notes stores, and what system calls put into memory, through the one mapping it was
   given. It sees no store through another mapping and no write to the file: nobody may have
   either while this records, which memory.py sees to.
2. To start with every page costs nothing, but before anything is taken all of it is protected: 20
   ms for a GiB, which `prepare` may do in a thread. One that was given up may still be under way
   when the next begins, which waits for it: it would undo what has been noted by then.
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
        #: What counts as marked whatever was written, until the first `take`.
        self._given = _NONE
        self._is_started = False
        self._is_protected = False
        self._starts = 0
        self._protecting = threading.Lock()

    def start(self, dirty: Runs) -> None:
        self._given = dirty
        self._is_started = True
        self._is_protected = False
        self._starts += 1
        if page_count(dirty) < page_count(self._all):
            # Writes to the others count from now on.
            self.prepare()

    def prepare(self) -> None:
        with self._protecting:
            start = self._starts
            if self._is_started and not self._is_protected:
                self._protect()
                self._is_protected = start == self._starts

    def mark(self, first_page: int, end_page: int) -> None:
        """Do nothing: the kernel has seen it."""

    def mark_scattered(self, indexes: Indexes) -> None:
        """Do nothing: the kernel has seen it."""

    def take(self) -> Runs:
        if not self._is_started:
            return _NONE
        self.prepare()
        given, self._given = self._given, _NONE
        return self._holding(union(given, self._written(protect=True)))

    def among(self, runs: Runs) -> Runs:
        if not (self._is_started and len(runs)):
            return _NONE
        self.prepare()
        start, end = int(runs[0, 0]) * PAGE_BYTES, int(runs[-1, 1]) * PAGE_BYTES
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
        with self._protecting:
            self._protection.close()

    def _written(self, start: int = 0, end: int | None = None, *, protect: bool) -> Runs:
        end = self._size_bytes if end is None else end
        return self._protection.scan(start, end, protect=protect) // PAGE_BYTES

    def _protect(self) -> None:
        """Protect all that holds contents, and whatever else has been used."""
        written = self._written(protect=True)
        # What the scan did not name is protected already, or is in the file and not mapped yet.
        for first, end in difference(self._holding(self._all), written).tolist():
            self._protection.protect(first * PAGE_BYTES, end * PAGE_BYTES)

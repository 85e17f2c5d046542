"""The record of which pages were written: its interface, and the one that is told of each write.

What may live here: `DirtyRecord`, and `DirtyBitmap`, which whoever writes marks. A record that
learns of writes in another way needs a kernel, and lives in the driver.

The rules:

1. A page is marked after its bytes are in place, and `take` clears exactly the marks it returns.
   A writer on another thread may therefore cause a page to be sent twice, never missed.
2. A record may name a page that was not written, never leave one out that was.
3. Nothing is recorded while it is not started, and stopping forgets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from devices.page_runs import Indexes, Marks, Runs, indexes_of, runs_of_marks, split


class DirtyRecord(Protocol):
    """What RAM may rely on."""

    @property
    def name(self) -> str:
        """What kind of record it is, for people."""
        ...

    def start(self, dirty: Runs) -> None:
        """Begin to record, with those of these pages marked that may hold contents.

        What was recorded before is forgotten.
        """
        ...

    def prepare(self) -> None:
        """Do what takes long of having started, in whatever thread; or who first asks does it."""
        ...

    def mark(self, first_page: int, end_page: int) -> None:
        """Note a write to the pages from `first_page` up to `end_page`."""
        ...

    def mark_scattered(self, indexes: Indexes) -> None:
        """Note a write to each of these pages."""
        ...

    def take(self, *, ahead: bool = False) -> Runs:
        """Return the marked pages and clear their marks.

        With `ahead`, after a start with every page, this does not wait for `prepare`. A page may
        then be read once `among` has been asked about it, or once pages are taken again: what is
        written to it before that need not be marked.
        """
        ...

    def among(self, runs: Runs) -> Runs:
        """Return those of these pages that are marked, and leave their marks.

        Pages that never held anything may be among them, though `take` does not return those.
        """
        ...

    def count(self) -> int:
        """Return how many pages `take` would return now."""
        ...

    def stop(self) -> None:
        """Stop recording and forget."""
        ...


class DirtyBitmap:
    """A mark for each page, set by whoever writes through `Ram`; one byte each."""

    name = "bitmap"

    def __init__(self, pages: int, holding: Callable[[Runs], Runs] = lambda runs: runs) -> None:
        """Record nothing yet of RAM with so many pages.

        `holding` returns those of some pages that may hold contents; without it, each may.
        """
        self._holding = holding
        self._marks: Marks = np.zeros(pages, dtype=np.bool_)
        self._is_started = False

    def start(self, dirty: Runs) -> None:
        self._marks[:] = False
        self._marks[indexes_of(self._holding(dirty))] = True
        self._is_started = True

    def prepare(self) -> None:
        """Do nothing: that did not take long."""

    def mark(self, first_page: int, end_page: int) -> None:
        if self._is_started:
            self._marks[first_page:end_page] = True

    def mark_scattered(self, indexes: Indexes) -> None:
        if self._is_started:
            self._marks[indexes] = True

    def take(self, *, ahead: bool = False) -> Runs:
        taken = runs_of_marks(self._marks)
        self._marks[indexes_of(taken)] = False
        return taken

    def among(self, runs: Runs) -> Runs:
        return split(runs, self._marks[indexes_of(runs)])[0]

    def count(self) -> int:
        return int(np.count_nonzero(self._marks))

    def stop(self) -> None:
        self._is_started = False
        self._marks[:] = False

"""Guest RAM over the memory that the host provides.

What may live here: what `devices.ram` asks, where the host knows the answer better: which pages
were never touched, who notes writes, how pages that a stream brings get into place.
"""

from __future__ import annotations

import numpy as np

from devices.page_runs import Indexes, Marks, Runs, indexes_of, split
from devices.ram import BitmapRam
from engine.driver.memory import Memory
from engine.profile import DirtyTracking

#: In up to so many runs the pages of a message are read straight into RAM.
_LANDING_RUNS_MAX = 16


class GuestRam(BitmapRam):
    """RAM from the host: what was never touched is not dirty but zero, and is not read."""

    def __init__(self, memory: Memory, tracking: DirtyTracking = DirtyTracking.AUTO) -> None:
        """Use `memory`, and let `tracking` say who notes what is written to it.

        GuestMemoryError when that cannot be had.
        """
        super().__init__(memory.buffer, memory.dirty_record(tracking))
        self._memory = memory
        #: Which pages have ever been written through this RAM.
        self._written: Marks = np.zeros(self.pages, dtype=np.bool_)

    def start_tracking(self, *, all_dirty: bool = False) -> None:
        """Record writes from now on; with `all_dirty`, every page that may hold contents.

        MemoryLentError when not only this process can write to it.
        """
        self._memory.begin_tracking()
        super().start_tracking(all_dirty=all_dirty)

    def place(self, runs: Runs, data: memoryview) -> None:
        """Write pages, as a stream brings them, by way of the host's own memory."""
        self._memory.place(self._check_placed(runs, data), data)
        self._note_runs(runs)

    def landing(self, runs: Runs) -> list[memoryview] | None:
        # Where pages are not there yet, each would cost a fault; where runs are many, a read.
        if not self._memory.is_preallocated or len(runs) > _LANDING_RUNS_MAX:
            return None
        return [self.receive_view(first, end - first) for first, end in runs.tolist()]

    def zero_runs(self, runs: Runs) -> None:
        checked = self._check_runs(runs)
        if self._memory.is_its_own:
            # What was never written is zero: it need not be looked at, nor the host be asked.
            checked = split(checked, self._written[indexes_of(checked)])[0]
        super().zero_runs(checked)

    def _note(self, first_page: int, end_page: int) -> None:
        self._written[first_page:end_page] = True
        super()._note(first_page, end_page)

    def _note_scattered(self, indexes: Indexes) -> None:
        self._written[indexes] = True
        super()._note_scattered(indexes)

    def stream_view(self) -> memoryview:
        return self._memory.reading_view()

    def stop_tracking(self) -> None:
        super().stop_tracking()
        self._memory.end_tracking()

    def _holding(self, runs: Runs) -> Runs:
        return self._memory.holding(runs)

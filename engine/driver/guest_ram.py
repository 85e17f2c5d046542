"""Guest RAM over the memory that the host provides.

What may live here: what `devices.ram` asks, where the host knows the answer better: which pages
were never touched, who notes writes, how pages that a stream brings get into place.
"""

from __future__ import annotations

from devices.page_runs import Runs
from devices.ram import PAGE_BYTES, BitmapRam
from engine.driver.memory import Memory
from engine.profile import DirtyTracking


class GuestRam(BitmapRam):
    """RAM from the host: what was never touched is not dirty but zero, and is not read."""

    def __init__(self, memory: Memory, tracking: DirtyTracking = DirtyTracking.AUTO) -> None:
        """Use `memory`, and let `tracking` say who notes what is written to it.

        GuestMemoryError when that cannot be had.
        """
        super().__init__(memory.buffer, memory.dirty_record(tracking))
        self._memory = memory

    def start_tracking(self, *, all_dirty: bool = False) -> None:
        """Record writes from now on; with `all_dirty`, every page that may hold contents.

        MemoryLentError when not only this process can write to it.
        """
        self._memory.begin_tracking()
        super().start_tracking(all_dirty=all_dirty)

    def place(self, first_page: int, data: memoryview) -> None:
        """Write whole pages, as a stream brings them, by way of the host's own memory."""
        # For its checks and its marks: nothing is written through the view.
        self.receive_view(first_page, data.nbytes // PAGE_BYTES)
        self._memory.place(first_page * PAGE_BYTES, data)

    def stop_tracking(self) -> None:
        super().stop_tracking()
        self._memory.end_tracking()

    def _holding(self, runs: Runs) -> Runs:
        return self._memory.holding(runs)

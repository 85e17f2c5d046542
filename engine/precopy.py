"""RAM passes: which pages go next, and when what is left fits the downtime limit.

Rules kept here: no clock and no socket; the driver says what was written and when. The rule of
convergence is QEMU's (migration.c migration_iteration_run): the guest is stopped when the pages
still dirty can be sent, at the bandwidth measured, within the downtime limit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from devices.ram import PAGE_BYTES, Ram
from engine.messages import Message, PassEnd, RamPages, ZeroPages
from engine.statistics import RamStatistics

#: Pages in one RAM frame: 1 MiB.
BATCH_PAGES = 256
#: Zero pages in one frame: indexes only.
ZERO_BATCH_PAGES = 4_096
#: Less than this says nothing about the bandwidth.
MEASURED_BYTES_MIN = 256 << 10
#: Weight of the newest measurement in the bandwidth estimate.
_NEWEST = 0.5


class Precopy:
    """The passes of one migration over one VM's RAM."""

    def __init__(
        self,
        ram: Ram,
        statistics: RamStatistics,
        *,
        downtime_limit_ms: float,
        bandwidth_bytes_per_second: float,
    ) -> None:
        """Begin with an assumed bandwidth; measurements replace it."""
        self._ram = ram
        self._statistics = statistics
        self.downtime_limit_ms = downtime_limit_ms
        self._queue: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._offset = 0
        self._synchronised_ms: float | None = None
        statistics.total_bytes = ram.size_bytes
        statistics.expected_downtime_ms = downtime_limit_ms
        statistics.bandwidth_bytes_per_second = bandwidth_bytes_per_second

    @property
    def pass_number(self) -> int:
        """The present pass; 0 before the first."""
        return self._statistics.passes

    @property
    def queued_pages(self) -> int:
        """Pages of the present pass not handed out yet."""
        return len(self._queue) - self._offset

    def setup(self, now_ms: float) -> int:
        """Start tracking with every page dirty, begin the first pass and return its number."""
        self._ram.start_tracking(all_dirty=True)
        return self.synchronise(now_ms)

    def synchronise(self, now_ms: float) -> int:
        """Take what the guest dirtied as the next pass and return that pass's number."""
        left = self._queue[self._offset :]
        dirty = self._ram.take_dirty()
        self._queue = np.union1d(left, dirty) if len(left) else dirty
        self._offset = 0
        if self._statistics.passes:
            # The first pass takes all there is, whenever it was written.
            self._statistics.dirtied_pages += len(dirty)
        if self._synchronised_ms is not None and now_ms > self._synchronised_ms:
            seconds = (now_ms - self._synchronised_ms) / 1000
            self._statistics.dirty_pages_rate = int(len(dirty) / seconds)
        self._synchronised_ms = now_ms
        self._statistics.passes += 1
        self._statistics.remaining_pages = len(self._queue)
        self._expect()
        return self._statistics.passes

    def batch(self) -> list[Message]:
        """Return the messages for the next pages of this pass; empty when it is done.

        Contents are copied when the batch is taken: what the guest writes afterwards is dirty
        again and goes in a later pass.
        """
        if not self.queued_pages:
            return []
        ahead = self._queue[self._offset : self._offset + ZERO_BATCH_PAGES]
        nonzero = self._ram.nonzero_mask(ahead[:BATCH_PAGES])
        if nonzero.any():
            ahead = ahead[:BATCH_PAGES]
        else:
            nonzero = self._ram.nonzero_mask(ahead)
            ahead, nonzero = _leading_zeros(ahead, nonzero)
        self._offset += len(ahead)
        self._statistics.remaining_pages = self.queued_pages
        return list(self._messages(ahead, nonzero))

    def _messages(
        self, indexes: npt.NDArray[np.int64], nonzero: npt.NDArray[np.bool_]
    ) -> Iterator[Message]:
        full, zero = indexes[nonzero], indexes[~nonzero]
        if len(full):
            rows = np.frombuffer(self._ram.view(), dtype=np.uint8).reshape(-1, PAGE_BYTES)
            self._statistics.normal_pages += len(full)
            yield RamPages(self.pass_number, _wire(full), rows[full].tobytes())
        if len(zero):
            self._statistics.zero_pages += len(zero)
            yield ZeroPages(_wire(zero))

    def end_of_pass(self) -> PassEnd:
        """Return the message that ends the present pass."""
        return PassEnd(self.pass_number, self._ram.dirty_count)

    def wrote(self, sent_bytes: int, took_ms: float) -> None:
        """Note that bytes were written, and how long the channel and the limit took for them."""
        self._statistics.transferred_bytes += sent_bytes
        if sent_bytes >= MEASURED_BYTES_MIN and took_ms > 0:
            measured = sent_bytes * 1000 / took_ms
            known = self._statistics.bandwidth_bytes_per_second
            self._statistics.bandwidth_bytes_per_second = known + _NEWEST * (measured - known)

    def converged(self) -> bool:
        """Say whether what is dirty now could be sent within the downtime limit."""
        self._expect()
        return self._statistics.expected_downtime_ms <= self.downtime_limit_ms

    def _expect(self) -> None:
        bandwidth = self._statistics.bandwidth_bytes_per_second
        pages = self.queued_pages + self._ram.dirty_count
        self._statistics.expected_downtime_ms = pages * PAGE_BYTES * 1000 / bandwidth

    def finish(self) -> None:
        """Stop tracking."""
        self._ram.stop_tracking()


def _leading_zeros(
    indexes: npt.NDArray[np.int64], nonzero: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Cut a batch before its first page with contents, so that a data frame stays small."""
    first = int(nonzero.argmax()) if nonzero.any() else len(indexes)
    return indexes[:first], nonzero[:first]


def _wire(indexes: npt.NDArray[np.int64]) -> bytes:
    return indexes.astype("<u8").tobytes()

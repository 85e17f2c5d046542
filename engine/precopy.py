"""RAM passes: which pages go next, and when what is left fits the downtime limit.

Rules kept here: no clock and no socket; the driver says what was written and when. The rule of
convergence is QEMU's (migration.c migration_iteration_run): the guest is stopped when the pages
still dirty can be sent, at the speed measured, within the downtime limit. The speed is that of
pages with contents, as they were before compression: what is still dirty is counted in those.
While nothing has been measured, no more is left for then than what would tell the speed; pages that
turn out to be zero tell nothing, so this costs one pass at most.

Where the profile allows it, one more pass is made before that, once, if it promises to halve a
downtime that is worth it: it takes no longer than the limit, and the guest runs meanwhile.

Pages are handed out in portions that any number of channels take by turns. A portion is what takes
about PORTION_MS to write: less would cost more in handing it out, more would be longer than a
cancel, a new bandwidth limit or a look at the progress should wait. They go from the top of RAM
down, and what was written again meanwhile is left out of all passes but the last (as Xen's
xc_domain_save does): the guest model works at the bottom, so what it writes most has the most time
to show. A guest that works at the top gains less, and loses nothing.
"""

from __future__ import annotations

from devices.page_runs import Runs, difference, one_run, page_count, union
from devices.ram import PAGE_BYTES, Ram
from engine.messages import PassEnd
from engine.ram_sending import Sent
from engine.statistics import RamStatistics
from engine.wire_runs import RunQueue

#: Less than this says nothing about the bandwidth, unless it took so long.
MEASURED_BYTES_MIN = 256 << 10
MEASURED_MS = 1000.0
#: How long it should take to write a portion.
PORTION_MS = 100.0
#: The same for all channels together while the bandwidth is limited.
LIMITED_PORTION_MS = 25.0
#: Bounds of a portion: 64 KiB and 64 MiB. The first one of a migration has 1 MiB.
PORTION_PAGES_MIN = 16
PORTION_PAGES_MAX = 16_384
_FIRST_PORTION_PAGES = 256
#: No portion is less, 4 MiB, only because there are other channels.
PORTION_PAGES_SHARED_MIN = 1024
#: Less than this share of the downtime limit is not worth another pass.
_WORTH_A_PASS = 0.1
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
        shortens_downtime: bool = False,
    ) -> None:
        """Begin with nothing sent and no speed known.

        With `shortens_downtime` one more pass may be made than the limit needs.
        """
        self._ram = ram
        self._statistics = statistics
        self.downtime_limit_ms = downtime_limit_ms
        self._queue = RunQueue()
        self._portion_pages = _FIRST_PORTION_PAGES
        self._synchronised_ms = 0.0
        #: Pages that this pass has left out: they are dirty, and known.
        self._left_out_pages = 0
        #: Whether the pages of the first pass have been taken.
        self.is_collected = False
        self._may_shorten = shortens_downtime
        self._may_measure = True
        statistics.total_bytes = ram.size_bytes
        statistics.expected_downtime_ms = downtime_limit_ms
        #: How fast pages get over the link: more than the bandwidth, where they are compressed.
        #: None: not measured yet.
        self._contents_bytes_per_second: float | None = None

    @property
    def pass_number(self) -> int:
        """The present pass; 0 before the first."""
        return self._statistics.passes

    @property
    def queued_pages(self) -> int:
        """Pages of the present pass not handed out yet."""
        return len(self._queue)

    def setup(self) -> int:
        """Start tracking with every page dirty, begin the first pass and return its number.

        Its pages are handed out once they have been collected.
        """
        self._ram.start_tracking(all_dirty=True)
        self._statistics.passes += 1
        self._statistics.remaining_pages = self._ram.pages
        return self._statistics.passes

    def collect(self, now_ms: float) -> None:
        """Take the pages of the first pass: all that hold anything by now.

        RAM need not be protected yet: `portion` asks about each of them before it is read.
        """
        self.is_collected = True
        self._take(self._ram.take_dirty(ahead=True), now_ms)

    def count_pass(self) -> int:
        """Begin a pass that has nothing to send, and return its number: memory is handed over."""
        self._statistics.passes += 1
        self._statistics.expected_downtime_ms = 0.0
        return self._statistics.passes

    def synchronise(self, now_ms: float) -> int:
        """Take what the guest dirtied as the next pass and return that pass's number."""
        dirty = self._ram.take_dirty()
        self._statistics.dirtied_pages += page_count(dirty)
        if now_ms > self._synchronised_ms:
            seconds = (now_ms - self._synchronised_ms) / 1000
            self._statistics.dirty_pages_rate = int(page_count(dirty) / seconds)
        self._take(dirty, now_ms)
        self._statistics.passes += 1
        return self._statistics.passes

    def _take(self, dirty: Runs, now_ms: float) -> None:
        self._queue = RunQueue(union(self._queue.rest(), dirty))
        self._synchronised_ms = now_ms
        self._left_out_pages = 0
        self._statistics.remaining_pages = self.queued_pages
        self._expect()

    def portion(
        self, limit_bytes_per_second: int, channels: int = 1, *, is_last: bool = False
    ) -> Runs:
        """Hand out the next pages of this pass to one of the channels; none when it is done.

        What the guest has written again since it was queued is left out, unless this pass is the
        last: it comes again anyway.
        """
        looked_at = portion_max = self._portion_max(limit_bytes_per_second, channels)
        left = one_run(0, 0)
        while len(self._queue) and not len(left):
            runs = self._queue.take_last(looked_at)
            left = runs if is_last else difference(runs, self._ram.dirty_among(runs))
            self._left_out_pages += page_count(runs) - page_count(left)
            if page_count(left) > portion_max:
                found = RunQueue(left)
                left = found.take_last(portion_max)
                self._queue = RunQueue(union(self._queue.rest(), found.rest()))
            # Where all is dirty again, this is over after a few looks.
            looked_at *= 2
        self._statistics.remaining_pages = self.queued_pages + self._left_out_pages
        return left

    def _portion_max(self, limit_bytes_per_second: int, channels: int) -> int:
        # Towards the end so little that no channel is left alone with the rest.
        share = max(self.queued_pages // channels, PORTION_PAGES_SHARED_MIN)
        pages = min(self._portion_pages, share)
        if limit_bytes_per_second:
            limited_bytes = limit_bytes_per_second * LIMITED_PORTION_MS / 1000 / channels
            pages = min(pages, max(int(limited_bytes / PAGE_BYTES), PORTION_PAGES_MIN))
        return pages

    def sent(self, sent: Sent, took_ms: float, *, guest_runs: bool = True) -> None:
        """Note what became of a portion, and learn from it how large the next should be."""
        statistics = self._statistics
        statistics.transferred_bytes += sent.wire_bytes
        if not guest_runs:
            statistics.downtime_bytes += sent.wire_bytes
        statistics.normal_pages += sent.normal_pages
        statistics.zero_pages += sent.zero_pages
        if took_ms < PORTION_MS / 2:
            self._portion_pages = min(self._portion_pages * 2, PORTION_PAGES_MAX)
        elif took_ms > PORTION_MS * 2:
            self._portion_pages = max(self._portion_pages // 2, PORTION_PAGES_MIN)

    def passed(self) -> PassEnd:
        """Return the message that ends the pass before the present one."""
        return PassEnd(self.pass_number - 1, self.queued_pages)

    def last_passed(self) -> PassEnd:
        """Return the message that ends the present pass, the last one."""
        return PassEnd(self.pass_number, 0)

    def measured(self, sent: Sent, took_ms: float) -> bool:
        """Note how long the channels and the limit took for what was sent.

        False when that says nothing yet: then it is to be asked again with what comes next as well.
        """
        contents_bytes = sent.normal_pages * PAGE_BYTES
        if took_ms <= 0 or (contents_bytes < MEASURED_BYTES_MIN and took_ms < MEASURED_MS):
            return False
        if not contents_bytes:
            return True
        statistics = self._statistics
        bandwidth = sent.wire_bytes * 1000 / took_ms
        speed = contents_bytes * 1000 / took_ms
        if self._contents_bytes_per_second is not None:
            bandwidth = _mix(statistics.bandwidth_bytes_per_second, bandwidth)
            speed = _mix(self._contents_bytes_per_second, speed)
        statistics.bandwidth_bytes_per_second = bandwidth
        self._contents_bytes_per_second = speed
        return True

    def converged(self) -> bool:
        """Say whether what is dirty now is to be sent while the guest does not run."""
        self._expect()
        speed = self._contents_bytes_per_second
        if speed is None:
            is_little = self.queued_pages * PAGE_BYTES <= MEASURED_BYTES_MIN
            goes_on, self._may_measure = self._may_measure and not is_little, False
            return not goes_on
        expected_ms = self._statistics.expected_downtime_ms
        if expected_ms > self.downtime_limit_ms:
            return False
        if self._may_shorten and expected_ms > _WORTH_A_PASS * self.downtime_limit_ms:
            self._may_shorten = False
            dirty_bytes_per_second = self._statistics.dirty_pages_rate * PAGE_BYTES
            return dirty_bytes_per_second > speed / 2
        return True

    def _expect(self) -> None:
        if self._contents_bytes_per_second is not None:
            contents_bytes = self.queued_pages * PAGE_BYTES
            expected_ms = contents_bytes * 1000 / self._contents_bytes_per_second
            self._statistics.expected_downtime_ms = expected_ms

    def finish(self) -> None:
        """Stop tracking."""
        self._ram.stop_tracking()


def _mix(known: float, measured: float) -> float:
    return known + _NEWEST * (measured - known)

"""The kernel's record and the bitmap: the same schedule gives the same pages and the same bytes.

The pages of a schedule lie across the border of two page tables, in RAM of which the rest is
never touched.
"""

from __future__ import annotations

from itertools import islice
from unittest import mock

import numpy as np
from hypothesis import given

from devices.page_runs import difference, one_run
from devices.ram import PAGE_BYTES
from engine.driver import dirty_kernel
from engine.driver.guest_ram import GuestRam
from engine.driver.memory import GuestMemory
from engine.profile import DirtyTracking
from engine.wire_runs import RunQueue
from tests.integration.kernel_tracking import needs_the_kernel
from tests.property.test_ram_dirty import PAGES, Pass, Scatter, Step, Write, Zero, steps

#: Where the pages of a schedule begin.
FIRST = 512 - PAGES // 2
#: Pages sent in one go of a first pass.
PORTION_PAGES = 3
RAM_BYTES = 2 * 512 * PAGE_BYTES


class Side:
    """One source and its target, with one way to track."""

    def __init__(self, tracking: DirtyTracking) -> None:
        self.memories = [GuestMemory(RAM_BYTES), GuestMemory(RAM_BYTES)]
        self.ram, self.target = (GuestRam(memory, tracking) for memory in self.memories)

    def write(self, step: Write | Scatter | Zero) -> None:
        match step:
            case Write(offset, fill, length):
                data = bytes([fill]) * min(length, PAGES * PAGE_BYTES - offset)
                self.ram.write(FIRST * PAGE_BYTES + offset, data)
            case Scatter(numbers, generation):
                indexes = np.array(numbers, dtype=np.int64) + FIRST
                rows = np.full((len(numbers), 512), generation, dtype=np.uint64)
                self.ram.write_scattered(indexes, rows)
            case Zero(numbers):
                self.ram.zero_pages(np.array(numbers, dtype=np.int64) + FIRST)

    def send_pass(self) -> list[list[int]]:
        """Bring the target up to date; return what was dirty."""
        expected = self.ram.dirty_count
        known = self.ram.dirty_among(one_run(0, self.ram.pages))
        dirty = self.ram.take_dirty()
        assert expected == int((dirty[:, 1] - dirty[:, 0]).sum())
        assert not len(difference(dirty, known))
        # What is left out of a pass has to come in the next, unless it never held anything.
        assert not len(self.ram.split_zero(difference(known, dirty))[0])
        full, zero = self.ram.split_zero(dirty)
        for first, end in full.tolist():
            self.target.receive_view(first, end - first)[:] = self.ram.page_view(first, end - first)
        self.target.zero_runs(zero)
        taken: list[list[int]] = dirty.tolist()
        return taken

    def send_ahead(self, meanwhile: list[Write | Scatter | Zero]) -> None:
        """Send a first pass from the top down, protected only as it goes, while the guest writes.

        One step is done before each portion, be it above or below it.
        """
        queue = RunQueue(self.ram.take_dirty(ahead=True))
        writes = iter(meanwhile)
        while len(queue):
            for step in islice(writes, 1):
                self.write(step)
            runs = queue.take_last(PORTION_PAGES)
            for first, end in difference(runs, self.ram.dirty_among(runs)).tolist():
                pages = self.ram.page_view(first, end - first)
                self.target.receive_view(first, end - first)[:] = pages
        for step in writes:
            self.write(step)

    def close(self) -> None:
        for memory in self.memories:
            memory.close()


@needs_the_kernel
@given(before=steps, meanwhile=steps)
def test_no_write_is_missed_while_ram_is_still_to_be_protected(
    before: list[Step], meanwhile: list[Step]
) -> None:
    with mock.patch.object(dirty_kernel, "_PIECE_PAGES", PORTION_PAGES + 1):
        side = Side(DirtyTracking.KERNEL)
        for step in before:
            if not isinstance(step, Pass):
                side.write(step)
        side.ram.start_tracking(all_dirty=True)
        side.send_ahead([step for step in meanwhile if not isinstance(step, Pass)])
        side.send_pass()
    assert bytes(side.ram.view()) == bytes(side.target.view())
    side.close()


@needs_the_kernel
@given(before=steps, schedule=steps)
def test_any_schedule_is_recorded_alike(before: list[Step], schedule: list[Step]) -> None:
    sides = [Side(tracking) for tracking in (DirtyTracking.KERNEL, DirtyTracking.BITMAP)]
    for side in sides:
        for step in before:
            if not isinstance(step, Pass):
                side.write(step)
        side.ram.start_tracking(all_dirty=True)
    for step in [Pass(), *schedule, Pass()]:
        if isinstance(step, Pass):
            by_kernel, by_bitmap = (side.send_pass() for side in sides)
            assert by_kernel == by_bitmap
        else:
            for side in sides:
                side.write(step)
    whole = bytes(sides[0].ram.view())
    assert all(bytes(ram.view()) == whole for side in sides for ram in (side.ram, side.target))
    for side in sides:
        side.close()

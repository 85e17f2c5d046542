"""RAM that is being protected while a first pass begins: no write is lost, nobody waits long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from devices.page_runs import Runs, difference
from devices.ram import PAGE_BYTES, BitmapRam
from engine.driver import dirty_kernel
from engine.driver.guest_ram import GuestRam
from engine.driver.memory import GuestMemory
from engine.driver.page_map import Places
from engine.driver.write_protection import WriteProtection
from engine.profile import DirtyTracking
from engine.wire_runs import RunQueue
from tests.integration.kernel_tracking import needs_the_kernel

#: Three of the areas that one page table serves, and one page.
PAGES = 3 * 512 + 1


def runs(*rows: tuple[int, int]) -> Runs:
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    made = GuestMemory(PAGES * PAGE_BYTES)
    yield made
    made.close()


class Waiting:
    """Says that every page may hold contents, the first time not before it is let."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_asked, self.may_go = threading.Event(), threading.Event()

    def __call__(self, some: Runs) -> Runs:
        self.calls += 1
        self.is_asked.set()
        self.may_go.wait()
        return some


@needs_the_kernel
def test_a_start_that_was_given_up_is_over_before_the_next_begins(memory: GuestMemory) -> None:
    holding = Waiting()
    everything = runs((0, PAGES))
    address = np.frombuffer(memory.buffer, dtype=np.uint8).ctypes.data
    record = dirty_kernel.KernelDirtyRecord(address, PAGES * PAGE_BYTES, holding)
    record.start(everything)
    given_up = threading.Thread(target=record.prepare)
    given_up.start()
    holding.is_asked.wait()
    record.stop()
    record.start(everything)
    following = threading.Thread(target=record.prepare)
    following.start()
    holding.may_go.set()
    for thread in (given_up, following):
        thread.join()
    assert holding.calls == 2, "the first does not count for the second"
    memory.buffer[0] = 1
    assert record.among(everything).tolist() == everything.tolist()
    assert record.take().tolist() == everything.tolist()
    memory.buffer[5 * PAGE_BYTES] = 1
    assert record.among(runs((0, 4), (5, 9))).tolist() == [[5, 6]]
    assert record.take().tolist() == [[5, 6]]
    assert holding.calls == 4
    record.close()
    record.start(everything)
    with pytest.raises(OSError, match="let go of"):
        record.take()


@pytest.fixture
def writer_ends(memory: GuestMemory) -> Iterator[Callable[[], None]]:
    """Write to every seventh page, in a thread, until this is called, and never after that."""
    is_over = threading.Event()

    def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            for index in range(0, PAGES, 7):
                memory.buffer[index * PAGE_BYTES] = number % 256

    thread = threading.Thread(target=write)
    thread.start()

    def end() -> None:
        is_over.set()
        thread.join()

    yield end
    end()


def copy_pages(ram: BitmapRam, copy: bytearray, pages: Runs) -> None:
    for first, end in pages.tolist():
        copy[first * PAGE_BYTES : end * PAGE_BYTES] = ram.page_view(first, end - first)


@needs_the_kernel
@pytest.mark.parametrize("ahead", [False, True])
def test_what_is_written_while_ram_is_being_protected_is_not_lost(
    memory: GuestMemory,
    monkeypatch: pytest.MonkeyPatch,
    writer_ends: Callable[[], None],
    *,
    ahead: bool,
) -> None:
    monkeypatch.setattr(dirty_kernel, "_PIECE_PAGES", 64)
    ram = GuestRam(memory, DirtyTracking.KERNEL)
    copy = bytearray(PAGES * PAGE_BYTES)
    ram.start_tracking(all_dirty=True)
    protecting = threading.Thread(target=ram.prepare_tracking)
    protecting.start()
    queue = RunQueue(ram.take_dirty(ahead=ahead))
    while len(queue):
        portion = queue.take_last(50)
        copy_pages(ram, copy, difference(portion, ram.dirty_among(portion)))
    protecting.join()
    for _ in range(3):
        copy_pages(ram, copy, ram.take_dirty())
    writer_ends()
    copy_pages(ram, copy, ram.take_dirty())
    assert copy == ram.view()


@needs_the_kernel
def test_what_is_first_used_while_ram_is_being_protected_is_in_the_first_pass(
    memory: GuestMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dirty_kernel, "_PIECE_PAGES", 64)
    late = (700, PAGES - 1)
    protected: list[int] = []

    class Meanwhile(WriteProtection):
        def scan(self, start: int, end: int, *, protect: bool) -> Places:
            found = super().scan(start, end, protect=protect)
            if protect and not protected:
                # What holds contents has been asked, and these pieces' turn is still to come.
                for page in late:
                    memory.buffer[page * PAGE_BYTES] = 1
            protected.append(start)
            return found

    monkeypatch.setattr(dirty_kernel, "WriteProtection", Meanwhile)
    ram = GuestRam(memory, DirtyTracking.KERNEL)
    ram.write(3 * PAGE_BYTES, b"x")
    ram.start_tracking(all_dirty=True)
    ram.prepare_tracking()
    assert ram.take_dirty(ahead=True).tolist() == [[3, 4], *([page, page + 1] for page in late)]
    assert ram.take_dirty().tolist() == []


@needs_the_kernel
def test_nobody_waits_for_what_holds_nothing(
    memory: GuestMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dirty_kernel, "_PIECE_PAGES", 16)
    protected = []

    class Noted(WriteProtection):
        def scan(self, start: int, end: int, *, protect: bool) -> Places:
            if protect:
                protected.append(start // PAGE_BYTES)
            return super().scan(start, end, protect=protect)

    monkeypatch.setattr(dirty_kernel, "WriteProtection", Noted)
    ram = GuestRam(memory, DirtyTracking.KERNEL)
    for first in (3, 515, 1000):
        ram.write_pages(first, bytes([1]) * PAGE_BYTES)
    ram.start_tracking(all_dirty=True)
    assert ram.take_dirty(ahead=True).tolist() == [[3, 4], [515, 516], [1000, 1001]]
    assert ram.dirty_among(runs((3, 4), (1000, 1001))).tolist() == []
    assert set(protected) == {992, 512, 0}
    ram.write(700 * PAGE_BYTES, b"late")
    ram.write(3 * PAGE_BYTES, b"x")
    assert ram.take_dirty().tolist() == [[3, 4], [700, 701]]
    assert len(set(protected)) == -(-PAGES // 16)

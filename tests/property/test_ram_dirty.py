"""The law of precopy: whatever the guest writes between passes, the target ends up with its RAM.

A pass sends what `take_dirty` returns, as it is at that moment, zero pages apart. Writes are kept
in a plain bytearray as well, which is what RAM is compared with at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from devices.page_runs import indexes_of
from devices.pattern import page_rows
from devices.ram import PAGE_BYTES, BitmapRam

PAGES = 6
SIZE_BYTES = PAGES * PAGE_BYTES


@dataclass(frozen=True)
class Write:
    """A write of one repeated byte."""

    offset: int
    fill: int
    length: int


@dataclass(frozen=True)
class Scatter:
    """The workload's pattern on some pages, all of one generation."""

    indexes: tuple[int, ...]
    generation: int


@dataclass(frozen=True)
class Zero:
    """The guest clears pages."""

    indexes: tuple[int, ...]


@dataclass(frozen=True)
class Pass:
    """What is dirty is sent to the target."""


Step: TypeAlias = Write | Scatter | Zero | Pass

places = st.lists(st.integers(0, PAGES - 1), max_size=PAGES).map(tuple)
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(
            Write,
            st.integers(0, SIZE_BYTES - 1),
            st.integers(0, 255),
            st.integers(0, 2 * PAGE_BYTES),
        ),
        st.builds(Scatter, places, st.integers(0, 9)),
        st.builds(Zero, places),
        st.builds(Pass),
    ),
    max_size=20,
)


def guest_writes(ram: BitmapRam, model: bytearray, step: Write | Scatter | Zero) -> None:
    match step:
        case Write(offset, fill, length):
            data = bytes([fill]) * min(length, SIZE_BYTES - offset)
            ram.write(offset, data)
            model[offset : offset + len(data)] = data
        case Scatter(numbers, generation):
            indexes = np.array(numbers, dtype=np.int64)
            rows = page_rows(1, indexes, generation)
            ram.write_scattered(indexes, rows)
            for index, row in zip(numbers, rows, strict=True):
                model[index * PAGE_BYTES : (index + 1) * PAGE_BYTES] = row.tobytes()
        case Zero(numbers):
            ram.zero_pages(np.array(numbers, dtype=np.int64))
            for index in numbers:
                model[index * PAGE_BYTES : (index + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)


def send_pass(ram: BitmapRam, target: BitmapRam) -> None:
    full, zero = ram.split_zero(ram.take_dirty())
    whole = ram.view()
    data = b"".join(whole[first * PAGE_BYTES : end * PAGE_BYTES] for first, end in full.tolist())
    target.place(full, memoryview(data))
    target.zero_pages(indexes_of(zero))


@given(before=steps, schedule=steps, garbage=st.integers(0, 255))
def test_any_schedule_of_writes_and_passes_reproduces_ram(
    before: list[Step], schedule: list[Step], garbage: int
) -> None:
    ram, model = BitmapRam(bytearray(SIZE_BYTES)), bytearray(SIZE_BYTES)
    # The target need not be zero at first: an aborted migration may have been there.
    target = BitmapRam(bytearray([garbage]) * SIZE_BYTES)
    for step in before:
        if not isinstance(step, Pass):
            guest_writes(ram, model, step)
    ram.start_tracking(all_dirty=True)
    for step in [Pass(), *schedule, Pass()]:
        if isinstance(step, Pass):
            send_pass(ram, target)
        else:
            guest_writes(ram, model, step)
    assert bytes(ram.view()) == model
    assert bytes(target.view()) == model
    assert ram.dirty_count == 0

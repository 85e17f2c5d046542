"""devices.guest_memory and devices.guest_inbound: the layout, its bounds, and exact counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.guest_inbound import Inbound, InboundCounts
from devices.guest_memory import (
    IDENTIFIER_BYTES_MAX,
    INBOUND_FRAMES,
    MAGIC,
    OPTIONS_BYTES_MAX,
    RAM_BYTES_MIN,
    STANDBYS_MAX,
    WORKLOAD_FIRST_PAGE,
    DriverEntry,
    GuestMemory,
    GuestMemoryError,
)
from devices.ram import PAGE_BYTES, BitmapRam
from statemachines.states import NetFailover

MAC = bytes.fromhex("5254006f55cc")


def booted() -> GuestMemory:
    memory = GuestMemory(BitmapRam(bytearray(RAM_BYTES_MIN)))
    memory.boot(seed=9, working_pages=10, fill_pages=5, options="eject=never")
    return memory


def copied(memory: GuestMemory) -> GuestMemory:
    return GuestMemory(BitmapRam(bytearray(memory.ram.read(0, memory.ram.size_bytes))))


def test_ram_may_be_too_small() -> None:
    with pytest.raises(GuestMemoryError, match="1048576 bytes of RAM or more, not 1044480"):
        GuestMemory(BitmapRam(bytearray(RAM_BYTES_MIN - PAGE_BYTES)))


def test_fresh_ram_is_not_booted_and_passes_its_check() -> None:
    memory = GuestMemory(BitmapRam(bytearray(RAM_BYTES_MIN)))
    memory.check()
    assert not memory.is_booted


def test_a_boot_is_all_there_in_a_copy() -> None:
    memory = copied(booted())
    memory.check()
    assert memory.is_booted
    assert memory.ram.read(0, 8) == MAGIC
    assert (memory.boots, memory.seed, memory.working_pages, memory.fill_pages) == (1, 9, 10, 5)
    assert (memory.cursor, memory.generation, memory.next_sequence) == (0, 2, 0)
    assert (memory.options_text, memory.drivers()) == ("eject=never", ())


@pytest.mark.parametrize(("working", "fill"), [(0, 0), (128, 0), (1, 128)])
def test_a_boot_that_does_not_fit_writes_nothing(working: int, fill: int) -> None:
    ram = BitmapRam(bytearray(RAM_BYTES_MIN))
    with pytest.raises(GuestMemoryError, match="has 127 pages for the workload"):
        GuestMemory(ram).boot(seed=1, working_pages=working, fill_pages=fill, options="")
    assert not any(ram.read(0, RAM_BYTES_MIN))


def test_a_boot_with_too_many_options_writes_nothing() -> None:
    ram = BitmapRam(bytearray(RAM_BYTES_MIN))
    with pytest.raises(GuestMemoryError, match="1024 bytes, got 1025"):
        GuestMemory(ram).boot(
            seed=1, working_pages=1, fill_pages=0, options="x" * (OPTIONS_BYTES_MAX + 1)
        )
    assert not any(ram.read(0, RAM_BYTES_MIN))


def test_starting_over_keeps_what_describes_the_pages() -> None:
    memory = booted()
    memory.cursor, memory.next_sequence, memory.driver_resets = 3, 77, 1
    memory.write_drivers((DriverEntry(MAC, NetFailover.PRIMARY, "hostdev0"),))
    Inbound(memory).receive(5)
    memory.start_over()
    memory.check()
    assert (memory.boots, memory.cursor, memory.seed) == (2, 3, 9)
    assert (memory.next_sequence, memory.driver_resets, memory.drivers()) == (0, 0, ())
    Inbound(memory).receive(5)
    assert Inbound(memory).counts() == InboundCounts(1, 0, 0, 0, 5)


def test_every_write_is_seen_by_a_migration() -> None:
    memory = booted()
    memory.ram.start_tracking()
    memory.cursor = 4
    assert memory.ram.take_dirty().tolist() == [[0, 1]]
    Inbound(memory).receive(PAGE_BYTES * 8)
    assert memory.ram.take_dirty().tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_a_number_that_does_not_fit_changes_nothing(value: int) -> None:
    memory = booted()
    memory.cursor = 4
    with pytest.raises(GuestMemoryError, match="64 bits"):
        memory.cursor = value
    assert memory.cursor == 4


# -- the driver table


ENTRIES = tuple(
    DriverEntry(bytes([2, 0, 0, 0, 0, number]), state, "é" * 31 if number == 3 else name)
    for number, (state, name) in enumerate(
        [
            (NetFailover.STANDBY, ""),
            (NetFailover.PRIMARY_DOWN, "hostdev0"),
            (NetFailover.PRIMARY, "x" * IDENTIFIER_BYTES_MAX),
            (NetFailover.PRIMARY, ""),
        ]
    )
)


def test_the_driver_table_is_read_back() -> None:
    memory = booted()
    absent = DriverEntry(MAC, NetFailover.ABSENT)
    memory.write_drivers((absent, *ENTRIES))
    assert copied(memory).drivers() == ENTRIES


def test_an_unchanged_driver_table_dirties_nothing() -> None:
    memory = booted()
    memory.write_drivers(ENTRIES)
    memory.ram.start_tracking()
    memory.write_drivers(ENTRIES)
    assert memory.ram.dirty_count == 0
    memory.write_drivers(ENTRIES[1:])
    assert memory.ram.dirty_count == 1


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        (ENTRIES[:1] * (STANDBYS_MAX + 1), "16 failover standbys at most, not 17"),
        ((DriverEntry(MAC, NetFailover.PRIMARY, "y" * 64),), "at most 63 bytes"),
        ((DriverEntry(MAC[:5], NetFailover.STANDBY),), "a MAC of 6"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_whole(
    entries: tuple[DriverEntry, ...], text: str
) -> None:
    memory = booted()
    memory.write_drivers(ENTRIES)
    with pytest.raises(GuestMemoryError, match=text):
        memory.write_drivers(entries)
    assert memory.drivers() == ENTRIES


# -- what came through a stream


@pytest.mark.parametrize(
    ("offset", "raw", "text"),
    [
        (8, b"\x02", "layout 2, expected 1"),
        (32, b"\x00", "0 pages to work on"),
        (40, b"\xff" * 8, "at most 127 of each"),
        (48, b"\x0a", "page 10 of 10"),
        (56, b"\x01", "generation 1"),
        (56, b"\xff" * 8, "no workload gets there"),
        (96, b"\x01", "contradict"),
        (112, b"\x01", "contradict"),
        (512, b"\x04", "driver state 4"),
        (512, b"\x01\x40", "an id of 64 bytes"),
        (512, b"\x03\x02" + MAC + b"\xff\xff", "not UTF-8"),
        (2048, b"\x01\x04", "1025 bytes of options"),
        (2048, b"\x02\x00\xff\xff", "not UTF-8"),
    ],
)
def test_what_no_guest_writes_is_named(offset: int, raw: bytes, text: str) -> None:
    memory = booted()
    memory.ram.write(offset, raw)
    with pytest.raises(GuestMemoryError, match=text):
        memory.check()


@given(st.binary(min_size=PAGE_BYTES - 8, max_size=PAGE_BYTES - 8))
def test_any_control_page_passes_or_is_refused(noise: bytes) -> None:
    memory = booted()
    memory.ram.write(8, noise)
    try:
        memory.check()
    except GuestMemoryError:
        return
    assert memory.cursor < memory.working_pages <= memory.ram.pages - WORKLOAD_FIRST_PAGE


# -- inbound frames


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(0, INBOUND_FRAMES * 2))
def test_inbound_counts_are_those_of_a_set(sequences: list[int], base: int) -> None:
    inbound = Inbound(booted())
    for sequence in sequences:
        inbound.receive(base + sequence)
    counts = inbound.counts()
    distinct = set(sequences)
    assert counts.received == len(sequences)
    assert counts.duplicated == len(sequences) - len(distinct)
    assert counts.untold == 0
    if distinct:
        assert counts.missing == max(distinct) - min(distinct) + 1 - len(distinct)
        assert counts.highest == base + max(distinct)


@given(
    st.integers(0, INBOUND_FRAMES),
    st.lists(st.integers(1, INBOUND_FRAMES + 20), min_size=1, max_size=4),
)
def test_a_jump_leaves_no_bit_of_a_number_that_has_left_the_ring(
    first: int, jumps: list[int]
) -> None:
    """Every number is received once, so none may count as received before."""
    inbound = Inbound(booted())
    sequences = [first]
    for jump in jumps:
        sequences.append(sequences[-1] + jump)
    for sequence in sequences:
        inbound.receive(sequence)
    late = [s for s in range(sequences[-1] - 40, sequences[-1]) if s >= 0 and s not in sequences]
    for sequence in late:
        inbound.receive(sequence)
    counts = inbound.counts()
    assert (counts.received, counts.duplicated) == (len(sequences) + len(late), 0)
    for sequence in (*late, *sequences[-1:]):
        inbound.receive(sequence)
    assert inbound.counts().duplicated == len(late) + 1


def test_a_frame_from_before_the_ring_is_untold() -> None:
    inbound = Inbound(booted())
    for sequence in (0, INBOUND_FRAMES, 0, 1):
        inbound.receive(sequence)
    assert inbound.counts() == InboundCounts(4, 0, 1, INBOUND_FRAMES - 2, INBOUND_FRAMES)


@pytest.mark.parametrize("sequence", [-1, 1 << 64])
def test_no_sequence_number_beyond_64_bits(sequence: int) -> None:
    inbound = Inbound(booted())
    with pytest.raises(GuestMemoryError):
        inbound.receive(sequence)
    assert inbound.counts().received == 0

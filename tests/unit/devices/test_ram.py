"""devices.ram: bounds, the dirty record, zero pages, scattering; each against plain Python."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from devices.page_runs import Runs, indexes_of
from devices.ram import (
    PAGE_BYTES,
    PAGE_WORDS,
    BitmapRam,
    Ram,
    RamError,
    RamRangeError,
    RamShapeError,
)

PAGES = 8


def indexes(*numbers: int) -> npt.NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def dirty_pages(ram: BitmapRam) -> list[int]:
    return [int(page) for page in indexes_of(ram.take_dirty())]


def runs(*rows: tuple[int, int]) -> npt.NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def page(fill: int) -> bytes:
    return bytes([fill]) * PAGE_BYTES


def rows(*fills: int) -> npt.NDArray[np.uint64]:
    return np.repeat(np.array(fills, dtype=np.uint64)[:, np.newaxis], PAGE_WORDS, axis=1)


@pytest.fixture
def ram() -> BitmapRam:
    return BitmapRam(bytearray(PAGES * PAGE_BYTES))


def test_bitmap_ram_is_a_ram(ram: BitmapRam) -> None:
    kept: Ram = ram
    assert (kept.pages, kept.size_bytes) == (PAGES, PAGES * PAGE_BYTES)


@pytest.mark.parametrize(
    "buffer",
    [
        bytearray(),
        bytearray(PAGE_BYTES + 1),
        memoryview(bytes(PAGE_BYTES)),
        memoryview(bytearray(2 * PAGE_BYTES))[::2],
    ],
    ids=["empty", "no whole pages", "read-only", "not contiguous"],
)
def test_a_buffer_that_cannot_be_ram_is_refused(buffer: bytearray | memoryview) -> None:
    with pytest.raises(RamShapeError):
        BitmapRam(buffer)


def test_ram_is_the_buffer_itself() -> None:
    buffer = np.zeros(2 * PAGE_BYTES, dtype=np.uint8)
    ram = BitmapRam(buffer)
    ram.write(PAGE_BYTES - 1, b"ab")
    assert bytes(buffer[PAGE_BYTES - 1 : PAGE_BYTES + 1]) == b"ab"
    buffer[0] = 7
    assert ram.read(0, 1) == b"\x07"
    assert ram.view()[PAGE_BYTES] == ord("b")


def test_the_view_cannot_be_written_to(ram: BitmapRam) -> None:
    with pytest.raises(TypeError, match="read-only"):
        ram.view()[0] = 1


Act = Callable[[BitmapRam], object]

OUTSIDE: list[tuple[str, Act]] = [
    ("read before", lambda ram: ram.read(-1, 1)),
    ("read beyond", lambda ram: ram.read(PAGES * PAGE_BYTES - 1, 2)),
    ("read a negative length", lambda ram: ram.read(1, -1)),
    ("write before", lambda ram: ram.write(-1, b"x")),
    ("write beyond", lambda ram: ram.write(PAGES * PAGE_BYTES - 1, b"xy")),
    ("pages before", lambda ram: ram.write_pages(-1, page(1))),
    ("pages beyond", lambda ram: ram.write_pages(PAGES - 1, page(1) * 2)),
    ("scatter beyond", lambda ram: ram.write_scattered(indexes(0, PAGES), rows(1, 2))),
    ("place before", lambda ram: ram.place(runs((-1, 1)), memoryview(page(1) * 2))),
    ("place beyond", lambda ram: ram.place(runs((0, 1), (7, 9)), memoryview(page(1) * 3))),
    ("zero beyond", lambda ram: ram.zero_pages(indexes(1, PAGES))),
    ("view before", lambda ram: ram.page_view(-1, 1)),
    ("view beyond", lambda ram: ram.page_view(PAGES - 1, 2)),
    ("view fewer than none", lambda ram: ram.page_view(3, -1)),
    ("receive before", lambda ram: ram.receive_view(-1, 1)),
    ("receive beyond", lambda ram: ram.receive_view(1, PAGES)),
    ("zero runs beyond", lambda ram: ram.zero_runs(runs((0, 1), (4, PAGES + 1)))),
    ("split runs before", lambda ram: ram.split_zero(runs((-1, 1)))),
]

MISSHAPEN: list[tuple[str, Act]] = [
    ("half a page", lambda ram: ram.write_pages(0, page(1)[:2048])),
    ("rows of bytes", lambda ram: ram.write_scattered(indexes(0), rows(1).view(np.uint8))),
    ("a row too many", lambda ram: ram.write_scattered(indexes(0), rows(1, 2))),
    ("strided", lambda ram: ram.write(0, rows(1, 2)[:, ::2])),
    ("indexes in two dimensions", lambda ram: ram.zero_pages(indexes(1, 2).reshape(1, 2))),
    ("runs in one dimension", lambda ram: ram.zero_runs(indexes(1, 2))),
    ("place fewer", lambda ram: ram.place(runs((1, 3)), memoryview(bytes(PAGE_BYTES)))),
    ("runs of fractions", lambda ram: ram.split_zero(np.array([[1.0, 2.0]]))),
    ("an empty run", lambda ram: ram.zero_runs(runs((1, 1)))),
    ("runs that descend", lambda ram: ram.zero_runs(runs((4, 5), (1, 2)))),
    ("runs that touch", lambda ram: ram.split_zero(runs((1, 2), (2, 3)))),
    ("fractions", lambda ram: ram.zero_pages(np.array([1.0]))),
]


@pytest.mark.parametrize(
    ("error", "act"),
    [(RamRangeError, act) for _, act in OUTSIDE] + [(RamShapeError, act) for _, act in MISSHAPEN],
    ids=[name for name, _ in OUTSIDE + MISSHAPEN],
)
def test_a_refused_access_changes_nothing(ram: BitmapRam, error: type[RamError], act: Act) -> None:
    ram.write(0, bytes(range(256)) * (PAGES * PAGE_BYTES // 256))
    before = bytes(ram.view())
    ram.start_tracking()
    with pytest.raises(error):
        act(ram)
    assert bytes(ram.view()) == before
    assert dirty_pages(ram) == []


WRITES: list[tuple[str, Act, list[int]]] = [
    ("one byte", lambda ram: ram.write(PAGE_BYTES, b"x"), [1]),
    ("to the end of a page", lambda ram: ram.write(PAGE_BYTES, page(1)), [1]),
    ("across an edge", lambda ram: ram.write(2 * PAGE_BYTES - 1, b"xy"), [1, 2]),
    ("the last byte", lambda ram: ram.write(PAGES * PAGE_BYTES - 1, b"x"), [PAGES - 1]),
    ("nothing, at the end", lambda ram: ram.write(PAGES * PAGE_BYTES, b""), []),
    ("whole pages", lambda ram: ram.write_pages(3, page(1) * 2), [3, 4]),
    ("scattered", lambda ram: ram.write_scattered(indexes(6, 0, 6), rows(1, 2, 3)), [0, 6]),
    ("placed", lambda ram: ram.place(runs((2, 3), (5, 6)), memoryview(page(1) * 2)), [2, 5]),
    ("zeroed, but zero already", lambda ram: ram.zero_pages(indexes(1, 2)), []),
    ("runs zeroed, but zero already", lambda ram: ram.zero_runs(runs((1, 3), (5, 6))), []),
    ("received", lambda ram: ram.receive_view(2, 3), [2, 3, 4]),
]


@pytest.mark.parametrize(("act", "dirty"), [w[1:] for w in WRITES], ids=[w[0] for w in WRITES])
def test_a_write_marks_the_pages_it_touches(ram: BitmapRam, act: Act, dirty: list[int]) -> None:
    act(ram)
    assert ram.dirty_count == 0, "nothing is recorded before tracking starts"
    ram = BitmapRam(bytearray(PAGES * PAGE_BYTES))
    ram.start_tracking()
    act(ram)
    assert ram.dirty_count == len(dirty)
    assert dirty_pages(ram) == dirty
    assert dirty_pages(ram) == [], "taking clears"
    act(ram)
    ram.stop_tracking()
    assert ram.dirty_count == 0, "stopping forgets"


def test_dirty_pages_come_as_runs(ram: BitmapRam) -> None:
    ram.start_tracking()
    ram.write_pages(2, page(1) * 2)
    ram.write(5 * PAGE_BYTES, b"x")
    ram.write_pages(4, page(2))
    ram.write(0, b"x")
    taken = ram.take_dirty()
    assert taken.dtype == np.int64
    assert taken.tolist() == [[0, 1], [2, 6]]
    assert ram.take_dirty().shape == (0, 2)


def test_views_of_pages_are_ram_itself(ram: BitmapRam) -> None:
    received = ram.receive_view(3, 2)
    received[0] = received[-1] = 7
    assert ram.read(3 * PAGE_BYTES, 1) == ram.read(5 * PAGE_BYTES - 1, 1) == b"\x07"
    seen = ram.page_view(4, 2)
    assert (seen.nbytes, seen.readonly, seen[PAGE_BYTES - 1]) == (2 * PAGE_BYTES, True, 7)
    assert ram.page_view(PAGES, 0).nbytes == 0
    with pytest.raises(TypeError, match="read-only"):
        seen[0] = 1


def test_tracking_can_start_with_all_pages_dirty(ram: BitmapRam) -> None:
    ram.start_tracking(all_dirty=True)
    assert dirty_pages(ram) == list(range(PAGES))


def test_pages_land_where_they_belong(ram: BitmapRam) -> None:
    ram.write_pages(0, np.frombuffer(page(9), dtype=np.uint64))
    ram.place(runs((2, 3), (7, 8)), memoryview(b"?" + page(2) + page(1))[1:])
    ram.write_scattered(indexes(4, 3), rows(0x0303030303030303, 0x0404040404040404))
    fills = [ram.read(number * PAGE_BYTES, PAGE_BYTES) for number in range(PAGES)]
    assert fills == [page(fill) for fill in (9, 0, 2, 4, 3, 0, 0, 1)]


def test_a_page_is_zero_only_when_every_word_is() -> None:
    ram = BitmapRam(bytearray(1024 * PAGE_BYTES))
    for number in range(0, 1024, 2):
        ram.write(number * PAGE_BYTES + number * 4 % PAGE_BYTES, b"\x80")
    filled = [[number, number + 1] for number in range(0, 1024, 2)]
    assert ram.split_zero(runs((0, 1024)))[0].tolist() == filled
    ram.start_tracking()
    ram.zero_pages(indexes(*range(100)))
    assert dirty_pages(ram) == list(range(0, 100, 2))
    assert ram.split_zero(runs((0, 101)))[0].tolist() == [[100, 101]]


def test_runs_are_divided_by_whether_they_are_zero() -> None:
    ram = BitmapRam(bytearray(100 * PAGE_BYTES))
    for number in (3, 4, 30, 31, 80):
        ram.write((number + 1) * PAGE_BYTES - 1, b"x")
    full, zero = ram.split_zero(runs((0, 4), (10, 50), (80, 81), (90, 100)))
    assert full.tolist() == [[3, 4], [30, 32], [80, 81]]
    assert zero.tolist() == [[0, 3], [10, 30], [32, 50], [90, 100]]
    ram.start_tracking()
    ram.zero_runs(runs((4, 31), (80, 100)))
    assert dirty_pages(ram) == [4, 30, 80]
    assert ram.split_zero(runs((0, 100)))[0].tolist() == [[3, 4], [31, 32]]


def test_no_pages_at_all_is_fine(ram: BitmapRam) -> None:
    ram.place(runs(), memoryview(b""))
    ram.zero_pages(indexes())
    ram.zero_runs(runs())
    assert [part.shape for part in ram.split_zero(runs())] == [(0, 2), (0, 2)]


@pytest.mark.parametrize("which", [runs((3, 5)), runs(*((n, n + 1) for n in range(0, 80, 2)))])
def test_pages_are_placed_where_the_runs_say_and_count_as_written(which: Runs) -> None:
    ram = BitmapRam(bytearray(b"a" * 80 * PAGE_BYTES))
    ram.start_tracking()
    pages = indexes_of(which)
    ram.place(which, memoryview(b"".join(bytes([n + 1]) * PAGE_BYTES for n in range(len(pages)))))
    expected = np.full(80, ord("a"), dtype=np.uint8)
    expected[pages] = np.arange(1, len(pages) + 1)
    assert (np.frombuffer(ram.view(), dtype=np.uint8).reshape(80, -1) == expected[:, None]).all()
    assert ram.take_dirty().tolist() == which.tolist()

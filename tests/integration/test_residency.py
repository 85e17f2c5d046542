"""engine.driver.residency: which pages hold data, however the kernel comes to know of them."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.page_runs import Runs, indexes_of, one_run, runs_of
from devices.ram import PAGE_BYTES
from engine.driver import residency
from engine.driver.page_map import PageMap
from engine.driver.residency import Residency

PAGES = 700
numbers = st.sets(st.integers(0, PAGES - 1), max_size=40)


def runs(pages: set[int]) -> Runs:
    return runs_of(np.array(sorted(pages), dtype=np.int64))


class File:
    """A memfd, mapped, and what is asked about it."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("residency", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, PAGES * PAGE_BYTES)
        self.mapping = mmap.mmap(self.fd, PAGES * PAGE_BYTES)
        address = np.frombuffer(self.mapping, dtype=np.uint8).ctypes.data
        self.residency = Residency(self.fd, address, PAGES * PAGE_BYTES)

    def close(self) -> None:
        self.residency.close()
        self.mapping.close()
        os.close(self.fd)

    def holding(self, asked: set[int]) -> set[int]:
        found = self.residency.holding(runs(asked))
        edges = found.reshape(-1)
        assert (edges[1:] > edges[:-1]).all()
        return set(indexes_of(found).tolist())


@pytest.fixture(
    params=["page tables", "mincore", "no lookups", "one seek", "one seek, no page tables"]
)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each order in which the kernel can be asked."""

    def refuse() -> PageMap:
        raise OSError(25, "Inappropriate ioctl for device")

    if request.param == "mincore" or "no page tables" in request.param:
        monkeypatch.setattr(residency, "PageMap", refuse)
    if request.param != "mincore":
        monkeypatch.setattr(residency, "_LOOKED_UP_PAGES_MAX", 0)
    if "one seek" in request.param:
        monkeypatch.setattr(residency, "_SEEKS_MAX", 1)
        monkeypatch.setattr(residency, "_GAP_PAGES_MAX", 2)


# Called by a test, so that a fixture may hold for all examples.
@given(by_store=numbers, by_file=numbers, forgotten=numbers, asked=numbers, is_all=st.booleans())
def check(
    by_store: set[int], by_file: set[int], forgotten: set[int], asked: set[int], is_all: bool
) -> None:
    file = File()
    for page in by_store:
        file.mapping[page * PAGE_BYTES] = 0
    for page in by_file:
        os.pwrite(file.fd, b"\0", page * PAGE_BYTES)
    for page in forgotten:
        # As if it were swapped out: this process's page tables know nothing of it.
        file.mapping.madvise(mmap.MADV_DONTNEED, page * PAGE_BYTES, PAGE_BYTES)
    wanted = set(range(PAGES)) if is_all else asked
    before = file.residency.allocated_bytes
    assert file.holding(wanted) == (by_store | by_file) & wanted
    assert file.residency.allocated_bytes == before == len(by_store | by_file) * PAGE_BYTES
    file.close()


@pytest.mark.usefixtures("way")
def test_pages_with_data_are_found_without_being_touched() -> None:
    check()


@pytest.mark.usefixtures("way")
def test_data_and_holes_may_alternate() -> None:
    file = File()
    even = set(range(0, PAGES, 2))
    for page in even:
        file.mapping[page * PAGE_BYTES] = 0
    assert file.holding(set(range(PAGES))) == even
    assert file.holding({3, 4, 7}) == {4}
    assert file.residency.extents() == [
        (page * PAGE_BYTES, (page + 1) * PAGE_BYTES) for page in sorted(even)
    ]
    file.close()


def test_nothing_holds_nothing() -> None:
    file = File()
    assert len(file.residency.holding(one_run(0, 0))) == 0
    assert file.residency.extents() == []
    file.close()


def test_what_comes_while_it_is_asked_does_not_stand_for_what_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(residency, "_SEEKS_MAX", 1)
    monkeypatch.setattr(residency, "_LOOKED_UP_PAGES_MAX", 0)
    file = File()
    there = set(range(0, 20, 2))
    for page in there:
        os.pwrite(file.fd, b"x", page * PAGE_BYTES)
    used, asked = file.residency._used, []

    def used_meanwhile(some: Runs) -> Runs:
        asked.append(some)
        if len(asked) == 2:
            for page in range(100, 150):
                file.mapping[page * PAGE_BYTES] = 1
        return used(some)

    monkeypatch.setattr(file.residency, "_used", used_meanwhile)
    assert file.holding(set(range(50))) == there
    file.close()

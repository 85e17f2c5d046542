"""Runs on the wire and back, and the queue that cuts them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.page_runs import Runs, indexes_of, one_run, page_count, runs_of
from engine.errors import MalformedMessage
from engine.wire_runs import RunQueue, runs_from_wire, runs_to_wire


def runs(*of: tuple[int, int]) -> Runs:
    return np.array(of, dtype=np.int64).reshape(-1, 2)


def wire(*of: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<2Q", *each) for each in of)


def test_a_run_is_its_first_page_and_its_length() -> None:
    assert runs_to_wire(runs((3, 5), (9, 10))) == wire((3, 2), (9, 1))
    assert runs_from_wire(wire((3, 2), (9, 1)), 10).tolist() == [[3, 5], [9, 10]]


@pytest.mark.parametrize(
    "given",
    [
        wire((10, 1)),
        wire((9, 2)),
        wire((0, 11)),
        wire((2**63, 1)),
        wire((1, 2**64 - 1)),
        wire((2**64 - 1, 2**64 - 1)),
    ],
)
def test_runs_outside_ram_are_refused(given: bytes) -> None:
    with pytest.raises(MalformedMessage, match="pages below 10"):
        runs_from_wire(given, 10)


@pytest.mark.parametrize(
    "given", [wire((0, 2), (1, 2)), wire((4, 1), (1, 1)), wire((1, 1), (2, 1)), wire((1, 0))]
)
def test_runs_that_overlap_touch_or_do_not_ascend_are_refused(given: bytes) -> None:
    with pytest.raises(MalformedMessage, match="ascend and do not touch"):
        runs_from_wire(given, 10)


def test_a_queue_hands_out_each_page_once_in_order() -> None:
    queue = RunQueue(runs((0, 5), (7, 8), (20, 30)))
    assert (len(queue), queue.pages) == (16, 16)
    assert queue.take(3).tolist() == [[0, 3]]
    assert queue.take(4).tolist() == [[3, 5], [7, 8], [20, 21]]
    assert queue.rest().tolist() == [[21, 30]]
    assert queue.take(100).tolist() == [[21, 30]]
    assert (len(queue), queue.take(1).tolist(), queue.rest().tolist()) == (0, [], [])


def test_a_queue_hands_out_no_more_runs_than_asked_for() -> None:
    queue = RunQueue(runs((0, 1), (2, 3), (4, 6), (8, 9)))
    assert queue.take(10, runs_max=2).tolist() == [[0, 1], [2, 3]]
    assert queue.take(1, runs_max=2).tolist() == [[4, 5]]
    assert queue.take(10, runs_max=1).tolist() == [[5, 6]]
    assert queue.take(10, runs_max=1).tolist() == [[8, 9]]


def test_a_queue_hands_out_what_is_last_too() -> None:
    queue = RunQueue(runs((0, 5), (7, 8), (20, 30)))
    assert queue.take_last(4).tolist() == [[26, 30]]
    assert queue.take_last(8).tolist() == [[4, 5], [7, 8], [20, 26]]
    assert (len(queue), queue.rest().tolist()) == (4, [[0, 4]])
    assert queue.take(1).tolist() == [[0, 1]]
    assert queue.take_last(9).tolist() == [[1, 4]]
    assert (len(queue), queue.take_last(1).tolist(), queue.take(1).tolist()) == (0, [], [])


def test_what_is_last_comes_in_no_more_runs_than_asked_for_either() -> None:
    queue = RunQueue(runs((0, 1), (2, 3), (4, 6), (8, 9)))
    assert queue.take_last(10, runs_max=2).tolist() == [[4, 6], [8, 9]]
    assert queue.take_last(10, runs_max=1).tolist() == [[2, 3]]
    assert queue.take_last(10, runs_max=1).tolist() == [[0, 1]]


@given(
    st.sets(st.integers(0, 40), min_size=1),
    st.lists(st.tuples(st.booleans(), st.integers(1, 12), st.integers(1, 4))),
)
def test_from_whichever_end_each_page_is_handed_out_once(
    pages: set[int], takes: list[tuple[bool, int, int]]
) -> None:
    queue, left = RunQueue(runs_of(np.array(sorted(pages)))), sorted(pages)
    for is_last, pages_max, runs_max in takes:
        take = queue.take_last if is_last else queue.take
        piece = take(pages_max, runs_max)
        taken = indexes_of(piece).tolist()
        assert len(taken) <= pages_max
        assert len(piece) <= runs_max
        assert bool(taken) is bool(left)
        assert taken == (left[len(left) - len(taken) :] if is_last else left[: len(taken)])
        left = left[: len(left) - len(taken)] if is_last else left[len(taken) :]
        assert indexes_of(queue.rest()).tolist() == left


def test_an_empty_queue_has_nothing() -> None:
    queue = RunQueue(one_run(0, 0))
    assert (len(queue), page_count(queue.take(5)), page_count(queue.rest())) == (0, 0, 0)
    assert page_count(queue.take_last(5)) == 0

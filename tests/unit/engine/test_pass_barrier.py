"""Passes over several channels are kept apart."""

from __future__ import annotations

import pytest

from engine.errors import UnexpectedMessage
from engine.pass_barrier import PassBarrier


def test_who_is_first_waits_for_all() -> None:
    barrier = PassBarrier(2)
    assert not barrier.reached(1, 1)
    assert not barrier.reached(0, 1)
    assert [barrier.holds(participant) for participant in range(3)] == [True, True, False]
    assert barrier.reached(2, 1)
    assert not any(barrier.holds(participant) for participant in range(3))
    assert not barrier.reached(2, 2)


def test_all_say_the_same_pass_and_a_later_one_each_time() -> None:
    barrier = PassBarrier(1)
    assert not barrier.reached(0, 3)
    with pytest.raises(UnexpectedMessage, match=r"the end of pass 3, .* got that of pass 4"):
        barrier.reached(1, 4)
    assert barrier.reached(1, 3)
    for pass_number in (0, 3):
        with pytest.raises(UnexpectedMessage, match="the end of pass 4 or later"):
            barrier.reached(1, pass_number)


def test_who_is_held_says_nothing_more() -> None:
    barrier = PassBarrier(1)
    barrier.reached(1, 1)
    with pytest.raises(UnexpectedMessage):
        barrier.reached(1, 2)
    assert barrier.reached(0, 1)


def test_the_main_channel_alone_never_waits() -> None:
    barrier = PassBarrier(0)
    assert all(barrier.reached(0, number) for number in (1, 2, 3))


def test_who_ends_between_passes_is_missed_in_the_next_one() -> None:
    barrier = PassBarrier(2)
    barrier.left(1)
    assert not barrier.waits_for_ever
    barrier.reached(0, 1)
    assert barrier.waits_for_ever


def test_who_ends_after_the_last_pass_is_not_missed() -> None:
    barrier = PassBarrier(1)
    barrier.reached(1, 1)
    barrier.left(1)
    assert not barrier.waits_for_ever
    assert barrier.reached(0, 1)
    assert not barrier.waits_for_ever

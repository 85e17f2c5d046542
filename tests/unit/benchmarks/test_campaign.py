"""benchmarks.ram.campaign: the order of the runs is fair."""

from __future__ import annotations

from benchmarks.ram.campaign import rotated
from benchmarks.ram.contenders import Case, Program, Way, contenders
from benchmarks.ram.contents import Contents

RIVAL = Program("QEMU", "qemu-system-x86_64")


def test_each_round_begins_with_another_contender_and_has_all() -> None:
    entrants = contenders(Case(Way.IDLE, Contents.RANDOM), [RIVAL])
    rounds = [rotated(entrants, number) for number in range(len(entrants))]
    assert len({order[0] for order in rounds}) == len(entrants) > 2
    assert all(set(order) == set(entrants) for order in rounds)

"""A sample of the mutation campaign (`mutation.py`): named properties kill what they should."""

from __future__ import annotations

from collections import Counter

import pytest

from statemachines.checker.mutate import Mutation, mutants, weaker
from statemachines.environment import Budget
from statemachines.guards import ALWAYS, All, In, Not
from statemachines.states import Blocker, Link
from tests.model.mutation import SMALL, fate, sample

#: Enough for most rows to fire, and for most mutants to show.
SYSTEMS = SMALL[:3]


def test_the_names_of_the_mutants_are_unique_and_there_are_many_of_each_kind() -> None:
    every = mutants()
    assert len({mutant.name for mutant in every}) == len(every)
    kinds = Counter(mutant.mutation for mutant in every)
    assert sum(kinds.values()) >= 200
    assert min(kinds[mutation] for mutation in Mutation) >= 10


def test_a_guard_is_weakened_in_every_way() -> None:
    clear, closed = In(Blocker.CLEAR), In(Link.CLOSED)
    found = list(weaker(All(clear, Not(closed))))
    assert found == [Not(closed), clear, All(clear, closed), ALWAYS]
    assert list(weaker(ALWAYS)) == []


@pytest.mark.slow
def test_of_a_sample_nearly_all_are_killed() -> None:
    fates = [fate(mutant) for mutant in sample(60)]
    counted = [found for found in fates if found.outcome in ("killed", "survived")]
    survivors = [found.name for found in counted if found.outcome == "survived"]
    assert len(counted) >= 25
    assert len(survivors) <= len(counted) // 20, survivors


def test_small_systems_are_small() -> None:
    for topology in SYSTEMS:
        assert sum(topology.budgets[budget] for budget in Budget) <= 2

"""A sample of the mutation campaign (`mutation.py`): named properties kill what they should."""

from __future__ import annotations

from collections import Counter

import pytest

from statemachines.checker.mutate import Mutation, mutants, weaker
from statemachines.checker.verdict import judge
from statemachines.guards import ALWAYS, All, In, Not
from statemachines.policies import NATIVE
from statemachines.states import Blocker, Link
from tests.model.mutation import EXPLAINED, SMALL, baseline, fate, reason, sample, shape_of
from tests.model.sameness import answers_alike


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
def test_of_a_sample_nearly_all_are_killed_and_the_rest_is_explained() -> None:
    fates = [fate(mutant, SMALL) for mutant in sample(40)]
    counted = [found for found in fates if found.outcome in ("killed", "survived")]
    survivors = [found.name for found in counted if found.outcome == "survived"]
    assert len(counted) >= 25
    assert len(survivors) <= len(counted) // 20, survivors
    assert [name for name in survivors if reason(name) is None] == []


@pytest.mark.slow
def test_mutants_that_answer_alike_need_no_search() -> None:
    """Searched all the same, they find the same by the same edges; others are there as well."""
    known = baseline(SMALL[0])
    verdicts = Counter[bool]()
    for mutant in sample(24):
        machines = mutant.built()
        if machines is None:
            continue
        alike = answers_alike(known.spaces, machines)
        verdicts[alike] += 1
        if alike:
            assert shape_of(judge(SMALL[0], NATIVE, machines=machines)) == known.shape, mutant.name
    assert min(verdicts[True], verdicts[False]) >= 3


def test_a_mutant_is_killed_by_name() -> None:
    every = {mutant.name: mutant for mutant in mutants()}
    name = "takeover 1: (GREETED, HELLO_GOOD): without send ACCEPT (0)"
    found = fate(every[name], SMALL[:1])
    assert (found.outcome, found.killer) == ("killed", "migration-ends")


def test_a_mutant_whose_row_says_the_same_is_equivalent() -> None:
    (mutant,) = (
        mutant
        for mutant in mutants()
        if mutant.name == "takeover 11: (STATE_LOADED, VERIFIED): if Link is open"
    )
    assert fate(mutant, SMALL[:1]).outcome == "equivalent"


def test_what_is_explained_is_there() -> None:
    names = [mutant.name for mutant in mutants()]
    for begin in EXPLAINED:
        assert any(name.startswith(begin) for name in names), begin

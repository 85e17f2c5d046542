"""The runtime that drives a real VM, searched plainly, reaches as many states as the checker.

The checker runs ground rules that it printed for itself; here every step is `transitions` at work
on the tables, so that a rule that was made ground wrongly shows as a different number.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.plain_search import PlainSearch
from statemachines.checker.explore import Explorer
from statemachines.environment import Budget
from statemachines.policies import VALUATIONS
from statemachines.topology import topology_named


@pytest.mark.parametrize("profile", VALUATIONS)
def test_the_runtime_reaches_as_many_states(profile: str) -> None:
    topology = replace(topology_named("pair"), budgets={Budget.MIGRATIONS: 1})
    explorer = Explorer(topology, VALUATIONS[profile])
    explorer.explore()
    assert PlainSearch(topology, VALUATIONS[profile]).run().states == len(explorer.visited)

"""Which rows are left once a profile has fixed its policies."""

from __future__ import annotations

import dataclasses

import pytest

from statemachines.checker.verdict import judge
from statemachines.compile import Model
from statemachines.environment import Budget
from statemachines.policies import VALUATIONS
from statemachines.states import Handover, Migration, State
from statemachines.survivors import surviving
from statemachines.topology import TOPOLOGIES, topology_named


def states_left(profile: str) -> set[State]:
    """The states that some surviving row leads to."""
    rows = surviving(Model(topology_named("pair"), VALUATIONS[profile]))
    return {row.next for row in rows if row.next is not None}


def test_what_a_profile_never_does_does_not_survive() -> None:
    assert Handover.COMMITTED in states_left("native")
    assert Handover.COMMITTED not in states_left("qemu-7.2")
    assert Migration.WAIT_UNPLUG in states_left("qemu-7.2")


@pytest.mark.parametrize("profile", VALUATIONS)
@pytest.mark.parametrize("name", [topology.name for topology in TOPOLOGIES])
def test_what_fires_survives(profile: str, name: str) -> None:
    """A row that is left out and fires all the same would make the list of dead rows a lie."""
    topology = dataclasses.replace(topology_named(name), budgets={Budget.MIGRATIONS: 1})
    judged = judge(topology, VALUATIONS[profile], properties=())
    left = {id(row) for row in judged.surviving}
    rows = {id(row) for spec in judged.explorer.model.machines for row in spec.rows}
    assert judged.fired & rows <= left

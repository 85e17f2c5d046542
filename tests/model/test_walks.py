"""Seeded random walks: no event without an answer, no property broken, and every walk ends."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest

from statemachines.events import E
from statemachines.policies import VALUATIONS
from statemachines.states import Handover, Migration, State, Takeover
from statemachines.system import VM_MACHINES
from tests.model.safety import Safety
from tests.model.two_vms import TwoVms
from tests.model.walker import Walk

#: Primaries of each standby: one pair, two pairs, one standby with two primaries.
TOPOLOGIES = ((1,), (1, 1), (2,))
CHOICES = 1500
#: How many walks of each topology; hotplug by the slot itself is the rarer choice of a user.
WALKS = {"acpi": 20, "native": 12}
ENDED = (Migration.NONE, Migration.COMPLETED, Migration.CANCELLED, Migration.FAILED)


@cache
def walked(profile: str, hotplug: str, topology: tuple[int, ...]) -> Counter[int]:
    """Walk, checking at every step and at the end; return which entries were taken, by identity."""
    vms = TwoVms({**VALUATIONS[profile], "hotplug": hotplug}, topology)
    safety = Safety(vms) if profile == "native" else None
    for seed in range(WALKS[hotplug]):
        walk = Walk(vms, seed, safety)
        try:
            walk.run(CHOICES)
            walk.settle()
            assert vms.source.is_in(*ENDED), "no final status"
            assert vms.source.is_in(Handover.IDLE)
            assert not vms.target.alive or vms.target.is_in(Takeover.IDLE)
        except AssertionError as broken:
            broken.add_note(f"{profile} {hotplug} {topology} seed {seed}: {walk.where()}")
            raise
    waits = {(Takeover.GREETED, E.RECV_STATE), (Takeover.GREETED, E.RECV_BAD_STATE)}
    assert vms.waited <= waits, "a message waited where nobody expected it to"
    return vms.taken


SYSTEMS = [
    pytest.param(profile, hotplug, topology, id=f"{profile}-{hotplug}-{topology}")
    for profile in VALUATIONS
    for hotplug in WALKS
    for topology in TOPOLOGIES
]


@pytest.mark.parametrize(("profile", "hotplug", "topology"), SYSTEMS)
def test_walks_keep_every_property_and_end(
    profile: str, hotplug: str, topology: tuple[int, ...]
) -> None:
    assert walked(profile, hotplug, topology)


def test_the_walks_have_been_everywhere() -> None:
    """A walk that goes nowhere proves nothing: together they take all but a few rare rows."""
    taken = sum((walked(*system.values) for system in SYSTEMS), Counter[int]())
    rows = [row for spec in VM_MACHINES for row in spec.rows]
    seen = [row for row in rows if taken[id(row)]]
    assert len(seen) / len(rows) > 0.95
    reached = {state for row in seen for state in (*row.states, row.next)}
    everywhere: set[State] = set()
    for spec in VM_MACHINES:
        everywhere |= set(spec.states)
    assert reached >= everywhere

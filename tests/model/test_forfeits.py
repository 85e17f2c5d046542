"""What is let go of a budget could buy nothing any more.

The search finds the same states of VMs and channel, with and without; what differs is how many
joint states tell apart what is left.
"""

from __future__ import annotations

import pytest

from statemachines.checker.explore import Explorer
from statemachines.environment import Budget, Forfeit
from statemachines.guards import In
from statemachines.observers import Life
from statemachines.permits import FORFEITS
from statemachines.policies import VALUATIONS
from statemachines.topology import Topology
from statemachines.wire import Channel
from tests.model.mutation import reduced

TOPOLOGIES = (
    reduced("pair", guest=1, faults=1, hotplug=1),
    reduced("again", migrations=2, guest=1),
    reduced("again", faults=1, hotplug=1),
    reduced("native-slots", guest=1, hotplug=1),
    reduced("no-reply-path", guest=1, faults=1),
)
Seen = set[tuple[tuple[int, ...], tuple[int, ...], Channel]]


def search(topology: Topology, profile: str) -> tuple[Seen, int]:
    """Return the states of VMs and channel that are found, and how many joint states hold them."""
    explorer = Explorer(topology, VALUATIONS[profile])
    explorer.explore()
    joint = explorer.joint(0, len(explorer.visited))
    sides = [space.state for space in explorer.spaces.values()]
    triples = set(zip(*(part.tolist() for part in joint[:3]), strict=True))
    seen = {(sides[0](s), sides[1](t), explorer.channels[c]) for s, t, c in triples}
    return seen, len(explorer.visited)


@pytest.mark.parametrize("profile", VALUATIONS)
@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_nothing_is_lost(topology: Topology, profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, states = search(topology, profile)
    monkeypatch.setattr("statemachines.actions.FORFEITS", ())
    everything, more_states = search(topology, profile)
    assert seen == everything
    assert states <= more_states


def test_something_is_saved_and_a_forfeit_too_many_loses_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen, states = search(TOPOLOGIES[0], "native")
    too_early = Forfeit(In(Life.ALIVE), (Budget.GUEST,))
    monkeypatch.setattr("statemachines.actions.FORFEITS", (*FORFEITS, too_early))
    assert search(TOPOLOGIES[0], "native")[0] < seen
    monkeypatch.setattr("statemachines.actions.FORFEITS", ())
    assert states < search(TOPOLOGIES[0], "native")[1]

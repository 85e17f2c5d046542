"""Every trace that the checker tells can be replayed on the runtime, to the same joint state."""

from __future__ import annotations

import pytest

from statemachines.checker.trace import as_events
from statemachines.checker.verdict import judge
from statemachines.environment import Side
from statemachines.policies import VALUATIONS
from statemachines.system import VM_MACHINES
from statemachines.topology import topology_named
from tests.model.replay import Replay
from tests.model.test_check import clipped


@pytest.mark.parametrize("profile", VALUATIONS)
@pytest.mark.parametrize("name", [pytest.param("pair", marks=pytest.mark.slow), "native-slots"])
def test_traces_replay_on_the_runtime(profile: str, name: str) -> None:
    topology = clipped(topology_named(name))
    judged = judge(topology, VALUATIONS[profile])
    told = [verdict for verdict in judged.verdicts if verdict.state is not None]
    assert told
    for verdict in told:
        steps = judged.trace(verdict)
        replay = Replay(topology, VALUATIONS[profile])
        replay.play(as_events(steps))
        for side, number in ((Side.SOURCE, 0), (Side.TARGET, 1)):
            if side in replay.ended:
                continue
            state = judged.explorer.spaces[side].state(steps[-1].state[number])
            for spec in VM_MACHINES:
                for scope in topology.scopes(spec.per):
                    value = state[judged.explorer.model.number(spec.states, scope.index)]
                    reached = replay.runtimes[side].state(spec.states, scope.index)
                    assert reached is tuple(spec.states)[value], verdict.property.name

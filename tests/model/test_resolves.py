"""*resolves* judged a second time, state by state, with networkx and plain Python.

The second pass takes the explorer's edges and nothing else of it: it reads claims on the fields of
single states, and finds stuck states and fair rounds from their definitions.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import networkx as nx
import numpy as np
import pytest

from statemachines.checker.explore import Explorer
from statemachines.checker.resolve import FairGraph, Stuck
from statemachines.claims import At, Claim, Every, Neither, Property, ground_leaf
from statemachines.compile import Model
from statemachines.environment import Budget, Side
from statemachines.ground import Both, Either, Ground, Negation
from statemachines.ground import Test as FieldTest
from statemachines.outcomes import RESOLVES
from statemachines.policies import VALUATIONS
from statemachines.topology import topology_named

NOTHING_MORE = "nothing more happens by itself"
ROUND = "it goes round without end"
#: (topology, what there may be): each kind of verdict comes of one of them.
SYSTEMS: dict[str, tuple[str, dict[Budget, int]]] = {
    "undisturbed": ("pair", {Budget.MIGRATIONS: 1}),
    "cancelled": ("pair", {Budget.MIGRATIONS: 1, Budget.OPERATOR: 1}),
    "faulty": ("pair", {Budget.MIGRATIONS: 1, Budget.FAULTS: 1}),
    "one way": ("no-reply-path", {Budget.MIGRATIONS: 1}),
}
#: Both profiles, and one that waits for a guest without end and without asking again.
PROFILES = {**VALUATIONS, "patient": {**VALUATIONS["native"], "unplug_deadline": "off"}}
Fields = tuple[int, ...]
Edge = tuple[int, int, int]


class Explored:
    """One small system: its states as fields, its fair edges, and both verdicts."""

    def __init__(self, profile: str, system: str) -> None:
        name, budgets = SYSTEMS[system]
        topology = replace(topology_named(name), budgets=budgets)
        self.explorer = Explorer(topology, PROFILES[profile])
        self.graphs = {p.name: FairGraph(self.explorer, p.claim) for p in RESOLVES}
        self.edges: list[Edge] = []
        self.explorer.explore(on_edges=self._on_edges)
        joint = self.explorer.joint(0, len(self.explorer.visited))
        spaces = self.explorer.spaces
        known = {
            side: [space.state(i) for i in range(len(space))] for side, space in spaces.items()
        }
        self.states = [
            {Side.SOURCE: known[Side.SOURCE][s], Side.TARGET: known[Side.TARGET][t]}
            for s, t in zip(joint.source.tolist(), joint.target.tolist(), strict=True)
        ]

    def _on_edges(self, origins: np.ndarray, ends: np.ndarray, codes: np.ndarray) -> None:
        for graph in self.graphs.values():
            graph.watch(origins, ends, codes)
        fair = self.explorer.is_fair(codes)
        self.edges += zip(
            origins[fair].tolist(), ends[fair].tolist(), codes[fair].tolist(), strict=True
        )

    def ours(self, asked: Property) -> Stuck | None:
        """What the checker says."""
        return self.graphs[asked.name].stuck()

    def theirs(self, asked: Property) -> Stuck | None:
        """What the definitions say: the nearest stuck state, else the nearest fair round."""
        model = self.explorer.model
        unfinished = {
            number for number, state in enumerate(self.states) if not so(model, asked.claim, state)
        }
        leading = [edge for edge in self.edges if edge[0] in unfinished and edge[0] != edge[1]]
        if dead := unfinished - {origin for origin, _, _ in leading}:
            state = min(dead)
            loops = any(edge[:2] == (state, state) for edge in self.edges)
            return Stuck(state, ROUND if loops else NOTHING_MORE)
        graph = nx.MultiDiGraph()
        graph.add_edges_from((o, e, {"code": code}) for o, e, code in leading)
        parts = nx.strongly_connected_components(graph.subgraph(unfinished))
        rounds = [min(part) for part in parts if len(part) > 1 and is_fair(graph, part)]
        return Stuck(min(rounds), ROUND) if rounds else None


def is_fair(graph: nx.MultiDiGraph, part: set[int]) -> bool:
    """Whether no action is possible in all of a part and taken nowhere within it."""
    possible = [{c for _, _, c in graph.out_edges(state, data="code")} for state in part]
    taken = {c for _, _, c in graph.subgraph(part).edges(data="code")}
    return set.intersection(*possible) <= taken


@cache
def grounded(model: Model, leaf: At) -> Ground:
    """What a leaf says, over fields; worked out once, not for each state."""
    return ground_leaf(model, leaf)


def so(model: Model, claim: Claim, state: dict[Side, Fields]) -> bool:
    """Whether a claim holds of one joint state."""
    match claim:
        case At(side=side):
            return holds(grounded(model, claim), state[side])
        case Neither(claim=inner):
            return not so(model, inner, state)
        case Every(claims=claims):
            return all(so(model, part, state) for part in claims)


def holds(guard: Ground, fields: Fields) -> bool:
    """Whether a ground guard holds of one VM's state."""
    match guard:
        case bool():
            return guard
        case FieldTest(field=field, values=values):
            return fields[field] in values
        case Negation(part=part):
            return not holds(part, fields)
        case Both(parts=parts):
            return all(holds(part, fields) for part in parts)
        case Either(parts=parts):
            return any(holds(part, fields) for part in parts)
    raise TypeError(f"no claim reads {guard}")


@cache
def explored(profile: str, system: str) -> Explored:
    return Explored(profile, system)


@cache
def by_definition(profile: str, system: str, asked: Property) -> Stuck | None:
    return explored(profile, system).theirs(asked)


@pytest.mark.parametrize("asked", RESOLVES, ids=lambda asked: asked.name)
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_verdict_is_that_of_the_definitions(profile: str, system: str, asked: Property) -> None:
    assert explored(profile, system).ours(asked) == by_definition(profile, system, asked)


def test_each_kind_of_verdict_is_among_those_compared() -> None:
    kinds = {
        found.why if (found := by_definition(profile, system, asked)) else None
        for profile in PROFILES
        for system in SYSTEMS
        for asked in RESOLVES
    }
    assert kinds == {None, NOTHING_MORE, ROUND}

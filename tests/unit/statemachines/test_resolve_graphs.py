"""The graph work behind *resolves*, beside networkx, on random graphs.

Strongly connected parts, what is peeled off before they are looked for, and whether a part allows
a weakly fair round are each worked out a second time, from their definitions.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from statemachines.checker.resolve import _on_rounds, _peel, is_fair_round, strong_parts

SIZE = 9
CODES = 4
Edges = list[tuple[int, int, int]]

edges_between_states: st.SearchStrategy[Edges] = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(0, CODES - 1)).filter(
        lambda edge: edge[0] != edge[1]
    ),
    max_size=30,
    unique=True,
)


def columns(edges: Edges) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = np.array(edges, np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2]


def graph_of(edges: Edges) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(SIZE))
    graph.add_edges_from((origin, end, {"code": code}) for origin, end, code in edges)
    return graph


def rounds_of(graph: nx.MultiDiGraph) -> set[frozenset[int]]:
    return {frozenset(p) for p in nx.strongly_connected_components(graph) if len(p) > 1}


@given(edges_between_states)
def test_strong_parts_are_those_of_networkx(edges: Edges) -> None:
    origins, ends, _ = columns(edges)
    found = strong_parts(list(range(SIZE)), origins.tolist(), ends.tolist())
    assert {frozenset(part) for part in found} == rounds_of(graph_of(edges))
    assert len(found) == len(rounds_of(graph_of(edges)))


@given(edges_between_states, st.sets(st.integers(0, SIZE - 1)))
def test_peeling_leaves_what_can_reach_a_round(edges: Edges, alive: set[int]) -> None:
    origins, ends, _ = columns(edges)
    left = np.array([state in alive for state in range(SIZE)])
    _peel(left, origins, ends)
    graph = graph_of(edges).subgraph(alive)
    on_rounds = set().union(*rounds_of(graph))
    wanted = {s for s in alive if on_rounds & ({s} | nx.descendants(graph, s))}
    assert set(np.flatnonzero(left).tolist()) == wanted


@given(edges_between_states, st.sets(st.integers(0, SIZE - 1)))
def test_what_lies_on_rounds_or_between_two_is_left(edges: Edges, alive: set[int]) -> None:
    origins, ends, _ = columns(edges)
    unfinished = np.array([state in alive for state in range(SIZE)])
    left = _on_rounds(unfinished, origins, ends)
    graph = graph_of(edges).subgraph(alive)
    on_rounds = set().union(*rounds_of(graph))
    wanted = {
        state
        for state in alive
        if on_rounds & ({state} | nx.descendants(graph, state))
        and on_rounds & ({state} | nx.ancestors(graph, state))
    }
    assert set(np.flatnonzero(left).tolist()) == wanted


@given(edges_between_states)
def test_a_round_is_fair_if_each_action_that_is_always_possible_is_taken(edges: Edges) -> None:
    origins, ends, codes = columns(edges)
    graph = graph_of(edges)
    for part in rounds_of(graph):
        inside = {c for _, _, c in graph.subgraph(part).edges(data="code")}
        possible = [{c for _, _, c in graph.out_edges(s, data="code")} for s in part]
        always = set.intersection(*possible)
        assert is_fair_round(set(part), origins, ends, codes) is (always <= inside)

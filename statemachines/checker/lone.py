"""A lifecycle that stands alone, explored: every event that its table allows, in every state.

Rules kept here: such a table reads no other, so its guards hold always and its states are all.
"""

from __future__ import annotations

from dataclasses import dataclass

from statemachines.spec import MachineSpec, Row


@dataclass(frozen=True)
class Alone:
    """What was found of one table."""

    #: The table.
    spec: MachineSpec
    #: States reached.
    states: int
    #: Moves taken.
    transitions: int
    #: The longest shortest way to a state.
    depth: int
    #: Rows that fired, by their place in the table.
    fired: frozenset[int]


def explore_alone(spec: MachineSpec) -> Alone:
    """Explore a table from its initial state."""
    places = {id(row): place for place, row in enumerate(spec.rows)}
    depth = {spec.initial: 0}
    fired: set[int] = set()
    transitions = 0
    waiting = [spec.initial]
    for state in waiting:
        for (at, _), entries in spec.cells.items():
            if at is not state or not isinstance(entries[0], Row):
                continue
            row = entries[0]
            fired.add(places[id(row)])
            transitions += 1
            after = state if row.next is None else row.next
            if after not in depth:
                depth[after] = depth[state] + 1
                waiting.append(after)
    return Alone(spec, len(depth), transitions, max(depth.values()), frozenset(fired))

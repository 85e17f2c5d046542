"""A system explored and judged: every property's verdict, with its shortest trace.

Rules kept here: *always* and *sometimes* are decided on the states found, in the order of their
numbers, so that the first is a nearest one; *resolves* is decided on the edges that remain when
operator, guest and faults are taken away (`resolve.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from statemachines.checker.claims import JointClaim, conjuncts, on_side, sides_of
from statemachines.checker.explore import CHUNK, Beside, Explorer, Progress, at_once
from statemachines.checker.resolve import FairGraph
from statemachines.checker.trace import TraceStep, trace_to
from statemachines.claims import Claim, Kind, Property
from statemachines.properties import PROPERTIES
from statemachines.spec import MachineSpec, Row
from statemachines.survivors import surviving
from statemachines.system import VM_MACHINES
from statemachines.topology import Topology


@dataclass(frozen=True)
class Verdict:
    """What came of one property in one topology."""

    #: The property.
    property: Property
    #: Whether it holds; for *sometimes*: whether it was seen.
    holds: bool
    #: Number of the state that decides it; None where none does.
    state: int | None
    #: How that state fails to come to an end; only for *resolves*.
    why: str = ""


@dataclass
class Judged:
    """One topology, explored and judged."""

    #: Which.
    topology: Topology
    #: All that was found.
    explorer: Explorer
    #: One per property that applies.
    verdicts: list[Verdict]
    #: The rows that survive folding.
    surviving: tuple[Row, ...] = ()
    #: Those that fired, by identity.
    fired: frozenset[int] = frozenset()

    def trace(self, verdict: Verdict) -> list[TraceStep]:
        """Return the shortest trace to the state that decides a verdict."""
        return [] if verdict.state is None else trace_to(self.explorer, verdict.state)


def judge(
    topology: Topology,
    policies: Mapping[str, str],
    properties: tuple[Property, ...] = PROPERTIES,
    machines: tuple[MachineSpec, ...] = VM_MACHINES,
    on_level: Callable[[Progress], bool] | None = None,
    beside: Beside = at_once,
) -> Judged:
    """Explore a topology and judge the properties that apply to it.

    `on_level` and `beside` are those of `Explorer.explore`.
    """
    explorer = Explorer(topology, policies, machines)
    asked = [p for p in properties if p.applies(explorer.model)]
    graphs = {p.name: FairGraph(explorer, p.claim) for p in asked if p.kind is Kind.RESOLVES}
    watches = [graph.watch for graph in graphs.values()]

    def on_edges(*edges: np.ndarray) -> None:
        for watch in watches:
            watch(*edges)

    explorer.explore(on_level, on_edges if watches else None, beside)
    verdicts = []
    for asked_property in asked:
        match asked_property.kind:
            case Kind.ALWAYS:
                state = first_broken(explorer, asked_property.claim)
                verdicts.append(Verdict(asked_property, state is None, state))
            case Kind.SOMETIMES:
                state = first_seen(explorer, asked_property.claim)
                verdicts.append(Verdict(asked_property, state is not None, state))
            case Kind.RESOLVES:
                stuck = graphs[asked_property.name].stuck()
                verdicts.append(
                    Verdict(asked_property, True, None)
                    if stuck is None
                    else Verdict(asked_property, False, stuck.state, stuck.why)
                )
    judged = Judged(topology, explorer, verdicts)
    taken = explorer.taken()
    judged.surviving = surviving(explorer.model)
    judged.fired = frozenset(id(explorer.stepper.entries[number]) for number in taken)
    return judged


def first_broken(explorer: Explorer, claim: Claim) -> int | None:
    """Return the first state in which a claim does not hold."""
    found = [_first(explorer, part, wanted=False) for part in conjuncts(claim)]
    return min((state for state in found if state is not None), default=None)


def first_seen(explorer: Explorer, claim: Claim) -> int | None:
    """Return the first state in which a claim holds."""
    return _first(explorer, claim, wanted=True)


def _first(explorer: Explorer, claim: Claim, *, wanted: bool) -> int | None:
    if len(sides_of(claim)) == 1:
        (side,) = sides_of(claim)
        hit = on_side(explorer, claim, side) == wanted
        reached = explorer.spaces[side].reached()
        hit[: len(reached)] &= reached
        hit[len(reached) :] = False
        if not hit.any():
            return None
        return explorer.first_with(side, hit)
    joint_claim = JointClaim(explorer, claim)
    for first in range(0, len(explorer.visited), CHUNK):
        joint = explorer.joint(first, min(first + CHUNK, len(explorer.visited)))
        hits = np.flatnonzero(joint_claim.holds(joint) == wanted)
        if len(hits):
            return first + int(hits[0])
    return None

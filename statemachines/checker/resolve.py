"""Does every course come to an end when operator, guest and faults are taken away?

Rules kept here:
1. What remains are the fair edges: messages, answers, time, and the detection of what has failed.
   A state that is not final and has none is stuck.
2. A course may go round for ever only if it is weakly fair: an action that can happen in every
   state of the round, and never does, rules the round out. A whole strongly connected part is fair
   if and only if some round within it is, so that parts are judged, not rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from statemachines.checker.claims import JointClaim
from statemachines.checker.explore import Explorer
from statemachines.claims import Claim

Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stuck:
    """A state from which a course does not come to an end."""

    #: Its number.
    state: int
    #: How it does not.
    why: str


class FairGraph:
    """The fair edges out of states that are not final, collected while exploring."""

    def __init__(self, explorer: Explorer, final: Claim) -> None:
        self._explorer = explorer
        self._final = JointClaim(explorer, final)
        self._edges: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Array]] = []
        self._unfinished = np.empty(0, np.bool_)

    def watch(self, origins: Array, numbers: npt.NDArray[np.int32], codes: Array) -> None:
        """Take in some edges."""
        unfinished = self.unfinished(int(origins.max()) + 1)
        at = np.flatnonzero(unfinished[origins] & self._explorer.is_fair(codes))
        self._edges.append((origins[at].astype(np.int32), numbers[at], codes[at]))

    def edges(self) -> tuple[Array, Array, Array]:
        """Return every fair edge out of a state that is not final: origins, ends, codes."""
        columns = zip(*self._edges, strict=True)
        origins, ends, codes = (np.concatenate(c).astype(np.int64) for c in columns)
        return origins, ends, codes

    def unfinished(self, count: int) -> npt.NDArray[np.bool_]:
        """Return which of the first so many states are not final."""
        known = len(self._unfinished)
        if known < count:
            new = ~self._final.holds(self._explorer.joint(known, count))
            self._unfinished = np.concatenate([self._unfinished, new])
        return self._unfinished[:count]

    def stuck(self) -> Stuck | None:
        """Return the first state that is stuck or goes round for ever, or None."""
        unfinished = self.unfinished(len(self._explorer.visited))
        origins, ends, codes = self.edges()
        leaves = np.zeros(len(unfinished), np.bool_)
        leaves[origins[origins != ends]] = True
        dead = np.flatnonzero(unfinished & ~leaves)
        if len(dead):
            state = int(dead[0])
            loops = bool(((origins == state) & (ends == state)).any())
            why = "it goes round without end" if loops else "nothing more happens by itself"
            return Stuck(state, why)
        keep = origins != ends
        origins, ends, codes = origins[keep], ends[keep], codes[keep]
        left = _on_rounds(unfinished, origins, ends)
        inside = left[origins] & left[ends]
        return self._rounds(
            np.flatnonzero(left), origins[inside], ends[inside], (origins, ends, codes)
        )

    def _rounds(
        self, states: Array, origins: Array, ends: Array, every: tuple[Array, Array, Array]
    ) -> Stuck | None:
        parts = strong_parts(states.tolist(), origins.tolist(), ends.tolist())
        for part in sorted(parts, key=min):
            if is_fair_round(set(part), *every):
                return Stuck(min(part), "it goes round without end")
        return None


def is_fair_round(part: set[int], origins: Array, ends: Array, codes: Array) -> bool:
    """Return whether a course may stay in a strongly connected part for ever.

    The edges are all that are fair and lead from an unfinished state to another state.
    """
    members = np.array(sorted(part))
    leaving = np.isin(origins, members)
    origins, ends, codes = origins[leaving], ends[leaving], codes[leaving]
    taken = set(codes[np.isin(ends, members)].tolist())
    possible: dict[int, set[int]] = {}
    for origin, code in zip(origins.tolist(), codes.tolist(), strict=True):
        possible.setdefault(code, set()).add(origin)
    return all(code in taken for code, at in possible.items() if at == part)


def _on_rounds(
    unfinished: npt.NDArray[np.bool_], origins: Array, ends: Array
) -> npt.NDArray[np.bool_]:
    """Return the unfinished states that lie on a round, or between two: the rest is peeled off."""
    left = unfinished.copy()
    for tails, heads in ((origins, ends), (ends, origins)):
        _peel(left, tails, heads)
    return left


def _peel(left: npt.NDArray[np.bool_], tails: Array, heads: Array) -> None:
    """Take away, again and again, the states all of whose edges go to states that are gone."""
    inside = left[tails] & left[heads]
    tails, heads = tails[inside], heads[inside]
    counts = np.bincount(tails, minlength=len(left))
    order = np.argsort(heads, kind="stable")
    tails, heads = tails[order], heads[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(heads, minlength=len(left)))])
    places = np.empty(len(left), np.int64)
    gone = np.flatnonzero(left & (counts == 0))
    while len(gone):
        left[gone] = False
        sizes = starts[gone + 1] - starts[gone]
        at = np.repeat(starts[gone] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        touched = tails[at]
        np.subtract.at(counts, touched, 1)
        emptied = touched[(counts[touched] == 0) & left[touched]]
        # Each of them once: the last place that it was noted in.
        places[emptied] = np.arange(len(emptied))
        gone = emptied[places[emptied] == np.arange(len(emptied))]


def strong_parts(states: list[int], origins: list[int], ends: list[int]) -> list[list[int]]:
    """Return the strongly connected parts of more than one state (Tarjan, without recursion)."""
    after: dict[int, list[int]] = {state: [] for state in states}
    for origin, end in zip(origins, ends, strict=True):
        after[origin].append(end)
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    parts: list[list[int]] = []
    for root in states:
        if root in order:
            continue
        work = [(root, iter(after[root]))]
        order[root] = low[root] = len(order)
        stack.append(root)
        on_stack.add(root)
        while work:
            here, rest = work[-1]
            for there in rest:
                if there not in order:
                    order[there] = low[there] = len(order)
                    stack.append(there)
                    on_stack.add(there)
                    work.append((there, iter(after[there])))
                    break
                if there in on_stack:
                    low[here] = min(low[here], order[there])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[here])
                if low[here] == order[here]:
                    part: list[int] = []
                    while not part or part[-1] != here:
                        part.append(stack.pop())
                        on_stack.discard(part[-1])
                    if len(part) > 1:
                        parts.append(part)
    return parts

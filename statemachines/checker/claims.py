"""Claims on arrays: where they hold, evaluated as narrowly as they speak.

Rules kept here: a claim is split into its conjuncts. One that speaks of one VM is evaluated once
for each of that VM's states; only one that speaks of both is evaluated for joint states.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from statemachines.checker.explore import Explorer
from statemachines.checker.joint import Joint
from statemachines.claims import At, Claim, Every, Neither, ground_leaf
from statemachines.environment import Side

Mask = npt.NDArray[np.bool_]


def conjuncts(claim: Claim) -> Iterator[Claim]:
    """Yield claims that hold together exactly where the claim holds."""
    if isinstance(claim, Every):
        for part in claim.claims:
            yield from conjuncts(part)
    else:
        yield claim


def sides_of(claim: Claim) -> frozenset[Side]:
    """Return which VMs a claim speaks of."""
    match claim:
        case At(side=side):
            return frozenset({side})
        case Neither(claim=inner):
            return sides_of(inner)
        case Every(claims=claims):
            return frozenset[Side]().union(*(sides_of(part) for part in claims))


def on_side(explorer: Explorer, claim: Claim, side: Side, first: int = 0) -> Mask:
    """Return where a claim about one VM holds, for its states from number `first` on."""
    match claim:
        case At():
            return explorer.spaces[side].holds(ground_leaf(explorer.model, claim), first)
        case Neither(claim=inner):
            return ~on_side(explorer, inner, side, first)
        case Every(claims=claims):
            found = on_side(explorer, claims[0], side, first)
            for part in claims[1:]:
                found = found & on_side(explorer, part, side, first)
            return found


class JointClaim:
    """A claim over joint states; what it says of each VM is kept by that VM's state."""

    def __init__(self, explorer: Explorer, claim: Claim) -> None:
        self._explorer = explorer
        self._claim = claim
        self._known: dict[int, Mask] = {}

    def holds(self, joint: Joint) -> Mask:
        """Return where the claim holds."""
        return self._evaluate(self._claim, joint)

    def _evaluate(self, claim: Claim, joint: Joint) -> Mask:
        if len(sides_of(claim)) == 1:
            (side,) = sides_of(claim)
            known = self._known.get(id(claim), np.empty(0, np.bool_))
            if len(known) < len(self._explorer.spaces[side]):
                new = on_side(self._explorer, claim, side, len(known))
                known = self._known[id(claim)] = np.concatenate([known, new])
            return known[joint.source if side is Side.SOURCE else joint.target]
        match claim:
            case Neither(claim=inner):
                return ~self._evaluate(inner, joint)
            case Every(claims=claims):
                found = self._evaluate(claims[0], joint)
                for part in claims[1:]:
                    found = found & self._evaluate(part, joint)
                return found
            case At():
                raise AssertionError("one leaf speaks of one VM")

"""What is left of a guard once a profile has fixed its policies, and which profiles keep an entry.

Rules kept here:
1. A profile keeps an entry of a cell if its guard can hold there and no earlier entry of the cell
   is bound to hold with it. What a profile can reach is the checker's business, not this module's.
2. An entry that no profile keeps as it stands belongs to a choice the operator has (`hotplug`): the
   one change of a policy that brings it to life is named instead.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from statemachines.guards import (
    ALWAYS,
    All,
    Always,
    AnyOf,
    Guard,
    Mine,
    Not,
    Older,
    Policy,
    Sibling,
    Some,
    policies_read,
)
from statemachines.policies import POLICIES, VALUATIONS
from statemachines.spec import Entry

Valuation = Mapping[str, str]


def fold(
    guard: Guard, valuations: Sequence[Valuation], whole: Container[Guard] = ()
) -> Guard | bool:
    """Return what is left of a guard when its policies have one of these valuations.

    A policy is folded where all of them agree. A guard in `whole` is either decided or left as
    it is, so that its name can stand for it.
    """
    match guard:
        case Always():
            return True
        case Policy(name=name, value=value):
            answers = {valuation[name] == value for valuation in valuations}
            return answers.pop() if len(answers) == 1 else guard
        case Not(guard=inner):
            left = fold(inner, valuations, whole)
            folded: Guard | bool = not left if isinstance(left, bool) else Not(left)
        case Some() | Mine() | Sibling() | Older():
            left = fold(guard.guard, valuations, whole)
            if left is False:
                return False
            folded = type(guard)(ALWAYS if left is True else left)
        case All() | AnyOf():
            folded = _fold_parts(guard, valuations, whole)
        case _:
            return guard
    return folded if isinstance(folded, bool) or guard not in whole else guard


def _fold_parts(
    guard: All | AnyOf, valuations: Sequence[Valuation], whole: Container[Guard]
) -> Guard | bool:
    neutral = isinstance(guard, All)
    left: list[Guard] = []
    for part in guard.guards:
        folded = fold(part, valuations, whole)
        if folded is (not neutral):
            return folded
        if not isinstance(folded, bool):
            left.append(folded)
    if not left:
        return neutral
    return left[0] if len(left) == 1 else type(guard)(*left)


@dataclass(frozen=True)
class Keepers:
    """Who keeps one entry of a cell."""

    #: Names of the profiles that keep it, in the order of `VALUATIONS`.
    profiles: tuple[str, ...]
    #: Policies that have to be changed before anybody keeps it, `name=value`; mostly none.
    changes: tuple[str, ...]
    #: The valuations under which it is kept.
    valuations: tuple[Valuation, ...]

    @property
    def is_everybody(self) -> bool:
        """Whether every profile keeps it as it stands."""
        return len(self.profiles) == len(VALUATIONS) and not self.changes

    @property
    def mark(self) -> str:
        """What a picture says of it: nothing if everybody keeps it, else who does."""
        if self.is_everybody:
            return ""
        names = () if len(self.profiles) == len(VALUATIONS) else self.profiles
        return ", ".join((*names, *self.changes)) or "never"


def keepers(cell: Sequence[Entry], position: int) -> Keepers:
    """Return who keeps the entry at a position of a cell."""
    kept = {name: v for name, v in VALUATIONS.items() if _keeps(cell, position, v)}
    if kept:
        return Keepers(tuple(kept), (), tuple(kept.values()))
    profiles: dict[str, None] = {}
    changes: dict[str, None] = {}
    valuations = []
    for name, change, valuation in _changed(cell):
        if _keeps(cell, position, valuation):
            profiles[name] = None
            changes[change] = None
            valuations.append(valuation)
    return Keepers(tuple(profiles), tuple(changes), tuple(valuations))


def is_alternative(cell: Sequence[Entry], position: int, valuations: Sequence[Valuation]) -> bool:
    """Return whether an earlier entry of the cell may be taken instead under a valuation."""
    return any(
        fold(entry.when, (valuation,)) is not False
        for entry in cell[:position]
        for valuation in valuations
    )


def _keeps(cell: Sequence[Entry], position: int, valuation: Valuation) -> bool:
    mine = fold(cell[position].when, (valuation,))
    if mine is False:
        return False
    earlier = (fold(entry.when, (valuation,)) for entry in cell[:position])
    return not any(_conjuncts(other) <= _conjuncts(mine) for other in earlier if other is not False)


def _conjuncts(folded: Guard | bool) -> frozenset[Guard]:
    if isinstance(folded, bool):
        return frozenset()
    return frozenset(folded.guards) if isinstance(folded, All) else frozenset({folded})


def _changed(cell: Sequence[Entry]) -> Iterator[tuple[str, str, Valuation]]:
    read = sorted({name for entry in cell for name, _ in policies_read(entry.when)})
    for profile, valuation in VALUATIONS.items():
        for policy in read:
            for value in POLICIES[policy][1]:
                if valuation[policy] != value:
                    yield profile, f"{policy}={value}", {**valuation, policy: value}

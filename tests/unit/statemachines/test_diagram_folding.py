"""Folding a guard for a profile changes nothing about when it holds in that profile."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statemachines.diagram.folding import fold, keepers
from statemachines.diagram.wording import NAMED, condition
from statemachines.events import E
from statemachines.guards import (
    ALWAYS,
    All,
    AnyOf,
    Guard,
    In,
    Not,
    Per,
    Policy,
    Scope,
    Some,
    narrower,
)
from statemachines.policies import NATIVE, QEMU_7_2, VALUATIONS
from statemachines.spec import Entry
from statemachines.states import Link, Migration, Pending, Slot, State
from statemachines.system import ALL_MACHINES, spec_of
from statemachines.tables.conditions import TWO_PHASE, UNANSWERED, WAITING

ON_EVENT = Policy("leave_wait_unplug", "event")
OPEN = In(Link.OPEN)


class AnyVm:
    """A VM with two standbys, 0 and 1, of two primaries each, in any states at all."""

    def __init__(self, policies: dict[str, str], seed: int) -> None:
        self._policies = policies
        self._random = Random(seed)
        self._states: dict[tuple[type[State], str, int], State] = {}

    def _any(self, lifecycle: type[State], kind: str, index: int) -> State:
        key = (lifecycle, kind, index)
        if key not in self._states:
            self._states[key] = self._random.choice(list(lifecycle))
        return self._states[key]

    def _instance(self, lifecycle: type[State], scope: Scope) -> int:
        per = spec_of(lifecycle).per
        if per is Per.VM:
            return 0
        return scope.index if per is scope.per else scope.index // 2

    def state_of(self, lifecycle: type[State], scope: Scope) -> State:
        return self._any(lifecycle, "own", self._instance(lifecycle, scope))

    def latched_of(self, lifecycle: type[State], scope: Scope) -> State | None:
        return self._any(lifecycle, "latched", self._instance(lifecycle, scope))

    def policy(self, name: str) -> str:
        return self._policies[name]

    def primaries(self, scope: Scope) -> tuple[int, ...]:
        if scope.per is Per.VM:
            return (0, 1, 2, 3)
        standby = scope.index if scope.per is Per.STANDBY else scope.index // 2
        return (2 * standby, 2 * standby + 1)


def cells() -> list[tuple[str, E, Scope, tuple[Entry, ...]]]:
    return [
        (spec.name, event, narrower(Scope(event.info.per, 1), Scope(spec.per, 1)), entries)
        for spec in ALL_MACHINES
        for (_, event), entries in spec.cells.items()
    ]


@pytest.mark.parametrize("profile", VALUATIONS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_a_folded_guard_holds_when_the_guard_does(profile: str, seed: int) -> None:
    valuation = VALUATIONS[profile]
    vm = AnyVm(dict(valuation), seed)
    for name, event, scope, entries in cells():
        holding = []
        for position, entry in enumerate(entries):
            folded = fold(entry.when, (valuation,))
            holds = entry.when.holds(vm, scope)
            again = folded if isinstance(folded, bool) else folded.holds(vm, scope)
            assert again == holds, f"{name} {event.name}: {entry.when}"
            if holds:
                holding.append(position)
        if holding:  # what is taken must be shown as this profile's
            kept = keepers(entries, holding[0])
            assert profile in kept.profiles
            assert kept.changes == ()


def test_every_entry_of_every_table_is_kept_by_somebody() -> None:
    never = [
        f"{name} {event.name}: {entries[position].when}"
        for name, event, _, entries in cells()
        for position in range(len(entries))
        if keepers(entries, position).mark == "never"
    ]
    assert never == []


@pytest.mark.parametrize(
    ("guard", "native", "qemu"),
    [
        (ALWAYS, True, True),
        (ON_EVENT, True, False),
        (Not(ON_EVENT), False, True),
        (All(ON_EVENT, OPEN), OPEN, False),
        (AnyOf(ON_EVENT, OPEN), True, OPEN),
        (Not(All(ON_EVENT, OPEN)), Not(OPEN), True),
        (Some(ON_EVENT), Some(ALWAYS), False),
        (TWO_PHASE, OPEN, False),
    ],
    ids=str,
)
def test_what_is_left(guard: Guard, native: Guard | bool, qemu: Guard | bool) -> None:
    assert fold(guard, (NATIVE,)) == native
    assert fold(guard, (QEMU_7_2,)) == qemu


def test_what_profiles_disagree_on_is_left_as_it_is() -> None:
    assert fold(ON_EVENT, (NATIVE, QEMU_7_2)) == ON_EVENT
    assert fold(Policy("hotplug", "acpi"), (NATIVE, QEMU_7_2)) is True


def test_a_named_guard_stays_whole_unless_it_is_decided() -> None:
    assert fold(All(ON_EVENT, Not(WAITING)), (NATIVE,), NAMED) == Not(WAITING)
    assert fold(UNANSWERED, (NATIVE,), NAMED) == UNANSWERED
    assert fold(TWO_PHASE, (QEMU_7_2,), NAMED) is False


def test_who_keeps_an_entry() -> None:
    migration, slot = spec_of(Migration), spec_of(Slot)
    waiting = migration.entries(Migration.SETUP, E.SETUP_DONE)
    assert [keepers(waiting, n).mark for n in range(3)] == ["qemu-7.2", "native", ""]
    (blink,) = slot.entries(Slot.OCCUPIED, E.GUEST_BLINKS)
    assert keepers((blink,), 0).mark == "hotplug=native"


@pytest.mark.parametrize(
    ("guard", "text"),
    [
        (Not(WAITING), "not WAITING"),
        (Not(In(Pending.SET)), "Pending is not set"),
        (Not(In(Link.CLOSED, Link.LOST)), "not (Link is closed or lost)"),
        (AnyOf(All(OPEN, ON_EVENT), In(Pending.SET)),
         "(Link is open and policy leave_wait_unplug=event) or Pending is set"),
        (Some(ALWAYS), "there is some primary"),
    ],
)  # fmt: skip
def test_wording(guard: Guard, text: str) -> None:
    assert condition(guard) == text


def test_a_name_can_be_spelled_out() -> None:
    assert condition(UNANSWERED) == "UNANSWERED"
    assert condition(UNANSWERED, by_name=False) == "not TWO_PHASE and not VERDICT"

"""The algebra of guards on a view written down by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from statemachines.guards import (
    ALWAYS,
    VM_SCOPE,
    All,
    AnyOf,
    Guard,
    In,
    Latched,
    Mine,
    Not,
    Older,
    Per,
    Policy,
    Scope,
    Sibling,
    Some,
    latches_read,
    misread,
    narrower,
    policies_read,
    states_read,
)
from statemachines.states import Feature, Migration, Primary, Slot, State
from statemachines.system import spec_of

#: Standby 0 has primaries 1 and 2, standby 3 has primary 4.
STANDBY_OF = {1: 0, 2: 0, 4: 3}
PLUGGED, PENDING = In(Primary.PLUGGED), In(Primary.UNPLUG_PENDING)
OF_STANDBY, OF_FIRST, OF_SECOND = (
    Scope(Per.STANDBY, 0),
    Scope(Per.PRIMARY, 1),
    Scope(Per.PRIMARY, 2),
)
OTHER = Scope(Per.PRIMARY, 4)


@dataclass
class HandWritten:
    """A view that is what the test says."""

    primaries_are: dict[int, State] = field(default_factory=dict)
    latched: dict[int, State] = field(default_factory=dict)

    def state_of(self, lifecycle: type[State], scope: Scope) -> State:
        if lifecycle is Migration:
            return Migration.ACTIVE
        if lifecycle is Feature:
            standby = scope.index if scope.per is Per.STANDBY else STANDBY_OF[scope.index]
            return Feature.ACKED if standby == 0 else Feature.NOT_ACKED
        assert lifecycle is Primary
        assert scope.per is Per.PRIMARY
        return self.primaries_are.get(scope.index, Primary.ABSENT)

    def latched_of(self, lifecycle: type[State], scope: Scope) -> State | None:
        assert lifecycle is Primary
        return self.latched.get(scope.index)

    def policy(self, name: str) -> str:
        return {"hotplug": "acpi"}[name]

    def primaries(self, scope: Scope) -> tuple[int, ...]:
        if scope.per is Per.VM:
            return tuple(STANDBY_OF)
        standby = scope.index if scope.per is Per.STANDBY else STANDBY_OF[scope.index]
        return tuple(p for p, mine in STANDBY_OF.items() if mine == standby)


FIRST = HandWritten({1: Primary.PLUGGED})
SECOND = HandWritten({2: Primary.PLUGGED})
FAR = HandWritten({4: Primary.PLUGGED})
NONE = HandWritten()


@pytest.mark.parametrize(
    ("guard", "view", "scope", "expected"),
    [
        (ALWAYS, NONE, VM_SCOPE, True),
        (In(Migration.ACTIVE, Migration.DEVICE), NONE, OF_FIRST, True),
        (In(Migration.DEVICE), NONE, VM_SCOPE, False),
        (In(Feature.ACKED), NONE, OF_SECOND, True),
        (In(Feature.ACKED), NONE, OTHER, False),
        (PLUGGED, FIRST, OF_FIRST, True),
        (PLUGGED, FIRST, OF_SECOND, False),
        (Not(PLUGGED), FIRST, OF_SECOND, True),
        (Policy("hotplug", "acpi"), NONE, VM_SCOPE, True),
        (Policy("hotplug", "native"), NONE, VM_SCOPE, False),
        (All(PLUGGED, In(Feature.ACKED)), FIRST, OF_FIRST, True),
        (All(PLUGGED, In(Feature.ACKED)), FAR, OTHER, False),
        (AnyOf(PLUGGED, In(Feature.ACKED)), FAR, OTHER, True),
        (AnyOf(PLUGGED, PENDING), NONE, OF_FIRST, False),
        (Some(PLUGGED), FAR, VM_SCOPE, True),
        (Some(PLUGGED), FAR, OF_FIRST, True),
        (Some(PLUGGED), NONE, VM_SCOPE, False),
        (Some(All(PLUGGED, In(Feature.ACKED))), FAR, VM_SCOPE, False),
        (Mine(PLUGGED), SECOND, OF_STANDBY, True),
        (Mine(PLUGGED), SECOND, OF_FIRST, True),
        (Mine(PLUGGED), FAR, OF_STANDBY, False),
        (Sibling(PLUGGED), FIRST, OF_FIRST, False),
        (Sibling(PLUGGED), FIRST, OF_SECOND, True),
        (Sibling(PLUGGED), FAR, OF_FIRST, False),
        (Older(PLUGGED), FIRST, OF_SECOND, True),
        (Older(PLUGGED), SECOND, OF_FIRST, False),
        (Older(PLUGGED), FIRST, OTHER, False),
        (Latched(Primary.PLUGGED), HandWritten(latched={1: Primary.PLUGGED}), OF_FIRST, True),
        (Latched(Primary.PLUGGED), HandWritten(latched={1: Primary.PLUGGED}), OF_SECOND, False),
        (Latched(Primary.PLUGGED), FIRST, OF_FIRST, False),
    ],
    ids=str,
)
def test_holds(guard: Guard, view: HandWritten, scope: Scope, *, expected: bool) -> None:
    assert guard.holds(view, scope) is expected


def test_a_guard_is_printed_for_people() -> None:
    guard = All(Not(In(Slot.EMPTY, Slot.BLINKING)), AnyOf(Policy("hotplug", "acpi"), Some(PLUGGED)))
    assert str(guard) == (
        "not (Slot is empty or blinking)"
        " and (policy hotplug=acpi or some primary: (Primary is plugged))"
    )
    assert str(Latched(Slot.EMPTY)) == "received Slot is empty"
    assert str(Older(PLUGGED)) == "an older primary of this standby: (Primary is plugged)"


def test_equal_guards_are_equal_and_no_others() -> None:
    written_twice: list[tuple[Guard, Guard]] = [
        (In(Slot.EMPTY, Slot.BLINKING), In(Slot.BLINKING, Slot.EMPTY)),
        (Not(PLUGGED), Not(In(Primary.PLUGGED))),
        (All(PLUGGED, PENDING), All(PLUGGED, PENDING)),
        (Some(PLUGGED), Some(PLUGGED)),
    ]
    for one, other in written_twice:
        assert one == other
        assert hash(one) == hash(other)
    differ: list[Guard] = [
        In(Slot.EMPTY),
        Latched(Slot.EMPTY),
        In(Slot.BLINKING),
        All(PLUGGED, PENDING),
        AnyOf(PLUGGED, PENDING),
        All(PENDING, PLUGGED),
        Some(PLUGGED),
        Mine(PLUGGED),
        Sibling(PLUGGED),
        Older(PLUGGED),
        ALWAYS,
    ]
    assert all((a == b) is (i == j) for i, a in enumerate(differ) for j, b in enumerate(differ))


def test_what_is_no_guard_is_refused() -> None:
    with pytest.raises(ValueError, match="one lifecycle"):
        In()
    with pytest.raises(ValueError, match="one lifecycle"):
        In(Slot.EMPTY, Primary.PLUGGED)
    with pytest.raises(ValueError, match="at least two"):
        All(PLUGGED)
    with pytest.raises(TypeError, match="no guard of the algebra"):
        Guard().holds(NONE, VM_SCOPE)


VM, STANDBY, PRIMARY = Scope(), Scope(Per.STANDBY, 3), Scope(Per.PRIMARY, 4)


@pytest.mark.parametrize(
    ("event", "instance", "expected"),
    [
        (VM, VM, VM),
        (VM, PRIMARY, PRIMARY),
        (STANDBY, VM, STANDBY),
        (STANDBY, PRIMARY, PRIMARY),
        (PRIMARY, STANDBY, PRIMARY),
        (PRIMARY, VM, PRIMARY),
    ],
)
def test_the_narrower_scope_is_read(event: Scope, instance: Scope, expected: Scope) -> None:
    assert narrower(event, instance) == expected


@pytest.mark.parametrize(
    ("guard", "per", "fine"),
    [
        (In(Migration.ACTIVE), Per.VM, True),
        (In(Migration.ACTIVE), Per.PRIMARY, True),
        (In(Feature.ACKED), Per.VM, False),
        (In(Feature.ACKED), Per.STANDBY, True),
        (In(Feature.ACKED), Per.PRIMARY, True),
        (PLUGGED, Per.VM, False),
        (PLUGGED, Per.STANDBY, False),
        (PLUGGED, Per.PRIMARY, True),
        (Some(PLUGGED), Per.VM, True),
        (Some(In(Feature.ACKED)), Per.VM, True),
        (Mine(PLUGGED), Per.VM, False),
        (Mine(PLUGGED), Per.STANDBY, True),
        (Sibling(PLUGGED), Per.STANDBY, False),
        (Older(PLUGGED), Per.STANDBY, False),
        (Older(PLUGGED), Per.PRIMARY, True),
        (Not(PLUGGED), Per.VM, False),
        (All(In(Migration.ACTIVE), PLUGGED), Per.STANDBY, False),
        (AnyOf(Some(PLUGGED), Policy("hotplug", "acpi")), Per.VM, True),
    ],
    ids=str,
)
def test_a_guard_must_say_of_which_instance(guard: Guard, per: Per, *, fine: bool) -> None:
    found = misread(guard, per, lambda lifecycle: spec_of(lifecycle).per)
    assert (found is None) is fine


def test_what_a_guard_reads() -> None:
    guard = All(
        Some(Not(PLUGGED)),
        AnyOf(Policy("hotplug", "acpi"), Mine(In(Slot.EMPTY)), Latched(Feature.ACKED)),
        Older(Sibling(Policy("late_eject", "delete"))),
    )
    assert states_read(guard) == {Primary, Slot, Feature}
    assert latches_read(guard) == {Feature}
    assert policies_read(guard) == {("hotplug", "acpi"), ("late_eject", "delete")}
    assert not states_read(ALWAYS)
    assert not latches_read(ALWAYS)
    assert not policies_read(ALWAYS)

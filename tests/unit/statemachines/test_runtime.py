"""The runtime: joint steps on a frozen snapshot, whole or not at all, effects in order."""

from __future__ import annotations

import gc
import weakref

import pytest

from statemachines.events import E
from statemachines.guards import Per, Scope
from statemachines.policies import NATIVE
from statemachines.runtime import RefusedError, Runtime, StateError
from statemachines.states import (
    Feature,
    Handover,
    Hidden,
    Lower,
    Migration,
    NetFailover,
    Partial,
    Pending,
    Primary,
    Request,
    RunState,
    Slot,
    Standby,
    Stored,
)
from statemachines.system import VM_MACHINES, spec_of
from tests.unit.statemachines.small_vm import attached, fire, negotiate, vm


def test_a_new_vm_is_in_every_initial_state() -> None:
    runtime = Runtime(NATIVE)
    for spec in VM_MACHINES:
        expected = {0: spec.initial} if spec.per is Per.VM else {}
        assert runtime.joint()[spec.states] == expected


def test_policies_are_checked() -> None:
    with pytest.raises(ValueError, match="greeting: missing"):
        Runtime({name: value for name, value in NATIVE.items() if name != "greeting"})


# -- one joint step


def test_every_listener_moves_in_one_step() -> None:
    runtime, standby, primary = attached()
    step, *rest = fire(runtime, E.GUEST_EJECTS, primary)
    assert rest == []
    moved = {type(m.after): (m.before, m.after) for m in step.moves if m.before is not m.after}
    assert moved == {
        Slot: (Slot.OCCUPIED, Slot.EMPTY),
        Lower: (Lower.IN, Lower.OUT),
        NetFailover: (NetFailover.PRIMARY, NetFailover.STANDBY),
        Primary: (Primary.PLUGGED, Primary.ABSENT),
        Stored: (Stored.KEPT, Stored.EMPTY),
    }
    assert runtime.state(NetFailover, standby) is NetFailover.STANDBY


def test_guards_read_the_state_before_the_step() -> None:
    """Request, pending, partial and slot each look at the primary, which moves before them."""
    runtime, standby, primary = attached({"greeting": "none"})
    fire(runtime, E.MIGRATE)
    steps = fire(runtime, E.CONNECTED)
    assert [step.event for step in steps] == [E.CONNECTED, E.UNPLUG_PRIMARIES, E.START_SETUP]
    assert runtime.state(Primary, primary) is Primary.UNPLUG_PENDING
    assert runtime.state(Request, primary) is Request.MIGRATION
    assert runtime.state(Pending, primary) is Pending.SET
    assert runtime.state(Partial, primary) is Partial.PARTIAL
    assert runtime.state(Slot, primary) is Slot.REQUESTED
    assert runtime.state(Hidden, standby) is Hidden.HIDDEN


def test_the_owner_is_asked_and_moves_first() -> None:
    runtime, _, primary = attached()
    (step,) = fire(runtime, E.GUEST_EJECTS, primary)
    assert step.moves[0].machine == "slot"
    order = [spec.name for spec in VM_MACHINES]
    others = [order.index(move.machine) for move in step.moves[1:]]
    assert others == sorted(others)


# -- whole or not at all


@pytest.mark.parametrize(
    ("event", "machine", "state"),
    [
        (E.CONVERGED, "migration", Migration.NONE),
        (E.BOOT, "run_state", RunState.RUNNING),
        (E.RECV_LOADED, "migration", Migration.NONE),
        (E.MIGRATED, "migration", Migration.NONE),
    ],
)
def test_an_illegal_event_moves_nothing(event: E, machine: str, state: object) -> None:
    runtime, _, _ = attached()
    before = runtime.joint()
    with pytest.raises(StateError) as caught:
        runtime.fire(event)
    assert (caught.value.machine, caught.value.state) == (machine, state)
    assert caught.value.event is event
    assert event not in caught.value.allowed
    assert runtime.joint() == before


def test_a_listener_that_cannot_take_it_holds_everybody_back() -> None:
    """The hand-over could ignore RECV_LOADED; the migration has no word for it: nobody moves."""
    runtime, _, _ = vm()
    assert spec_of(Handover).entries(Handover.IDLE, E.RECV_LOADED)
    before = runtime.joint()
    with pytest.raises(StateError, match="migration in none cannot take RECV_LOADED"):
        runtime.fire(E.RECV_LOADED)
    assert runtime.joint() == before


def test_the_error_says_what_could_have_come() -> None:
    runtime, standby, _ = vm()
    with pytest.raises(StateError) as caught:
        runtime.fire(E.GUEST_DRIVER_OK, standby)
    assert caught.value.allowed == {
        event for state, event in spec_of(Standby).cells if state is Standby.RESET
    }
    assert "cannot take GUEST_DRIVER_OK; it takes" in str(caught.value)


def test_a_refused_event_tells_why_and_moves_nothing() -> None:
    runtime, _, _ = vm()
    fire(runtime, E.BLOCK)
    before = runtime.joint()
    with pytest.raises(RefusedError) as caught:
        runtime.fire(E.MIGRATE)
    assert caught.value.refused.text == "VFIO device doesn't support migration"
    assert caught.value.refused.text in str(caught.value)
    assert runtime.joint() == before
    fire(runtime, E.UNBLOCK)
    fire(runtime, E.MIGRATE)
    with pytest.raises(RefusedError, match="There's a migration process in progress"):
        runtime.fire(E.MIGRATE)


def test_the_first_refusal_whose_guard_holds_speaks() -> None:
    runtime = Runtime(NATIVE)
    fire(runtime, E.BLOCK)
    fire(runtime, E.BOOT_INCOMING)
    with pytest.raises(RefusedError, match="waiting for an incoming migration"):
        runtime.check(E.MIGRATE)


def test_checking_moves_nothing() -> None:
    runtime, standby, _ = vm()
    before = runtime.joint()
    runtime.check(E.MIGRATE)
    assert runtime.enabled(E.GUEST_ACKNOWLEDGE, standby)
    assert not runtime.enabled(E.GUEST_DRIVER, standby)
    assert not runtime.enabled(E.CONTINUE)
    assert runtime.joint() == before


def test_an_ignored_event_is_a_step_without_change() -> None:
    runtime, _, _ = vm()
    (step,) = fire(runtime, E.CONT)
    assert step.effects == ()
    assert all(move.before is move.after for move in step.moves)


# -- whom an event is about


def test_an_event_about_one_device_leaves_the_others_alone() -> None:
    runtime, standby, (first, second) = vm(primaries=2)
    other = runtime.add_standby()
    third = runtime.add_primary(other)
    fire(runtime, E.DEVICE_ADD, third)
    negotiate(runtime, standby)
    assert runtime.state(Primary, first) is Primary.PLUGGED
    assert runtime.state(Primary, second) is Primary.ABSENT
    assert runtime.state(Primary, third) is Primary.HIDDEN
    assert runtime.state(Feature, other) is Feature.NOT_ACKED


def test_an_event_of_a_standby_reaches_its_primaries() -> None:
    runtime, standby, primary = attached()
    (step,) = fire(runtime, E.DRIVER_RESET, standby)
    assert Scope(Per.PRIMARY, primary) in {move.scope for move in step.moves}
    assert runtime.state(Lower, primary) is Lower.OUT


@pytest.mark.parametrize(
    ("event", "index", "complaint"),
    [
        (E.BOOT, 0, "per vm"),
        (E.DEVICE_DEL, None, "per primary"),
        (E.DEVICE_DEL, 99, "no primary 99"),
        (E.DRIVER_RESET, 99, "no standby 99"),
    ],
)
def test_an_index_has_to_be_one_of_the_kind(event: E, index: int | None, complaint: str) -> None:
    runtime, _, _ = vm(booted=False)
    with pytest.raises(ValueError, match=complaint):
        runtime.fire(event, index)


def test_a_standby_s_index_is_no_primary_s() -> None:
    runtime, standby, (primary,) = vm()
    with pytest.raises(ValueError, match=f"no primary {standby}"):
        runtime.fire(E.DEVICE_DEL, standby)
    with pytest.raises(ValueError, match=f"no standby {primary}"):
        runtime.add_primary(primary)
    assert runtime.joint()[Primary].keys() == {primary}


# -- devices come and go


def test_devices_come_and_go() -> None:
    runtime, standby, primary = attached()
    another = runtime.add_standby()
    assert runtime.state(Standby, another) is Standby.RESET
    with pytest.raises(ValueError, match="still has primaries"):
        runtime.remove(Per.STANDBY, standby)
    runtime.remove(Per.PRIMARY, primary)
    runtime.remove(Per.STANDBY, standby)
    assert runtime.joint()[Primary] == {}
    assert runtime.joint()[Standby].keys() == {another}
    fire(runtime, E.SYSTEM_RESET)
    again = runtime.add_standby()
    assert again not in (standby, primary, another)


@pytest.mark.parametrize("per", [Per.VM, Per.STANDBY, Per.PRIMARY])
def test_what_is_not_there_cannot_be_removed(per: Per) -> None:
    runtime, _, _ = vm()
    before = runtime.joint()
    with pytest.raises(ValueError, match="there is no"):
        runtime.remove(per, 77)
    assert runtime.joint() == before


# -- many VMs in one process


def test_vms_with_different_policies_do_not_disturb_each_other() -> None:
    """The tables are bound once in a process, a VM's policies are not bound with them."""
    withdrawing, _, _ = attached({"cancel_in_wait": "withdraw"})
    lingering, _, _ = attached({"cancel_in_wait": "linger"})
    to_cancel = (E.MIGRATE, E.CONNECTED, E.RECV_ACCEPT, E.SETUP_DONE, E.CANCEL, E.CHANNEL_CLOSED)
    for event in to_cancel:
        fire(withdrawing, event)
        fire(lingering, event)
    assert withdrawing.state(Migration) is Migration.CANCELLED
    assert lingering.state(Migration) is Migration.CANCELLING


def test_a_vm_that_is_dropped_is_gone() -> None:
    runtime, _, _ = attached()
    watched = weakref.ref(runtime)
    del runtime
    gc.collect()
    assert watched() is None


# -- a slot that forgets


@pytest.mark.parametrize("during", ["no migration", "a migration"])
def test_a_reset_lets_a_slot_of_its_own_forget_the_users_request(during: str) -> None:
    """hw/pci/pcie.c pcie_cap_slot_reset keeps the device: the user may ask again."""
    runtime, _, primary = attached({"hotplug": "native"})
    fire(runtime, E.DEVICE_DEL, primary)
    if during == "a migration":
        for event in (E.MIGRATE, E.CONNECTED, E.RECV_ACCEPT, E.SETUP_DONE):
            fire(runtime, event)
        assert runtime.state(Migration) is Migration.WAIT_UNPLUG
    fire(runtime, E.SYSTEM_RESET)
    if during == "a migration":
        assert runtime.state(Migration) is Migration.WAIT_UNPLUG
        fire(runtime, E.UNPLUG_DEADLINE)
        fire(runtime, E.CHANNEL_CLOSED)
    assert runtime.state(Primary, primary) is Primary.PLUGGED
    assert runtime.state(Pending, primary) is Pending.CLEAR
    fire(runtime, E.DEVICE_DEL, primary)
    assert runtime.state(Primary, primary) is Primary.UNPLUG_PENDING
    assert runtime.state(Slot, primary) is Slot.REQUESTED

"""What QEMU 7.2 does that it should not, reached in the tables; and the same scene under `native`.

Each pair of tests is one scene. The first half shows that profile `qemu-7.2` mirrors the defect,
the second that `native` ends well, with every property of `safety.py` watching.
"""

from __future__ import annotations

import pytest

from statemachines.effects import Command
from statemachines.events import E
from statemachines.states import (
    Feature,
    Handover,
    Incoming,
    Link,
    Lower,
    Migration,
    Primary,
    RunState,
    Slot,
    Stored,
    Takeover,
)
from tests.model.scene import Scene

QEMU, NATIVE = "qemu-7.2", "native"


def at_wait(profile: str) -> Scene:
    """A migration that waits for the guest's eject."""
    scene = Scene(profile)
    scene.take(E.MIGRATE)
    scene.advance(Migration.WAIT_UNPLUG)
    return scene


def test_the_good_case_is_the_same_in_both() -> None:
    for profile in (QEMU, NATIVE):
        scene = at_wait(profile)
        scene.eject(scene.source.primaries[0])
        scene.vms.offer(scene.source, E.POLL)
        scene.advance(Migration.COMPLETED)
        scene.advance()
        assert scene.target.runs
        scene.use(scene.target.primaries[0], scene.target)
        assert scene.count(Command.EMIT_UNPLUG_PRIMARY) == 1


# -- the target refuses at the very end


def refused_at_the_end(profile: str) -> Scene:
    scene = at_wait(profile)
    scene.eject(scene.source.primaries[0])
    scene.vms.offer(scene.source, E.POLL)
    scene.advance(Handover.DELIVERED)
    while scene.target.is_in(Takeover.IDLE, Takeover.GREETED):
        if scene.vms.next_for(scene.target) and not scene.target.owed(Command.CHECK_HELLO):
            scene.vms.deliver(scene.target)
        else:
            command, event = (
                (Command.LISTEN, E.PEER_CONNECTED)
                if scene.target.owed(Command.LISTEN)
                else (Command.CHECK_HELLO, E.HELLO_GOOD)
            )
            scene.vms.answer(scene.target, command, event)
    scene.vms.deliver(scene.target, E.RECV_BAD_STATE)
    scene.advance()
    return scene


def test_qemu_loses_the_vm_when_the_target_refuses_at_the_end() -> None:
    scene = refused_at_the_end(QEMU)
    assert scene.source.is_in(RunState.POSTMIGRATE)
    assert scene.source.is_in(Migration.COMPLETED)
    assert scene.target.exited


def test_native_resumes_when_the_target_refuses_at_the_end() -> None:
    scene = refused_at_the_end(NATIVE)
    assert scene.source.is_in(Migration.FAILED)
    assert scene.source.runs
    assert scene.source.is_in(Primary.PLUGGED, index=scene.source.primaries[0])


# -- an eject after the cancel


def test_qemu_deletes_a_primary_that_is_ejected_after_a_timed_out_cancel() -> None:
    scene = at_wait(QEMU)
    primary = scene.source.primaries[0]
    scene.cancel_and_wait()
    assert scene.count(Command.WARN_PARTIALLY_UNPLUGGED) == 1
    scene.eject(primary)
    assert scene.count(Command.DELETE_PRIMARY) == 1
    assert scene.source.is_in(Primary.ABSENT, index=primary)


def test_native_replugs_a_primary_that_is_ejected_after_the_cancel() -> None:
    scene = at_wait(NATIVE)
    primary = scene.source.primaries[0]
    scene.cancel_and_wait()
    scene.eject(primary)
    assert scene.count(Command.DELETE_PRIMARY) == 0
    scene.use(primary)


# -- the driver lets go while the migration waits


def test_qemu_streams_with_the_primary_attached_after_a_driver_reset() -> None:
    scene = at_wait(QEMU)
    scene.take(E.DRIVER_RESET, scene.source.standbys[0])
    assert scene.wait(lambda: scene.source.is_in(Migration.COMPLETED))
    assert scene.source.is_in(Primary.UNPLUG_PENDING, index=scene.source.primaries[0])
    assert scene.source.is_in(Slot.REQUESTED, index=scene.source.primaries[0])


def test_native_waits_for_the_eject_after_a_driver_reset() -> None:
    scene = at_wait(NATIVE)
    scene.take(E.DRIVER_RESET, scene.source.standbys[0])
    scene.advance()
    assert scene.source.is_in(Migration.WAIT_UNPLUG)
    scene.eject(scene.source.primaries[0])
    scene.advance(Migration.COMPLETED)


# -- the slot is busy


def blinking(profile: str) -> Scene:
    scene = Scene(profile, hotplug="native")
    scene.take(E.GUEST_BLINKS, scene.source.primaries[0])
    scene.take(E.MIGRATE)
    scene.advance()
    return scene


def test_qemu_streams_with_the_primary_attached_when_its_slot_blinks() -> None:
    scene = blinking(QEMU)
    assert scene.count(Command.WARN_NOT_UNPLUGGED) == 1
    assert scene.count(Command.EMIT_UNPLUG_PRIMARY) == 0
    assert scene.source.is_in(Migration.COMPLETED)
    assert scene.source.is_in(Primary.PLUGGED, index=scene.source.primaries[0])
    assert scene.target.is_in(Lower.IN, index=scene.target.primaries[0])


def test_native_fails_when_a_slot_blinks() -> None:
    scene = blinking(NATIVE)
    assert scene.source.is_in(Migration.FAILED)
    assert scene.source.runs
    assert scene.source.is_in(Primary.PLUGGED, index=scene.source.primaries[0])
    scene.take(E.GUEST_STOPS_BLINKING, scene.source.primaries[0])


# -- a guest that binds its driver during the migration


def bound_late(profile: str) -> Scene:
    scene = Scene(profile, bound=False)
    scene.take(E.MIGRATE)
    scene.advance(Migration.ACTIVE)
    for event in (E.GUEST_ACKNOWLEDGE, E.GUEST_DRIVER, E.FEATURES_WITH_STANDBY):
        scene.take(event, scene.source.standbys[0])
    scene.cancel_and_wait()
    scene.advance()
    return scene


def test_qemu_loses_a_hidden_primary_at_its_first_negotiation_during_a_migration() -> None:
    scene = bound_late(QEMU)
    assert scene.count(Command.WARN_PRIMARY_DROPPED) == 1
    assert scene.source.is_in(Primary.ABSENT, index=scene.source.primaries[0])
    assert scene.source.is_in(Stored.EMPTY, index=scene.source.primaries[0])


def test_native_plugs_it_when_the_migration_has_ended() -> None:
    scene = bound_late(NATIVE)
    assert scene.source.is_in(Feature.ACKED, index=scene.source.standbys[0])
    assert scene.source.is_in(Slot.INSERTED, index=scene.source.primaries[0])
    assert scene.count(Command.PLUG_PRIMARY) == 1


# -- a primary that the user deleted


def deleted_then_rebound(profile: str) -> Scene:
    scene = Scene(profile)
    scene.take(E.DEVICE_DEL, scene.source.primaries[0])
    scene.eject(scene.source.primaries[0])
    scene.take(E.DRIVER_RESET, scene.source.standbys[0])
    for event in (E.GUEST_ACKNOWLEDGE, E.GUEST_DRIVER, E.FEATURES_WITH_STANDBY):
        scene.take(event, scene.source.standbys[0])
    scene.advance()
    return scene


def test_qemu_resurrects_a_deleted_primary() -> None:
    scene = deleted_then_rebound(QEMU)
    assert scene.source.is_in(Slot.INSERTED, index=scene.source.primaries[0])


def test_native_keeps_it_deleted() -> None:
    scene = deleted_then_rebound(NATIVE)
    assert scene.source.is_in(Primary.ABSENT, index=scene.source.primaries[0])
    assert scene.count(Command.PLUG_PRIMARY) == 1


# -- a primary on a bus that refuses it


@pytest.mark.parametrize("profile", [QEMU, NATIVE])
def test_a_misplaced_primary_poisons_its_standby_in_qemu_alone(profile: str) -> None:
    scene = Scene(profile, (3,))
    first, misplaced, other = scene.source.primaries
    scene.take(E.DEVICE_DEL, first)
    scene.eject(first)
    if profile == QEMU:
        # The options of the deleted one are still there: get rid of them by a plug that fails.
        scene.take(E.DEVICE_ADD, first)
        scene.vms.answer(scene.source, Command.PLUG_PRIMARY, E.PLUG_FAILED, first)
    scene.take(E.DEVICE_ADD_MISPLACED, misplaced)
    if profile == QEMU:
        assert "more than one primary" in scene.refusal(E.DEVICE_ADD, other)
    else:
        scene.take(E.DEVICE_ADD, other)
        scene.use(other)


# -- two primaries of one standby, plugged before it


def two_adopted(profile: str) -> Scene:
    scene = Scene(profile, (2,), bound=False)
    scene.vms.restart()
    scene.vms.boot(adopt=True)
    scene.bind()
    scene.take(E.MIGRATE)
    scene.advance(Migration.WAIT_UNPLUG)
    return scene


def test_qemu_unplugs_one_of_two_primaries() -> None:
    scene = two_adopted(QEMU)
    oldest, other = scene.source.primaries
    scene.eject(oldest)
    assert scene.wait(lambda: scene.source.is_in(Migration.COMPLETED))
    assert scene.source.is_in(Primary.PLUGGED, index=other)
    assert scene.count(Command.EMIT_UNPLUG_PRIMARY) == 1


def test_native_unplugs_both() -> None:
    scene = two_adopted(NATIVE)
    oldest, other = scene.source.primaries
    assert scene.count(Command.EMIT_UNPLUG_PRIMARY) == 2
    scene.eject(oldest)
    scene.advance()
    assert scene.source.is_in(Migration.WAIT_UNPLUG)
    scene.eject(other)
    scene.advance(Migration.COMPLETED)


# -- a guest that never ejects


def test_qemu_waits_without_end() -> None:
    scene = at_wait(QEMU)
    assert not scene.wait(lambda: not scene.source.is_in(Migration.WAIT_UNPLUG), polls_max=300)
    assert not scene.source.owed(Command.START_DEADLINE)
    scene.cancel_and_wait()


def test_native_has_a_deadline() -> None:
    scene = at_wait(NATIVE)
    scene.vms.answer(scene.source, Command.START_DEADLINE, E.UNPLUG_DEADLINE)
    assert scene.source.is_in(Migration.FAILED)
    assert scene.source.is_in(Slot.OCCUPIED, index=scene.source.primaries[0])


# -- the target dies while the migration waits


def dead_peer(profile: str) -> Scene:
    scene = at_wait(profile)
    scene.vms.kill_target()
    scene.advance()
    return scene


def test_qemu_notices_a_dead_peer_only_after_the_eject() -> None:
    scene = dead_peer(QEMU)
    assert not scene.wait(lambda: not scene.source.is_in(Migration.WAIT_UNPLUG))
    scene.eject(scene.source.primaries[0])
    assert scene.wait(lambda: scene.source.is_in(Migration.FAILED))
    scene.advance()
    assert scene.source.is_in(Slot.INSERTED, index=scene.source.primaries[0])


def test_qemu_can_cancel_with_a_dead_peer() -> None:
    scene = dead_peer(QEMU)
    scene.cancel_and_wait()
    assert scene.source.is_in(Link.CLOSED)


def test_native_notices_a_dead_peer_at_once() -> None:
    scene = dead_peer(NATIVE)
    assert scene.source.is_in(Migration.FAILED)
    assert scene.source.is_in(Primary.PLUGGED, index=scene.source.primaries[0])


# -- cont on a source whose VM has left


def completed(profile: str) -> Scene:
    scene = at_wait(profile)
    scene.eject(scene.source.primaries[0])
    assert scene.wait(lambda: scene.target.is_in(Incoming.COMPLETED))
    scene.advance(Migration.COMPLETED)
    return scene


def test_qemu_runs_the_vm_twice_after_cont() -> None:
    scene = completed(QEMU)
    scene.take(E.CONT)
    assert scene.source.runs
    assert scene.target.runs


def test_native_refuses_cont() -> None:
    scene = completed(NATIVE)
    assert "twice" in scene.refusal(E.CONT)
    assert not scene.source.runs


def test_qemu_leaves_a_paused_vm_in_postmigrate_when_a_migration_fails_late() -> None:
    for profile, expected in ((QEMU, RunState.POSTMIGRATE), (NATIVE, RunState.PAUSED)):
        scene = Scene(profile, bound=False)
        scene.take(E.STOP)
        scene.take(E.MIGRATE)
        scene.advance(hold=(Command.SAVE_FINAL,))
        scene.vms.answer(scene.source, Command.SAVE_FINAL, E.STREAM_FAILED)
        assert scene.source.is_in(expected)
        scene.advance()
        if profile == QEMU:
            assert "paused due to previous migration" in scene.refusal(E.MIGRATE)

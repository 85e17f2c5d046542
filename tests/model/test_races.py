"""Races that tables of this kind get wrong: each scene once, in the order that hurts."""

from __future__ import annotations

import pytest

from statemachines.effects import Command, Message
from statemachines.events import E
from statemachines.states import (
    Handover,
    Hidden,
    Incoming,
    Link,
    Lower,
    Migration,
    NetFailover,
    Partial,
    Primary,
    Request,
    ReturnPath,
    RunState,
    Slot,
    Stored,
    Takeover,
)
from tests.model.scene import Scene
from tests.model.two_vms import UnhandledError

QEMU, NATIVE = "qemu-7.2", "native"
PROFILES = pytest.mark.parametrize("profile", [QEMU, NATIVE])


def migrating(profile: str, *states: Migration | Handover, hold: tuple[Command, ...]) -> Scene:
    """A migration without primaries, stopped where commands are held back."""
    scene = Scene(profile, bound=False)
    scene.take(E.MIGRATE)
    scene.advance(hold=hold)
    assert scene.source.is_in(states[0])
    return scene


@PROFILES
def test_convergence_that_comes_after_the_cancel_stops_nobody(profile: str) -> None:
    scene = migrating(profile, Migration.ACTIVE, hold=(Command.ITERATE,))
    scene.take(E.CANCEL)
    scene.vms.answer(scene.source, Command.ITERATE, E.CONVERGED)
    scene.advance(Migration.CANCELLED)
    assert scene.source.runs
    assert scene.count(Command.QUIESCE_GUEST) == 0


@PROFILES
def test_a_stop_for_the_former_migration_is_none_for_the_next(profile: str) -> None:
    scene = migrating(profile, Migration.ACTIVE, hold=(Command.QUIESCE_GUEST,))
    assert scene.source.is_in(RunState.FINISH_MIGRATE)
    scene.take(E.CANCEL)
    scene.advance(Migration.CANCELLED)
    scene.advance()
    scene.vms.respawn_target()
    scene.vms.configure(scene.target)
    scene.vms.boot_target()
    scene.take(E.MIGRATE)
    scene.advance(hold=(Command.ITERATE,))
    scene.vms.answer(scene.source, Command.QUIESCE_GUEST, E.GUEST_STOPPED)
    assert scene.source.is_in(Migration.ACTIVE)
    assert scene.source.runs
    assert scene.count(Command.SAVE_FINAL) == 0


@PROFILES
def test_the_source_says_abort_before_it_closes(profile: str) -> None:
    scene = migrating(profile, Migration.ACTIVE, hold=(Command.ITERATE,))
    scene.take(E.CANCEL)
    assert scene.source.owed(Command.CLOSE_CHANNEL)
    assert scene.source.outbox is not None
    assert scene.source.outbox.parcels[-1][0] is Message.ABORT
    scene.advance()
    assert scene.target.exited


@PROFILES
def test_a_new_migration_waits_until_the_old_channel_is_shut(profile: str) -> None:
    scene = migrating(profile, Migration.ACTIVE, hold=(Command.ITERATE,))
    scene.vms.kill_target()
    scene.take(E.LINK_BROKEN)
    assert scene.source.is_in(Migration.FAILED)
    assert scene.source.is_in(Link.LOST)
    assert "in progress" in scene.refusal(E.MIGRATE)
    scene.advance()
    assert scene.source.is_in(Link.CLOSED)
    scene.take(E.MIGRATE)


@PROFILES
def test_a_connection_that_comes_after_the_cancel_is_closed(profile: str) -> None:
    scene = Scene(profile, bound=False)
    scene.take(E.MIGRATE)
    scene.take(E.CANCEL)
    scene.vms.answer(scene.source, Command.CONNECT, E.CONNECTED)
    scene.advance(Migration.CANCELLED)
    scene.advance()
    assert scene.source.is_in(Link.CLOSED)
    assert scene.source.is_in(Handover.IDLE)
    assert scene.target.exited


def test_a_stream_that_breaks_before_hello_is_judged_fails_the_greeting() -> None:
    scene = migrating(NATIVE, Migration.SETUP, hold=(Command.CHECK_HELLO,))
    assert scene.source.is_in(Handover.GREETED)
    assert scene.target.is_in(Takeover.GREETED)
    scene.vms.fire(scene.target, E.STREAM_BAD)
    scene.advance(Migration.FAILED)
    assert scene.count(Command.EMIT_UNPLUG_PRIMARY) == 0


def test_a_target_that_runs_does_not_fail_any_more() -> None:
    scene = migrating(NATIVE, Migration.DEVICE, hold=(Command.VERIFY,))
    scene.vms.answer(scene.target, Command.VERIFY, E.VERIFIED)
    scene.vms.deliver(scene.source)
    scene.vms.deliver(scene.target)
    assert scene.target.is_in(Link.OPEN)
    scene.vms.offer(scene.target, E.STREAM_BAD)
    assert scene.target.is_in(Incoming.COMPLETED)
    assert scene.target.runs


@pytest.mark.parametrize("verdict", [E.RETURN_PATH_ON, E.RETURN_PATH_OFF])
def test_the_target_answers_as_the_source_asked(verdict: E) -> None:
    """Whatever the target's own capability says, before or while the stream is here."""
    opposite = {E.RETURN_PATH_ON: E.RETURN_PATH_OFF, E.RETURN_PATH_OFF: E.RETURN_PATH_ON}[verdict]
    scene = Scene(QEMU, bound=False)
    scene.take(verdict)
    scene.take(opposite, vm=scene.target)
    scene.take(E.MIGRATE)
    scene.advance(hold=(Command.CHECK_HELLO,))
    scene.vms.offer(scene.target, opposite)
    expected = ReturnPath.ON if verdict is E.RETURN_PATH_ON else ReturnPath.OFF
    assert scene.target.is_in(expected)
    scene.advance(Migration.COMPLETED)
    scene.advance()
    assert scene.target.runs


@PROFILES
def test_capabilities_are_fixed_while_a_migration_is_under_way(profile: str) -> None:
    scene = migrating(profile, Migration.ACTIVE, hold=(Command.ITERATE,))
    for event in (E.RETURN_PATH_ON, E.RETURN_PATH_OFF, E.PAUSE_ON, E.PAUSE_OFF):
        assert scene.refusal(event) == "There's a migration process in progress"


@PROFILES
def test_nothing_unmigratable_joins_a_migration(profile: str) -> None:
    scene = migrating(profile, Migration.ACTIVE, hold=(Command.ITERATE,))
    assert "while migrating" in scene.refusal(E.BLOCK)
    scene.cancel_and_wait()
    scene.take(E.BLOCK)
    scene.advance()
    assert "VFIO" in scene.refusal(E.MIGRATE)


def test_no_primary_is_adopted_while_a_migration_runs() -> None:
    scene = Scene(NATIVE, (2,), bound=False)
    scene.take(E.MIGRATE)
    scene.advance(hold=(Command.ITERATE,))
    assert "while migrating" in scene.refusal(E.ADOPT, scene.source.primaries[1])


@pytest.mark.parametrize("complete", [True, False])
@PROFILES
def test_the_end_of_a_one_way_stream_is_judged_by_what_has_come(
    profile: str, *, complete: bool
) -> None:
    scene = Scene(profile, bound=False)
    scene.take(E.MIGRATE)
    scene.vms.answer(scene.source, Command.CONNECT, E.CONNECTED_ONE_WAY)
    scene.advance(hold=(Command.FLUSH, Command.VERIFY, Command.CHECK_HELLO))
    if complete:
        scene.vms.answer(scene.source, Command.FLUSH, E.FLUSHED)
    scene.vms.answer(scene.target, Command.CHECK_HELLO, E.HELLO_GOOD)
    scene.vms.deliver(scene.target)
    assert scene.target.is_in(Takeover.STATE_LOADED)
    if complete:
        # END is read, being verified, and the source closes its end.
        scene.vms.deliver(scene.target)
    else:
        scene.vms.cut()
        scene.vms.answer(scene.source, Command.FLUSH, E.STREAM_FAILED)
    assert scene.vms.link_is_broken(scene.target)
    scene.take(E.LINK_BROKEN, vm=scene.target)
    scene.advance()
    assert scene.target.runs is complete
    assert scene.target.exited is not complete
    assert scene.source.is_in(Migration.COMPLETED if complete else Migration.FAILED)


def test_a_link_lost_before_loaded_is_no_one_way_stream() -> None:
    """The source resumes by itself here, so the target must not go by what has come."""
    scene = migrating(NATIVE, Migration.DEVICE, hold=(Command.VERIFY,))
    assert scene.target.owed(Command.VERIFY)
    scene.vms.cut()
    scene.take(E.LINK_BROKEN, vm=scene.target)
    assert scene.target.exited
    scene.advance()
    assert scene.source.runs


# -- the two-phase hand-over


def committed(*, delivered: bool) -> Scene:
    scene = migrating(NATIVE, Migration.DEVICE, hold=(Command.VERIFY,))
    scene.vms.answer(scene.target, Command.VERIFY, E.VERIFIED)
    scene.vms.deliver(scene.source)
    assert scene.source.is_in(Handover.COMMITTED)
    scene.vms.cut(kept_towards_target=int(delivered))
    scene.advance()
    return scene


@pytest.mark.parametrize("keeper", ["source", "target"])
def test_a_lost_commit_leaves_both_in_doubt_until_somebody_decides(keeper: str) -> None:
    scene = committed(delivered=False)
    assert scene.source.is_in(Handover.IN_DOUBT)
    assert scene.target.is_in(Takeover.IN_DOUBT)
    assert scene.source.is_in(RunState.POSTMIGRATE)
    assert scene.source.is_in(Migration.DEVICE)
    assert "x-replug-resolve" in scene.refusal(E.CONT)
    assert "no longer be cancelled" in scene.refusal(E.CANCEL)
    assert scene.safety is not None
    scene.safety.keeper = keeper
    here, there = E.KEEP_HERE, E.KEEP_THERE
    scene.take(here if keeper == "source" else there)
    scene.take(here if keeper == "target" else there, vm=scene.target)
    assert scene.source.runs is (keeper == "source")
    assert scene.target.runs is (keeper == "target")
    ended = Migration.FAILED if keeper == "source" else Migration.COMPLETED
    assert scene.source.is_in(ended)
    assert scene.target.exited is (keeper == "source")


def test_a_lost_running_leaves_the_source_in_doubt() -> None:
    scene = committed(delivered=True)
    assert scene.target.runs
    assert scene.source.is_in(Handover.IN_DOUBT)
    assert "nothing to resolve" in scene.refusal(E.KEEP_HERE, vm=scene.target)
    scene.take(E.KEEP_THERE)
    assert scene.source.is_in(Migration.COMPLETED)


def test_a_silent_link_is_a_lost_one() -> None:
    scene = migrating(NATIVE, Migration.ACTIVE, hold=(Command.ITERATE,))
    assert scene.source.channel is not None
    scene.source.channel.stalled = True
    assert scene.vms.can_be_silent(scene.source)
    scene.take(E.LINK_SILENT)
    assert scene.source.is_in(Migration.FAILED)


# -- primaries


def test_a_slot_without_power_carries_no_traffic() -> None:
    scene = Scene(NATIVE, hotplug="native")
    (standby,), (primary,) = scene.source.standbys, scene.source.primaries
    scene.take(E.GUEST_BLINKS, primary)
    scene.take(E.GUEST_POWERS_OFF, primary)
    assert scene.source.is_in(NetFailover.STANDBY, index=standby)
    assert scene.source.is_in(Lower.OUT, index=primary)


def test_what_is_plugged_back_is_shown_even_after_a_driver_reset() -> None:
    scene = Scene(QEMU)
    (standby,), (primary,) = scene.source.standbys, scene.source.primaries
    scene.take(E.MIGRATE)
    scene.advance(Migration.WAIT_UNPLUG)
    assert scene.source.is_in(Hidden.HIDDEN, index=standby)
    scene.take(E.DRIVER_RESET, standby)
    scene.cancel_and_wait()
    assert scene.source.is_in(Hidden.SHOWN, index=standby)
    assert scene.source.is_in(Primary.PLUGGED, index=primary)


def test_a_user_s_request_is_waited_for_and_not_taken_back() -> None:
    scene = Scene(NATIVE)
    (primary,) = scene.source.primaries
    scene.take(E.DEVICE_DEL, primary)
    scene.take(E.MIGRATE)
    scene.advance(Migration.WAIT_UNPLUG)
    assert scene.count(Command.EMIT_UNPLUG_PRIMARY) == 0
    scene.cancel_and_wait()
    assert scene.source.is_in(Request.USER, index=primary)
    assert scene.source.is_in(Slot.REQUESTED, index=primary)
    scene.eject(primary)
    assert scene.source.is_in(Primary.ABSENT, index=primary)
    assert scene.count(Command.DELETE_PRIMARY) == 1


def test_a_cancel_is_not_over_before_the_channel_is_shut() -> None:
    scene = Scene(QEMU)
    scene.take(E.MIGRATE)
    scene.advance(Migration.WAIT_UNPLUG)
    scene.take(E.CANCEL)
    scene.eject(scene.source.primaries[0])
    scene.vms.answer(scene.source, Command.START_POLL, E.POLL)
    assert scene.source.is_in(Migration.CANCELLING)
    scene.advance(Migration.CANCELLED)


@pytest.mark.parametrize(
    ("profile", "ended"), [(QEMU, Migration.COMPLETED), (NATIVE, Migration.FAILED)]
)
def test_a_plug_that_fails_during_a_migration_leaves_nothing_behind(
    profile: str, ended: Migration
) -> None:
    scene = Scene(profile, bound=False)
    (standby,), (primary,) = scene.source.standbys, scene.source.primaries
    for event in (E.GUEST_ACKNOWLEDGE, E.GUEST_DRIVER, E.FEATURES_WITH_STANDBY):
        scene.take(event, standby)
    scene.take(E.MIGRATE)
    scene.advance(hold=(Command.PLUG_PRIMARY, Command.ITERATE))
    assert scene.count(Command.WARN_NOT_UNPLUGGED) == 1
    scene.vms.answer(scene.source, Command.PLUG_PRIMARY, E.PLUG_FAILED, primary)
    assert scene.count(Command.WARN_PLUG_FAILED) == 1
    assert scene.source.is_in(Primary.ABSENT, index=primary)
    assert scene.source.is_in(Partial.WHOLE, index=primary)
    assert scene.source.is_in(Stored.EMPTY, index=primary)
    scene.advance(ended)


@PROFILES
def test_every_command_about_a_device_is_answered(profile: str) -> None:
    scene = Scene(profile)
    (primary,) = scene.source.primaries
    assert "Duplicate device ID" in scene.refusal(E.DEVICE_ADD, primary)
    assert "does not support hotplugging" in scene.refusal(E.DEVICE_ADD_MISPLACED, primary)
    scene.take(E.DEVICE_DEL, primary)
    scene.eject(primary)
    assert "not found" in scene.refusal(E.DEVICE_DEL, primary)


def test_the_harness_notices_what_a_listener_cannot_take() -> None:
    scene = Scene(NATIVE, bound=False)
    with pytest.raises(UnhandledError, match="cannot take RECV_ACCEPT"):
        scene.vms.fire(scene.target, E.RECV_ACCEPT)

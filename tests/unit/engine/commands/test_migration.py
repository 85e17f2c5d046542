"""engine.commands.migration: what begins, cancels and ends a migration, and what is refused."""

from __future__ import annotations

import pytest

from engine.uri import TcpUri, UnixUri
from statemachines.effects import Command
from statemachines.events import E
from statemachines.states import Migration, PauseCapability, Primary, ReturnPath, RunState
from tests.unit.engine.commands.commanded_vm import PAIR, CommandedVm

BOTH = pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
IN_PROGRESS = ("GenericError", "There's a migration process in progress")
BAD_URI = ("GenericError", "Parameter 'uri' expects a valid migration protocol")
NOT_IN_DOUBT = ("GenericError", "The VM is not in doubt: there is nothing to resolve")


# -- migrate


@BOTH
def test_migrate_is_answered_once_begun(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    machine.turn_on("events")
    assert machine.execute("migrate", uri="tcp:target:4444", detach=True) == {}
    assert machine.vm.outgoing_uri == TcpUri("target", 4444)
    assert machine.performed[-1] is Command.CONNECT
    assert machine.statuses() == ["setup"]


def test_without_capability_events_no_status_is_told() -> None:
    machine = CommandedVm()
    machine.execute("migrate", uri="tcp:target:4444")
    assert machine.take_events() == []


@BOTH
def test_one_migration_at_a_time_whatever_the_uri(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    machine.migrate_to_wait_unplug()
    assert machine.refusal("migrate", uri="tcp:other:1") == IN_PROGRESS
    assert machine.refusal("migrate", uri="bogus") == IN_PROGRESS
    assert machine.refusal("migrate", uri="tcp:other:1", blk=True) == IN_PROGRESS
    assert machine.vm.outgoing_uri == TcpUri("target", 4444)


def test_a_migration_whose_channel_is_still_being_closed_counts() -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_to_wait_unplug()
    machine.fire(E.LINK_BROKEN)
    assert machine.vm.migration is Migration.FAILED
    assert machine.refusal("migrate", uri="tcp:target:4444") == IN_PROGRESS
    machine.fire(E.CHANNEL_CLOSED)
    assert machine.execute("migrate", uri="tcp:target:4444") == {}


def test_there_is_nothing_to_resume() -> None:
    assert CommandedVm().refusal("migrate", uri="bogus", resume=True) == (
        "GenericError",
        "Cannot resume if there is no paused migration",
    )


@pytest.mark.parametrize("option", ["blk", "inc"])
def test_block_devices_do_not_migrate(option: str) -> None:
    machine = CommandedVm(profile="qemu-7.2")
    kind, text = machine.refusal("migrate", uri="tcp:target:4444", **{option: True})
    assert (kind, "block devices" in text) == ("GenericError", True)
    machine.execute("migrate", uri="tcp:target:4444", **{option: False})


def test_a_vm_that_awaits_a_stream_cannot_be_migrated() -> None:
    assert CommandedVm("-incoming", "defer").refusal("migrate", uri="bogus") == (
        "GenericError",
        "Guest is waiting for an incoming migration",
    )


def test_a_vm_that_has_left_cannot_be_migrated_again() -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_until_handed_over()
    machine.fire(E.RECV_RUNNING, E.CHANNEL_CLOSED)
    assert machine.vm.run_state is RunState.POSTMIGRATE
    assert machine.refusal("migrate", uri="tcp:target:4444") == (
        "GenericError",
        "Can't migrate the vm that was paused due to previous migration",
    )


def test_an_ordinary_passed_through_device_blocks() -> None:
    machine = CommandedVm("-device", "vfio-pci,host=5e:00.3,id=hostdev1,bus=root2")
    text = "VFIO device doesn't support migration"
    assert machine.execute("query-migrate") == {"blocked-reasons": [text]}
    assert machine.refusal("migrate", uri="tcp:target:4444") == ("GenericError", text)
    machine.execute("device_del", id="hostdev1")
    assert machine.execute("query-migrate") == {}
    machine.execute("migrate", uri="tcp:target:4444")


# -- a bad URI


def test_a_bad_uri_begins_nothing() -> None:
    machine = CommandedVm()
    machine.turn_on("events")
    assert machine.refusal("migrate", uri="bogus") == BAD_URI
    assert machine.execute("query-migrate") == {}
    assert machine.statuses() == []


def test_in_qemu_a_bad_uri_is_a_failed_migration_without_a_reason() -> None:
    machine = CommandedVm(profile="qemu-7.2")
    machine.turn_on("events")
    machine.vm.error_description = "of the one before"
    assert machine.error("migrate", uri="bogus") == BAD_URI
    assert machine.statuses() == ["setup", "failed"]
    assert machine.execute("query-migrate") == {"status": "failed"}
    assert machine.execute("migrate", uri="tcp:target:4444") == {}


def test_in_qemu_a_bad_address_is_a_failed_migration_with_a_reason() -> None:
    machine = CommandedVm(profile="qemu-7.2")
    text = "error parsing address '4444'"
    assert machine.error("migrate", uri="tcp:4444") == ("GenericError", text)
    assert machine.execute("query-migrate") == {"status": "failed", "error-desc": text}


# -- migrate_cancel, migrate-continue


@BOTH
def test_cancel_without_a_migration(profile: str) -> None:
    machine = CommandedVm(profile=profile)
    machine.turn_on("events")
    assert machine.execute("migrate_cancel") == {}
    assert machine.statuses() == []


def test_cancel_in_wait_unplug() -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR)
    machine.turn_on("events")
    machine.migrate_to_wait_unplug()
    assert machine.execute("migrate_cancel") == {}
    assert machine.execute("query-migrate")["status"] == "cancelling"
    machine.fire(E.CHANNEL_CLOSED)
    assert machine.execute("migrate_cancel") == {}
    assert machine.statuses() == ["setup", "wait-unplug", "cancelling", "cancelled"]
    (primary,) = machine.vm.board.primaries
    assert machine.vm.state(Primary, primary) is Primary.PLUGGED


def test_in_qemu_a_second_cancel_is_told_again() -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR, profile="qemu-7.2")
    machine.turn_on("events")
    machine.migrate_to_wait_unplug()
    machine.execute("migrate_cancel")
    machine.execute("migrate_cancel")
    assert machine.statuses() == ["setup", "wait-unplug", "cancelling", "cancelling"]


def test_a_vm_that_is_handed_over_cannot_be_cancelled() -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_until_handed_over()
    kind, text = machine.refusal("migrate_cancel")
    assert (kind, "can no longer be cancelled" in text) == ("GenericError", True)


@pytest.mark.parametrize("state", ["pre-switchover", "active"])
def test_continue_in_another_status(state: str) -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_to_wait_unplug()
    assert machine.refusal("migrate-continue", state=state) == (
        "GenericError",
        "Migration not in expected state: wait-unplug",
    )


def test_continue_where_nothing_waits_does_nothing() -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_to_wait_unplug()
    count = len(machine.entries)
    assert machine.execute("migrate-continue", state="wait-unplug") == {}
    assert len(machine.entries) == count


def test_continue_from_pre_switchover() -> None:
    machine = CommandedVm(*PAIR, profile="qemu-7.2")
    machine.turn_on("events", "pause-before-switchover")
    machine.migrate_to_wait_unplug()
    machine.live()
    machine.fire(E.POLL, E.CONVERGED, E.GUEST_STOPPED)
    assert machine.execute("query-migrate")["status"] == "pre-switchover"
    assert machine.execute("migrate-continue", state="pre-switchover") == {}
    expected = ["setup", "wait-unplug", "active", "pre-switchover", "device"]
    assert machine.statuses() == expected


# -- migrate-incoming


@BOTH
def test_a_vm_that_was_not_started_for_it_takes_no_stream(profile: str) -> None:
    assert CommandedVm(profile=profile).refusal("migrate-incoming", uri="bogus") == (
        "GenericError",
        "'-incoming' was not specified on the command line",
    )


def test_incoming() -> None:
    machine = CommandedVm("-incoming", "defer")
    assert machine.execute("migrate-incoming", uri="unix:/run/target.sock") == {}
    assert machine.vm.incoming_uri == UnixUri("/run/target.sock")
    assert machine.performed[-1] is Command.LISTEN
    assert machine.refusal("migrate-incoming", uri="tcp:0:1") == (
        "GenericError",
        "The incoming migration has already been started",
    )


@pytest.mark.parametrize(("profile", "told"), [("native", []), ("qemu-7.2", ["setup"])])
def test_incoming_with_a_bad_uri_may_be_tried_again(profile: str, told: list[str]) -> None:
    machine = CommandedVm("-incoming", "defer", profile=profile)
    assert machine.refusal("migrate-incoming", uri="bogus") == (
        "GenericError",
        "unknown migration protocol: bogus",
    )
    assert machine.statuses() == told
    assert machine.execute("migrate-incoming", uri="tcp:0:4444") == {}
    assert machine.statuses() == told


# -- capabilities and parameters


@BOTH
def test_capabilities(profile: str) -> None:
    machine = CommandedVm(profile=profile)
    assert not any(each["state"] for each in machine.execute("query-migrate-capabilities"))
    machine.turn_on("events", "return-path", "pause-before-switchover")
    on = {e["capability"] for e in machine.execute("query-migrate-capabilities") if e["state"]}
    assert on == {"events", "return-path", "pause-before-switchover"}
    assert machine.vm.state(ReturnPath) is ReturnPath.ON
    assert machine.vm.state(PauseCapability) is PauseCapability.ON
    off = [{"capability": "return-path", "state": False}]
    machine.execute("migrate-set-capabilities", capabilities=off)
    assert machine.vm.state(ReturnPath) is ReturnPath.OFF
    assert machine.vm.state(PauseCapability) is PauseCapability.ON


def test_only_changes_are_told_to_the_machines() -> None:
    machine = CommandedVm()
    machine.turn_on("return-path")
    count = len(machine.entries)
    machine.turn_on("return-path", "events", "x-verify-ram")
    assert len(machine.entries) == count


def test_a_capability_that_is_not_served_changes_none() -> None:
    machine = CommandedVm()
    listed = [{"capability": name, "state": True} for name in ("return-path", "postcopy-ram")]
    assert machine.refusal("migrate-set-capabilities", capabilities=listed)[0] == "GenericError"
    assert machine.vm.state(ReturnPath) is ReturnPath.OFF
    assert not any(each["state"] for each in machine.execute("query-migrate-capabilities"))


@BOTH
def test_capabilities_are_fixed_while_a_migration_runs(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    machine.migrate_to_wait_unplug()
    for listed in ([], [{"capability": "events", "state": True}]):
        assert machine.refusal("migrate-set-capabilities", capabilities=listed) == IN_PROGRESS


def test_parameters_may_change_at_any_time() -> None:
    machine = CommandedVm(*PAIR)
    assert machine.execute("query-migrate-parameters")["downtime-limit"] == 300
    machine.migrate_to_wait_unplug()
    given = {"downtime-limit": 10, "max-bandwidth": 1000}
    assert machine.execute("migrate-set-parameters", **given) == {}
    answer = machine.execute("query-migrate-parameters")
    assert (answer["downtime-limit"], answer["max-bandwidth"]) == (10, 1000)
    assert machine.refusal("migrate-set-parameters", **{"multifd-channels": 0}) == (
        "GenericError",
        "Parameter 'multifd_channels' expects a value between 1 and 255",
    )


# -- x-replug-resolve


@pytest.mark.parametrize("keep", ["source", "target"])
@pytest.mark.parametrize("waits", [(), ("-incoming", "defer")])
def test_without_a_doubt_there_is_nothing_to_resolve(keep: str, waits: tuple[str, ...]) -> None:
    assert CommandedVm(*waits).refusal("x-replug-resolve", keep=keep) == NOT_IN_DOUBT


@pytest.mark.parametrize(
    ("keep", "status", "run_state"),
    [("source", "failed", RunState.RUNNING), ("target", "completed", RunState.POSTMIGRATE)],
)
def test_a_source_in_doubt(keep: str, status: str, run_state: RunState) -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_until_handed_over()
    machine.fire(E.LINK_BROKEN)
    answer = machine.execute("query-migrate")
    assert (answer["status"], answer["x-replug-in-doubt"]) == ("device", True)
    assert ("X_REPLUG_IN_DOUBT", {"reason": "The target is gone"}) in machine.take_events()
    assert machine.execute("x-replug-resolve", keep=keep) == {}
    answer = machine.execute("query-migrate")
    assert (answer["status"], "x-replug-in-doubt" in answer) == (status, False)
    assert machine.vm.run_state is run_state
    assert machine.refusal("x-replug-resolve", keep=keep) == NOT_IN_DOUBT


@pytest.mark.parametrize(
    ("keep", "status", "run_state"),
    [("target", "completed", RunState.RUNNING), ("source", "failed", RunState.INMIGRATE)],
)
def test_a_target_in_doubt(keep: str, status: str, run_state: RunState) -> None:
    machine = CommandedVm("-incoming", "defer", *PAIR)
    machine.receive_until_loaded()
    machine.fire(E.LINK_BROKEN)
    assert machine.execute("query-migrate")["x-replug-in-doubt"] is True
    assert machine.execute("x-replug-resolve", keep=keep) == {}
    answer = machine.execute("query-migrate")
    assert (answer["status"], "x-replug-in-doubt" in answer) == (status, False)
    assert machine.vm.run_state is run_state


# -- the deadline for the guest


def test_an_earlier_deadline_does_not_outlive_the_wait_it_was_for() -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR)
    machine.migrate_to_wait_unplug()
    assert machine.vm.migration is Migration.WAIT_UNPLUG
    assert (E.UNPLUG_DEADLINE, 30_000) in machine.timers
    machine.execute("migrate_cancel")
    machine.fire(E.CHANNEL_CLOSED)
    machine.execute("migrate-set-parameters", **{"x-unplug-timeout-ms": 0})
    machine.migrate_to_wait_unplug()
    assert machine.vm.migration is Migration.WAIT_UNPLUG
    assert E.UNPLUG_DEADLINE not in {event for event, _ in machine.timers}

"""engine.commands.migration_report: which keys query-migrate has in which status."""

from __future__ import annotations

import pytest

from statemachines.events import E
from tests.unit.engine.commands.commanded_vm import PAIR, CommandedVm

#: Keys by status, as QEMU 7.2 has them on the source (migration.c fill_source_migration_info).
RUNNING = {"status", "setup-time", "total-time", "expected-downtime", "ram"}
OVER = {"status", "setup-time", "total-time", "downtime", "ram"}
BOTH = pytest.mark.parametrize("profile", ["native", "qemu-7.2"])


def own(machine: CommandedVm) -> set[str]:
    return {"x-replug"} if machine.vm.profile.name == "native" else set()


def keys(machine: CommandedVm, status: str) -> set[str]:
    answer = machine.execute("query-migrate")
    assert answer["status"] == status
    return set(answer) - own(machine)


@BOTH
def test_before_any_migration_there_is_nothing(profile: str) -> None:
    assert CommandedVm(*PAIR, profile=profile).execute("query-migrate") == {}


@BOTH
def test_a_source_status_by_status(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    machine.turn_on("return-path", "pause-before-switchover")
    machine.execute("migrate", uri="tcp:target:4444")
    assert keys(machine, "setup") == {"status"}
    machine.fire(E.CONNECTED)
    if profile == "native":
        machine.fire(E.RECV_ACCEPT)
    machine.fire(E.SETUP_DONE)
    assert keys(machine, "wait-unplug") == {"status"}
    machine.live()
    if profile == "qemu-7.2":
        machine.fire(E.POLL)
    assert keys(machine, "active") == RUNNING
    machine.fire(E.CONVERGED, E.GUEST_STOPPED)
    assert keys(machine, "pre-switchover") == RUNNING
    machine.execute("migrate-continue", state="pre-switchover")
    assert keys(machine, "device") == RUNNING
    machine.fire(E.FINAL_SENT)
    if profile == "native":
        machine.fire(E.RECV_LOADED)
    machine.fire(E.RECV_RUNNING)
    assert keys(machine, "completed") == OVER
    answer = machine.execute("query-migrate")
    assert (answer["ram"]["remaining"], answer["ram"]["dirty-pages-rate"]) == (0, 0)


@BOTH
def test_a_cancelled_migration(profile: str) -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR, profile=profile)
    machine.migrate_to_wait_unplug()
    machine.execute("migrate_cancel")
    assert keys(machine, "cancelling") == RUNNING
    machine.fire(E.CHANNEL_CLOSED)
    if profile == "qemu-7.2":
        machine.fire(E.CANCEL_WAIT_OVER)
    assert keys(machine, "cancelled") == {"status"}


@BOTH
def test_a_failed_migration_with_and_without_a_reason(profile: str) -> None:
    machine = CommandedVm(profile=profile)
    machine.execute("migrate", uri="tcp:target:4444")
    machine.vm.error_description = "Failed to connect to 'target:4444': Connection refused"
    machine.fire(E.CONNECT_FAILED)
    assert keys(machine, "failed") == {"status", "error-desc"}
    machine.execute("migrate", uri="tcp:target:4444")
    machine.fire(E.CONNECT_FAILED)
    assert keys(machine, "failed") == {"status"}


@pytest.mark.parametrize(
    ("profile", "while_listening"),
    [("native", {"status": "setup"}), ("qemu-7.2", {})],
)
def test_a_target(profile: str, while_listening: dict[str, str]) -> None:
    address: dict[str, str | bool] = {
        "type": "inet",
        "host": "0.0.0.0",
        "port": "4444",
        "ipv4": True,
    }
    machine = CommandedVm("-incoming", "defer", *PAIR, profile=profile)
    machine.turn_on("return-path")
    assert machine.execute("query-migrate") == {}
    machine.execute("migrate-incoming", uri="tcp:0.0.0.0:4444")
    machine.addresses = [address]
    answer = machine.execute("query-migrate")
    answer.pop("x-replug", None)
    assert answer == {**while_listening, "socket-address": [address]}
    machine.fire(E.PEER_CONNECTED)
    assert keys(machine, "active") == {"status", "socket-address"}
    machine.fire(E.TARGET_FAILED)
    assert keys(machine, "failed") == {"status"}


@BOTH
def test_a_vm_that_arrived_and_goes_on_shows_where_it_goes(profile: str) -> None:
    machine = CommandedVm("-incoming", "defer", *PAIR, profile=profile)
    machine.receive_until_loaded()
    if profile == "native":
        machine.fire(E.RECV_COMMIT)
    assert keys(machine, "completed") == {"status"}
    machine.fire(E.LINK_BROKEN, E.CHANNEL_CLOSED)
    machine.execute("migrate", uri="tcp:target:4444")
    assert keys(machine, "setup") == {"status"}


# -- what QEMU has no key for


def report(machine: CommandedVm) -> dict[str, object]:
    answer = machine.get("/machine/replug", "migration")
    assert isinstance(answer, dict)
    if machine.vm.profile.name == "native":
        shown = machine.execute("query-migrate")
        assert shown.get("x-replug", answer) == answer
    return answer


@BOTH
def test_the_report_of_a_vm_that_never_migrated(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    assert report(machine) == {
        "pending": [],
        "handover": "two-phase" if profile == "native" else "one-way",
        "wait-unplug-ms": 0,
        "verify-ms": 0,
        "digest-equal": None,
        "states": ["none"],
        "first-frames-ms": {},
    }


@BOTH
def test_the_report_while_an_eject_is_awaited(profile: str) -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR, profile=profile)
    machine.migrate_to_wait_unplug()
    machine.live(for_ms=1234)
    found = report(machine)
    assert (found["pending"], found["wait-unplug-ms"]) == (["pri0"], 1234)
    assert found["states"] == ["none", "setup", "wait-unplug"]


def test_the_report_of_a_two_phase_hand_over() -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_until_handed_over()
    machine.vm.statistics.verify_ms, machine.vm.statistics.digest_equal = 12.4, True
    machine.first_frames_ms = {"standby": 1.5}
    machine.fire(E.RECV_RUNNING, E.CHANNEL_CLOSED)
    found = report(machine)
    assert found["handover"] == "two-phase"
    assert (found["verify-ms"], found["digest-equal"]) == (12, True)
    assert found["first-frames-ms"] == {"standby": 1.5}
    assert found["states"] == ["none", "setup", "wait-unplug", "active", "device", "completed"]


@pytest.mark.parametrize("uri", ["exec:cat > saved", "file:saved"])
def test_the_report_of_a_save(uri: str) -> None:
    machine = CommandedVm()
    machine.execute("migrate", uri=uri)
    assert report(machine)["handover"] == "one-way"
    machine.fire(E.CONNECTED_ONE_WAY, E.SETUP_DONE, E.CONVERGED, E.GUEST_STOPPED, E.FINAL_SENT)
    machine.fire(E.FLUSHED, E.CHANNEL_CLOSED)
    found = report(machine)
    assert (found["handover"], found["states"]) == (
        "one-way",
        ["none", "setup", "active", "device", "completed"],
    )


def test_a_save_through_a_descriptor_shows_once_it_is_connected() -> None:
    machine = CommandedVm()
    machine.offered.append(9)
    machine.execute("getfd", fdname="saved")
    machine.execute("migrate", uri="fd:saved")
    assert report(machine)["handover"] == "two-phase"
    machine.fire(E.CONNECTED_ONE_WAY)
    assert report(machine)["handover"] == "one-way"
    machine.fire(E.SETUP_DONE, E.CONVERGED, E.GUEST_STOPPED, E.FINAL_SENT, E.FLUSHED)
    machine.fire(E.CHANNEL_CLOSED)
    assert report(machine)["handover"] == "one-way"


def test_the_report_of_a_target() -> None:
    machine = CommandedVm("-incoming", "defer", *PAIR)
    machine.receive_until_loaded()
    machine.fire(E.RECV_COMMIT, E.LINK_BROKEN, E.CHANNEL_CLOSED)
    found = report(machine)
    assert found["states"] == ["none", "setup", "active", "completed"]
    assert found["handover"] == "two-phase"

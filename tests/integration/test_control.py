"""A migration is driven from the source's monitor: what real QEMU said, and every way to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.driver import control_end
from engine.driver.control import MigrationRun
from engine.migration_event import Kind, MigrationEvent, Side
from engine.migration_outcome import ExitStatus
from engine.migration_request import MigrationRequest
from engine.monitor_options import UnixEndpoint
from tests.integration import qemu_recordings as recordings
from tests.integration.driven_migration import URI, Interfere, drive
from tests.integration.scripted_monitor import (
    Answers,
    Becomes,
    Dies,
    Refuses,
    Says,
    ScriptedMonitor,
    Step,
    WaitsFor,
    status,
)

every_version = pytest.mark.parametrize("version", recordings.VERSIONS)

NOWHERE = UnixEndpoint("/nowhere")
MIGRATE = MigrationRequest(NOWHERE, URI)
TO_WAIT = recordings.TO_WAIT[recordings.V7]
#: The second one is asked when the answer to the first has been taken, at least 100 ms later.
TWO_QUESTIONS: tuple[Step, ...] = (WaitsFor("query-migrate"), WaitsFor("query-migrate"))


def migrate(**others: object) -> MigrationRequest:
    return MigrationRequest(NOWHERE, URI, **others)  # type: ignore[arg-type]


def at(reached: str, act: str) -> Interfere:
    """Call a method of the run when the source reaches a status."""

    def interfere(event: MigrationEvent, run: MigrationRun) -> None:
        if (event.kind, event.side, event.status) == (Kind.STATUS, Side.SOURCE, reached):
            getattr(run, act)()

    return interfere


# -- as recorded


@every_version
def test_completed(tmp_path: Path, version: str) -> None:
    source = ScriptedMonitor(recordings.COMPLETED[version])
    driven = drive(tmp_path, source, MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.DONE
    report = driven.report
    assert report.status == "completed"
    assert report.error is None
    device = [] if version == recordings.V7 else ["device"]
    assert report.source.states == ["none", "setup", "wait-unplug", "active", *device, "completed"]
    assert ["none", *driven.statuses()] == report.source.states
    assert report.source.run_state == "postmigrate"
    (primary,) = report.primaries
    assert (primary.id, primary.standby) == ("pri0", "net1")
    assert primary.source == ["unplug-pending", "unplugged"]
    assert primary.target is None
    timings = report.timings
    assert (timings.total_ms, timings.setup_ms, timings.downtime_ms) == (871, 254, 3)
    assert timings.wait_unplug_ms is not None
    assert (report.ram.ram_bytes, report.ram.transferred_bytes) == (286_334_976, 90_177_536)
    assert report.profile is None


def test_the_source_is_asked_once_and_with_its_own_words(tmp_path: Path) -> None:
    source = ScriptedMonitor(recordings.COMPLETED[recordings.V10])
    request = migrate(
        parameters={"downtime-limit": 100},
        capabilities={"validate-uuid": True},
        unplug_timeout_ms=60_000.0,
    )
    driven = drive(tmp_path, source, request)
    (capabilities,) = source.named("migrate-set-capabilities")
    assert {each["capability"]: each["state"] for each in capabilities["capabilities"]} == {
        "events": True,
        "return-path": True,
        "validate-uuid": True,
    }
    # A deadline that only replug knows is not set on anybody else's VM.
    assert source.named("migrate-set-parameters") == [{"downtime-limit": 100}]
    assert source.named("migrate") == [{"uri": URI}]
    assert driven.report.handover == "acknowledged"
    assert not source.named("migrate_cancel")
    assert not source.named("quit")


@pytest.mark.parametrize(
    ("uri", "capabilities", "handover"),
    [("exec:cat >/dev/null", {}, "one-way"), (URI, {"return-path": False}, "one-way")],
)
def test_return_path_is_left_off(
    tmp_path: Path, uri: str, capabilities: dict[str, bool], handover: str
) -> None:
    source = ScriptedMonitor(recordings.COMPLETED[recordings.V7])
    request = MigrationRequest(NOWHERE, uri, capabilities=capabilities)
    driven = drive(tmp_path, source, request)
    (sent,) = source.named("migrate-set-capabilities")
    assert {"capability": "return-path", "state": True} not in sent["capabilities"]
    assert driven.report.handover == handover


@every_version
def test_pause_goes_on_by_itself(tmp_path: Path, version: str) -> None:
    source = ScriptedMonitor(recordings.PAUSED[version])
    driven = drive(tmp_path, source, migrate(pause=True))
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert source.named("migrate-continue") == [{"state": "pre-switchover"}]
    (sent,) = source.named("migrate-set-capabilities")
    assert {"capability": "pause-before-switchover", "state": True} in sent["capabilities"]
    assert driven.statuses()[-3:] == ["pre-switchover", "device", "completed"]


@every_version
def test_nobody_listens(tmp_path: Path, version: str) -> None:
    driven = drive(tmp_path, ScriptedMonitor(recordings.NOT_CONNECTED[version]), MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.FAILED
    assert "Failed to connect" in driven.outcome.text
    assert "Failed to connect" in str(driven.report.error)
    assert driven.report.source.run_state == "running"


@every_version
def test_the_target_refuses(tmp_path: Path, version: str) -> None:
    driven = drive(tmp_path, ScriptedMonitor(recordings.REFUSED[version]), MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.FAILED
    assert driven.report.source.run_state == "running"
    assert driven.statuses()[-1] == "failed"
    # It stood still from STOP to RESUME, wherever `failed` came.
    assert driven.report.timings.downtime_ms is not None


@every_version
def test_cancel(tmp_path: Path, version: str) -> None:
    source = ScriptedMonitor(recordings.CANCELLED[version])
    driven = drive(tmp_path, source, MIGRATE, interfere=at("wait-unplug", "cancel"))
    assert driven.outcome.exit_status is ExitStatus.CANCELLED
    assert driven.statuses()[-2:] == ["cancelling", "cancelled"]
    assert len(source.named("migrate_cancel")) == 1


# -- deadlines


def test_the_guest_keeps_its_primary(tmp_path: Path) -> None:
    source = ScriptedMonitor(recordings.CANCELLED[recordings.V11])
    driven = drive(tmp_path, source, migrate(unplug_timeout_ms=1.0))
    assert driven.outcome.exit_status is ExitStatus.DEADLINE
    assert driven.outcome.advice
    assert len(source.named("migrate_cancel")) == 1


def test_everything_takes_too_long(tmp_path: Path) -> None:
    source = ScriptedMonitor(recordings.CANCELLED[recordings.V10])
    driven = drive(tmp_path, source, migrate(timeout_ms=200.0))
    assert driven.outcome.exit_status is ExitStatus.DEADLINE
    assert driven.report.status == "cancelled"


NATIVE = {
    ("/machine/replug", "profile"): "native",
    ("/machine/replug", "state"): {
        "run_state": "running",
        "primary": {"pri0": "plugged"},
        "net_failover": {"net1": "primary"},
    },
}


def test_a_native_source_keeps_the_deadline_by_itself(tmp_path: Path) -> None:
    told = Answers({"error-desc": "The guest did not release pri0 within 10 ms"})
    source = ScriptedMonitor([*TO_WAIT, *TWO_QUESTIONS, told, status("failed")], objects=NATIVE)
    driven = drive(tmp_path, source, migrate(unplug_timeout_ms=10.0))
    assert driven.outcome.exit_status is ExitStatus.DEADLINE
    assert source.named("migrate-set-parameters") == [{"x-unplug-timeout-ms": 10}]
    assert not source.named("migrate_cancel")
    assert "did not release pri0" in str(driven.report.error)
    assert driven.report.profile == "native"


# -- a hook while paused


@pytest.mark.parametrize(
    ("command", "exit_status"), [("true", ExitStatus.DONE), ("exit 7", ExitStatus.FAILED)]
)
def test_pause_command(tmp_path: Path, command: str, exit_status: ExitStatus) -> None:
    good = exit_status is ExitStatus.DONE
    cancelled = (
        WaitsFor("migrate_cancel"),
        status("cancelling"),
        Says("RESUME"),
        status("cancelled"),
    )
    script = [*TO_WAIT, *recordings.TO_STOP, status("pre-switchover"), *cancelled]
    source = ScriptedMonitor(recordings.PAUSED[recordings.V7] if good else script)
    driven = drive(tmp_path, source, migrate(pause=True, pause_command=command))
    assert driven.outcome.exit_status is exit_status
    assert bool(source.named("migrate-continue")) is good
    if not good:
        assert "status 7" in driven.outcome.text


# -- losses


def test_the_source_is_gone(tmp_path: Path) -> None:
    source = ScriptedMonitor([*TO_WAIT, status("active"), Dies()])
    driven = drive(tmp_path, source, MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.LOST
    assert "may be gone" in driven.outcome.text
    assert driven.report.source.run_state is None
    assert driven.report.timings.total_ms is None


def test_there_is_no_monitor(tmp_path: Path) -> None:
    source = ScriptedMonitor([])
    request = MigrationRequest(UnixEndpoint(str(tmp_path / "none.sock")), URI)

    async def listen_not(path: str) -> None:
        source.endpoint = request.source  # type: ignore[assignment]

    source.listen = listen_not  # type: ignore[method-assign]
    driven = drive(tmp_path, source, request)
    assert driven.outcome.exit_status is ExitStatus.LOST
    assert "nothing was started" in driven.outcome.text


def test_the_source_does_not_run_its_guest_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_end, "RESUME_S", 0.01)
    source = ScriptedMonitor([*TO_WAIT, *recordings.TO_STOP, status("failed")])
    driven = drive(tmp_path, source, MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.LOST
    assert "finish-migrate" in driven.outcome.text


@every_version
@pytest.mark.parametrize("before", ["suspended", "io-error", "guest-panicked"])
def test_a_guest_that_stood_before_is_as_it_was(tmp_path: Path, version: str, before: str) -> None:
    source = ScriptedMonitor(recordings.NOT_CONNECTED[version], run_state=before)
    driven = drive(tmp_path, source, MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.FAILED
    assert "as it was" in driven.outcome.text


def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    source = ScriptedMonitor([*TO_WAIT, WaitsFor("migrate_cancel"), status("cancelling")])

    def interfere(event: MigrationEvent, run: MigrationRun) -> None:
        at("wait-unplug", "cancel")(event, run)
        at("cancelling", "abandon")(event, run)

    driven = drive(tmp_path, source, MIGRATE, interfere=interfere)
    assert driven.outcome.exit_status is ExitStatus.INTERRUPTED
    assert "cancelling" in driven.outcome.text


def test_in_doubt(tmp_path: Path) -> None:
    doubt = (
        Answers({"x-replug-in-doubt": True}),
        Becomes(run_state="postmigrate"),
        Says("X_REPLUG_IN_DOUBT", {"reason": "The target is gone"}),
    )
    source = ScriptedMonitor([*TO_WAIT, *recordings.TO_STOP, status("device"), *doubt])
    driven = drive(tmp_path, source, migrate(quit_source=True))
    assert driven.outcome.exit_status is ExitStatus.IN_DOUBT
    assert driven.report.status == "in-doubt"
    assert not source.named("quit")


# -- monitors that say little


def test_without_events_the_source_is_asked(tmp_path: Path) -> None:
    script: list[Step] = []
    for name in ("setup", "wait-unplug", "active"):
        script += [Becomes(status=name), WaitsFor("query-migrate")]
    script += [Answers(recordings.NUMBERS), Becomes("completed", "postmigrate")]
    source = ScriptedMonitor(script, sends_statuses=False)
    driven = drive(tmp_path, source, MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert driven.report.source.states == ["none", "setup", "wait-unplug", "active", "completed"]


def test_a_source_that_is_busy_is_left_alone(tmp_path: Path) -> None:
    busy = "There's a migration process in progress"
    source = ScriptedMonitor([Refuses("migrate", busy), status("active")], in_progress=True)
    driven = drive(tmp_path, source, MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.FAILED
    assert busy in driven.outcome.text
    # What somebody else's migration does is not told as ours.
    assert driven.report.status is None
    assert not driven.statuses()
    assert not source.named("migrate_cancel")


def test_a_capability_that_is_refused_begins_nothing(tmp_path: Path) -> None:
    source = ScriptedMonitor(
        [Refuses("migrate-set-capabilities", "no such thing")], in_progress=True
    )
    driven = drive(tmp_path, source, migrate(capabilities={"multifd": True}))
    assert driven.outcome.exit_status is ExitStatus.FAILED
    assert "no such thing" in driven.outcome.text
    assert not source.named("migrate")


def test_a_primary_that_nobody_waits_for_is_named(tmp_path: Path) -> None:
    # Seen when the guest's driver was unbound before: UNPLUG_PRIMARY, and no wait-unplug.
    rest = recordings.COMPLETED[recordings.V7]
    script = [step for step in rest if step != status("wait-unplug")]
    driven = drive(tmp_path, ScriptedMonitor(script), MIGRATE)
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert "does not wait" in driven.notes()
    assert driven.report.primaries[0].source == ["unplug-pending"]


def test_every_event_can_be_written(tmp_path: Path) -> None:
    driven = drive(tmp_path, ScriptedMonitor(recordings.COMPLETED[recordings.V10]), MIGRATE)
    shapes = {tuple(json.loads(json.dumps(event.as_json()))) for event in driven.events}
    assert len(shapes) == 1
    assert json.loads(json.dumps(driven.report.as_json()))["status"] == "completed"

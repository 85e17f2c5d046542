"""What the target tells by its own monitor, and what it means when the source has completed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.driver import control_end
from engine.migration_event import Kind
from engine.migration_outcome import ExitStatus
from engine.migration_request import MigrationRequest
from engine.monitor_options import UnixEndpoint
from tests.integration import qemu_recordings as recordings
from tests.integration.driven_migration import URI, drive
from tests.integration.scripted_monitor import (
    Becomes,
    Dies,
    Says,
    ScriptedMonitor,
    Step,
    WaitsFor,
    status,
)

NOWHERE = UnixEndpoint("/nowhere")
#: The second one is asked when the answer to the first has been taken, at least 100 ms later.
TWO_QUESTIONS: tuple[Step, ...] = (WaitsFor("query-migrate"), WaitsFor("query-migrate"))


def migrate(**others: object) -> MigrationRequest:
    return MigrationRequest(NOWHERE, URI, **others)  # type: ignore[arg-type]


#: QEMU says completed whatever its target says.
ONE_WAY = {"return-path": False}


@pytest.mark.parametrize("end", [status("failed"), Dies()])
def test_completed_but_the_target_has_nothing(tmp_path: Path, end: Step) -> None:
    source = ScriptedMonitor(recordings.COMPLETED[recordings.V7])
    script = [status("active"), *TWO_QUESTIONS, end]
    target = ScriptedMonitor(script, run_state="inmigrate", in_progress=True)
    request = migrate(quit_source=True, capabilities=ONE_WAY)
    driven = drive(tmp_path, source, request, target=target)
    assert driven.outcome.exit_status is ExitStatus.LOST
    assert driven.report.status == "completed"
    assert driven.report.error
    # The source is all there is of the guest.
    assert not source.named("quit")


def test_the_targets_monitor_is_lost_after_it_has_answered_the_source(tmp_path: Path) -> None:
    source = ScriptedMonitor(recordings.COMPLETED[recordings.V10])
    script = [status("active"), *TWO_QUESTIONS, Dies()]
    target = ScriptedMonitor(script, run_state="inmigrate", in_progress=True)
    driven = drive(tmp_path, source, migrate(quit_source=True), target=target)
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert "its monitor was lost" in driven.outcome.text
    # Who knows that the target is well may end the source.
    assert not source.named("quit")


def test_a_guest_that_stands_at_the_target_keeps_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_end, "RUN_S", 0.01)
    source = ScriptedMonitor(recordings.COMPLETED[recordings.V10])
    script = [status("active"), *TWO_QUESTIONS, Becomes(run_state="paused"), status("completed")]
    target = ScriptedMonitor(script, run_state="inmigrate", in_progress=True)
    driven = drive(tmp_path, source, migrate(quit_source=True), target=target)
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert "paused" in driven.outcome.text
    assert not source.named("quit")


def test_both_sides_are_followed(tmp_path: Path) -> None:
    source = ScriptedMonitor(recordings.COMPLETED[recordings.V11])
    target = ScriptedMonitor(
        [
            status("setup"),
            status("active"),
            *TWO_QUESTIONS,
            Says("FAILOVER_NEGOTIATED", {"device-id": "net1"}),
            Says("RESUME"),
            status("completed"),
        ],
        run_state="inmigrate",
        in_progress=True,
    )
    driven = drive(tmp_path, source, migrate(quit_source=True), target=target)
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert driven.report.target.states == ["none", "active", "completed"]
    assert driven.report.target.run_state == "running"
    assert [e.device for e in driven.events if e.kind is Kind.NEGOTIATED] == ["net1"]
    assert len(source.named("quit")) == 1
    assert not target.named("quit")

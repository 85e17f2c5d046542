"""A migration that somebody else began is taken over, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.migration_outcome import ExitStatus
from engine.migration_request import MigrationRequest
from engine.monitor_options import UnixEndpoint
from tests.integration import qemu_recordings as recordings
from tests.integration.driven_migration import drive
from tests.integration.scripted_monitor import (
    Answers,
    Becomes,
    Refuses,
    Says,
    ScriptedMonitor,
    Step,
    WaitsFor,
    status,
)

NOWHERE = UnixEndpoint("/nowhere")
#: The second one is asked when the answer to the first has been taken, at least 100 ms later.
TWO_QUESTIONS: tuple[Step, ...] = (WaitsFor("query-migrate"), WaitsFor("query-migrate"))


def test_a_migration_in_progress_is_taken_over(tmp_path: Path) -> None:
    source = ScriptedMonitor(
        [
            status("active"),
            Refuses("migrate-set-capabilities", "There's a migration process in progress"),
            *TWO_QUESTIONS,
            Says("STOP"),
            *recordings.TO_COMPLETED[recordings.V10],
        ],
        in_progress=True,
    )
    driven = drive(tmp_path, source, MigrationRequest(NOWHERE))
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert not source.named("migrate")
    assert driven.statuses() == ["active", "device", "completed"]
    # How long the guest was waited for is not known any more.
    assert driven.report.timings.wait_unplug_ms is None


def test_there_is_nothing_to_take_over(tmp_path: Path) -> None:
    driven = drive(tmp_path, ScriptedMonitor([]), MigrationRequest(NOWHERE))
    assert driven.outcome.exit_status is ExitStatus.FAILED
    assert "no migration to take over" in driven.outcome.text


@pytest.mark.parametrize(
    ("reached", "run_state"), [("completed", "running"), ("active", "inmigrate")]
)
def test_the_migration_by_which_a_vm_came_is_not_taken_over(
    tmp_path: Path, reached: str, run_state: str
) -> None:
    source = ScriptedMonitor([Becomes(reached)], run_state=run_state, in_progress=True)
    driven = drive(tmp_path, source, MigrationRequest(NOWHERE, quit_source=True))
    assert driven.outcome.exit_status is ExitStatus.FAILED
    assert not source.named("quit")


def test_a_migration_that_has_completed_is_taken_over(tmp_path: Path) -> None:
    left: list[Step] = [Answers(recordings.NUMBERS), Becomes("completed", "postmigrate")]
    source = ScriptedMonitor(left, in_progress=True)
    driven = drive(tmp_path, source, MigrationRequest(NOWHERE, quit_source=True))
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert source.named("quit")

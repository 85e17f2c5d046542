"""A cancel that comes too late: the source refuses it, and its migration is followed to its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from engine.driver import control_cancel
from engine.driver.control import MigrationRun
from engine.messages import Running
from engine.migration_event import Kind, MigrationEvent, Side
from engine.migration_outcome import CancelCause, ExitStatus
from engine.migration_request import MigrationRequest
from engine.monitor_options import UnixEndpoint
from tests.integration import qemu_recordings as recordings
from tests.integration.driven_migration import URI, drive
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import moved
from tests.integration.relay import Relay, Way
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

TOO_LATE = "The VM has been handed to the target"
REQUEST = MigrationRequest(UnixEndpoint("/nowhere"), URI)
NATIVE = {("/machine/replug", "profile"): "native", ("/machine/replug", "state"): {}}
#: A replug is in device when it is cancelled, and goes on for two more questions.
REFUSED: tuple[Step, ...] = (
    *recordings.TO_WAIT[recordings.V10],
    *recordings.TO_STOP,
    Refuses("migrate_cancel", TOO_LATE),
    status("device"),
    WaitsFor("migrate_cancel"),
    WaitsFor("query-migrate"),
    WaitsFor("query-migrate"),
)
COMPLETED: tuple[Step, ...] = (
    Answers(recordings.NUMBERS),
    Becomes(run_state="postmigrate"),
    status("completed"),
)
FAILED: tuple[Step, ...] = (Says("RESUME"), status("failed"))


def in_device(event: MigrationEvent) -> bool:
    return (event.kind, event.side, event.status) == (Kind.STATUS, Side.SOURCE, "device")


@pytest.mark.parametrize("cause", [CancelCause.USER, CancelCause.DEADLINE])
@pytest.mark.parametrize(
    ("end", "exit_status"), [(COMPLETED, ExitStatus.DONE), (FAILED, ExitStatus.FAILED)]
)
def test_a_refused_cancel_is_told_and_the_end_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cause: CancelCause,
    end: tuple[Step, ...],
    exit_status: ExitStatus,
) -> None:
    # No time at all is allowed for a cancel: one that was refused is not waited for.
    monkeypatch.setattr(control_cancel, "CANCEL_MS", 0.0)

    def interfere(event: MigrationEvent, run: MigrationRun) -> None:
        if in_device(event):
            run.cancel(cause)

    source = ScriptedMonitor([*REFUSED, *end], objects=NATIVE)
    driven = drive(tmp_path, source, REQUEST, interfere=interfere)
    assert driven.outcome.exit_status is exit_status, driven.outcome
    assert TOO_LATE in driven.notes()
    assert len(source.named("migrate_cancel")) == 1


@pytest.mark.parametrize("version", recordings.VERSIONS)
@pytest.mark.parametrize("cause", [CancelCause.USER, CancelCause.DEADLINE])
def test_a_qemu_whose_target_may_run_the_guest_is_not_cancelled(
    tmp_path: Path, version: str, cause: CancelCause
) -> None:
    """It would take the cancel, run its guest again, and the target would as well."""
    stopped = () if version == recordings.V7 else (status("device"),)
    script = [
        *recordings.TO_WAIT[version],
        *recordings.TO_STOP,
        *stopped,
        *(WaitsFor("query-migrate"),) * 3,
        *COMPLETED,
    ]

    def interfere(event: MigrationEvent, run: MigrationRun) -> None:
        if event.kind is Kind.RUN_STATE and event.run_state == "stopped":
            run.cancel(cause)

    source = ScriptedMonitor(script)
    driven = drive(tmp_path, source, REQUEST, interfere=interfere)
    assert driven.outcome.exit_status is ExitStatus.DONE, driven.outcome
    assert "too late" in driven.outcome.text
    assert "may run it already" in driven.notes()
    assert not source.named("migrate_cancel")


def test_a_qemu_that_waits_before_the_switchover_is_cancelled(tmp_path: Path) -> None:
    script = [
        *recordings.TO_WAIT[recordings.V7],
        *recordings.TO_STOP,
        WaitsFor("migrate_cancel"),
        status("cancelling"),
        Says("RESUME"),
        status("cancelled"),
    ]

    def interfere(event: MigrationEvent, run: MigrationRun) -> None:
        if event.kind is Kind.RUN_STATE and event.run_state == "stopped":
            run.cancel()

    source = ScriptedMonitor(script)
    driven = drive(tmp_path, source, replace(REQUEST, pause=True), interfere=interfere)
    assert driven.outcome.exit_status is ExitStatus.CANCELLED
    assert len(source.named("migrate_cancel")) == 1


def test_postcopy_is_not_cancelled_and_not_followed_for_ever(tmp_path: Path) -> None:
    script = [
        *recordings.TO_WAIT[recordings.V7],
        *recordings.TO_STOP,
        status("postcopy-active"),
        status("postcopy-paused"),
    ]

    def interfere(event: MigrationEvent, run: MigrationRun) -> None:
        if event.status == "postcopy-paused":
            run.cancel(CancelCause.DEADLINE)

    source = ScriptedMonitor(script)
    driven = drive(tmp_path, source, REQUEST, interfere=interfere)
    assert driven.outcome.exit_status is ExitStatus.LOST
    assert "each side has a part" in driven.outcome.text
    assert not source.named("migrate_cancel")


@scenario
async def test_cancelled_between_commit_and_running(lab: Lab) -> None:
    source, target = await lab.pair()
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        relay.to_source.rule(Running, Way.WITHHOLD)
        notes: list[str] = []

        def on_event(event: MigrationEvent) -> None:
            if event.kind is Kind.NOTE:
                notes.append(event.text or "")
                if "can no longer be cancelled" in notes[-1]:
                    relay.to_source.release()

        request = MigrationRequest(UnixEndpoint(str(source.monitor_path)), relay.uri)
        run = MigrationRun(request, on_event)
        running = asyncio.create_task(run.run())
        await relay.until_reached(Running)
        run.cancel()
        result = await running
        assert result.outcome.exit_status is ExitStatus.DONE, result.outcome
        assert notes[0] == "cancelling: interrupted"
        await moved(source, target)

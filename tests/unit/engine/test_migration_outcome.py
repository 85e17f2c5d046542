"""What the end of a migration means: every exit status, and the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.migration_outcome import CancelCause, ExitStatus, FinalFacts, budget, decide
from engine.report import MigrationReport, Timings

AT_SOURCE = {"run_state": "running", "run_state_before": "running"}
LEFT = {"run_state": "postmigrate", "run_state_before": "running"}


def facts(status: str | None, **others: object) -> FinalFacts:
    return replace(FinalFacts(status=status), **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (facts("completed", **LEFT), ExitStatus.DONE),
        (facts("completed", **LEFT, cause=CancelCause.USER), ExitStatus.DONE),
        (facts("completed", **LEFT, target_status="completed"), ExitStatus.DONE),
        # QEMU without return-path: the target refused, or died, and the source does not know.
        (facts("completed", **LEFT, target_status="failed"), ExitStatus.LOST),
        (facts("completed", **LEFT, target_lost=True), ExitStatus.LOST),
        # With return-path the target has told the source that it has the guest.
        (facts("completed", **LEFT, target_lost=True, acknowledged=True), ExitStatus.DONE),
        # The source runs its guest though it says that it gave it away.
        (facts("completed", **AT_SOURCE), ExitStatus.IN_DOUBT),
        (facts("completed", **AT_SOURCE, begun=False), ExitStatus.DONE),
        (facts("completed", **LEFT, target_status="active", target_lost=True), ExitStatus.LOST),
        (facts("completed", **LEFT, target_status="completed", target_lost=True), ExitStatus.DONE),
        (facts("failed", **AT_SOURCE, error="why"), ExitStatus.FAILED),
        (facts("failed", **AT_SOURCE, cause=CancelCause.USER), ExitStatus.FAILED),
        (facts("failed", **AT_SOURCE, cause=CancelCause.DEADLINE), ExitStatus.DEADLINE),
        (facts("failed", **AT_SOURCE, cause=CancelCause.UNPLUG_DEADLINE), ExitStatus.DEADLINE),
        (facts("failed", **LEFT), ExitStatus.LOST),
        (facts("failed", run_state="finish-migrate", run_state_before=None), ExitStatus.LOST),
        (facts("failed", run_state=None, run_state_before="running"), ExitStatus.LOST),
        (facts("cancelled", **AT_SOURCE, cause=CancelCause.USER), ExitStatus.CANCELLED),
        (facts("cancelled", **AT_SOURCE), ExitStatus.CANCELLED),
        (facts("cancelled", **AT_SOURCE, cause=CancelCause.DEADLINE), ExitStatus.DEADLINE),
        (facts("cancelled", **AT_SOURCE, cause=CancelCause.PAUSE_COMMAND), ExitStatus.FAILED),
        (facts("cancelled", **LEFT, cause=CancelCause.USER), ExitStatus.LOST),
        # A guest that was paused before and is paused again has lost nothing.
        (facts("cancelled", run_state="paused", run_state_before="paused"), ExitStatus.CANCELLED),
        (facts("failed", run_state="paused", run_state_before="paused"), ExitStatus.FAILED),
        (facts("failed", run_state="paused", run_state_before="running"), ExitStatus.LOST),
        (facts("device", **LEFT, in_doubt=True), ExitStatus.IN_DOUBT),
        # The source was rolled back while the target has begun to run the guest.
        (
            facts("cancelled", **AT_SOURCE, target_status="completed", target_run_state="running"),
            ExitStatus.IN_DOUBT,
        ),
        # QEMU leaves a source stopped whose images the target has: that one has the guest.
        (
            facts("failed", **LEFT, target_status="completed", target_run_state="running"),
            ExitStatus.LOST,
        ),
        (facts("cancelling", run_state="running", error="endless"), ExitStatus.FAILED),
        (facts("postcopy-paused", run_state="finish-migrate"), ExitStatus.LOST),
        (facts("active", run_state=None), ExitStatus.LOST),
        (
            facts("active", target_status="completed", target_run_state="running"),
            ExitStatus.DONE,
        ),
        (facts("cancelling", abandoned=True, cause=CancelCause.USER), ExitStatus.INTERRUPTED),
        (facts(None, abandoned=True, cause=CancelCause.USER), ExitStatus.INTERRUPTED),
        (
            facts("cancelled", **AT_SOURCE, abandoned=True, cause=CancelCause.USER),
            ExitStatus.CANCELLED,
        ),
        # The source refused the cancel: it is not what the migration ended for.
        (
            facts("completed", **LEFT, cause=CancelCause.DEADLINE, cancel_refused=True),
            ExitStatus.DONE,
        ),
        (
            facts("failed", **AT_SOURCE, cause=CancelCause.DEADLINE, cancel_refused=True),
            ExitStatus.FAILED,
        ),
        (facts("device", cancel_refused=True, abandoned=True), ExitStatus.INTERRUPTED),
        (facts(None, begun=False, **AT_SOURCE, error="refused"), ExitStatus.FAILED),
        (facts(None, begun=False, error="no monitor"), ExitStatus.LOST),
        (facts(None, begun=False, cause=CancelCause.USER), ExitStatus.CANCELLED),
        (facts(None, begun=False, cause=CancelCause.DEADLINE), ExitStatus.DEADLINE),
    ],
)
def test_exit_status(given: FinalFacts, expected: ExitStatus) -> None:
    assert decide(given).exit_status is expected


def test_the_sources_reason_is_said() -> None:
    assert "Broken pipe" in decide(facts("failed", **AT_SOURCE, error="Broken pipe")).text


def test_whoever_is_lost_is_told_what_to_do() -> None:
    for given in (facts("failed", **LEFT), facts("active"), facts("device", in_doubt=True)):
        assert decide(given).advice


def test_a_source_that_refused_the_cancel_is_not_said_to_roll_back() -> None:
    outcome = decide(facts("device", cancel_refused=True, abandoned=True))
    assert "too late" in outcome.text
    assert "rollback" not in str(outcome.advice)


def test_nobody_is_told_to_run_a_guest_that_runs_elsewhere() -> None:
    at_target = {"target_status": "completed", "target_run_state": "running"}
    for given in (
        facts("failed", **LEFT, **at_target),
        facts("completed", **LEFT, target_lost=True, acknowledged=True),
        facts("postcopy-paused", run_state="finish-migrate"),
    ):
        advice = decide(given).advice or ""
        assert "`cont`" not in advice or "never `cont`" in advice
    # Without an answer of the target's nobody knows.
    assert "look at the target first" in str(decide(facts("completed", target_lost=True)).advice)


def test_a_guest_that_stands_at_the_target_is_told_of() -> None:
    stands = {"target_status": "completed", "target_run_state": "paused"}
    outcome = decide(facts("completed", **LEFT, **stands))
    assert outcome.exit_status is ExitStatus.DONE
    assert "paused" in outcome.text
    assert outcome.advice
    # One that stood before stands as it should.
    was_paused = facts("completed", run_state="postmigrate", run_state_before="paused", **stands)
    assert decide(was_paused).advice is None


def test_a_target_that_goes_on_after_a_rollback_is_to_be_ended() -> None:
    for status in ("failed", "cancelled"):
        assert "end the target" in str(
            decide(facts(status, **AT_SOURCE, target_status="active")).advice
        )
        assert decide(facts(status, **AT_SOURCE, target_status="failed")).advice is None


def test_an_interrupt_before_the_cancel_was_taken_promises_no_rollback() -> None:
    asked = facts("active", abandoned=True, cause=CancelCause.USER)
    assert "rollback" not in str(decide(asked).advice)
    assert "rollback" in str(decide(replace(asked, cancel_taken=True)).advice)


def test_a_source_that_does_not_end_its_cancel_is_not_said_to_have_stopped() -> None:
    outcome = decide(facts("cancelling", run_state="running", error="endless"))
    assert "the guest runs at the source" in outcome.text
    assert "`cont`" not in str(outcome.advice)


def report(**timings: float | None) -> MigrationReport:
    return MigrationReport(timings=Timings(**timings))


def test_the_budget_adds_up_to_the_total() -> None:
    spent = budget(
        report(
            total_ms=900.0,
            setup_ms=260.0,
            wait_unplug_ms=250.0,
            downtime_ms=30.0,
            verify_ms=20.0,
            replug_ms=70.0,
        )
    )
    durations = {each.name: each.duration_ms for each in spent}
    assert durations == {
        "setup": 10.0,
        "wait-unplug": 250.0,
        "active passes": 590.0,
        "downtime": 30.0,
        "verify": 20.0,
        "replug": 70.0,
    }
    assert sum(each.duration_ms or 0.0 for each in spent if each.name != "replug") == 900.0
    assert [each.name for each in spent if each.is_downtime] == ["downtime", "verify"]


def test_what_is_not_known_is_not_in_the_budget() -> None:
    spent = budget(report(total_ms=694.0, wait_unplug_ms=686.0))
    assert {each.name: each.duration_ms for each in spent if each.duration_ms is not None} == {
        "wait-unplug": 686.0
    }

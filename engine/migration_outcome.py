"""What the end of a migration means: an exit status, a sentence, and where the seconds went.

What may live here: decisions over facts that are already known. Nothing is asked of a VM here, and
no text of a VM is taken apart. The question behind every decision is where the guest runs now:

- *done*: the target has it, as far as anybody says;
- *rolled back*: the source has it in the run state it had before, or it runs there;
- otherwise somebody has to look, and the sentence says at what.

A VM that was paused before and is paused again counts as rolled back: nothing was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from engine.report import MigrationReport


class ExitStatus(IntEnum):
    """How `replug migrate` ends."""

    #: The migration completed.
    DONE = 0
    #: It failed, or never began; the guest is at the source as it was.
    FAILED = 1
    #: The command line cannot be used.
    USAGE = 2
    #: It was cancelled; the guest is at the source as it was.
    CANCELLED = 3
    #: Nobody knows which side has the guest, or both have it: an operator decides.
    IN_DOUBT = 4
    #: It failed and the guest does not run at the source, or nobody can say.
    LOST = 5
    #: A deadline passed; the guest is at the source as it was.
    DEADLINE = 124
    #: Interrupted while it was being cancelled: what comes of it is not known here.
    INTERRUPTED = 130


class CancelCause(Enum):
    """Why this command cancelled a migration."""

    #: The user asked for it (Ctrl-C).
    USER = "interrupted"
    #: --timeout.
    DEADLINE = "the deadline passed"
    #: --unplug-timeout, or the VM's own deadline for the guest.
    UNPLUG_DEADLINE = "the guest did not release its primaries in time"
    #: The command of --pause-command failed.
    PAUSE_COMMAND = "the command of --pause-command failed"


_DEADLINES = (CancelCause.DEADLINE, CancelCause.UNPLUG_DEADLINE)


@dataclass(frozen=True)
class FinalFacts:
    """What is known when there is nothing more to wait for."""

    #: The source's last status; None: it never had one.
    status: str | None = None
    #: `migrate` was sent, or a migration in progress was taken over.
    begun: bool = True
    #: The source, or the target, says that it does not know which side has the VM.
    in_doubt: bool = False
    #: The source's run state now; None: it cannot be asked.
    run_state: str | None = None
    #: The source's run state before the migration; None: not known.
    run_state_before: str | None = None
    #: The source says completed only when the target has said that it has the guest.
    acknowledged: bool = False
    #: The target's status; None: it was not asked, or has none.
    target_status: str | None = None
    #: The connection to the target's monitor was lost.
    target_lost: bool = False
    #: The target's run state; None: not known.
    target_run_state: str | None = None
    #: Why the migration was cancelled or given up; None: it was not, by this command.
    cause: CancelCause | None = None
    #: The source took the cancel.
    cancel_taken: bool = False
    #: It was too late to cancel: whatever came of it, it was not for that cause.
    cancel_refused: bool = False
    #: The user asked a second time, before the end.
    abandoned: bool = False
    #: What the source, or this command, says about the failure.
    error: str | None = None

    @property
    def cause_of_end(self) -> CancelCause | None:
        """Why this command ended the migration; None: it did not."""
        return None if self.cancel_refused else self.cause


@dataclass(frozen=True)
class Outcome:
    """How a migration ended."""

    #: What the process exits with.
    exit_status: ExitStatus
    #: One sentence.
    text: str
    #: What to do now, or None.
    advice: str | None = None


def decide(facts: FinalFacts) -> Outcome:
    """Return what the facts mean."""
    if facts.in_doubt:
        return Outcome(
            ExitStatus.IN_DOUBT,
            "in doubt: the target was told to run and its answer was lost",
            "see which side has the guest, then say so on both: "
            "x-replug-resolve {keep: source|target}",
        )
    if facts.run_state == "running" and (contradiction := _both_run(facts)):
        return contradiction
    known = facts.status == "completed" or (
        facts.status in ("cancelled", "failed") and facts.run_state is not None
    )
    if facts.abandoned and facts.begun and not known:
        return _interrupted(facts)
    match facts.status:
        case "completed":
            return _completed(facts)
        case "cancelled":
            return _cancelled(facts)
        case "failed" | None:
            return _failed(facts)
    return _not_ended(facts)


def is_rolled_back(facts: FinalFacts) -> bool:
    """Say whether the guest is at the source as it was before."""
    before = facts.run_state_before
    return facts.run_state == "running" or (before is not None and facts.run_state == before)


def _runs_at_target(facts: FinalFacts) -> bool:
    return facts.target_status == "completed" and facts.target_run_state == "running"


def _both_run(facts: FinalFacts) -> Outcome | None:
    """The source runs its guest: say whether the target has it as well; None: it has not."""
    if _runs_at_target(facts):
        return Outcome(
            ExitStatus.IN_DOUBT,
            f"the target says completed and the source says {facts.status}: both run the guest",
            "stop one of the two at once",
        )
    if facts.status == "completed" and facts.begun:
        return Outcome(
            ExitStatus.IN_DOUBT,
            "the source says completed, and runs the guest: somebody has told it to",
            "stop one of the two at once, unless the target does not have the guest",
        )
    return None


def _interrupted(facts: FinalFacts) -> Outcome:
    when, goes_on = "before `cancelled` was reached", "the source goes on with its rollback"
    if facts.cancel_refused:
        when, goes_on = "though it was too late to cancel", "the migration goes on"
    elif not facts.cancel_taken and facts.status != "cancelling":
        when, goes_on = "before the source took the cancel", "the migration may go on"
    return Outcome(
        ExitStatus.INTERRUPTED,
        f"interrupted {when}; the last status was {facts.status}",
        f"{goes_on}: `replug migrate --attach` waits for its end",
    )


def _completed(facts: FinalFacts) -> Outcome:
    late = f" ({facts.cause.value}, but too late to cancel it)" if facts.cause else ""
    if facts.target_status == "failed":
        return Outcome(
            ExitStatus.LOST,
            "the source says completed, but the target failed: the guest runs nowhere",
            "the source still holds the guest: `cont` there runs it, without its primaries; "
            "capability return-path tells the source of such a refusal",
        )
    if facts.target_lost and facts.target_status != "completed":
        if facts.acknowledged:
            return Outcome(
                ExitStatus.DONE,
                f"completed{late}; the target has said so to the source, its monitor was lost",
                "see that the target is well",
            )
        return Outcome(
            ExitStatus.LOST,
            "the source says completed whatever its target says, and the target's monitor was "
            "lost: nobody can say whether it has the guest",
            "look at the target first; only if the guest is not there, `cont` at the source runs "
            "it, without its primaries",
        )
    stands = facts.target_status == "completed" and facts.target_run_state not in (None, "running")
    if stands and facts.run_state_before == "running":
        return Outcome(
            ExitStatus.DONE,
            f"completed{late}; the guest does not run at the target, which is "
            f"{facts.target_run_state}",
            "`cont` at the target runs it",
        )
    return Outcome(ExitStatus.DONE, f"completed{late}")


def _cancelled(facts: FinalFacts) -> Outcome:
    if not is_rolled_back(facts):
        return _lost(facts, "cancelled")
    cause = facts.cause_of_end
    if cause in _DEADLINES:
        return Outcome(ExitStatus.DEADLINE, f"rolled back: {cause.value}", _advice(cause))
    if cause is CancelCause.PAUSE_COMMAND:
        return Outcome(ExitStatus.FAILED, f"rolled back: {facts.error or cause.value}")
    by = "" if cause is CancelCause.USER else ", but not by this command"
    return Outcome(
        ExitStatus.CANCELLED,
        f"cancelled{by}; the guest is at the source as it was",
        _advice_on_target(facts),
    )


def _failed(facts: FinalFacts) -> Outcome:
    if not facts.begun and facts.cause is not None:
        status = ExitStatus.DEADLINE if facts.cause in _DEADLINES else ExitStatus.CANCELLED
        return Outcome(status, f"nothing was started: {facts.cause.value}")
    what = "failed" if facts.begun else "nothing was started"
    if not is_rolled_back(facts):
        return _lost(facts, what)
    cause = facts.cause_of_end
    if cause is not None and cause in _DEADLINES:
        if facts.error is not None:
            # A source that keeps the deadline by itself says what to do as well.
            return Outcome(ExitStatus.DEADLINE, facts.error)
        text = f"rolled back: {cause.value}"
        return Outcome(ExitStatus.DEADLINE, text, _advice(cause))
    reason = facts.error or "the source gives no reason"
    return Outcome(
        ExitStatus.FAILED,
        f"{what}: {reason}; the guest is at the source as it was",
        _advice_on_target(facts),
    )


def _not_ended(facts: FinalFacts) -> Outcome:
    """The source was lost, or does not come to an end."""
    if _runs_at_target(facts):
        return Outcome(
            ExitStatus.DONE,
            "the source's monitor was lost, but the target has completed and runs the guest",
            "end the source if it is still there",
        )
    what = f"the last status was {facts.status}"
    reason = f": {facts.error}" if facts.error else ""
    if (facts.status or "").startswith("postcopy"):
        return Outcome(
            ExitStatus.LOST,
            f"{what}{reason}; each side has a part of the guest",
            "never `cont` the source: migrate-recover at the target, then migrate with resume at "
            "the source, let it go on",
        )
    if facts.run_state == "running":
        return Outcome(
            ExitStatus.FAILED,
            f"{what}{reason}; the guest runs at the source",
            "`replug migrate --attach` waits for the end",
        )
    return _lost(facts, what)


def _lost(facts: FinalFacts, what: str) -> Outcome:
    reason = f": {facts.error}" if facts.error else ""
    if _runs_at_target(facts):
        return Outcome(
            ExitStatus.LOST,
            f"{what}{reason}; but the target says completed, and runs the guest",
            "never `cont` the source: end it, once you have seen that the guest is well",
        )
    if facts.run_state is None:
        return Outcome(
            ExitStatus.LOST,
            f"{what}{reason}; the source cannot be asked, its VM may be gone",
            "look at the source's process, and at the target before you start the guest anywhere",
        )
    return Outcome(
        ExitStatus.LOST,
        f"{what}{reason}; the guest does not run at the source, which is {facts.run_state}",
        "`cont` at the source runs it, if the target does not",
    )


def _advice_on_target(facts: FinalFacts) -> str | None:
    if facts.begun and facts.target_status == "active":
        return "end the target, which has not noticed: it must not run the guest as well"
    return None


def _advice(cause: CancelCause) -> str | None:
    if cause is CancelCause.UNPLUG_DEADLINE:
        return "look at the guest's hotplug driver, or allow more with --unplug-timeout"
    return None


@dataclass(frozen=True)
class Expense:
    """One line of the budget."""

    #: What took the time.
    name: str
    #: How long; None: not known.
    duration_ms: float | None
    #: Whether the guest stood still meanwhile.
    is_downtime: bool = False


def budget(report: MigrationReport) -> list[Expense]:
    """Return where the time went, in the order in which it was spent.

    `setup` and `passes` leave out what other lines name, so the lines from setup to verify add up
    to the total as far as they are known.
    """
    timings = report.timings
    known = (timings.total_ms, timings.setup_ms, timings.downtime_ms)
    passes_ms = None
    if None not in known:
        total_ms, setup_ms, downtime_ms = (duration_ms or 0.0 for duration_ms in known)
        spent_ms = setup_ms + downtime_ms + (timings.verify_ms or 0.0)
        passes_ms = max(total_ms - spent_ms, 0.0)
    agreeing_ms = timings.setup_ms
    if agreeing_ms is not None:
        agreeing_ms = max(agreeing_ms - (timings.wait_unplug_ms or 0.0), 0.0)
    return [
        Expense("setup", agreeing_ms),
        Expense("wait-unplug", timings.wait_unplug_ms),
        Expense("active passes", passes_ms),
        Expense("downtime", timings.downtime_ms, is_downtime=True),
        Expense("verify", timings.verify_ms, is_downtime=True),
        Expense("replug", timings.replug_ms),
    ]

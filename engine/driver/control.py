"""Driving a migration from the source's monitor: begin or take over, follow, cancel, report.

What may live here: when which command goes to a VM. What events mean is the `Observation`'s, what
the end means is `decide`'s. Rules:

- statuses are followed by events, and by polling every POLL_MS for what has no event, or for a
  monitor that sends none;
- a deadline and the user cancel the same way: once (control_cancel.py), then the source's own end
  is waited for. One that refuses, or for which it is too late, goes on to an end that cannot be
  hurried, and is followed to it;
- nothing that was begun needs this process to end well: the source goes on by itself when this
  process is killed, and where it would stand still (`pause`), a PauseGuard sees to it;
- `run` returns; only a defect raises.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from engine.driver.control_cancel import SourceCancel
from engine.driver.control_end import Ending, settle
from engine.driver.control_preparation import Preparation, prepare, prepare_target
from engine.driver.pause_guard import PauseGuard
from engine.driver.qmp_connection import MonitorError, MonitorLost, Refused
from engine.driver.side_monitor import SideMonitor
from engine.migration_event import Kind, MigrationEvent, Side
from engine.migration_observation import Observation
from engine.migration_outcome import CancelCause, ExitStatus, FinalFacts, Outcome, decide
from engine.migration_reading import text
from engine.migration_request import MigrationRequest
from engine.migration_summary import build_report, handover_of
from engine.report import MigrationReport

#: Between two questions to a VM.
POLL_MS = 100.0
#: How much longer than its deadline a source that keeps it by itself may take.
SOURCE_LATE_MS = 1000.0

T = TypeVar("T")


@dataclass(frozen=True)
class MigrationResult:
    """How it ended."""

    #: What it means.
    outcome: Outcome
    #: Everything that is known.
    report: MigrationReport


class MigrationRun:
    """One migration, driven once."""

    def __init__(
        self, request: MigrationRequest, on_event: Callable[[MigrationEvent], None]
    ) -> None:
        """Prepare to drive; `on_event` is told everything that happens. Needs a running loop."""
        self._request = request
        self._on_event = on_event
        self._loop = asyncio.get_running_loop()
        self._observation = Observation(self._now_ms())
        self._source = SideMonitor(Side.SOURCE, self._observation, self._publish)
        self._target: SideMonitor | None = None
        if request.target is not None:
            self._target = SideMonitor(Side.TARGET, self._observation, self._publish)
        self._preparation: Preparation | None = None
        self._guard: PauseGuard | None = None
        #: The part of the work that is under way.
        self._work: asyncio.Task[Any] | None = None
        #: `migrate` is about to be sent: from here on only the source can end it.
        self._begun = False
        #: The source has refused `migrate`.
        self._refused = False
        self._error: str | None = None
        self._cause: CancelCause | None = None
        self._cancel = SourceCancel(self._source, self._observation.source)
        self._abandoned = False
        self._polled_ms = 0.0
        self._pausing: asyncio.Task[None] | None = None

    # -- what others ask for

    def cancel(self, cause: CancelCause = CancelCause.USER) -> None:
        """Cancel the migration and wait for the source's end; the first cause counts."""
        if self._cause is not None or self._observation.has_ended:
            return
        self._cause = cause
        self._tell(f"cancelling: {cause.value}")
        if not self._begun and self._work is not None:
            self._work.cancel()
        self._source.changed.set()

    def abandon(self) -> None:
        """Wait for nothing any more."""
        self._abandoned = True
        if self._work is not None:
            self._work.cancel()

    async def run(self) -> MigrationResult:
        """Drive the migration to its end and return what came of it."""
        deadline = None
        if self._request.timeout_ms is not None:
            deadline = self._loop.call_later(
                self._request.timeout_ms / 1000.0, self.cancel, CancelCause.DEADLINE
            )
        try:
            await self._finished(asyncio.create_task(self._drive()))
            ending = await self._end()
            outcome = decide(self._facts(ending))
            if outcome.exit_status is ExitStatus.DONE and self._request.quit_source:
                await self._quit_source(outcome)
        finally:
            if deadline is not None:
                deadline.cancel()
            await self._close()
        return MigrationResult(outcome, self._report(outcome, ending))

    async def _finished(self, work: asyncio.Task[T]) -> T | None:
        """Wait for a part of the work; None if it was cut short by `cancel` or `abandon`."""
        self._work = work
        await asyncio.wait({work})
        return None if work.cancelled() else work.result()

    # -- from the beginning to the source's end

    async def _drive(self) -> None:
        following_target = None
        try:
            await self._source.connect(self._request.source)
            if self._target is not None and self._request.target is not None:
                await self._target.connect(self._request.target)
                await prepare_target(self._target, self._request)
                following_target = asyncio.create_task(self._follow_target(self._target))
            self._preparation = await prepare(self._source, self._request)
            await self._begin(self._preparation)
            await self._follow(self._preparation)
        except MonitorError as error:
            self._error = str(error)
        finally:
            for task in (following_target, self._pausing):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    async def _begin(self, preparation: Preparation) -> None:
        if self._request.uri is None:
            # Before the first status is shown: whoever sees it may rely on the guard.
            await self._guard_pause()
            await self._source.poll()
            await self._source.ask_run_state()
            self._check_outgoing()
            self._begun = True
            self._tell_of_pause(preparation)
            return
        if self._source.profile is not None:
            # Where the primaries are before anything moves; no status, for that is an older one's.
            await self._source.look_around()
            await self._source.ask_pairs()
        await self._guard_pause()
        self._begun = True
        try:
            await self._source.execute("migrate", {"uri": self._request.uri})
        except Refused:
            self._refused = True
            raise
        self._tell_of_pause(preparation)
        needed, _ = self._request.target_needs()
        if needed and self._source.profile is None and self._target is None:
            self._tell("a target that is a QEMU has to have multifd set as well: see --target-qmp")

    def _check_outgoing(self) -> None:
        """Raise Refused where what the source tells of is no migration of its own.

        QEMU's query-migrate tells of the one that it came by as well (fill_source_migration_info
        leaves that alone), until it has one of its own. Who has given its VM away is postmigrate.
        """
        view = self._observation.source
        if view.run_state == "inmigrate":
            raise Refused("GenericError", "the VM is the target of a migration: name its source")
        has_left = view.run_state in ("finish-migrate", "postmigrate")
        is_older = view.status == "completed" and not has_left
        if view.status is None or is_older:
            raise Refused("GenericError", "there is no migration to take over")

    async def _follow(self, preparation: Preparation) -> None:
        view = self._observation.source
        while not self._observation.has_ended:
            await self._wait()
            self._check_deadlines(preparation)
            if self._cause is not None and self._cancel.sent_ms is None:
                tell = partial(self._tell, side=Side.SOURCE)
                await self._cancel.send(tell, self._now_ms(), pauses=preparation.pauses)
            if view.status == "pre-switchover" and self._request.pause and not self._pausing:
                self._pausing = asyncio.create_task(self._go_on())
            if view.status == "device":
                self._dismiss_guard()
            if self._now_ms() - self._polled_ms >= POLL_MS or not self._source.is_connected:
                self._polled_ms = self._now_ms()
                await self._source.poll()
                await self._source.ask_pairs()
            if overdue := self._cancel.overdue(self._now_ms()):
                self._error = overdue
                return

    async def _wait(self) -> None:
        """Wait until something happened, or it is time to ask."""
        rest_ms = self._polled_ms + POLL_MS - self._now_ms()
        if rest_ms > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(rest_ms / 1000.0):
                    await self._source.changed.wait()
        self._source.changed.clear()

    def _check_deadlines(self, preparation: Preparation) -> None:
        limit_ms = preparation.unplug_timeout_ms
        waited_ms = self._observation.waited_ms(self._now_ms())
        if limit_ms is None or waited_ms is None:
            return
        if waited_ms >= limit_ms + SOURCE_LATE_MS * preparation.source_keeps_deadline:
            self.cancel(CancelCause.UNPLUG_DEADLINE)

    async def _follow_target(self, target: SideMonitor) -> None:
        try:
            while True:
                await target.poll()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_MS / 1000.0):
                        await target.changed.wait()
                        target.changed.clear()
        except MonitorError as error:
            self._tell(str(error), Side.TARGET)

    # -- pause-before-switchover

    async def _go_on(self) -> None:
        """Run the user's command, if there is one, and let the source go on."""
        command = self._request.pause_command
        if command is not None:
            self._tell(f"running {command!r}", Side.SOURCE)
            status = await self._run_command(command)
            if status != 0:
                self._error = f"{command!r} ended with status {status}"
                self.cancel(CancelCause.PAUSE_COMMAND)
                return
        if self._observation.source.status != "pre-switchover":
            return
        # Refused or lost: `_follow` meets the same source and deals with it.
        with suppress(MonitorError):
            await self._source.execute("migrate-continue", {"state": "pre-switchover"})

    def _tell_of_pause(self, preparation: Preparation) -> None:
        """Say that the source will wait for somebody who is not this command."""
        if preparation.pauses and not self._request.pause:
            self._tell("the source will stop in pre-switchover until something continues it")

    async def _guard_pause(self) -> None:
        """See to it that the source does not stand still if this process is killed.

        Raises NoGuard.
        """
        if self._request.pause:
            self._guard = PauseGuard(self._request.source)
            await self._guard.ready()

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.dismiss()

    async def _run_command(self, command: str) -> int:
        """Run a shell command; its output goes where ours for people goes."""
        process = await asyncio.create_subprocess_shell(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()
        )
        try:
            return await process.wait()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise

    # -- the end

    async def _end(self) -> Ending:
        if self._abandoned and not self._observation.has_ended:
            # The pipe of a guard that is not dismissed closes with this process.
            return Ending()
        has_lost_it = self._has_begun() and not self._source.is_connected
        if self._guard is not None and has_lost_it and not self._observation.has_ended:
            # The VM is still there, as a rule, and will wait for somebody. The guard's pipe closes
            # with this process.
            self._tell("nobody would let it go on: it is cancelled if it can be reached again")
        else:
            self._dismiss_guard()
        before = self._preparation.run_state if self._preparation else None
        if not self._source.is_connected and not self._begun:
            self._observation.source.run_state = None
            return Ending()
        settling = settle(
            self._observation, self._source, self._target, before, begun=self._has_begun()
        )
        return await self._finished(asyncio.create_task(settling)) or Ending()

    def _has_begun(self) -> bool:
        return self._begun and not self._refused

    def _facts(self, ending: Ending) -> FinalFacts:
        source, target = self._observation.source, self._observation.target
        # A source that refuses `migrate` may be busy with somebody else's, or tell of an older one.
        begun = self._has_begun()
        return FinalFacts(
            status=source.status if begun else None,
            begun=begun,
            # A target's doubt is none for who sees that the source has the guest.
            in_doubt=source.in_doubt or (target.in_doubt and source.run_state is None),
            run_state=source.run_state,
            run_state_before=self._preparation.run_state if self._preparation else None,
            acknowledged=handover_of(source, self._return_path) in ("two-phase", "acknowledged"),
            target_status=target.status,
            target_lost=ending.target_lost,
            target_run_state=target.run_state,
            cause=self._cause or self._deadline_of_source(),
            cancel_taken=self._cancel.is_taken,
            cancel_refused=self._cancel.is_refused,
            abandoned=self._abandoned,
            error=self._error or text(source.information.get("error-desc")),
        )

    @property
    def _return_path(self) -> bool | None:
        return self._preparation.return_path if self._preparation else None

    def _deadline_of_source(self) -> CancelCause | None:
        """Say whether the source failed because its own deadline for the guest passed."""
        source, preparation = self._observation.source, self._preparation
        if preparation is None or not preparation.source_keeps_deadline:
            return None
        if source.states[-2:] != ["wait-unplug", "failed"]:
            return None
        waited_ms = source.stamps_ms["failed"] - source.stamps_ms["wait-unplug"]
        limit_ms = preparation.unplug_timeout_ms or 0.0
        # The events are stamped as they arrive here, each a little late.
        return CancelCause.UNPLUG_DEADLINE if waited_ms >= limit_ms - POLL_MS / 2 else None

    def _report(self, outcome: Outcome, ending: Ending) -> MigrationReport:
        in_doubt = outcome.exit_status is ExitStatus.IN_DOUBT
        facts = self._facts(ending)
        is_good = outcome.exit_status is ExitStatus.DONE
        return build_report(
            self._observation,
            status="in-doubt" if in_doubt else facts.status,
            error=None if is_good else (facts.error or outcome.text),
            profile=self._source.profile,
            return_path=self._return_path,
            target_asked=self._target is not None,
            frames=ending.frames,
        )

    async def _quit_source(self, outcome: Outcome) -> None:
        if outcome.advice is not None:
            self._tell("it is not ended, for there is something to look at first", Side.SOURCE)
            return
        # The connection may go before the reply comes.
        with suppress(MonitorLost):
            try:
                await self._source.execute("quit")
            except Refused as error:
                self._tell(f"it does not quit: {error}", Side.SOURCE)

    async def _close(self) -> None:
        await self._source.close()
        if self._target is not None:
            await self._target.close()

    # -- telling

    def _publish(self, happened: Iterable[MigrationEvent]) -> None:
        for event in happened:
            limit_ms = self._preparation.unplug_timeout_ms if self._preparation else None
            if event.kind is Kind.PROGRESS and event.waited_ms is not None:
                event = replace(event, deadline_ms=limit_ms)
            self._on_event(event)

    def _tell(self, sentence: str, side: Side | None = None) -> None:
        self._on_event(self._observation.note(sentence, self._now_ms(), side))

    def _now_ms(self) -> float:
        return self._loop.time() * 1000.0

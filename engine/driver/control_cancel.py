"""Cancelling the source's migration: when it is too late, what was answered, how long it may take.

What may live here: the one `migrate_cancel` that is sent. Whether it is too late is the source's
answer, where that knows. QEMU does not: it cancels what its target may run already, and its guest
runs twice then. So where the source is no replug with the native profile, nothing is sent from the
guest's stop for the switchover on, nor in postcopy, where each side holds a part of the guest.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.driver.qmp_connection import Refused
from engine.driver.side_monitor import SideMonitor
from engine.migration_observation import SideView

#: How long a cancelled source may take to end; QEMU's waits 30 s for the guest, and for a host that
#: does not answer as long as TCP does, 127 s by default (7.2).
CANCEL_MS = 150_000.0

_HANDED_OVER = "its guest was stopped for the switchover, and the target may run it already"
_SPLIT = "in postcopy the target has a part of the guest already"


class SourceCancel:
    """The cancel of one migration."""

    def __init__(self, source: SideMonitor, view: SideView) -> None:
        """Nothing is sent yet; `view` is what was seen of the source."""
        self._source = source
        self._view = view
        #: When it was asked for, in ms; None: it was not.
        self.sent_ms: float | None = None
        #: The source has taken it.
        self.is_taken = False
        #: The source has refused it, or it was too late to be sent.
        self.is_refused = False

    async def send(self, tell: Callable[[str], None], now_ms: float, *, pauses: bool) -> None:
        """Cancel, or `tell` why the migration goes on. Raises MonitorLost.

        `pauses`: before the switchover the source waits for somebody who lets it go on.
        """
        self.sent_ms = now_ms
        try:
            reason = await self._too_late(pauses)
            if reason is None:
                await self._source.execute("migrate_cancel")
                self.is_taken = True
        except Refused as error:
            # After COMMIT the target may run the guest already: what comes of it is still to come.
            reason = str(error)
        if reason is not None:
            self.is_refused = True
            tell(f"it goes on: {reason}")

    async def _too_late(self, pauses: bool) -> str | None:
        if self._source.profile == "native":
            return None
        run_state = await self._source.ask_run_state()
        status = self._view.status or ""
        if status.startswith("postcopy"):
            return _SPLIT
        # QEMU before 10.0 is still in `active` then, unless it pauses.
        has_stopped = run_state == "finish-migrate" and not pauses
        return _HANDED_OVER if has_stopped or status == "device" else None

    def overdue(self, now_ms: float) -> str | None:
        """Say what the source does not come to an end for; None while it may still."""
        if self.sent_ms is None:
            return None
        if self.is_refused:
            is_paused = self._view.status == "postcopy-paused"
            return "postcopy has lost its connection" if is_paused else None
        if now_ms - self.sent_ms > CANCEL_MS:
            return f"the source did not end within {CANCEL_MS / 1000.0:g} s of the cancel"
        return None

"""What somebody wants of a migration, before any VM was asked.

What may live here: the wish as a value, and what follows from it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.monitor_options import MonitorEndpoint

#: The capability whose MIGRATION events everything here follows.
EVENTS = "events"
#: The capability that stops the source before the switchover.
PAUSE = "pause-before-switchover"
#: The capability that lets the target's verdict decide at the source.
RETURN_PATH = "return-path"
#: replug's capability to compare all RAM.
VERIFY_RAM = "x-verify-ram"

_ANSWERED = ("tcp:", "unix:")


@dataclass(frozen=True)
class MigrationRequest:
    """One migration that is to be driven."""

    #: The source's monitor.
    source: MonitorEndpoint
    #: Where the stream goes; None: take over the migration that is in progress.
    uri: str | None = None
    #: The target's monitor; None: the target is not asked.
    target: MonitorEndpoint | None = None
    #: For how long everything may take; None: for ever.
    timeout_ms: float | None = None
    #: For how long the guest may take to release its primaries; None: as long as the source says.
    unplug_timeout_ms: float | None = None
    #: Migration parameters to set.
    parameters: Mapping[str, int] = field(default_factory=dict)
    #: Migration capabilities to set.
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    #: Whether to stop before the switchover, and to go on by this command.
    pause: bool = False
    #: A shell command to run while stopped; if it fails, the migration is cancelled.
    pause_command: str | None = None
    #: Whether to quit the source once the target has the guest.
    quit_source: bool = False

    def wanted_capabilities(self, offered: Mapping[str, bool], native: bool) -> dict[str, bool]:
        """Return what to set, given what the source offers.

        Besides what was asked for, `events` is turned on, and `return-path` where the target can
        answer and the source needs it: without it a QEMU says completed whatever the target says.
        """
        wanted = {EVENTS: True}
        answered = self.uri is not None and self.uri.startswith(_ANSWERED)
        if answered and not native and RETURN_PATH in offered:
            wanted[RETURN_PATH] = True
        if self.pause:
            wanted[PAUSE] = True
        return wanted | dict(self.capabilities)

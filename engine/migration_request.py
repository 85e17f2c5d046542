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
#: The capability of channels for RAM, with the parameters of such channels.
MULTIFD = "multifd"
MULTIFD_CHANNELS = "multifd-channels"
MULTIFD_COMPRESSION = "multifd-compression"
#: replug's capability to hand the memory over on one host.
SHARE_MEMORY = "x-share-memory"
#: What no QEMU offers, and what to do instead.
ONLY_REPLUGS: Mapping[str, str] = {
    VERIFY_RAM: "leave --verify-ram off",
    SHARE_MEMORY: "leave --share-memory off, and all RAM goes through the stream",
    "x-adaptive": "turn multifd's compression on instead, with --multifd-compression",
}

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
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    #: Migration capabilities to set.
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    #: Whether to stop before the switchover, and to go on by this command.
    pause: bool = False
    #: A shell command to run while stopped; if it fails, the migration is cancelled.
    pause_command: str | None = None
    #: Whether to quit the source once the target has the guest.
    quit_source: bool = False

    def target_needs(self) -> tuple[dict[str, bool], dict[str, int | str]]:
        """Return the capabilities and parameters without which a QEMU does not take the stream."""
        if not self.capabilities.get(MULTIFD):
            return {}, {}
        both = (MULTIFD_CHANNELS, MULTIFD_COMPRESSION)
        return {MULTIFD: True}, {n: self.parameters[n] for n in both if n in self.parameters}

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

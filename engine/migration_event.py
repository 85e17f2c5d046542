"""One thing that happened during a migration, as whoever drives it is told.

What may live here: the values, and their JSON form. Every key is in every object, so that a reader
needs no case distinction: what an event does not say is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    """What kind of thing happened."""

    #: A side's migration status changed.
    STATUS = "status"
    #: A side's run state changed.
    RUN_STATE = "run-state"
    #: A primary's state changed.
    PRIMARY = "primary"
    #: A guest's driver took a standby on.
    NEGOTIATED = "negotiated"
    #: Frames took another way.
    PATH = "path"
    #: A pass over RAM began.
    PASS = "pass"
    #: How RAM stands.
    PROGRESS = "progress"
    #: Something that a person should know.
    NOTE = "note"


class Side(Enum):
    """One of the two VMs."""

    #: The one that has the guest before.
    SOURCE = "source"
    #: The one that shall have it.
    TARGET = "target"


@dataclass(frozen=True)
class RamProgress:
    """How the transfer of guest RAM stands."""

    #: Put on the stream so far.
    transferred_bytes: int | None = None
    #: Known to be to do.
    remaining_bytes: int | None = None
    #: Guest RAM.
    total_bytes: int | None = None
    #: What the stream carries per second.
    rate_bytes: float | None = None
    #: What the guest rewrites per second.
    dirty_rate_bytes: float | None = None
    #: Passes so far.
    passes: int | None = None
    #: For how long the guest would stand still if it were moved now.
    expected_downtime_ms: float | None = None
    #: By how many percent auto-converge slows the guest down; None: it does not.
    throttle_percent: int | None = None

    @property
    def estimate_ms(self) -> float | None:
        """How long until only a downtime's worth remains; None: not known, or never at this rate.

        Each pass leaves what was rewritten during it: a geometric series, if it converges.
        """
        if self.remaining_bytes is None or not self.rate_bytes:
            return None
        gain_bytes = self.rate_bytes - (self.dirty_rate_bytes or 0.0)
        return 1000.0 * self.remaining_bytes / gain_bytes if gain_bytes > 0 else None

    def as_json(self) -> dict[str, Any]:
        """Return every field and the estimate."""
        return {
            "transferred_bytes": self.transferred_bytes,
            "remaining_bytes": self.remaining_bytes,
            "total_bytes": self.total_bytes,
            "bytes_per_second": self.rate_bytes,
            "dirty_bytes_per_second": self.dirty_rate_bytes,
            "passes": self.passes,
            "expected_downtime_ms": self.expected_downtime_ms,
            "estimate_ms": self.estimate_ms,
            "throttle_percent": self.throttle_percent,
        }


@dataclass(frozen=True)
class MigrationEvent:
    """One thing that happened."""

    #: What kind.
    kind: Kind
    #: Since this command began to follow the migration.
    time_ms: float
    #: Whose; None: of neither VM.
    side: Side | None = None
    #: The migration status, for STATUS; with PROGRESS, the one it belongs to.
    status: str | None = None
    #: For RUN_STATE.
    run_state: str | None = None
    #: The primary of PRIMARY, the standby of NEGOTIATED.
    device: str | None = None
    #: The state of that device.
    device_state: str | None = None
    #: For PATH: "source.primary", "target.standby", ….
    path: str | None = None
    #: For PASS.
    pass_number: int | None = None
    #: For PROGRESS.
    ram: RamProgress | None = None
    #: For PROGRESS: for how long the guest has been asked to release its primaries.
    waited_ms: float | None = None
    #: For PROGRESS in wait-unplug: for how long it may take; None: for ever.
    deadline_ms: float | None = None
    #: For NOTE.
    text: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return every key; `event` says the kind."""
        return {
            "event": self.kind.value,
            "time_ms": round(self.time_ms, 3),
            "side": self.side.value if self.side else None,
            "status": self.status,
            "run_state": self.run_state,
            "device": self.device,
            "device_state": self.device_state,
            "path": self.path,
            "pass": self.pass_number,
            "ram": self.ram.as_json() if self.ram else None,
            "waited_ms": None if self.waited_ms is None else round(self.waited_ms, 3),
            "deadline_ms": self.deadline_ms,
            "text": self.text,
        }

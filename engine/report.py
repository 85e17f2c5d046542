"""What a migration came to, as the object that `--json` ends with.

What may live here: plain values and their JSON form. Rules:

- every key is always there; what nobody knows is null, and never 0 or an empty list;
- units are the last part of a name; times are milliseconds, sizes bytes;
- nothing here measures or decides: who fills a report says what it knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SideReport:
    """One of the two VMs."""

    #: The migration's statuses in the order they were reached; None: nobody asked this VM.
    states: Sequence[str] | None = None
    #: Its run state at the end, as query-status says it.
    run_state: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return keys `states`, `run_state`."""
        return {"states": _list(self.states), "run_state": self.run_state}


@dataclass(frozen=True)
class PrimaryReport:
    """One primary that the migration had to do with."""

    #: Its device id.
    id: str
    #: The id of the standby that its failover_pair_id names.
    standby: str | None = None
    #: Its states at the source, in order.
    source: Sequence[str] | None = None
    #: Its states at the target, in order.
    target: Sequence[str] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return keys `id`, `standby`, `source`, `target`."""
        return {
            "id": self.id,
            "standby": self.standby,
            "source": _list(self.source),
            "target": _list(self.target),
        }


@dataclass(frozen=True)
class Timings:
    """Where the time went, in milliseconds."""

    #: From `migrate` to its end.
    total_ms: float | None = None
    #: From `migrate` to the first RAM pass, `wait_unplug_ms` included, as query-migrate has it.
    setup_ms: float | None = None
    #: Waiting for the guest to release its primaries.
    wait_unplug_ms: float | None = None
    #: The guest stood still.
    downtime_ms: float | None = None
    #: Both sides compared their whole RAM; not part of downtime.
    verify_ms: float | None = None
    #: From the moment the guest ran again until its traffic was on a primary again.
    replug_ms: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name without their unit, which is in the name of the object."""
        return {
            name: _rounded(getattr(self, f"{name}_ms"))
            for name in ("total", "setup", "wait_unplug", "downtime", "verify", "replug")
        }


@dataclass(frozen=True)
class RamReport:
    """What was done with guest RAM."""

    #: Its size.
    ram_bytes: int | None = None
    #: What the stream took; pages that were sent again count again.
    transferred_bytes: int | None = None
    #: Passes over it (dirty bitmap synchronisations).
    passes: int | None = None
    #: Whether source and target had the same contents; None: not compared.
    digest_equal: bool | None = None

    def as_json(self) -> dict[str, Any]:
        """Return keys `bytes`, `transferred_bytes`, `passes`, `digest_equal`."""
        return {
            "bytes": self.ram_bytes,
            "transferred_bytes": self.transferred_bytes,
            "passes": self.passes,
            "digest_equal": self.digest_equal,
        }


@dataclass(frozen=True)
class FlowReport:
    """Numbered frames in one direction, or in both together."""

    #: How many were sent.
    sent: int | None = None
    #: How many different ones arrived.
    received: int | None = None
    #: How many never arrived.
    lost: int | None = None
    #: How many arrived more than once.
    duplicated: int | None = None
    #: The longest time between two arrivals.
    longest_gap_ms: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {
            "sent": self.sent,
            "received": self.received,
            "lost": self.lost,
            "duplicated": self.duplicated,
            "longest_gap_ms": _rounded(self.longest_gap_ms),
        }


@dataclass(frozen=True)
class FramesReport:
    """What became of the guest's traffic."""

    #: Both directions together.
    total: FlowReport = field(default_factory=FlowReport)
    #: The ways that frames took, in order: "source.primary", "source.standby", ….
    path: Sequence[str] | None = None
    #: From the guest to the outside.
    outbound: FlowReport = field(default_factory=FlowReport)
    #: From the outside to the guest.
    inbound: FlowReport = field(default_factory=FlowReport)

    def as_json(self) -> dict[str, Any]:
        """Return the total's keys and `path`, `outbound`, `inbound`."""
        return {
            **self.total.as_json(),
            "path": _list(self.path),
            "outbound": self.outbound.as_json(),
            "inbound": self.inbound.as_json(),
        }


@dataclass(frozen=True)
class MigrationReport:
    """What a migration came to."""

    #: The last status of the migration, or "in-doubt"; None: it never had one, or nobody knows.
    status: str | None = None
    #: Why it did not complete, or what is wrong although it did.
    error: str | None = None
    #: The profile of the source, where the source is replug's.
    profile: str | None = None
    #: "two-phase", "acknowledged" or "one-way": what `completed` at the source is worth.
    handover: str | None = None
    #: The source.
    source: SideReport = field(default_factory=SideReport)
    #: The target.
    target: SideReport = field(default_factory=SideReport)
    #: The primaries, in the order they were met.
    primaries: Sequence[PrimaryReport] = ()
    #: Where the time went.
    timings: Timings = field(default_factory=Timings)
    #: Guest RAM.
    ram: RamReport = field(default_factory=RamReport)
    #: The guest's traffic.
    frames: FramesReport = field(default_factory=FramesReport)

    def as_json(self) -> Mapping[str, Any]:
        """Return the whole report, ready for json.dumps."""
        return {
            "status": self.status,
            "error": self.error,
            "profile": self.profile,
            "handover": self.handover,
            "source": self.source.as_json(),
            "target": self.target.as_json(),
            "primaries": [primary.as_json() for primary in self.primaries],
            "timings_ms": self.timings.as_json(),
            "ram": self.ram.as_json(),
            "frames": self.frames.as_json(),
        }


def _list(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _rounded(value_ms: float | None) -> float | None:
    """Round to what a clock on either side could mean; a float of many digits reads like noise."""
    return None if value_ms is None else round(value_ms, 3)

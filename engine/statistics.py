"""What a migration took: times from the steps themselves, bytes and pages from the stream.

Rules kept here: times are stamped when a step happens and never influence one. Units last.
query-migrate's keys per status are QEMU's (migration.c fill_source_migration_info).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from devices.ram import PAGE_BYTES
from statemachines.runtime import Step
from statemachines.states import Handover, Incoming, Migration, RunState, Takeover
from statemachines.tables.conditions import RUNNING_STATUSES


@dataclass
class RamStatistics:
    """Counters of the stream's RAM part, on the source."""

    #: Guest RAM in bytes.
    total_bytes: int = 0
    #: Bytes put on the channel.
    transferred_bytes: int = 0
    #: Those of them that left while the guest did not run.
    downtime_bytes: int = 0
    #: Those of them that went through the channels of capability multifd.
    channel_bytes: int = 0
    #: Pages sent with contents.
    normal_pages: int = 0
    #: Pages sent as zero.
    zero_pages: int = 0
    #: Dirty pages known and not sent.
    remaining_pages: int = 0
    #: Dirty bitmap synchronisations so far: the number of the pass.
    passes: int = 0
    #: Pages the guest dirtied per second, between the last two synchronisations.
    dirty_pages_rate: int = 0
    #: Pages the guest dirtied since the first pass began.
    dirtied_pages: int = 0
    #: By how much auto-converge slows the guest down; 0: not at all.
    throttle_percent: int = 0
    #: Measured bandwidth; 0: none has been measured yet.
    bandwidth_bytes_per_second: float = 0.0
    #: What is expected of the downtime with what is known now; the limit, while that is nothing.
    expected_downtime_ms: float = 0.0

    def as_qmp(self) -> dict[str, Any]:
        """Return query-migrate's `ram` (MigrationStats)."""
        return {
            "transferred": self.transferred_bytes,
            "remaining": self.remaining_pages * PAGE_BYTES,
            "total": self.total_bytes,
            "duplicate": self.zero_pages,
            "skipped": 0,
            "normal": self.normal_pages,
            "normal-bytes": self.normal_pages * PAGE_BYTES,
            "dirty-pages-rate": self.dirty_pages_rate,
            "mbps": self.bandwidth_bytes_per_second * 8 / 1e6,
            "dirty-sync-count": self.passes,
            "postcopy-requests": 0,
            "page-size": PAGE_BYTES,
            "multifd-bytes": self.channel_bytes,
            "pages-per-second": int(self.bandwidth_bytes_per_second / PAGE_BYTES),
            "precopy-bytes": self.transferred_bytes - self.downtime_bytes,
            "downtime-bytes": self.downtime_bytes,
            "postcopy-bytes": 0,
            "dirty-sync-missed-zero-copy": 0,
        }


#: The lifecycles whose moves are stamped.
_STAMPED = frozenset({Migration, Incoming, RunState, Handover, Takeover})


@dataclass
class Statistics:
    """One VM's last migration in numbers."""

    #: RAM counters.
    ram: RamStatistics = field(default_factory=RamStatistics)
    #: Statuses in the order they were reached, both directions.
    outgoing_states: list[str] = field(default_factory=lambda: [Migration.NONE.value])
    incoming_states: list[str] = field(default_factory=lambda: [Incoming.NONE.value])
    #: Status or moment -> when it was last reached, in ms of the driver's clock.
    stamps_ms: dict[str, float] = field(default_factory=dict)
    #: Time both sides took to compare their whole RAM, apart from downtime.
    verify_ms: float = 0.0
    #: Whether the whole RAM was equal; None where it was not compared.
    digest_equal: bool | None = None

    def note(self, step: Step, now_ms: float) -> None:
        """Stamp what a step reached."""
        for move in step.moves:
            if move.before is move.after or type(move.after) not in _STAMPED:
                continue
            match move.after:
                case Migration.SETUP:
                    self._restart(now_ms)
                case Migration():
                    self.outgoing_states.append(move.after.value)
                    self.stamps_ms[move.after.value] = now_ms
                case Incoming():
                    self.incoming_states.append(move.after.value)
                case RunState.FINISH_MIGRATE:
                    self.stamps_ms["stopped"] = now_ms
                case Handover.DELIVERED:
                    self.stamps_ms["delivered"] = now_ms
                case Handover.COMMITTED:
                    self.stamps_ms["committed"] = now_ms
                case Takeover.LOADED:
                    self.stamps_ms["loaded"] = now_ms
                case RunState.RUNNING:
                    self.stamps_ms["resumed"] = now_ms
                case _:
                    pass

    def _restart(self, now_ms: float) -> None:
        self.ram = RamStatistics()
        self.outgoing_states = [Migration.NONE.value, Migration.SETUP.value]
        self.stamps_ms = {Migration.SETUP.value: now_ms}
        self.verify_ms = 0.0
        self.digest_equal = None

    def _between(self, first: str, last: str) -> float:
        if first not in self.stamps_ms or last not in self.stamps_ms:
            return 0.0
        return max(self.stamps_ms[last] - self.stamps_ms[first], 0.0)

    @property
    def setup_ms(self) -> float:
        """From `migrate` to the first RAM pass, the wait for the guest included, as in QEMU."""
        return self._between("setup", "active")

    @property
    def wait_unplug_ms(self) -> float:
        """Time in wait-unplug, once it is over."""
        states, waiting = self.outgoing_states, Migration.WAIT_UNPLUG.value
        if waiting not in states[:-1]:
            return 0.0
        return self._between(waiting, states[states.index(waiting) + 1])

    @property
    def total_ms(self) -> float:
        """From `migrate` to `completed`."""
        return self._between("setup", "completed")

    @property
    def downtime_ms(self) -> float:
        """From the guest's stop to the target's answer that it runs, without `verify_ms`."""
        return max(self._between("stopped", "completed") - self.verify_ms, 0.0)

    def query(self, status: Migration, now_ms: float, error: str | None) -> dict[str, Any]:
        """Return the source's query-migrate for a status (empty before any migration)."""
        if status is Migration.NONE:
            return {}
        answer: dict[str, Any] = {"status": status.value}
        if status is Migration.FAILED and error is not None:
            answer["error-desc"] = error
        if status is Migration.COMPLETED:
            answer |= {
                "setup-time": round(self.setup_ms),
                "total-time": round(self.total_ms),
                "downtime": round(self.downtime_ms),
                "ram": self.ram.as_qmp() | {"remaining": 0, "dirty-pages-rate": 0},
            }
        elif status in _WITH_NUMBERS:
            answer |= {
                "setup-time": round(self.setup_ms),
                "total-time": round(now_ms - self.stamps_ms.get("setup", now_ms)),
                "expected-downtime": round(self.ram.expected_downtime_ms),
                "ram": self.ram.as_qmp(),
            }
            if self.ram.throttle_percent:
                answer["cpu-throttle-percentage"] = self.ram.throttle_percent
        return answer


#: From the first pass on (migration.c fill_source_migration_info).
_WITH_NUMBERS = frozenset(RUNNING_STATUSES) - {Migration.SETUP, Migration.WAIT_UNPLUG}

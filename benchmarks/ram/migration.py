"""One migration of one contender: two processes, timed, then compared.

What may live here: the course of a run, the same for QEMU and replug. What is timed:

- total time: from before the `migrate` command is written to the stamp of the source's MIGRATION
  event `completed`, both by this machine's clock;
- downtime: from the stamp of the source's STOP to the stamp of the target's RESUME, so it holds
  all that the guest waits for, comparisons and device state included. A guest that does not run
  has neither event: then it is what query-migrate says;
- the rate under a limit: what query-migrate says was sent while the guest ran, from the start of
  the first pass to the stamp of STOP (QEMU 7.2 counts multifd's as sent before that);
- CPU and memory: see accounting.py, from before the command until the target has completed, too.

Filling and comparing RAM are outside of this. A run that fails is an error, never a figure.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.ram import contents
from benchmarks.ram.accounting import MemoryPeak
from benchmarks.ram.contenders import (
    DOWNTIME_LIMIT_MS,
    LIMITED_BYTES_PER_SECOND,
    UNLIMITED_BYTES_PER_SECOND,
    Case,
    Contender,
    Way,
)
from benchmarks.ram.contents import Contents, RamDiffers
from benchmarks.ram.figures import Figures
from benchmarks.ram.firmware import WORKING_SET_ADDRESS
from benchmarks.ram.guests import Pair, working_set_bytes
from benchmarks.ram.monitor import Monitor, MonitorError, Refused
from benchmarks.ram.relay import Relay
from benchmarks.ram.vms import RamFile, VmError

SECONDS_MAX = 300.0
#: From the start of the guest to the migration.
_SETTLE_SECONDS = {Way.IDLE: 0.1, Way.HAND_OVER: 0.1, Way.DIRTY: 0.5}
_REPORT_SECONDS = 0.01


class RunFailed(Exception):
    """A run did not end as it must; its figures are worth nothing."""


class NotServed(Exception):
    """The contender refuses its settings, so there is nothing to measure."""


@dataclass(frozen=True)
class Bench:
    """What all runs have in common."""

    #: Where sockets are.
    folder: Path
    ram_bytes: int
    #: Whether guests that would idle do not even run.
    is_stopped: bool = False
    #: How much of RAM holds contents, from its beginning; None: all of it.
    filled_bytes_max: int | None = None

    @property
    def filled_bytes(self) -> int:
        """How much of RAM holds contents."""
        return self.ram_bytes if self.filled_bytes_max is None else self.filled_bytes_max

    def run(
        self,
        case: Case,
        contender: Contender,
        master: RamFile | None = None,
        *,
        is_proof: bool = False,
    ) -> Figures:
        """Migrate once and return what was measured.

        A proof is not for timing: a relay counts the bytes, and the target does not run, so that
        all RAM can be compared even when the guest was writing. `master` is RAM that has the
        contents already; without it they are made for this run alone.

        :raise NotServed: if the contender refuses its settings.
        :raise RunFailed: if the migration fails, or RAM differs afterwards.
        """
        try:
            with ExitStack() as stack:
                sizes = self.ram_bytes, self.filled_bytes
                pair = Pair(stack, self.folder, case, contender, sizes, self._holds(case, is_proof))
                pair.start(master)
                _settle(pair, case, contender)
                figures = self._migrate(stack, pair, case, is_proof=is_proof)
                _compare(pair, case)
                return figures
        except (VmError, MonitorError, RamDiffers, OSError) as error:
            what = f"{contender.name}: {case.name}: {error}"
            raise RunFailed(what) from error

    def _holds(self, case: Case, is_proof: bool) -> tuple[bool, bool]:
        """Say whether the source's guest and the target's do not run."""
        is_stopped = self.is_stopped and case.way is not Way.DIRTY
        return is_stopped, is_stopped or is_proof

    def _migrate(self, stack: ExitStack, pair: Pair, case: Case, *, is_proof: bool) -> Figures:
        source, target = pair.source.monitor, pair.target.monitor
        uri, relay = self._connect(stack, pair, case, is_proof=is_proof)
        peak = MemoryPeak(pair.source.pid, pair.target.pid)
        cpu_before = pair.cpu_seconds()
        pages_before = pair.dirtied_pages()
        began_ms = time.time() * 1000
        source.execute("migrate", {"uri": uri})
        completed_ms = source.stamp_ms("MIGRATION", SECONDS_MAX, "completed")
        target.stamp_ms("MIGRATION", SECONDS_MAX, "completed")
        cpu = pair.cpu_seconds() - cpu_before
        report = _report(source)
        source_bytes, target_bytes = peak.end()
        figures = Figures(
            total_ms=completed_ms - began_ms,
            downtime_ms=report["downtime"],
            cpu_seconds=cpu,
            source_bytes=source_bytes,
            target_bytes=target_bytes,
            reported_total_ms=report["total-time"],
            reported_downtime_ms=report["downtime"],
            wire_bytes=relay.forward_bytes if relay else None,
        )
        if not any(self._holds(case, is_proof)):
            stopped_ms = source.stamp_ms("STOP", SECONDS_MAX)
            downtime_ms = target.stamp_ms("RESUME", SECONDS_MAX) - stopped_ms
            figures = replace(figures, downtime_ms=downtime_ms)
            if case.way is Way.DIRTY:
                written_bytes = (pair.dirtied_pages() - pages_before) * contents.PAGE_BYTES
                sent_bytes = report["ram"]["transferred"] - report["ram"]["downtime-bytes"]
                sent_ms = stopped_ms - source.stamp_ms("MIGRATION_PASS", SECONDS_MAX)
                figures = replace(
                    figures,
                    dirty_bytes_per_second=written_bytes * 1000 / (stopped_ms - began_ms),
                    limited_bytes_per_second=sent_bytes * 1000 / sent_ms,
                )
        return figures

    def _connect(
        self, stack: ExitStack, pair: Pair, case: Case, *, is_proof: bool
    ) -> tuple[str, Relay | None]:
        """Have the target listen; return where the source is to go, and the relay there."""
        if case.transport == "tcp" and not is_proof:
            uri = f"tcp:127.0.0.1:{_free_port()}"
            pair.target.monitor.execute("migrate-incoming", {"uri": uri})
            return uri, None
        path, relay_path = self.folder / "stream", self.folder / "relay"
        for each in (path, relay_path):
            with suppress(FileNotFoundError):
                each.unlink()
        pair.target.monitor.execute("migrate-incoming", {"uri": f"unix:{path}"})
        if not is_proof:
            return f"unix:{path}", None
        relay = Relay(relay_path, path)
        stack.callback(relay.close)
        return f"unix:{relay_path}", relay


def _settle(pair: Pair, case: Case, contender: Contender) -> None:
    """Make the settings on both ends, and have the source's guest run."""
    limited = case.way is Way.DIRTY
    parameters = {
        "max-bandwidth": LIMITED_BYTES_PER_SECOND if limited else UNLIMITED_BYTES_PER_SECOND,
        "downtime-limit": DOWNTIME_LIMIT_MS,
        **contender.settings.parameters,
    }
    for vm in (pair.source, pair.target):
        names = ("events", *contender.settings.capabilities)
        try:
            vm.monitor.execute(
                "migrate-set-capabilities",
                {"capabilities": [{"capability": name, "state": True} for name in names]},
            )
            vm.monitor.execute("migrate-set-parameters", parameters)
        except Refused as error:
            if contender.is_ours and contender.settings.capabilities:
                raise NotServed(str(error)) from error
            raise
    if not pair.is_source_held:
        pair.source.monitor.execute("cont")
        time.sleep(_SETTLE_SECONDS[case.way])


def _report(source: Monitor) -> dict[str, Any]:
    """Ask for the report; QEMU 7.2 may say `completed` before it has written the times."""
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        report: dict[str, Any] = source.execute("query-migrate")
        if report.get("total-time"):
            return report
        time.sleep(_REPORT_SECONDS)
    raise MonitorError("query-migrate does not say how long the migration took")


def _compare(pair: Pair, case: Case) -> None:
    """Compare RAM of both sides, but for what the target's guest has gone on to write."""
    source_fd, target_fd, size_bytes = pair.source_fd, pair.open_target(), pair.ram_bytes
    if case.way is Way.HAND_OVER:
        contents.compare_with(target_fd, case.contents, pair.filled_bytes)
        return
    if pair.is_target_held:
        start_byte = 0
    elif case.way is Way.DIRTY:
        start_byte = WORKING_SET_ADDRESS + working_set_bytes(size_bytes)
    else:
        start_byte = contents.FIRST_BYTE
    contents.compare(source_fd, target_fd, start_byte, size_bytes)
    if case.way is Way.IDLE and case.contents is not Contents.UNTOUCHED:
        # Both could have lost the same; the page in the middle says whether anything is there.
        middle = pair.filled_bytes // 2 // contents.BLOCK_BYTES
        contents.compare_block(target_fd, case.contents, middle)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])

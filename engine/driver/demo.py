"""The demo: a VM moves from one process to another while it exchanges frames with a neighbour.

Rules kept here: two real VM processes beside this one, which is the neighbour and its switch; the
migration is driven as `replug migrate` drives it; every figure of the report was counted or timed
by somebody who saw it. Nothing is assumed to have gone well: the journals are checked at the end.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.driver.clock import LoopClock
from engine.driver.control import MigrationRun
from engine.driver.demo_vms import GUEST_MAC, PATIENCE_SECONDS, DemoError, DemoOptions, DemoVm
from engine.driver.qmp_connection import CannotConnect, QmpConnection
from engine.driver.station import Station
from engine.migration_event import MigrationEvent
from engine.migration_request import VERIFY_RAM, MigrationRequest
from engine.report import FlowReport, FramesReport, MigrationReport
from statemachines.checker.conformance import check_journals

#: Traffic before the migration and after the last change of path.
SETTLED_FRAMES = 200
#: The bandwidth limit of the demo: none that matters on one host.
BANDWIDTH_BYTES_PER_SECOND = 8 << 30
_PATHS = ("primary", "standby")


class Demo:
    """One run of the demo."""

    def __init__(self, options: DemoOptions, publish: Callable[[MigrationEvent], None]) -> None:
        """`publish` takes what happens to the migration, in order."""
        self._options = options
        self._publish = publish

    async def run(self) -> MigrationReport:
        """Run it and return the report.

        :raise DemoError: if the VMs cannot be started, the guest never sends a frame, or a journal
            has a step that the tables do not allow.
        """
        with tempfile.TemporaryDirectory(prefix="replug-demo-") as name:
            folder = Path(name)
            station = Station(GUEST_MAC, self._options.frame_interval_ms, LoopClock())
            vms = [DemoVm(side, folder, self._options) for side in ("source", "target")]
            try:
                report = await self._run(folder, station, *vms)
            finally:
                station.close()
                for vm in vms:
                    await vm.close()
            check_demo_journals(*vms)
            return report

    async def _run(
        self, folder: Path, station: Station, source: DemoVm, target: DemoVm
    ) -> MigrationReport:
        for vm in (source, target):
            for path in _PATHS:
                station.switch.add_port(f"{vm.name}.{path}", vm.uplink(path))
        uri = f"unix:{folder / 'migration'}"
        await target.start(incoming=uri)
        await source.start()
        guest = await self._connect(target)
        try:
            return await self._show(uri, station, source, target, guest)
        finally:
            await guest.close()

    async def _show(
        self, uri: str, station: Station, source: DemoVm, target: DemoVm, guest: QmpConnection
    ) -> MigrationReport:
        await (await self._connect(source)).close()
        await self._until(station.heard_from("source.primary"), "the guest's primary", source)
        station.start()
        await self._frames(station, source)
        report = _as_journals_show(await self._migrate(uri, source, target), source, target)
        if report.status == "completed":
            await self._until(station.heard_from("target.primary"), "the new primary", target)
            await self._frames(station, target)
        return await self._count(report, station, guest)

    async def _connect(self, vm: DemoVm) -> QmpConnection:
        ended = asyncio.create_task(vm.ended())
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        try:
            while not ended.done() and asyncio.get_running_loop().time() < deadline:
                try:
                    return await QmpConnection.connect(vm.monitor, lambda *_: None, lambda: None)
                except CannotConnect:
                    await asyncio.wait([ended], timeout=0.02)
        finally:
            ended.cancel()
        raise DemoError(
            expected=f"the {vm.name} VM to open its monitor",
            came=vm.complaint(),
            remedy="look at that",
        )

    async def _until(self, event: Awaitable[None], what: str, vm: DemoVm) -> None:
        try:
            await asyncio.wait_for(event, PATIENCE_SECONDS)
        except TimeoutError:
            raise DemoError(
                expected=f"frames from {what}", came="none", remedy=f"{vm.name}: {vm.complaint()}"
            ) from None

    async def _frames(self, station: Station, vm: DemoVm) -> None:
        """Wait until a number of frames more have come and gone."""
        wanted = station.arrivals().received + SETTLED_FRAMES
        await self._until(station.received(wanted), "the guest", vm)

    async def _migrate(self, uri: str, source: DemoVm, target: DemoVm) -> MigrationReport:
        request = MigrationRequest(
            source=source.monitor,
            uri=uri,
            target=target.monitor,
            parameters={"max-bandwidth": BANDWIDTH_BYTES_PER_SECOND},
            capabilities={VERIFY_RAM: True},
        )
        return (await MigrationRun(request, self._publish).run()).report

    async def _count(
        self, report: MigrationReport, station: Station, guest: QmpConnection
    ) -> MigrationReport:
        """Stop both directions, let what is under way arrive, and count."""
        station.stop()
        await guest.execute("stop")
        theirs = await _guest_frames(guest)
        theirs = await self._all_arrived(station, guest, int(theirs["sent"]))
        ours = station.arrivals()
        outbound = FlowReport(
            sent=int(theirs["sent"]),
            received=ours.received - ours.duplicated,
            lost=int(theirs["sent"]) - (ours.received - ours.duplicated),
            duplicated=ours.duplicated,
            longest_gap_ms=ours.longest_gap_ms,
        )
        distinct = int(theirs["received"]) - int(theirs["duplicated"])
        inbound = FlowReport(
            sent=station.sent,
            received=distinct,
            lost=station.sent - distinct,
            duplicated=int(theirs["duplicated"]),
            longest_gap_ms=max(float(theirs["longest_gap_ms"]), station.longest_wait_ms),
        )
        frames = FramesReport(_both(outbound, inbound), station.path(), outbound, inbound)
        return replace(report, frames=frames)

    async def _all_arrived(
        self, station: Station, guest: QmpConnection, sent: int
    ) -> Mapping[str, Any]:
        """Give what is under way a second to arrive; return the guest's counts then."""
        try:
            async with asyncio.timeout(1.0):
                await station.received(sent)
                while int((await _guest_frames(guest))["received"]) < station.sent:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pass
        return await _guest_frames(guest)


def check_demo_journals(source: DemoVm, target: DemoVm) -> None:
    """Check that the two journals are one legal run of the tables.

    :raise DemoError: naming the first line that is none.
    """
    disagreement = check_journals(source.journal_lines(), target.journal_lines()).disagreement
    if disagreement is not None:
        raise DemoError(
            expected=f"{disagreement.expected} in line {disagreement.line} of a journal",
            came=f"{disagreement.came} at the {disagreement.journal}",
            remedy="this is a defect of replug: please report it",
        )


def _as_journals_show(report: MigrationReport, source: DemoVm, target: DemoVm) -> MigrationReport:
    """Put the states in that the two journals hold, instead of those that events told of."""
    return replace(
        report,
        source=replace(report.source, states=source.journaled("migration")),
        target=replace(report.target, states=target.journaled("incoming")),
        primaries=[
            replace(
                primary,
                source=source.journaled("primary", primary.id),
                target=target.journaled("primary", primary.id),
            )
            for primary in report.primaries
        ],
    )


async def _guest_frames(guest: QmpConnection) -> Mapping[str, Any]:
    answer = await guest.execute("qom-get", {"path": "/machine/guest", "property": "frames"})
    assert isinstance(answer, Mapping)
    return answer


def _both(outbound: FlowReport, inbound: FlowReport) -> FlowReport:
    def added(name: str) -> int:
        return int(getattr(outbound, name)) + int(getattr(inbound, name))

    gaps = (outbound.longest_gap_ms or 0.0, inbound.longest_gap_ms or 0.0)
    return FlowReport(
        added("sent"), added("received"), added("lost"), added("duplicated"), max(gaps)
    )

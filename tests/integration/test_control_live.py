"""A migration is driven between two real replug VMs, and what the report then knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.driver.control import MigrationResult, MigrationRun
from engine.migration_event import Kind, MigrationEvent, Side
from engine.migration_outcome import ExitStatus
from engine.migration_request import VERIFY_RAM, MigrationRequest
from engine.monitor_options import UnixEndpoint
from tests.integration.lab import Lab, scenario
from tests.integration.vms import GUEST, Vm


async def drive(
    source: Vm, target: Vm, request: MigrationRequest, cancel_at: str | None = None
) -> MigrationResult:
    def on_event(event: MigrationEvent) -> None:
        if event.kind is Kind.STATUS and event.side is Side.SOURCE and event.status == cancel_at:
            run.cancel()

    filled = replace(
        request,
        source=UnixEndpoint(str(source.monitor_path)),
        target=UnixEndpoint(str(target.monitor_path)),
    )
    run = MigrationRun(filled, on_event)
    return await run.run()


def migrate(lab: Lab, **others: object) -> MigrationRequest:
    return MigrationRequest(UnixEndpoint("/"), lab.uri(), **others)  # type: ignore[arg-type]


@scenario
async def test_the_report_knows_everything(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},frames=1ms")
    request = migrate(lab, capabilities={VERIFY_RAM: True}, pause=True, quit_source=True)
    result = await drive(source, target, request)
    report = result.report
    assert result.outcome.exit_status is ExitStatus.DONE, report
    assert (report.status, report.error) == ("completed", None)
    assert (report.profile, report.handover) == ("native", "two-phase")
    assert report.source.states == [
        "none",
        *("setup", "wait-unplug", "active", "pre-switchover", "device", "completed"),
    ]
    assert (report.source.run_state, report.target.run_state) == ("postmigrate", "running")
    assert report.target.states is not None
    assert report.target.states[-1] == "completed"
    (primary,) = report.primaries
    assert (primary.id, primary.standby) == ("hostdev0", "net1")
    assert primary.source == ["plugged", "unplug-pending", "unplugged"]
    assert primary.target is not None
    assert primary.target[-1] == "plugged"
    assert report.ram.ram_bytes == 32 << 20
    assert report.ram.digest_equal is True
    assert report.frames.path is not None
    assert report.frames.path[0] == "source.primary"
    assert report.frames.path[-1] == "target.primary"
    timings = report.timings
    parts_ms = (timings.setup_ms, timings.wait_unplug_ms, timings.downtime_ms, timings.verify_ms)
    assert all(part_ms is not None for part_ms in (*parts_ms, timings.total_ms, timings.replug_ms))
    # --quit: the source is gone, and by its own will.
    assert await source.exit_status() == 0


@scenario
async def test_a_guest_that_keeps_its_primary_is_rolled_back(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    result = await drive(source, target, migrate(lab, unplug_timeout_ms=50.0))
    assert result.outcome.exit_status is ExitStatus.DEADLINE
    assert "hostdev0" in str(result.report.error)
    assert result.report.source.run_state == "running"
    (primary,) = result.report.primaries
    assert primary.source is not None
    assert primary.source[-1] == "plugged"
    assert not [line for line in source.events if line == "MIGRATION cancelling"]


@pytest.mark.parametrize("reached", ["wait-unplug", "active"])
@scenario
async def test_cancel(lab: Lab, reached: str) -> None:
    eject = "never" if reached == "wait-unplug" else "prompt"
    source, target = await lab.pair(guest=f"{GUEST},eject={eject}")
    request = migrate(lab, parameters={"max-bandwidth": 1 << 20})
    result = await drive(source, target, request, cancel_at=reached)
    assert result.outcome.exit_status is ExitStatus.CANCELLED
    assert result.report.status == "cancelled"
    assert result.report.target.states is not None
    assert result.report.target.states[-1] == "failed"
    await source.on_primaries()


@scenario
async def test_a_source_that_dies_is_not_taken_for_a_failure(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")

    def on_event(event: MigrationEvent) -> None:
        if event.status == "wait-unplug" and event.kind is Kind.STATUS:
            source.kill()

    request = replace(
        migrate(lab),
        source=UnixEndpoint(str(source.monitor_path)),
        target=UnixEndpoint(str(target.monitor_path)),
    )
    result = await MigrationRun(request, on_event).run()
    assert result.outcome.exit_status is ExitStatus.LOST
    assert result.report.source.run_state is None
    await source.exit_status()


@scenario
async def test_memory_is_compared_by_the_target_where_nobody_waits_for_its_answer(lab: Lab) -> None:
    source, target = await lab.pair("-profile", "qemu-7.2")
    request = migrate(lab, capabilities={VERIFY_RAM: True})
    result = await drive(source, target, request)
    assert result.outcome.exit_status is ExitStatus.DONE, result.report
    assert result.report.handover == "acknowledged"
    # A QEMU has no key for it in query-migrate, and so the mirror has none.
    there = await target.command("qom-get", path="/machine/replug", property="migration")
    assert there["digest-equal"] is True

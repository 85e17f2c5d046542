"""The real timers, once each: nothing is shortened here."""

from __future__ import annotations

import pytest

from tests.integration import lab as lab_module
from tests.integration import vms
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import failed_at_target, stayed
from tests.integration.relay import Relay
from tests.integration.vms import GUEST

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def real_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lab_module, vms):
        monkeypatch.setattr(module, "TIMERS", ())
    monkeypatch.setattr(lab_module, "LIMIT_S", 60.0)


def stamp_of(vm: vms.Vm, event: str) -> float:
    """Return when a step was taken, in ms."""
    return float(next(e["time_ms"] for e in vm.journal if e["event"] == event))


@scenario
async def test_deadline_of_the_wait_is_30_s(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    report = await stayed(source, "failed")
    assert report["error-desc"].startswith("The guest did not release hostdev0 within 30000 ms")
    waited_ms = stamp_of(source, "UNPLUG_DEADLINE") - stamp_of(source, "SETUP_DONE")
    assert 29_900 <= waited_ms <= 31_000
    await failed_at_target(target)


@scenario
async def test_silence_is_noticed_after_5_s(lab: Lab) -> None:
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        await source.command("migrate", uri=relay.uri)
        await source.status("wait-unplug")
        relay.stall()
        report = await stayed(source, "failed")
        assert report["error-desc"] == "Nothing was heard from the target for 5000 ms"
        waited_ms = stamp_of(source, "LINK_SILENT") - stamp_of(source, "SETUP_DONE")
        assert 4_500 <= waited_ms <= 6_500
        await failed_at_target(target)


@scenario
async def test_cancel_in_qemu_7_2_waits_for_30_s(lab: Lab) -> None:
    source, _ = await lab.pair("-profile qemu-7.2", guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("migrate_cancel")
    await source.status("cancelled")
    waited_ms = stamp_of(source, "CANCEL_WAIT_OVER") - stamp_of(source, "CANCEL")
    assert 29_900 <= waited_ms <= 31_000
    assert "partially unplugged device on failure" in source.stderr


@scenario
async def test_qemu_7_2_leaves_the_wait_after_250_ms(lab: Lab) -> None:
    source, target = await lab.pair("-profile qemu-7.2")
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    setup_ms = (await source.query())["setup-time"]
    assert 250 <= setup_ms <= 300

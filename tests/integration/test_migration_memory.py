"""RAM of real processes while the guest writes to it, with each way to find what was written."""

from __future__ import annotations

import pytest

from engine.profile import DirtyTracking
from tests.integration.kernel_tracking import TRACKINGS
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import moved

#: A guest that goes on writing through all of its working set, of which a part was never filled.
BUSY = "eject=prompt,dirty=64M,working-set=12M,fill=8M"


@pytest.mark.parametrize("tracking", TRACKINGS)
@scenario
async def test_what_a_busy_guest_writes_arrives(lab: Lab, tracking: DirtyTracking) -> None:
    source, target = await lab.pair("-global", f"replug.dirty_tracking={tracking}", guest=BUSY)
    for vm in (source, target):
        told = await vm.command("qom-get", path="/machine/replug", property="dirty-tracking")
        assert told == tracking
    await source.capability("x-verify-ram")
    await source.command("migrate", uri=lab.uri())
    report = await moved(source, target)
    assert report["x-replug"]["digest-equal"] is True
    assert report["ram"]["dirty-sync-count"] >= 3

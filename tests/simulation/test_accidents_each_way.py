"""Accidents, whichever way RAM goes: through any channels, compressed or not, or handed over.

Rules kept here: all ways are looked at. What must hold in the end is what the simulation checks of
every plan: the VM runs once, whole, and what stayed at the source can be migrated again.
"""

from __future__ import annotations

import pytest

from engine.driver.simulation.link import LinkConditions
from engine.driver.simulation.plan import Action
from engine.driver.simulation.run import simulate
from engine.driver.simulation.ways import Way
from tests.simulation.test_ways import ALLOWED, MUCH, SHARED, SLOWLY, plan

pytestmark = pytest.mark.slow

ACTIVE, DELIVERED, COMMITTED = (
    "source migration active",
    "source handover delivered",
    "source handover committed",
)
CUT = {"keeps_to_source": False, "keeps_to_target": False, "with_error": True}
#: What happens, and what it comes to.
ACCIDENTS = {
    "damage": (Action("damage", ACTIVE, 2.0, values={"at": "target"}), {"source failed"}),
    "late damage": (Action("damage", DELIVERED, 2.0, values={"at": "target"}), {"source failed"}),
    "silence": (Action("stall", ACTIVE, 8.0, values={"for_ms": 1000.0}), {"source failed"}),
    "COMMIT is lost": (Action("cut", COMMITTED, 0.0, values=CUT), {"source in-doubt"}),
    "the target dies": (Action("kill-target", COMMITTED, 0.0), {"source in-doubt"}),
    "the source dies": (Action("kill-source", COMMITTED, 6.0), {"target completed"}),
}


@pytest.mark.parametrize(
    ("way", "accident"),
    [
        pytest.param(way, accident, id=f"{way}, {accident}")
        for way in ALLOWED
        for accident in ACCIDENTS
        # Where memory is handed over, no RAM is on its way to be damaged.
        if not (way.shared and accident == "damage")
    ],
)
def test_it_ends_as_it_does_without_channels(way: Way, accident: str) -> None:
    action, expected = ACCIDENTS[accident]
    slow = {**way.parameters, **SLOWLY, "x-heartbeat-ms": 100}
    asked = plan(way, action, parameters=slow, guest=MUCH, link=LinkConditions(latency_ms=5.0))
    outcome = simulate(asked)
    assert outcome.violation is None
    assert outcome.reached >= expected


@pytest.mark.parametrize("way", [way for way in ALLOWED if way not in SHARED], ids=str)
def test_an_undisturbed_migration_completes_in_qemu_s_profile(way: Way) -> None:
    outcome = simulate(plan(way, profile="qemu-7.2"))
    assert outcome.violation is None
    assert (outcome.migrations, outcome.completed) == (1, 1)

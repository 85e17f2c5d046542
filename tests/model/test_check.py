"""The checker's verdicts: native is clean, QEMU's defects are found, every row fires, counts stand.

The whole budgets are `slow`; some topologies are also checked with budgets of at most one, so that
an edit of a table is judged in seconds. Counts are pinned in `counts.json`: a change of the tables
moves them, and `python -m tests.model.rewrite_counts` writes them anew once the move is understood.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import pytest

from statemachines.checker.report import CheckReport, TopologyReport, lone_reports, report_of
from statemachines.checker.verdict import judge
from statemachines.policies import VALUATIONS
from statemachines.topology import TOPOLOGIES, Topology, topology_named

COUNTS = Path(__file__).parent / "counts.json"

#: Topologies that are checked with small budgets.
SMALL = ("native-slots",)
#: What QEMU 7.2 does wrong, and the property that the search finds broken.
DEFECTS = {
    "the VM runs nowhere when the target refuses at the end": "vm-never-lost",
    "a primary is deleted by an eject after a timed-out cancel": "no-eject-deletes-a-primary",
    "it goes on with a primary when the driver is reset in wait-unplug": "waits-for-every-eject",
    "it goes on when the slot refuses the request": "refusal-ends-the-migration",
    "a hidden primary is lost at the first negotiation": "negotiation-loses-no-primary",
    "a deleted primary comes back on renegotiation": "deleted-stays-deleted",
    "a refused primary blocks every other id": "refused-primary-is-forgotten",
    "of two primaries one is unplugged": "every-primary-is-asked",
    "wait-unplug has no end": "migration-ends",
    "a dead peer goes unnoticed while waiting": "lost-peer-is-noticed",
    "both VMs run after cont on a completed source": "one-vm-runs",
}


def clipped(topology: Topology) -> Topology:
    """Return the topology with at most one of each disturbance."""
    budgets = {budget: min(left, 1) for budget, left in topology.budgets.items()}
    return dataclasses.replace(topology, budgets=budgets)


@cache
def checked(profile: str, name: str, small: bool) -> TopologyReport:
    """Return one topology's report."""
    topology = topology_named(name)
    return report_of(judge(clipped(topology) if small else topology, VALUATIONS[profile]), 0.0)


def whole(profile: str, *, small: bool) -> CheckReport:
    """Return the report of every topology."""
    names = SMALL if small else [topology.name for topology in TOPOLOGIES]
    reports = [checked(profile, name, small) for name in names]
    return CheckReport(profile, (*reports, *lone_reports()))


def counted(report: CheckReport) -> dict[str, list[int]]:
    """Return what is pinned."""
    return {t.name: [t.states, t.transitions, t.depth] for t in report.topologies}


SIZES = [
    pytest.param(True, id="small"),
    pytest.param(False, id="whole", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("small", SIZES)
def test_native_is_clean_in_every_topology(small: bool) -> None:
    """With few topologies some things cannot be seen; nothing is broken all the same."""
    failing = [f for f in whole("native", small=small).findings if not f.holds]
    assert [f"{f.name} in {f.topology}" for f in failing if f.trace or not small] == []


@pytest.mark.parametrize("small", SIZES)
def test_what_never_fails_in_native_is_not_vacuous(small: bool) -> None:
    broken = {f.name for f in whole("qemu-7.2", small=small).findings if not f.holds}
    assert broken >= {"launched-only-when-given", "vm-never-lost", "one-vm-runs"}


@pytest.mark.slow
@pytest.mark.parametrize("defect", DEFECTS)
def test_the_search_finds_the_defects_of_qemu(defect: str) -> None:
    (finding,) = [f for f in whole("qemu-7.2", small=False).findings if f.name == DEFECTS[defect]]
    assert not finding.holds
    assert finding.trace is not None
    assert len(finding.trace.events) > 3


@pytest.mark.slow
def test_every_row_that_survives_folding_fires() -> None:
    """But for what a native source never sends, and a native target could load all the same."""
    assert whole("qemu-7.2", small=False).unfired == ()
    never = whole("native", small=False).unfired
    assert {row.split(" when ")[0] for row in never} == {
        "net_failover: absent on RECV_STATE",
        "lower: out on RECV_STATE",
    }
    assert all("received" in row for row in never)


@pytest.mark.parametrize("profile", VALUATIONS)
@pytest.mark.parametrize("small", SIZES)
def test_counts_stand(profile: str, small: bool) -> None:
    pinned = json.loads(COUNTS.read_text(encoding="utf-8"))
    size = "small" if small else "whole"
    assert counted(whole(profile, small=small)) == pinned[size][profile]

"""The report's JSON form: every key, whatever is known."""

from __future__ import annotations

import json
from typing import Any

from engine.migration_event import Kind, MigrationEvent, RamProgress, Side
from engine.report import (
    FlowReport,
    FramesReport,
    MigrationReport,
    PrimaryReport,
    RamReport,
    SideReport,
    Timings,
)

FLOW_KEYS = ["sent", "received", "lost", "duplicated", "longest_gap_ms"]


def keys(value: Any) -> Any:
    """Return the shape of a JSON value: its keys, all the way down."""
    if isinstance(value, dict):
        return {name: keys(each) for name, each in value.items()}
    return None


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in leaves(each)]
    return [value]


FULL = MigrationReport(
    status="completed",
    error=None,
    profile="native",
    handover="two-phase",
    source=SideReport(["setup", "completed"], "postmigrate"),
    target=SideReport(["active", "completed"], "running"),
    primaries=[PrimaryReport("pri0", "net1", ["plugged", "unplugged"], ["hidden", "plugged"])],
    timings=Timings(900.0, 260.0, 250.0, 30.0, 20.0, 70.12345),
    ram=RamReport(1 << 30, 1 << 28, 4, True),
    frames=FramesReport(
        FlowReport(10, 9, 1, 0, 22.5),
        ["source.primary", "source.standby"],
        FlowReport(5, 5, 0, 0, 1.0),
        FlowReport(5, 4, 1, 0, 22.5),
    ),
)


def test_a_report_of_nothing_has_every_key() -> None:
    empty = json.loads(json.dumps(MigrationReport().as_json()))
    assert keys(empty) == keys(json.loads(json.dumps(FULL.as_json())))
    assert empty.pop("primaries") == []
    assert set(leaves(empty)) == {None}


def test_the_keys_are_the_documented_ones() -> None:
    written = FULL.as_json()
    assert list(written) == [
        "status",
        "error",
        "profile",
        "handover",
        "source",
        "target",
        "primaries",
        "timings_ms",
        "ram",
        "frames",
    ]
    assert list(written["source"]) == ["states", "run_state"]
    assert list(written["primaries"][0]) == ["id", "standby", "source", "target"]
    assert list(written["timings_ms"]) == [
        "total",
        "setup",
        "wait_unplug",
        "downtime",
        "verify",
        "replug",
    ]
    assert list(written["ram"]) == ["bytes", "transferred_bytes", "passes", "digest_equal"]
    assert list(written["frames"]) == [*FLOW_KEYS, "path", "outbound", "inbound"]
    assert list(written["frames"]["outbound"]) == FLOW_KEYS


def test_values_come_through() -> None:
    written = FULL.as_json()
    assert written["timings_ms"]["replug"] == 70.123
    assert written["ram"]["bytes"] == 1 << 30
    assert written["primaries"][0]["target"] == ["hidden", "plugged"]
    assert written["frames"]["inbound"]["lost"] == 1


def test_every_event_has_the_same_keys() -> None:
    status = MigrationEvent(Kind.STATUS, 1.0, Side.SOURCE, status="active").as_json()
    note = MigrationEvent(Kind.NOTE, 2.0, text="so").as_json()
    progress = MigrationEvent(Kind.PROGRESS, 3.0, Side.SOURCE, ram=RamProgress()).as_json()
    assert list(status) == list(note) == list(progress)
    assert note["side"] is None
    assert status["status"] == "active"
    assert set(progress["ram"].values()) == {None}


def test_an_estimate_is_made_only_where_ram_converges() -> None:
    fast = RamProgress(remaining_bytes=1000, rate_bytes=2000.0, dirty_rate_bytes=1000.0)
    assert fast.estimate_ms == 1000.0
    slow = RamProgress(remaining_bytes=1000, rate_bytes=2000.0, dirty_rate_bytes=2000.0)
    assert slow.estimate_ms is None
    assert RamProgress(remaining_bytes=1000).estimate_ms is None

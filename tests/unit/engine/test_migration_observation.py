"""What events and answers add up to, whatever a VM says."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.migration_event import Kind, Side
from engine.migration_observation import STATES_MAX, Observation
from engine.migration_reading import capabilities
from engine.migration_summary import build_report

SOURCE, TARGET = Side.SOURCE, Side.TARGET


def test_a_repeated_status_is_nothing_new() -> None:
    seen = Observation(0.0)
    assert seen.event(SOURCE, "MIGRATION", {"status": "cancelling"}, 1.0)
    assert not seen.event(SOURCE, "MIGRATION", {"status": "cancelling"}, 2.0)
    assert seen.source.states == ["cancelling"]


def test_an_answer_that_is_older_than_an_event_changes_no_state() -> None:
    seen = Observation(0.0)
    mark = seen.mark(SOURCE)
    seen.event(SOURCE, "MIGRATION", {"status": "completed"}, 1.0)
    seen.polled(SOURCE, {"status": "active", "total-time": 5}, mark, 2.0)
    assert seen.source.states == ["completed"]
    assert seen.source.information["total-time"] == 5

    mark = seen.mark(SOURCE)
    seen.event(SOURCE, "UNPLUG_PRIMARY", {"device-id": "pri0"}, 3.0)
    seen.joint_state(SOURCE, {"primary": {"pri0": "plugged"}}, mark, 4.0)
    assert seen.pending() == ["pri0"]


def test_the_time_in_wait_unplug_counts() -> None:
    seen = Observation(0.0)
    seen.event(SOURCE, "MIGRATION", {"status": "setup"}, 5.0)
    seen.event(SOURCE, "MIGRATION", {"status": "wait-unplug"}, 10.0)
    assert seen.waited_ms(110.0) == 100.0
    (progress,) = seen.polled(SOURCE, {"status": "wait-unplug"}, seen.mark(SOURCE), 60.0)
    assert (progress.kind, progress.waited_ms) == (Kind.PROGRESS, 50.0)
    seen.event(SOURCE, "MIGRATION", {"status": "active"}, 260.0)
    assert seen.waited_ms(300.0) is None
    report = build_report(seen, status="active", error=None)
    assert report.timings.wait_unplug_ms == 250.0
    assert report.timings.setup_ms == 255.0


def test_the_way_of_frames_is_followed_on_both_sides() -> None:
    seen = Observation(0.0)
    for side, run_state, carrier in (
        (SOURCE, "running", "primary"),
        (TARGET, "inmigrate", "absent"),
        (SOURCE, "running", "standby"),
        (SOURCE, "postmigrate", "standby"),
        (TARGET, "running", "primary-down"),
        (TARGET, "running", "primary"),
    ):
        state = {"run_state": run_state, "net_failover": {"net1": carrier}}
        seen.joint_state(side, state, seen.mark(side), 1.0)
    seen.event(TARGET, "X_REPLUG_FIRST_FRAME", {"path": "primary"}, 2.0)
    assert seen.path == [
        "source.primary",
        "source.standby",
        "target.standby",
        "target.primary",
    ]


def test_what_replug_says_outright_is_not_concluded() -> None:
    seen = Observation(0.0)
    seen.joint_state(SOURCE, {"primary": {"pri0": "plugged"}}, seen.mark(SOURCE), 0.0)
    for status in ("setup", "wait-unplug"):
        seen.event(SOURCE, "MIGRATION", {"status": status}, 1.0)
    seen.event(SOURCE, "UNPLUG_PRIMARY", {"device-id": "pri0"}, 2.0)
    seen.event(SOURCE, "MIGRATION", {"status": "active"}, 3.0)
    assert seen.primaries["pri0"].states[SOURCE] == ["plugged", "unplug-pending"]


def test_a_guest_that_flaps_for_hours_is_bounded() -> None:
    seen = Observation(0.0)
    for number in range(2 * STATES_MAX):
        path = "primary" if number % 2 else "standby"
        seen.event(SOURCE, "X_REPLUG_FIRST_FRAME", {"path": path}, float(number))
        seen.event(SOURCE, "MIGRATION", {"status": path}, float(number))
    assert len(seen.path) == STATES_MAX
    assert len(seen.source.states) == STATES_MAX
    assert seen.source.status == "primary"


def test_capabilities_are_read_by_name() -> None:
    answer = [{"capability": "events", "state": True}, {"capability": 1}, "nothing"]
    assert capabilities(answer) == {"events": True}
    assert capabilities({"events": True}) == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["status", "ram", "primary", "net_failover", "x-replug", "states", "mbps"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
EVENT_NAMES = st.sampled_from(
    [
        "MIGRATION",
        "MIGRATION_PASS",
        "STOP",
        "RESUME",
        "UNPLUG_PRIMARY",
        "FAILOVER_NEGOTIATED",
        "X_REPLUG_FIRST_FRAME",
        "X_REPLUG_IN_DOUBT",
        "X_REPLUG_PRIMARY_LOST",
        "SOMETHING_NEW",
    ]
)
MEMBERS = st.dictionaries(
    st.sampled_from(["status", "device-id", "path", "pass", "reason"]),
    st.sampled_from(["setup", "wait-unplug", "active", "failed", "pri0", "primary"]) | JSON,
)


@given(st.lists(st.tuples(st.sampled_from(list(Side)), EVENT_NAMES, MEMBERS, JSON), max_size=8))
def test_nothing_that_a_vm_says_stops_the_following(
    came: list[tuple[Side, str, dict[str, Any], Any]],
) -> None:
    seen = Observation(0.0)
    for number, (side, name, members, answer) in enumerate(came):
        happened = [
            *seen.event(side, name, members, float(number)),
            *seen.polled(side, answer, seen.mark(side), float(number)),
            *seen.joint_state(side, answer, seen.mark(side), float(number)),
        ]
        assert all(event.as_json()["side"] == side.value for event in happened)
    report = build_report(seen, status=None, error=None, frames={}).as_json()
    assert report["source"]["states"] is not None

"""The checker's counterexamples happen to the production code too, and end where the tables end.

What may live here: traces of the checker, replayed by `replug simulate --trace`. Each of QEMU's
defects is planted into the tables and, as a policy, into the VMs; what cannot be replayed, and why,
is a test of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from engine import cli
from engine.cli.simulate_traces import compared
from engine.driver.simulation.replay import replay
from engine.driver.simulation.trace import System, Trace, TraceEvent
from statemachines.checker.trace import as_events
from statemachines.checker.verdict import judge
from statemachines.policies import NATIVE, QEMU_7_2, VALUATIONS
from statemachines.properties import property_named
from statemachines.topology import Topology
from tests.model.mutation import reduced
from tests.model.test_planted_defects import FAST, PLANTS, Plant
from tests.simulation.planting import plant, uproot

KEYS = "trace topology profile events reached stuck_at why differences besides states"


@pytest.fixture(autouse=True)
def _planted() -> Iterator[None]:
    yield
    uproot()


def counterexample(
    finder: str, topology: Topology, policies: Mapping[str, str], profile: str = "native"
) -> Trace:
    """Return the checker's shortest trace to what breaks a property."""
    judged = judge(topology, policies, (property_named(finder),))
    (verdict,) = judged.verdicts
    assert not verdict.holds
    events = as_events(judged.trace(verdict))
    return Trace(finder, topology.name, profile, tuple(_event(event) for event in events))


def _event(told: Mapping[str, Any]) -> TraceEvent:
    return TraceEvent(told["side"], told["event"], told["instance"], told["answers"])


@pytest.mark.parametrize(
    "planted",
    [
        pytest.param(one, id=one.policy, marks=() if one.policy in FAST else pytest.mark.slow)
        for one in PLANTS
    ],
)
def test_each_planted_defect_happens_to_the_production_code(
    planted: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {planted.policy: QEMU_7_2[planted.policy]}
    policies = {**NATIVE, **policy}
    trace = counterexample(planted.finder, planted.topology, policies)
    plant(monkeypatch, **policy)
    report = compared(trace, planted.topology, policies)
    assert (report.replayed.why, report.differences) == (None, ())
    assert report.reached


SEEN = {
    "faults": (
        *("both-in-doubt", "decided-for-the-source", "decided-for-the-target", "target-refuses"),
        *("completes-with-failover", "replugged-after-failure"),
    ),
    "operator": ("cancelled-in-wait", "pauses-before-switchover", "arrives-paused"),
}


@pytest.mark.parametrize("profile", VALUATIONS)
@pytest.mark.parametrize("budget", SEEN)
def test_what_has_to_be_possible_is_possible_there_too(budget: str, profile: str) -> None:
    topology = reduced("pair", **{budget: 1})
    asked = tuple(property_named(name) for name in SEEN[budget])
    judged = judge(topology, VALUATIONS[profile], asked)
    told = [verdict for verdict in judged.verdicts if verdict.state is not None]
    assert len(told) >= 3
    for verdict in told:
        events = tuple(_event(event) for event in as_events(judged.trace(verdict)))
        trace = Trace(verdict.property.name, topology.name, profile, events)
        report = compared(trace, topology, VALUATIONS[profile])
        assert (report.replayed.why, report.differences) == (None, ()), trace.name


def test_a_host_that_does_not_track_memory_fails_the_migration() -> None:
    topology = reduced("no-reply-path", faults=1)
    trace = counterexample("nothing-left-pending", topology, QEMU_7_2, profile="qemu-7.2")
    assert (trace.events[-1].event, trace.events[-1].answers) == ("STREAM_FAILED", "SAVE_SETUP")
    assert compared(trace, topology, QEMU_7_2).reached


def test_what_is_not_planted_into_the_vms_does_not_happen() -> None:
    """A comparison that could not fail would be none."""
    policies = {**NATIVE, "greeting": QEMU_7_2["greeting"]}
    trace = counterexample("accepted-before-asked", reduced("pair"), policies)
    report = compared(trace, reduced("pair"), policies)
    assert not report.reached
    assert any("is idle" in one or "is greeted" in one for one in report.differences)


def test_what_production_code_does_not_come_to_is_named() -> None:
    """The tables let a target find any HELLO bad; production code compares two real VMs."""
    topology = reduced("pair", faults=1)
    trace = counterexample("vm-never-lost", topology, QEMU_7_2, profile="qemu-7.2")
    at = next(n for n, event in enumerate(trace.events) if event.event == "KILL_TARGET")
    accepted = [TraceEvent("target", name, None, None) for name in ("PEER_CONNECTED", "RECV_HELLO")]
    bad = TraceEvent("target", "RECV_BAD_STATE", None, None)
    events = (*trace.events[:at], *accepted, bad)
    replayed = replay(replace(trace, events=events), System((1,)))
    assert replayed.stuck_at == len(events)
    assert replayed.why == "target: RECV_BAD_STATE: it does not come about, but HELLO_GOOD"


def test_the_same_trace_gives_the_same_journal() -> None:
    trace = counterexample("vm-never-lost", reduced("pair", faults=1), QEMU_7_2, profile="qemu-7.2")
    first, second = (replay(trace, System((1,))) for _ in range(2))
    assert first == second
    told = [json.loads(line) for line in first.journal.splitlines()]
    steps = [line["event"] for line in told if "event" in line]
    assert steps[:2] == ["BOOT", "DEVICE_ADD"]
    assert "FLUSHED" in steps


# -- the command


@pytest.fixture(scope="module")
def lost() -> Trace:
    trace = counterexample("vm-never-lost", reduced("pair", faults=1), QEMU_7_2, profile="qemu-7.2")
    return replace(trace, topology="pair")


def written(folder: Path, trace: Trace, **changes: Any) -> Path:
    told = {
        "topology": trace.topology,
        "profile": trace.profile,
        "events": [asdict(event) for event in trace.events],
    }
    path = folder / "traces.json"
    path.write_text(json.dumps({trace.name: {**told, **changes}}), "utf-8")
    return path


def test_the_command_says_of_each_trace_whether_it_is_reached(
    lost: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, lost)
    assert cli.main(["simulate", "--trace", str(path)]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.split() == ["vm-never-lost", "reached", "12", "events,", "pair"]
    assert last == "1 of 1 traces end in production code as in the tables"


def test_as_json_with_its_journal(
    lost: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, lost)
    arguments = ["simulate", "--trace", str(path), "--journal-dir", str(tmp_path), "--json"]
    assert cli.main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == KEYS.split()
    assert (report["reached"], report["why"], report["events"]) == (True, None, 12)
    assert report["states"]["target"] is None
    assert report["states"]["source"]["run_state"] == "postmigrate"
    assert (tmp_path / "vm-never-lost.jsonl").read_text("utf-8").count('"sequence"') > 12


def test_what_the_checker_writes_is_what_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    asked = ["--property", "refused-primary-is-forgotten", "--topology", "two-ids"]
    arguments = [*asked, "--profile", "qemu-7.2", "--trace-out", str(path)]
    assert cli.main(["check", *arguments]) == 1
    capsys.readouterr()
    assert cli.main(["simulate", "--trace", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reached"]


@pytest.mark.slow
def test_every_counterexample_of_qemu_happens_to_the_production_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    assert cli.main(["check", "--profile", "qemu-7.2", "--trace-out", str(path)]) == 1
    capsys.readouterr()
    status = cli.main(["simulate", "--trace", str(path), "--json"])
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["trace"] for r in reports if not r["reached"]] == []
    assert status == 0
    assert len(reports) >= 19


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"topology": "none"}, "no topology 'none'"),
        ({"profile": "qemu-1.0"}, "qemu-1.0"),
        ({"topology": 1}, "by their names"),
        ({"events": None}, "a list of at most"),
        ({"more": 1}, "expected topology, profile and events"),
        ({"events": [{"side": "source"}]}, "an event has"),
        ({"events": ["BOOT"]}, "an event has"),
    ],
)
def test_a_file_that_is_none_says_what_is_wrong(
    lost: Trace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    path = written(tmp_path, lost, **changes)
    assert cli.main(["simulate", "--trace", str(path)]) == 2
    assert said in capsys.readouterr().err


EVENT = {"side": "source", "event": "BOOT", "instance": None, "answers": None}


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"event": "NONE"}, "no event is like"),
        ({"event": ["BOOT"]}, "no event is like"),
        ({"side": "both"}, "no event is like"),
        ({"side": None}, "no event is like"),
        ({"instance": -1}, "no event is like"),
        ({"instance": True}, "no event is like"),
        ({"answers": "NOTHING"}, "no event is like"),
        ({"event": "MIGRATE"}, "event 1 cannot happen"),
    ],
)
def test_an_event_that_is_none_is_named(
    lost: Trace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    event: dict[str, Any],
    said: str,
) -> None:
    path = written(tmp_path, lost, events=[{**EVENT, **event}])
    assert cli.main(["simulate", "--trace", str(path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"x": []}', "[" * 100_000])
def test_text_that_holds_no_traces(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "traces.json"
    path.write_text(text, "utf-8")
    assert cli.main(["simulate", "--trace", str(path)]) == 2
    assert "traces" in capsys.readouterr().err or text == '{"x": []}'

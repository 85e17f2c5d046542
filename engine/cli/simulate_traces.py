"""`replug simulate --trace`: do the checker's counterexamples happen to the production code?

Rules kept here: what the tables lead to is worked out by the checker, what production code comes
to by the simulation, and here the two are compared: every machine of both VMs, and who lives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.driver.simulation.replay import Replayed, States, replay
from engine.driver.simulation.trace import System, Trace, TraceError, traces_from_json
from engine.driver.simulation.trace_make_up import primary_id, standby_id
from statemachines.checker.explore import Explorer
from statemachines.checker.page import followed
from statemachines.environment import Side
from statemachines.guards import Per
from statemachines.observers import Life
from statemachines.policies import VALUATIONS
from statemachines.states import Primary, State
from statemachines.topology import Topology, topology_named

_NAMES = {Per.VM: lambda _: "", Per.STANDBY: standby_id, Per.PRIMARY: primary_id}


@dataclass(frozen=True)
class TraceReport:
    """What came of one trace."""

    #: The trace.
    trace: Trace
    #: What the simulation came to.
    replayed: Replayed
    #: Where the joint states differ from the tables', in words: those that differ least.
    differences: tuple[str, ...]

    @property
    def reached(self) -> bool:
        """Whether every event happened, and production code is where the tables are."""
        return self.replayed.why is None and not self.differences

    def as_json(self) -> dict[str, Any]:
        """Return it with every key."""
        return {
            "trace": self.trace.name,
            "topology": self.trace.topology,
            "profile": self.trace.profile,
            "events": len(self.trace.events),
            "reached": self.reached,
            "stuck_at": self.replayed.stuck_at,
            "why": self.replayed.why,
            "differences": list(self.differences),
            "besides": self.replayed.besides,
            "states": self.replayed.states[-1] if self.replayed.states else None,
        }


def replay_traces(path: Path, journal_folder: Path | None, *, as_json: bool) -> int:
    """Replay every trace of a file, say what came of it, and return the exit status.

    :raise OSError: if a file cannot be read or written.
    :raise TraceError: if there are no traces in it.
    """
    reports = []
    for trace in traces_from_json(path.read_text(encoding="utf-8")):
        report = report_of(trace)
        reports.append(report)
        if journal_folder is not None:
            journal = journal_folder / f"{trace.name}.jsonl"
            journal.write_text(report.replayed.journal, encoding="utf-8")
        for line in [json.dumps(report.as_json())] if as_json else _told(report):
            print(line, flush=True)
    reached = sum(report.reached for report in reports)
    if not as_json:
        print(f"{reached} of {len(reports)} traces end in production code as in the tables")
    return 0 if reached == len(reports) else 1


def report_of(trace: Trace) -> TraceReport:
    """Replay one trace.

    :raise TraceError: if it is none of its system.
    """
    try:
        return compared(trace, topology_named(trace.topology), VALUATIONS[trace.profile])
    except LookupError as error:
        raise TraceError(f"{trace.name}: {error}") from error


def compared(trace: Trace, topology: Topology, policies: Mapping[str, str]) -> TraceReport:
    """Replay a trace of a system, and compare where it ends with where the tables are then.

    :raise LookupError: if an event of it cannot happen in the tables.
    """
    explorer = Explorer(topology, policies)
    _, joint = followed(explorer, [asdict(event) for event in trace.events])
    states = {
        Side.SOURCE: explorer.spaces[Side.SOURCE].state(int(joint.source[0])),
        Side.TARGET: explorer.spaces[Side.TARGET].state(int(joint.target[0])),
    }
    system = System(topology.primaries, topology.reply_path, topology.policies)
    replayed = replay(trace, system)
    least: list[str] = []
    for place, here in enumerate(replayed.states if replayed.why is None else ()):
        differences = [
            difference
            for side, state in states.items()
            for difference in _differences(explorer, side, state, here[side.value])
        ]
        if not place or len(differences) < len(least):
            least = differences
    return TraceReport(trace, replayed, tuple(least))


def _differences(
    explorer: Explorer, side: Side, state: tuple[int, ...], here: States
) -> Iterator[str]:
    lives = state[explorer.model.number(Life)] == 0
    if lives != (here is not None):
        yield f"{side.value}: its process {'lives in the tables' if lives else 'has not ended'}"
    if not lives or here is None:
        return
    told = {
        (machine, name): value
        for machine, one in here.items()
        for name, value in ({"": one} if isinstance(one, str) else one).items()
    }
    there = _table_states(explorer, state)
    for (machine, name), value in there.items():
        came = told.get((machine, name), "nothing")
        # What is absent to the tables need have no machines in production code.
        is_nowhere = came == "nothing" and there.get(("primary", name)) == Primary.ABSENT.value
        if came != value and not is_nowhere:
            about = f"{machine} {name}".strip()
            yield f"{side.value}: {about} is {came}, and {value} in the tables"


def _table_states(explorer: Explorer, state: tuple[int, ...]) -> dict[tuple[str, str], str]:
    """Return what each machine is in, by its name and its device's."""
    model = explorer.model
    found: dict[tuple[str, str], str] = {}
    for spec in model.machines:
        for scope in model.topology.scopes(spec.per):
            number = model.number(spec.states, scope.index)
            value = model.fields[number].values[state[number]]
            assert isinstance(value, State)
            found[spec.name, _NAMES[spec.per](scope.index)] = str(value.value)
    return found


def _told(report: TraceReport) -> Iterator[str]:
    trace, replayed = report.trace, report.replayed
    verdict = "reached" if report.reached else "not reached"
    yield f"{trace.name:<34} {verdict:<12} {len(trace.events)} events, {trace.topology}"
    if replayed.why is not None:
        yield f"  event {replayed.stuck_at}, {replayed.why}"
    for difference in report.differences:
        yield f"  {difference}"
    if replayed.besides and not report.reached:
        yield f"  what the trace does not have: {', '.join(replayed.besides)}"

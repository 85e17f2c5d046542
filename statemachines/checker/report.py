"""What a check found, as plain data: what `replug check` prints, and sends between processes.

Rules kept here: a report holds texts and numbers only. A property is reported once for all
topologies: *always* and *resolves* must hold in each, *sometimes* has to be seen in one; where it
fails, the shortest trace is the one that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from statemachines.checker.lone import explore_alone
from statemachines.checker.sequence import as_mermaid
from statemachines.checker.trace import TraceStep, as_events, as_text
from statemachines.checker.verdict import Judged, Verdict
from statemachines.claims import Kind, Property
from statemachines.environment import Option
from statemachines.spec import MachineSpec
from statemachines.system import ALL_MACHINES, LONE_MACHINES, VM_MACHINES
from statemachines.topology import topology_named

#: A row of a table: the table's name, and the row's place in it.
RowKey = tuple[str, int]


@dataclass(frozen=True)
class Told:
    """A trace, told in each way that it can be."""

    #: As numbered lines.
    text: str
    #: As events that can be replayed.
    events: tuple[Mapping[str, str | int | None], ...]
    #: As the text of a sequence diagram.
    diagram: str
    #: As the explorer's label codes.
    codes: tuple[int, ...]


@dataclass(frozen=True)
class Finding:
    """One property in one topology."""

    #: Its name.
    name: str
    #: always, sometimes or resolves.
    kind: str
    #: Whether it holds; for *sometimes*: whether it was seen.
    holds: bool
    #: Which topology.
    topology: str
    #: The shortest trace to where it fails, or is seen; None where nothing is to be shown.
    trace: Told | None = None
    #: How the last state fails to come to an end; only for *resolves*.
    why: str = ""


@dataclass(frozen=True)
class TopologyReport:
    """One topology, checked."""

    #: Its name.
    name: str
    #: Budget -> how much.
    budgets: Mapping[str, int]
    #: Joint states found.
    states: int
    #: Edges followed.
    transitions: int
    #: The longest shortest way to a state.
    depth: int
    #: How long it took.
    seconds: float
    #: One per property that applies.
    findings: tuple[Finding, ...] = ()
    #: Rows that survive folding.
    surviving: frozenset[RowKey] = frozenset()
    #: Rows that fired.
    fired: frozenset[RowKey] = frozenset()

    def as_json(self) -> dict[str, Any]:
        """Return what stands in the report's `topologies`."""
        return {
            "name": self.name,
            "budgets": dict(self.budgets),
            "states": self.states,
            "transitions": self.transitions,
            "depth": self.depth,
            "seconds": round(self.seconds, 2),
        }


def report_of(
    judged: Judged, seconds: float, machines: tuple[MachineSpec, ...] = VM_MACHINES
) -> TopologyReport:
    """Return what was found of one topology in so many seconds, with the traces of what fails."""
    keys = {id(row): (spec.name, place) for spec in machines for place, row in enumerate(spec.rows)}
    return TopologyReport(
        name=judged.topology.name,
        budgets={budget.value: left for budget, left in judged.topology.budgets.items()},
        states=len(judged.explorer.visited),
        transitions=judged.explorer.transitions,
        depth=judged.explorer.depth,
        seconds=seconds,
        findings=tuple(_finding(judged, verdict) for verdict in judged.verdicts),
        surviving=frozenset(keys[id(row)] for row in judged.surviving),
        fired=frozenset(keys[row] for row in judged.fired if row in keys),
    )


def _finding(judged: Judged, verdict: Verdict) -> Finding:
    asked: Property = verdict.property
    return Finding(
        asked.name,
        asked.kind.value,
        verdict.holds,
        judged.topology.name,
        None if verdict.state is None else told(judged.trace(verdict), asked.sentence),
        verdict.why,
    )


def told(steps: Sequence[TraceStep], title: str) -> Told:
    """Return a trace in each way that it can be told."""
    return Told(
        as_text(steps),
        tuple(as_events(steps)),
        as_mermaid(steps, title),
        tuple(step.code for step in steps if step.label is not None),
    )


def lone_reports() -> tuple[TopologyReport, ...]:
    """Return what is found of the lifecycles that stand alone, each a small system of its own."""
    found = []
    for spec in LONE_MACHINES:
        alone = explore_alone(spec)
        rows = frozenset((spec.name, place) for place in range(len(spec.rows)))
        found.append(
            TopologyReport(
                name=spec.name,
                budgets={},
                states=alone.states,
                transitions=alone.transitions,
                depth=alone.depth,
                seconds=0.0,
                surviving=rows,
                fired=frozenset((spec.name, place) for place in alone.fired),
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class CheckReport:
    """Every topology that was checked."""

    #: Name of the profile.
    profile: str
    #: In the order in which they were asked for.
    topologies: tuple[TopologyReport, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Each property once: where it fails, or where it was seen, or where it holds."""
        by_name: dict[str, list[Finding]] = {}
        for topology in self.topologies:
            for finding in topology.findings:
                by_name.setdefault(finding.name, []).append(finding)
        return tuple(_decided(findings) for findings in by_name.values())

    @property
    def holds(self) -> bool:
        """Whether every property holds."""
        return all(finding.holds for finding in self.findings)

    @property
    def unfired(self) -> tuple[str, ...]:
        """Rows that survive folding and fire in no topology, in words."""
        surviving = frozenset[RowKey]().union(*(t.surviving for t in self.topologies))
        fired = frozenset[RowKey]().union(*(t.fired for t in self.topologies))
        return tuple(_worded(key) for key in sorted(surviving - fired))

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The properties that fail with a trace, each once."""
        return tuple(f for f in self.findings if not f.holds and f.trace is not None)

    def as_json(self) -> dict[str, Any]:
        """Return the report as one object."""
        return {
            "profile": self.profile,
            "topologies": [topology.as_json() for topology in self.topologies],
            "states": sum(topology.states for topology in self.topologies),
            "properties": [
                {
                    "name": finding.name,
                    "kind": finding.kind,
                    "holds": finding.holds,
                    "topology": finding.topology,
                    "trace": [dict(event) for event in finding.trace.events]
                    if finding.trace and not finding.holds
                    else [],
                }
                for finding in self.findings
            ],
            "unfired_rows": list(self.unfired),
        }


def _decided(findings: Iterable[Finding]) -> Finding:
    known = list(findings)
    if known[0].kind == Kind.SOMETIMES.value:
        return next((finding for finding in known if finding.holds), known[0])
    broken = [finding for finding in known if not finding.holds]
    return min(broken, key=_plainness) if broken else known[0]


def _plainness(finding: Finding) -> tuple[bool, int]:
    """A short trace is plain; one that needs a slow world is not."""
    options = topology_named(finding.topology).options
    length = len(finding.trace.codes) if finding.trace else 0
    return Option.SLOW_WORLD in options, length


def _worded(key: RowKey) -> str:
    name, place = key
    row = next(spec for spec in ALL_MACHINES if spec.name == name).rows[place]
    states = ", ".join(state.value for state in row.states)
    after = "stays" if row.next is None else row.next.value
    return f"{name}: {states} on {row.event.name} when {row.when}: {after}"

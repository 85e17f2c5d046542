"""`replug check`: explore every reachable state, judge every property, show what breaks one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.cli.check_progress import Ticker
from engine.cli.check_run import check_topologies
from engine.profile import PROFILE_NAMES
from statemachines.checker.report import CheckReport, Finding, lone_reports
from statemachines.checker.sequence import as_mermaid
from statemachines.checker.trace import as_events, as_text
from statemachines.policies import VALUATIONS
from statemachines.properties import PROPERTIES, property_named
from statemachines.topology import TOPOLOGIES


def run(arguments: list[str]) -> int:
    """Run `replug check`."""
    given = _parser().parse_args(arguments)
    try:
        report = _check(given)
        for path in filter(None, (given.trace_out,)):
            path.write_text(_traces(report, path.suffix), encoding="utf-8")
    except OSError as error:
        print(f"replug check: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("replug check: interrupted", file=sys.stderr)
        return 130
    _print(report, as_json=given.json)
    return 0 if report.holds else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="replug check",
        description="Explore every reachable state of source, target, channel and environment "
        "within a topology's budgets, and judge every property. The exit status is 1 if one "
        "fails.",
        epilog="topologies: "
        + "; ".join(f"{t.name}: {t.summary}" for t in TOPOLOGIES)
        + ". properties: "
        + ", ".join(p.name for p in PROPERTIES),
    )
    parser.add_argument(
        "--topology", choices=[t.name for t in TOPOLOGIES], help="only this one (default: all)"
    )
    parser.add_argument("--profile", choices=PROFILE_NAMES, default=PROFILE_NAMES[0])
    parser.add_argument(
        "--property", choices=[p.name for p in PROPERTIES], metavar="NAME", help="only this one"
    )
    parser.add_argument("--json", action="store_true", help="end with one object on one line")
    parser.add_argument(
        "--trace-out",
        type=Path,
        metavar="FILE",
        help="write the traces: .mmd as Mermaid, .json as events, else as text",
    )
    return parser


def _check(given: argparse.Namespace) -> CheckReport:
    names = [given.topology] if given.topology else [t.name for t in TOPOLOGIES]
    properties = (property_named(given.property),) if given.property else PROPERTIES
    with Ticker(sys.stderr) as ticker:
        reports = check_topologies(names, given.profile, properties, ticker.show)
    alone = lone_reports() if not given.topology else ()
    return CheckReport(given.profile, (*reports, *alone))


def _broken(report: CheckReport) -> Sequence[Finding]:
    return [finding for finding in report.findings if finding.trace]


def _traces(report: CheckReport, suffix: str) -> str:
    if suffix == ".json":
        events = {finding.name: as_events(finding.trace) for finding in _broken(report)}
        return json.dumps(events, indent=2) + "\n"
    if suffix == ".mmd":
        return "\n".join(
            as_mermaid(finding.trace, property_named(finding.name).sentence)
            for finding in _broken(report)
        )
    return "\n".join(_trace_text(finding) for finding in _broken(report))


def _trace_text(finding: Finding) -> str:
    why = f", for {finding.why}" if finding.why else ""
    return (
        f"{finding.name} does not hold{why}: topology {finding.topology}\n"
        f"  {property_named(finding.name).sentence}\n{as_text(finding.trace)}\n"
    )


def _print(report: CheckReport, *, as_json: bool) -> None:
    if as_json:
        events = {finding.name: as_events(finding.trace) for finding in _broken(report)}
        print(json.dumps(report.as_json(events), separators=(",", ":")))
        return
    policies = len(VALUATIONS[report.profile])
    print(f"profile {report.profile}, {policies} policies")
    for topology in report.topologies:
        budgets = ", ".join(f"{name} {left}" for name, left in topology.budgets.items() if left)
        print(
            f"  {topology.name:<14} {topology.states:>10,} states {topology.transitions:>12,} "
            f"transitions, depth {topology.depth}, {topology.seconds:.1f} s"
            + (f"; budgets: {budgets}" if budgets else "")
        )
    for finding in report.findings:
        verdict = "holds" if finding.holds else "FAILS"
        print(f"  {finding.kind:<9} {finding.name:<32} {verdict:<5} {finding.topology}")
    for row in report.unfired:
        print(f"  never fires: {row}")
    for finding in _broken(report):
        print()
        print(_trace_text(finding), end="")

"""`replug check`: explore every reachable state, judge every property, show what breaks one."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from engine.cli.check_journals import check_journals
from engine.cli.check_progress import Ticker
from engine.cli.check_run import check_topologies
from engine.cli.page_assets import page_assets
from engine.profile import PROFILE_NAMES
from statemachines.checker.explore import Explorer
from statemachines.checker.page import page_of, story_of_property
from statemachines.checker.promela import promela_of
from statemachines.checker.report import CheckReport, Finding, lone_reports
from statemachines.policies import VALUATIONS
from statemachines.properties import PROPERTIES, property_named
from statemachines.topology import TOPOLOGIES, topology_named


def run(arguments: list[str]) -> int:
    """Run `replug check`."""
    options = parser()
    given = options.parse_args(arguments)
    if given.promela and not given.topology:
        options.error("--promela exports one system: say which --topology")
    try:
        if given.journal:
            return check_journals(given.journal, given.html, as_json=given.json)
        if given.promela:
            given.promela.write_text(_promela(given), encoding="utf-8")
        report = _check(given)
        if given.trace_out:
            given.trace_out.write_text(_traces(report, given.trace_out.suffix), encoding="utf-8")
        if given.html:
            given.html.write_text(_page(given, report), encoding="utf-8")
    except OSError as error:
        print(f"replug check: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("replug check: interrupted", file=sys.stderr)
        return 130
    _print(report, as_json=given.json)
    return 0 if report.holds else 1


def parser() -> argparse.ArgumentParser:
    """Return what reads the command's arguments."""
    options = argparse.ArgumentParser(
        prog="replug check",
        description="Explore every reachable state of source, target, channel and environment "
        "within a topology's budgets, and judge every property. The exit status is 1 if one "
        "fails.",
        epilog="topologies: "
        + "; ".join(f"{topology.name}: {topology.summary}" for topology in TOPOLOGIES)
        + ". properties: "
        + ", ".join(each.name for each in PROPERTIES),
    )
    options.add_argument(
        "--topology",
        choices=[topology.name for topology in TOPOLOGIES],
        help="only this one (default: all)",
    )
    options.add_argument("--profile", choices=PROFILE_NAMES, default=PROFILE_NAMES[0])
    options.add_argument(
        "--property",
        choices=[each.name for each in PROPERTIES],
        metavar="NAME",
        help="only this one (default: all)",
    )
    options.add_argument("--json", action="store_true", help="end with one object on one line")
    options.add_argument(
        "--trace-out",
        type=Path,
        metavar="FILE",
        help="write the traces of what fails: .mmd as Mermaid, .json as events, else as text",
    )
    options.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write a page that steps through the traces of one topology (default: pair), or "
        "through the journals",
    )
    options.add_argument(
        "--promela", type=Path, metavar="FILE", help="write the system for Spin; needs --topology"
    )
    options.add_argument(
        "--journal",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="instead: check that a VM's journal, or a source's and its target's, is a run of the "
        "tables; with --html also step through it",
    )
    return options


def _check(given: argparse.Namespace) -> CheckReport:
    names = [given.topology] if given.topology else [topology.name for topology in TOPOLOGIES]
    properties = (property_named(given.property),) if given.property else PROPERTIES
    with Ticker(sys.stderr) as ticker:
        reports = check_topologies(names, given.profile, properties, ticker.show)
    alone = lone_reports() if not given.topology else ()
    return CheckReport(given.profile, (*reports, *alone))


def _promela(given: argparse.Namespace) -> str:
    return promela_of(topology_named(given.topology), VALUATIONS[given.profile])


def _page(given: argparse.Namespace, report: CheckReport) -> str:
    topology = topology_named(given.topology or TOPOLOGIES[0].name)
    explorer = Explorer(topology, VALUATIONS[given.profile])
    findings = next(t.findings for t in report.topologies if t.name == topology.name)
    shown = sorted((f for f in findings if f.trace is not None), key=lambda f: f.holds)
    stories = [
        story_of_property(
            explorer.model, property_named(f.name), f.holds, f.why, f.trace.codes if f.trace else ()
        )
        for f in shown
    ]
    title = f"replug: {topology.name}, profile {given.profile}"
    return page_of(explorer, stories, page_assets(), title)


def _traces(report: CheckReport, suffix: str) -> str:
    told = [(finding, finding.trace) for finding in report.broken if finding.trace]
    if suffix == ".json":
        profile = report.profile
        found = {
            f.name: {"topology": f.topology, "profile": profile, "events": list(trace.events)}
            for f, trace in told
        }
        return json.dumps(found, indent=2) + "\n"
    if suffix == ".mmd":
        return "\n".join(trace.diagram for _, trace in told)
    return "\n".join(_trace_text(finding, report.profile) for finding, _ in told)


def _trace_text(finding: Finding, profile: str) -> str:
    why = f", for {finding.why}" if finding.why else ""
    steps = finding.trace.text if finding.trace else ""
    return (
        f"{finding.name} does not hold{why}: profile {profile}, topology {finding.topology}\n"
        f"  {property_named(finding.name).sentence}\n{steps}\n"
    )


def _print(report: CheckReport, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.as_json(), separators=(",", ":")))
        return
    print(f"profile {report.profile}")
    for topology in report.topologies:
        budgets = ", ".join(f"{name} {left}" for name, left in topology.budgets.items() if left)
        print(
            f"  {topology.name:<14} {topology.states:>10,} states {topology.transitions:>12,} "
            f"transitions, depth {topology.depth}, {topology.seconds:.1f} s"
            + (f"; budgets: {budgets}" if budgets else "")
        )
    for finding in report.findings:
        verdict = "holds" if finding.holds else "FAILS"
        print(f"  {finding.kind:<9} {finding.name:<36} {verdict:<5} {finding.topology}")
    for row in report.unfired:
        print(f"  never fires: {row}")
    for finding in report.broken:
        print()
        print(_trace_text(finding, report.profile), end="")

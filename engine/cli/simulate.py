"""`replug simulate`: whole migrations in one process, on a clock of their own, by seeds."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from engine.cli.simulate_traces import replay_traces
from engine.driver.simulation.campaign import Totals, run_seeds
from engine.driver.simulation.make_up import check
from engine.driver.simulation.plan import Plan, PlanError, plan_from_json, plan_of
from engine.driver.simulation.run import Outcome, simulate
from engine.driver.simulation.safety import Violation
from engine.driver.simulation.shrink import shrink
from engine.driver.simulation.trace import TraceError
from engine.profile import PROFILE_NAMES

_SEEDS = re.compile(r"([0-9]{1,18})(?:\.\.([0-9]{1,18}))?")
#: At most so many seeds at a time.
_SEEDS_MAX = 10_000_000


def _seeds(text: str) -> range:
    found = _SEEDS.fullmatch(text)
    first = int(found[1]) if found else 0
    last = int(found[2] or found[1]) if found else -1
    if not 0 <= last - first < _SEEDS_MAX:
        raise argparse.ArgumentTypeError(f"expected seeds such as 0..999, got {text!r}")
    return range(first, last + 1)


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"expected a number of processes, 1 to 256, got {text!r}")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Return what reads the command's arguments."""
    options = argparse.ArgumentParser(
        prog="replug simulate",
        description="Let whole migrations happen in this process, source and target, on a virtual "
        "clock. A seed decides what the guest, the operator and the network do; what must hold is "
        "checked at every step. The exit status is 1 if a property was broken.",
    )
    options.add_argument("--seeds", type=_seeds, metavar="A..B", help="the seeds, A and B included")
    options.add_argument("--plan", type=Path, metavar="FILE", help="run one plan instead")
    options.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="replay instead what replug check --trace-out FILE.json wrote, and say whether each "
        "trace ends where it ends in the tables; the exit status is 1 if one does not",
    )
    options.add_argument("--profile", choices=PROFILE_NAMES, default=PROFILE_NAMES[0])
    options.add_argument(
        "--jobs", type=_jobs, default=len(os.sched_getaffinity(0)), metavar="N", help="processes"
    )
    options.add_argument(
        "--journal-dir",
        type=Path,
        metavar="DIR",
        help="write every journal there, and the plans of seeds that fail",
    )
    options.add_argument("--json", action="store_true", help="one object per failure, then totals")
    return options


def run(arguments: list[str]) -> int:
    """Run `replug simulate`."""
    options = parser()
    given = options.parse_args(arguments)
    if sum(each is not None for each in (given.seeds, given.plan, given.trace)) != 1:
        options.error("say which --seeds, or which --plan, or which --trace")
    try:
        if given.journal_dir is not None:
            given.journal_dir.mkdir(parents=True, exist_ok=True)
        if given.trace is not None:
            return replay_traces(given.trace, given.journal_dir, as_json=given.json)
        return _Report(given).run()
    except (OSError, PlanError, TraceError) as error:
        print(f"replug simulate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("replug simulate: interrupted", file=sys.stderr)
        return 130


class _Report:
    """One run of the command."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._folder: Path | None = given.journal_dir

    def run(self) -> int:
        """Run what was asked for, say what came of it, and return the exit status."""
        began = time.perf_counter()
        totals = Totals()
        if self._given.plan is not None:
            self._run_plan(totals)
        else:
            given = self._given
            for seed, outcome in run_seeds(
                given.seeds, profile=given.profile, jobs=given.jobs, journal_folder=self._folder
            ):
                totals.add(outcome)
                if outcome.violation is not None:
                    self._failed(seed, outcome.violation)
        self._summary(totals, time.perf_counter() - began)
        return 1 if totals.violations else 0

    def _run_plan(self, totals: Totals) -> None:
        path: Path = self._given.plan
        plan = plan_from_json(path.read_text(encoding="utf-8"))
        check(plan)
        outcome = simulate(plan, journal=self._folder is not None)
        totals.add(outcome)
        if self._folder is not None:
            self._write(f"{path.stem}.jsonl", outcome)
        if outcome.violation is not None:
            self._tell(None, outcome.violation, plan, f"replug simulate --plan {quote(str(path))}")

    def _write(self, name: str, outcome: Outcome) -> None:
        assert self._folder is not None
        (self._folder / name).write_text(outcome.journal or "", encoding="utf-8")

    def _failed(self, seed: int, violation: Violation) -> None:
        profile = self._given.profile
        plan = shrink(plan_of(seed, profile), violation.property)
        replay = f"replug simulate --seeds {seed}..{seed} --profile {profile} --journal-dir DIR"
        if self._folder is not None:
            path = self._folder / f"seed-{seed}.plan.json"
            path.write_text(plan.to_json(), encoding="utf-8")
            replay = f"replug simulate --plan {quote(str(path))} --journal-dir DIR"
        self._tell(seed, violation, plan, replay)

    def _tell(self, seed: int | None, violation: Violation, plan: Plan, replay: str) -> None:
        if self._given.json:
            _print(
                {
                    "seed": seed,
                    "property": violation.property,
                    "where": violation.where,
                    "time_ms": violation.time_ms,
                    "plan": json.loads(plan.to_json()),
                    "replay": replay,
                }
            )
            return
        print(f"{'plan' if seed is None else f'seed {seed}'}: {violation.property}")
        print(f"  at {violation.time_ms} ms: {violation.where}")
        for action in plan.actions:
            values = " ".join(f"{key}={value}" for key, value in action.values.items())
            print(f"  {action.after_ms:g} ms after {action.moment or 'the start'}:", end=" ")
            print(action.kind, action.vm, values)
        print(f"  {replay}")

    def _summary(self, totals: Totals, seconds: float) -> None:
        if self._given.json:
            _print(
                {
                    "seeds": totals.seeds,
                    "violations": totals.violations,
                    "migrations": totals.migrations,
                    "completed": totals.completed,
                    "steps": totals.steps,
                    "simulated_ms": round(totals.simulated_ms),
                    "seconds": round(seconds, 3),
                    "ways": {way: count for way, count in sorted(totals.ways.items()) if count},
                    "reached": dict(sorted(totals.reached.items())),
                    "defects": dict(sorted(totals.defects.items())),
                }
            )
            return
        print(
            f"{totals.seeds} simulations, {totals.migrations} migrations, {totals.completed} "
            f"completed, {totals.steps} steps, {totals.simulated_ms / 1000:.0f} s of their own "
            f"time in {seconds:.1f} s"
        )
        for sentence, count in sorted(totals.defects.items()):
            print(f"QEMU's: {sentence} ({count})")
        print(f"{totals.violations or 'no'} violation{'' if totals.violations == 1 else 's'}")


def _print(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)

"""States per second of the checker, beside Spin's compiled verifier and a plain search.

All three explore a topology under one profile in one process's run, in turns; medians are printed.
Spin's compilation is timed apart; its rate is by its own clock. The plain search (`plain_search`)
steps with `transitions` and is slow: it explores the same topology with a migration and nothing
else, beside the checker's rate on the whole. Numbers of states are compared, and must be equal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.plain_search import PlainSearch
from benchmarks.spin import make_verifier, missing_programs, verify
from statemachines.checker.explore import Explorer
from statemachines.checker.promela import promela_of
from statemachines.environment import Budget
from statemachines.policies import VALUATIONS
from statemachines.topology import Topology, topology_named

ROUNDS = 3
#: One run: states, seconds.
Run = Callable[[], tuple[int, float]]


@dataclass(frozen=True)
class Measured:
    """One way of exploring, measured."""

    #: Which.
    name: str
    #: States that it found.
    states: int
    #: Median of its states per second.
    rate: float


def ours(topology: Topology, profile: str) -> tuple[int, float]:
    """Explore with the checker."""
    begun = time.perf_counter()
    explorer = Explorer(topology, VALUATIONS[profile])
    explorer.explore()
    return len(explorer.visited), time.perf_counter() - begun


def plain(topology: Topology, profile: str) -> tuple[int, float]:
    """Explore with a dictionary and `transitions`."""
    found = PlainSearch(topology, VALUATIONS[profile]).run()
    return found.states, found.seconds


def spin(verifier: Path) -> tuple[int, float]:
    """Explore with Spin's verifier."""
    found = verify(verifier)
    return found.states, found.seconds


def measure(runs: dict[str, Run], rounds: int) -> list[Measured]:
    """Run all in turns."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    states: dict[str, int] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            states[name], seconds = run()
            rates[name].append(states[name] / seconds)
    return [Measured(name, states[name], statistics.median(rates[name])) for name in runs]


def report(rows: list[Measured], compiling: float | None) -> None:
    """Print the rates, and the checker's beside each rival's."""
    first = rows[0]
    for row in rows:
        ratio = (
            f"   checker is {first.rate / row.rate:.2f} times as fast" if row is not first else ""
        )
        print(f"{row.name:14} {row.states:>9} states {row.rate:>12.0f} states/s{ratio}")
    if compiling is not None:
        print(f"{'spin and gcc':14} took {compiling:.1f} s to make the verifier, not counted above")
    else:
        print(f"Spin was not measured: {' and '.join(missing_programs())} not installed")


def main() -> None:
    """Measure one topology and profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topology", default="pair")
    parser.add_argument("--profile", default="native", choices=VALUATIONS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    topology = topology_named(options.topology)
    small = replace(topology, budgets={Budget.MIGRATIONS: 1})
    runs: dict[str, Run] = {"checker": lambda: ours(topology, options.profile)}
    compiling = None
    with tempfile.TemporaryDirectory() as folder:
        if not missing_programs():
            begun = time.perf_counter()
            text = promela_of(topology, VALUATIONS[options.profile])
            verifier = make_verifier(Path(folder), text)
            compiling = time.perf_counter() - begun
            runs["spin"] = lambda: spin(verifier)
        runs["plain search"] = lambda: plain(small, options.profile)
        rows = measure(runs, options.rounds)
    found = {row.name: row.states for row in rows}
    if found.get("spin", found["checker"]) != found["checker"]:
        raise SystemExit(f"the numbers of states differ: {found}")
    if found["plain search"] != ours(small, options.profile)[0]:
        raise SystemExit("the plain search and the checker differ on the small system")
    if options.json:
        rounded = [asdict(row) for row in rows]
        print(json.dumps({"rows": rounded, "compiling_seconds": compiling}, indent=2))
    else:
        report(rows, compiling)


if __name__ == "__main__":
    main()

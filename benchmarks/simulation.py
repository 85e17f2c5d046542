"""How many whole migrations a second one processor simulates, beside what they would take.

The seeds are those of `replug simulate`, accidents included; a migration counts when it completed.
The rival is the clock: how long the same migrations would have taken if nobody had made it jump.
"""

from __future__ import annotations

import argparse
import statistics
import time

from engine.driver.simulation.campaign import Totals, run_seeds
from engine.profile import PROFILE_NAMES

ROUNDS = 3


def measured(seeds: range, profile: str) -> tuple[Totals, float]:
    """Run the seeds on this processor; return what came of them and the seconds they took."""
    totals = Totals()
    began = time.process_time()
    for _, outcome in run_seeds(seeds, profile=profile, jobs=1):
        totals.add(outcome)
    return totals, time.process_time() - began


def main() -> None:
    """Print medians of several rounds, each of other seeds."""
    parser = argparse.ArgumentParser(prog="benchmarks.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=60, help="seeds in a round")
    parser.add_argument("--profile", choices=PROFILE_NAMES, default=PROFILE_NAMES[0])
    given = parser.parse_args()
    measured(range(1), given.profile)
    per_second, own_time, per_seed = [], [], []
    for number in range(ROUNDS):
        first = number * given.seeds
        totals, seconds = measured(range(first, first + given.seeds), given.profile)
        per_second.append(totals.completed / seconds)
        own_time.append(totals.simulated_ms / 1000 / seconds)
        per_seed.append(seconds / totals.seeds * 1000)
    print(f"{'complete migrations':22} {statistics.median(per_second):8.1f} /s and core")
    print(f"{'one seed':22} {statistics.median(per_seed):8.1f} ms")
    print(f"{'faster than the clock':22} {statistics.median(own_time):8.1f} times")


if __name__ == "__main__":
    main()

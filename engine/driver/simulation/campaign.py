"""Many seeds, on several processors.

What may live here: dividing seeds among processes and adding up what comes of them. Rules: results
come in the order of the seeds, whoever ran them; each process runs its simulations alone.
"""

from __future__ import annotations

import gc
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from engine.driver.simulation.plan import plan_of
from engine.driver.simulation.run import Outcome, simulate

#: Seeds that a process takes at a time.
_CHUNK = 20


@dataclass
class Totals:
    """What came of many simulations."""

    #: Simulations, and those in which a property was broken.
    seeds: int = 0
    violations: int = 0
    #: Migrations that were begun, and that completed.
    migrations: int = 0
    completed: int = 0
    #: Migrations that completed, by the way that RAM went.
    ways: Counter[str] = field(default_factory=Counter)
    #: Joint steps of all VMs.
    steps: int = 0
    #: How long it all took in its own time.
    simulated_ms: float = 0.0
    #: In how many simulations a status was reached.
    reached: Counter[str] = field(default_factory=Counter)
    #: What a profile mirrors of QEMU's defects: in how many simulations.
    defects: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        """Add what came of one."""
        self.seeds += 1
        self.violations += outcome.violation is not None
        self.migrations += outcome.migrations
        self.completed += outcome.completed
        self.ways[outcome.way] += outcome.completed
        self.steps += outcome.steps
        self.simulated_ms += outcome.simulated_ms
        self.reached.update(outcome.reached)
        self.defects.update(outcome.defects.keys())


def run_seed(seed: int, *, profile: str, journal_folder: Path | None) -> tuple[int, Outcome]:
    """Run one seed; its journal goes into the folder, if there is one."""
    outcome = simulate(plan_of(seed, profile), journal=journal_folder is not None)
    if journal_folder is not None and outcome.journal is not None:
        path = journal_folder / f"seed-{seed}.jsonl"
        path.write_text(outcome.journal, encoding="utf-8")
        outcome.journal = None
    return seed, outcome


#: Objects made before a worker looks for cycles: a whole simulation is gone by then.
_COLLECT_AFTER = 100_000


def _prepare_worker() -> None:
    # The command is interrupted, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(_COLLECT_AFTER)


def run_seeds(
    seeds: Sequence[int], *, profile: str, jobs: int, journal_folder: Path | None = None
) -> Iterator[tuple[int, Outcome]]:
    """Run every seed, on `jobs` processes; yields (seed, what came of it) in order."""
    run = partial(run_seed, profile=profile, journal_folder=journal_folder)
    if jobs <= 1 or len(seeds) <= _CHUNK:
        yield from map(run, seeds)
        return
    # What is loaded by now is shared with the workers, and nobody need look through it again.
    gc.freeze()
    with get_context("fork").Pool(jobs, _prepare_worker) as pool:
        yield from pool.imap(run, seeds, chunksize=_CHUNK)

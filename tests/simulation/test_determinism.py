"""The same seed gives the same journal, byte for byte, in any process."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.driver.simulation.loop import VirtualLoop
from engine.driver.simulation.plan import plan_of
from engine.driver.simulation.run import simulate
from engine.profile import PROFILE_NAMES

SEEDS = range(8)


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_the_same_seed_twice(profile: str) -> None:
    for seed in SEEDS:
        first = simulate(plan_of(seed, profile), journal=True)
        second = simulate(plan_of(seed, profile), journal=True)
        assert first.journal
        assert first.journal == second.journal
        assert (first.steps, first.simulated_ms) == (second.steps, second.simulated_ms)


def test_other_seeds_give_other_journals() -> None:
    journals = {simulate(plan_of(seed, "native"), journal=True).journal for seed in SEEDS}
    assert len(journals) == len(SEEDS)


def test_looking_on_changes_nothing() -> None:
    """With a journal and without, the same happens."""
    for seed in SEEDS:
        seen = simulate(plan_of(seed, "native"), journal=True)
        unseen = simulate(plan_of(seed, "native"))
        assert unseen.journal is None
        assert (seen.steps, seen.simulated_ms) == (unseen.steps, unseen.simulated_ms)


def test_processes_with_other_hashes_agree(tmp_path: Path) -> None:
    """Nothing may depend on the order in which hashes put things, nor on addresses."""
    folders = []
    for hash_seed in ("1", "77"):
        folder = tmp_path / hash_seed
        command = ("-m", "engine.cli", "simulate", "--seeds", "0..7", "--jobs", "1")
        subprocess.run(
            [sys.executable, *command, "--journal-dir", str(folder)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
        )
        folders.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert len(folders[0]) == len(SEEDS)
    assert folders[0] == folders[1]


def test_what_a_killed_process_leaves_pending_is_not_collected() -> None:
    """When it would be is chance: it depends on what this process has done before."""
    loop = VirtualLoop()
    errors: list[str] = []
    loop.tell_errors(errors.append)

    async def wait_for_nobody() -> None:
        await asyncio.Event().wait()

    async def leave_one() -> None:
        loop.create_task(wait_for_nobody())
        await asyncio.sleep(0)
        gc.collect()
        assert errors == []
        await loop.cancel_tasks()

    loop.run_until_complete(leave_one())
    loop.close()
    assert errors == []

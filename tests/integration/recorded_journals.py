"""Recordings of real migrations as journals, and what a test does to copies of their lines.

Rules kept here: each recording is made once in a test run, by two real processes, and is checked
like every other; a recording is never changed, its parsed copies are.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from statemachines.checker.conformance import Conformance, Disagreement
from tests.integration.lab import Lab
from tests.integration.outcomes import failed_at_target, stayed
from tests.integration.vms import GUEST

Entries = list[dict[str, Any]]


async def completed(lab: Lab, profile: str, guest: str) -> None:
    """Migrate, and end when both have let go of the channel."""
    source, target = await lab.pair("-profile", profile, guest=guest, settled=guest == GUEST)
    await source.command("migrate", uri=lab.uri())
    await source.status("completed")
    await target.status("completed")
    await target.reaches("link", "closed")


async def cancelled(lab: Lab) -> None:
    """Migrate, and cancel in wait-unplug."""
    source, target = await lab.pair(guest=f"{GUEST},eject=never")
    await source.command("migrate", uri=lab.uri())
    await source.status("wait-unplug")
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")
    await failed_at_target(target)


@cache
def recorded(how: str, guest: str = GUEST) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the journals of a source and its target."""

    async def record(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
        lab = Lab(folder)
        try:
            if how == "cancelled":
                await cancelled(lab)
            else:
                await completed(lab, how, guest)
        finally:
            await lab.close()
        lab.check()
        source, target = lab.vms
        return tuple(source.journal_lines), tuple(target.journal_lines)

    with tempfile.TemporaryDirectory(prefix="replug-") as folder:
        return asyncio.run(record(Path(folder)))


def parsed(lines: Iterable[str]) -> Entries:
    """Return lines as entries that a test may change."""
    return [json.loads(line) for line in lines]


def written(entries: Entries, *, numbered: bool = True) -> list[str]:
    """Return entries as lines; `numbered`: with the numbers that their places give them."""
    if numbered:
        entries = [{**entry, "sequence": place} for place, entry in enumerate(entries)]
    return [json.dumps(entry) + "\n" for entry in entries]


def place_of(entries: Entries, event: str) -> int:
    """Return the place of the first entry with an event."""
    return next(place for place, entry in enumerate(entries) if entry["event"] == event)


def named(conformance: Conformance) -> Disagreement:
    """Return what was found."""
    assert conformance.disagreement is not None, "nothing was found"
    return conformance.disagreement


def added(entries: Entries, event: str, instance: str | None = None) -> int:
    """Append a line that changes nothing; return its place."""
    last = {key: entries[-1][key] for key in ("sequence", "state")}
    quiet: dict[str, list[str]] = {"sent": [], "commands": [], "raised": []}
    entries.append({**last, "event": event, "instance": instance, **quiet})
    return len(entries) - 1

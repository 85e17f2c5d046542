"""Nobody reads what `replug migrate` writes any more: it sees the migration through."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration import qemu_recordings as recordings
from tests.integration.driven_migration import URI
from tests.integration.scripted_monitor import Says, ScriptedMonitor, Step, WaitsFor, status
from tests.integration.test_migrate_command import play

#: It waits for the test, which lets it go on once nobody reads.
HELD: tuple[Step, ...] = (*recordings.TO_WAIT[recordings.V10], WaitsFor("the test"))
ENDS: dict[int, Sequence[Step]] = {
    0: (*recordings.TO_STOP, *recordings.TO_COMPLETED[recordings.V10]),
    1: (*recordings.TO_STOP, status("failed"), Says("RESUME")),
    3: (status("cancelling"), status("cancelled")),
}


async def start(
    source: ScriptedMonitor, *options: str, stdout: int, stderr: int, coloured: bool = False
) -> asyncio.subprocess.Process:
    """Start `replug migrate`; `coloured`: it draws as on a terminal."""
    environment = {**os.environ, "FORCE_COLOR": "1"} if coloured else None
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli", "migrate"),
        *("--qmp", source.endpoint.path, *options, URI),
        stdout=stdout,
        stderr=stderr,
        env=environment,
    )


@pytest.mark.parametrize("expected", ENDS)
@pytest.mark.parametrize(("options", "coloured"), [(("--json",), False), ((), False), ((), True)])
def test_its_reader_has_gone(
    tmp_path: Path, options: tuple[str, ...], coloured: bool, expected: int
) -> None:
    async def scenario(source: ScriptedMonitor) -> None:
        reading, writing = os.pipe()
        command = await start(
            source, *options, stdout=writing, stderr=asyncio.subprocess.PIPE, coloured=coloured
        )
        os.close(writing)
        with os.fdopen(reading, "rb") as lines:
            assert await asyncio.to_thread(lines.readline)
        await source.waits.wait()
        source.go_on()
        _, told = await command.communicate()
        assert command.returncode == expected, told
        # With --json stderr has the outcome, of whatever was no success.
        outcome = 1 if options and expected else 0
        assert len(told.splitlines()) == outcome, told
        assert b"Traceback" not in told

    play(tmp_path, [*HELD, *ENDS[expected]], scenario)


def test_nobody_reads_what_it_complains_of_either(tmp_path: Path) -> None:
    async def scenario(source: ScriptedMonitor) -> None:
        reading, writing = os.pipe()
        command = await start(source, "--json", stdout=writing, stderr=writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as lines:
            assert await asyncio.to_thread(lines.readline)
        await source.waits.wait()
        source.go_on()
        assert await command.wait() == 3

    play(tmp_path, [*HELD, *ENDS[3]], scenario)


@pytest.mark.parametrize("options", [("--json",), ()])
def test_a_full_disk_is_told_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    async def scenario(source: ScriptedMonitor) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        command = await start(source, *options, stdout=full, stderr=asyncio.subprocess.PIPE)
        os.close(full)
        _, told = await command.communicate()
        assert command.returncode == 0, told
        assert told.decode().splitlines() == [
            "replug migrate: nothing more is shown: [Errno 28] No space left on device"
        ]

    play(tmp_path, list(recordings.COMPLETED[recordings.V10]), scenario)

"""`replug migrate` as users run it: signals, exit statuses, what is left when it is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from engine.cli.migrate import run
from engine.driver.child_vm import ChildVm
from tests.integration import qemu_recordings as recordings
from tests.integration.driven_migration import URI
from tests.integration.scripted_monitor import Says, ScriptedMonitor, Step, WaitsFor, status

#: Only a hang takes this long.
PATIENCE_S = 30.0

_TO_WAIT = recordings.TO_WAIT[recordings.V10]


class Command:
    """A running `replug migrate --json`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, source: ScriptedMonitor, *options: str) -> Command:
        arguments = ("--json", "--qmp", source.endpoint.path, *options, URI)
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "engine.cli", "migrate", *arguments),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        )

    async def until(self, reached: str) -> None:
        """Read its lines up to a status of the source."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if json.loads(line).get("status") == reached:
                return
        raise AssertionError(f"it ended without {reached}")

    async def report(self) -> dict[str, object]:
        """Read all its lines and return the last one."""
        assert self.process.stdout is not None
        lines = (await self.process.stdout.read()).splitlines()
        last: dict[str, object] = json.loads(lines[-1])
        return last

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


def play(
    folder: Path,
    script: list[Step],
    scenario: Callable[[ScriptedMonitor], Awaitable[None]],
) -> None:
    async def main() -> None:
        source = ScriptedMonitor(script)
        await source.listen(str(folder / "source.sock"))
        try:
            await asyncio.wait_for(scenario(source), PATIENCE_S)
        finally:
            await source.close()

    asyncio.run(main())


def test_interrupted_once_it_waits_for_cancelled(tmp_path: Path) -> None:
    async def scenario(source: ScriptedMonitor) -> None:
        command = await Command.start(source)
        await command.until("wait-unplug")
        command.signal(signal.SIGINT)
        report = await command.report()
        assert await command.process.wait() == 3
        assert report["status"] == "cancelled"
        assert len(source.named("migrate_cancel")) == 1

    play(tmp_path, list(recordings.CANCELLED[recordings.V10]), scenario)


def test_interrupted_twice_it_ends_at_once(tmp_path: Path) -> None:
    async def scenario(source: ScriptedMonitor) -> None:
        command = await Command.start(source)
        await command.until("wait-unplug")
        command.signal(signal.SIGINT)
        await command.until("cancelling")
        command.signal(signal.SIGINT)
        report = await command.report()
        assert await command.process.wait() == 130
        assert report["status"] == "cancelling"

    play(tmp_path, [*_TO_WAIT, WaitsFor("migrate_cancel"), status("cancelling")], scenario)


def test_killed_while_the_guest_stands_still_it_runs_again(tmp_path: Path) -> None:
    begun, hold = tmp_path / "begun", tmp_path / "hold"
    os.mkfifo(begun)
    os.mkfifo(hold)

    async def scenario(source: ScriptedMonitor) -> None:
        hook = f"echo >'{begun}'; read line <'{hold}'"
        command = await Command.start(source, "--pause-command", hook)
        await asyncio.to_thread(begun.read_text)
        command.signal(signal.SIGKILL)
        await command.process.wait()
        # The script ends when somebody else has cancelled.
        await source.finished.wait()
        assert len(source.named("migrate_cancel")) == 1
        assert not source.named("migrate-continue")
        # The orphaned command goes with its line.
        await asyncio.to_thread(hold.write_text, "go\n")

    rest: list[Step] = [
        WaitsFor("migrate_cancel"),
        status("cancelling"),
        Says("RESUME"),
        status("cancelled"),
    ]
    script = [*_TO_WAIT, *recordings.TO_STOP, status("pre-switchover"), *rest]
    play(tmp_path, script, scenario)


def test_killed_without_a_pause_it_leaves_the_migration_alone(tmp_path: Path) -> None:
    async def scenario(source: ScriptedMonitor) -> None:
        command = await Command.start(source)
        await command.until("wait-unplug")
        command.signal(signal.SIGTERM)
        assert await command.process.wait() == -signal.SIGTERM
        assert not source.named("migrate_cancel")

    play(tmp_path, [*_TO_WAIT, WaitsFor("migrate_cancel")], scenario)


def test_a_vm_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "saved"
    assert run(["--json", f"file:{saved}", "-m", "16M", "-name", "child"]) == 0
    output = capsys.readouterr()
    report = json.loads(output.out.splitlines()[-1])
    assert report["status"] == "completed"
    assert report["handover"] == "one-way"
    assert report["ram"]["bytes"] == 16 << 20
    assert saved.stat().st_size > 0
    assert "goes on" not in output.err


def test_a_vm_of_its_own_that_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run([f"unix:{tmp_path / 'nobody'}", "-m", "16M"]) == 1
    output = capsys.readouterr()
    assert "Failed to connect" in output.out
    monitor = output.err.split()[-1]
    # It runs, has a monitor, and ends when it is told to.
    assert run(["--json", "--quit", "--qmp", monitor, f"file:{tmp_path / 'saved'}"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["source"]["states"][-1] == "completed"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "expected the URI"),
        (["unix:there"], "expected --qmp"),
        (["--qmp", "there", "unix:x", "-m", "1G"], "got both"),
        (["unix:x", "-device", "nothing"], "not a valid device model"),
        (["--qmp", "there", "--attach", "unix:x"], "leave out URI"),
        (["--attach"], "--attach needs --qmp"),
        (["--qmp", "there", "--attach", "--verify-ram"], "cannot be set"),
        (["--qmp", "there", "--timeout", "soon", "unix:x"], "duration"),
        (["--qmp", "there", "--timeout", "0s", "unix:x"], "expected from 1ms"),
        (["--qmp", "there", "--max-bandwidth", "much", "unix:x"], "size"),
        (["--qmp", "there", "--capability", "events", "unix:x"], "NAME=on"),
        (["--qmp", "tcp:there:0", "unix:x"], "port"),
        (["--qmp", "", "unix:x"], "got nothing"),
        (["--nothing", "unix:x"], "--nothing"),
        (["--qmp", "there", "--multifd-channels", "0", "unix:x"], "1 to 255"),
        (["--qmp", "there", "--multifd-compression", "zstd", "unix:x"], "add --multifd-channels"),
        (["--qmp", "there", "--share-memory", "tcp:x:1"], "takes a unix: URI"),
        (["--qmp", "there", "--share-memory", "--multifd-channels", "2", "unix:x"], "one of them"),
        (["--qmp", "there", "--attach", "--multifd-channels", "2"], "cannot be set"),
        (["--qmp", "there", "--attach", "--share-memory"], "cannot be set"),
        (["--qmp", "there", "--attach", "--multifd-compression", "zstd"], "cannot be changed"),
    ],
)
def test_usage(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    output = capsys.readouterr()
    assert complaint in output.err
    assert len(output.err.splitlines()) == 1
    assert output.out == ""


def test_help_names_every_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for number in (0, 1, 2, 3, 4, 5, 124, 130):
        assert f"\n  {number} " in text


def test_a_vm_whose_monitor_is_only_bound_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.bind(str(tmp_path / "qmp"))
            looked: list[float] = []

            async def look_again(after_s: float) -> None:
                looked.append(after_s)
                monitor.listen()

            monkeypatch.setattr(asyncio, "sleep", look_again)
            child = ChildVm(process, tmp_path)
            asyncio.run(child._wait_for_monitor())
        assert len(looked) == 1
        process.kill()

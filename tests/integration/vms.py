"""Real `replug` processes for scenario tests: started, commanded over QMP, watched, always ended.

Rules kept here: nothing is polled. Events come from QMP, steps from the journal, which is a named
pipe that the test reads while the VM runs; a wait ends with what it waits for, or with the limit of
the scenario (see `lab`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, ExecuteError, QMPClient

from tests.integration.process_nursery import Process, execute, spawn

SIZE = ("-M", "q35", "-m", "32M")
ROOTS = (
    "-device pcie-root-port,id=root1,bus=pcie.0,chassis=1",
    "-device pcie-root-port,id=root2,bus=pcie.0,chassis=2",
)
STANDBY = (
    "-netdev user,id=hostnet1",
    "-device virtio-net-pci,netdev=hostnet1,id=net1,mac=52:54:00:6f:55:cc,bus=root2,failover=on",
)
PRIMARY = ("-device vfio-pci,host=5e:00.2,id=hostdev0,bus=root1,failover_pair_id=net1",)
#: One standby with its primary.
PAIR = ROOTS + STANDBY + PRIMARY
#: The guest of a scenario unless it says otherwise: small, and busy.
GUEST = "fill=4M,working-set=4M,dirty=2M,link-delay=5ms,probe-delay=1ms"
#: Faster than real time: a QEMU profile's polls, and the heartbeats of `native`.
TIMERS = (
    "-global replug.poll_ms=10",
    "-global replug.cancel_wait_ms=400",
    "-global replug.heartbeat_interval_ms=50",
)


def words(*options: str) -> list[str]:
    """Split options written as on a command line."""
    return [word for option in options for word in option.split(" ", 1)]


class Vm:
    """One `replug vm` or `replug incoming`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        #: QMP events so far, each as one line: its name and what tells it from others of the name.
        self.events: list[str] = []
        #: The same with all their data.
        self.raw_events: list[dict[str, Any]] = []
        #: Journal entries so far.
        self.journal: list[dict[str, Any]] = []
        #: The same as they were written.
        self.journal_lines: list[str] = []
        self.qmp = QMPClient(name)
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._process: Process | None = None

    # -- life

    async def start(self, *arguments: str, executed: bool = False) -> None:
        """Start it; `executed`: as `python -m engine.cli`, not by the nursery."""
        journal = self.folder / f"{self.name}.journal"
        os.mkfifo(journal)
        reader = asyncio.StreamReader(limit=1 << 20)
        pipe = os.fdopen(os.open(journal, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        command = [
            *arguments,
            *("-name", self.name, "-journal", str(journal)),
            *("-qmp", f"unix:{self.monitor_path},server=on,wait=off"),
        ]
        stderr = self.folder / f"{self.name}.stderr"
        self._process = await (execute if executed else spawn)(command, stderr)
        self._tasks.append(asyncio.create_task(self._read_journal(reader)))
        self._tasks.append(asyncio.create_task(self._end_journal(journal)))

    @property
    def monitor_path(self) -> Path:
        """Where its monitor listens."""
        return self.folder / f"{self.name}.qmp"

    async def booted(self) -> None:
        """Wait until it has booted; before that, its monitors listen."""
        await self.until(lambda: any(entry["event"].startswith("BOOT") for entry in self.journal))

    async def connect(self) -> None:
        """Connect to its monitor and ask for MIGRATION events."""
        await self.booted()
        listener = EventListener()
        self.qmp.register_listener(listener)
        await self.qmp.connect(str(self.monitor_path))
        self._tasks.append(asyncio.create_task(self._read_events(listener)))
        await self.capability("events")

    async def _read_journal(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self.journal_lines.append(line.decode())
            if line.endswith(b"\n"):
                self.journal.append(json.loads(line))
            self._news.set()
        await self.process.wait()
        self._news.set()

    async def _end_journal(self, journal: Path) -> None:
        await self.process.wait()
        # A pipe that never had a writer has no end yet.
        with suppress(OSError):
            os.close(os.open(journal, os.O_WRONLY | os.O_NONBLOCK))

    async def _read_events(self, listener: EventListener) -> None:
        async for event in listener:
            self.raw_events.append(dict(event))
            self.events.append(line_of(dict(event)))
            self._news.set()

    @property
    def process(self) -> Process:
        """Its process."""
        assert self._process is not None
        return self._process

    @property
    def stderr(self) -> str:
        """What it wrote to stderr so far."""
        path = self.folder / f"{self.name}.stderr"
        return path.read_text() if path.exists() else ""

    def kill(self) -> None:
        """End it with SIGKILL, as an operator's or the kernel's hand would."""
        self.process.kill()

    async def exit_status(self) -> int:
        """Wait for its end and for the last of its journal."""
        status = await self.process.wait()
        await self._tasks[0]
        return status

    async def end(self) -> None:
        """End it with SIGTERM, if it is still there, and let go of everything."""
        if self._process is None:
            return
        with suppress(Exception):
            await self.qmp.disconnect()
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(5):
                    status = await self.exit_status()
            except TimeoutError:
                self.process.kill()
                await self.exit_status()
                raise AssertionError(f"{self.name} did not end on SIGTERM") from None
            # A target that had failed was about to end by itself.
            assert status == 0 or self.is_in("incoming", "failed"), self.stderr
        else:
            await self.exit_status()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- waiting

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that events or the journal decide."""
        while not condition():
            gone = self._process is not None and self._process.returncode is not None
            if gone and self._tasks and self._tasks[0].done():
                raise AssertionError(f"{self.name} ended before: {self.stderr}")
            self._news.clear()
            await self._news.wait()

    async def event(self, line: str, times: int = 1) -> None:
        """Wait for an event, as a line of `events`."""
        await self.until(lambda: self.events.count(line) >= times)

    async def status(self, status: str) -> None:
        """Wait for a status of the migration."""
        await self.event(f"MIGRATION {status}")

    async def reaches(self, machine: str, state: str, instance: str | None = None) -> None:
        """Wait until a machine of the tables is in a state, going by the journal."""
        await self.until(lambda: bool(self.journal) and self.is_in(machine, state, instance))

    def is_in(self, machine: str, state: str, instance: str | None = None) -> bool:
        """Say whether a machine's last known state is this one."""
        here = self.journal[-1]["state"][machine]
        return bool((here if instance is None else here.get(instance)) == state)

    async def on_primaries(self) -> None:
        """Wait until every pair's traffic goes through its primary."""
        await self.until(
            lambda: all(
                state == "primary" for state in self.journal[-1]["state"]["net_failover"].values()
            )
        )

    def forget(self) -> None:
        """Forget the events so far, for the next migration's."""
        self.events.clear()
        self.raw_events.clear()

    # -- commanding

    async def command(self, name: str, /, **arguments: Any) -> Any:
        """Carry out a command; underscores in the names of arguments stand for hyphens."""
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        return await self.qmp.execute(name, given or None)

    async def refusal(self, name: str, /, **arguments: Any) -> str:
        """Carry out a command that must be refused and return the reason."""
        try:
            answer = await self.command(name, **arguments)
        except ExecuteError as refused:
            return str(refused)
        raise AssertionError(f"{name} was not refused: {answer}")

    async def capability(self, name: str) -> None:
        """Switch a capability on."""
        await self.command(
            "migrate-set-capabilities", capabilities=[{"capability": name, "state": True}]
        )

    async def parameters(self, **values: Any) -> None:
        """Set migration parameters."""
        await self.command("migrate-set-parameters", **values)

    async def run_state(self) -> str:
        """Return the run state of query-status."""
        return str((await self.command("query-status"))["status"])

    async def query(self) -> dict[str, Any]:
        """Return query-migrate."""
        answer = await self.command("query-migrate")
        assert isinstance(answer, dict)
        return answer

    async def guest(self, attribute: str) -> Any:
        """Return what the guest tells of itself."""
        return await self.command("qom-get", path="/machine/guest", property=attribute)

    async def until_frames(self, count: int) -> None:
        """Wait until the guest has received so many numbered frames."""
        while (await self.guest("frames"))["received"] < count:
            pass

    async def tell_guest(self, attribute: str, value: Any) -> None:
        """Tell the guest to do something."""
        await self.command("qom-set", path="/machine/guest", property=attribute, value=value)


def line_of(event: dict[str, Any]) -> str:
    """Return an event as one line."""
    data = event.get("data", {})
    detail = data.get("status", data.get("pass", data.get("device-id", "")))
    return f"{event['event']} {detail}".rstrip()


async def run_migrate(
    source: Path, target: Path, *arguments: str
) -> tuple[int | None, dict[str, Any]]:
    """Run `replug migrate` on two monitors to its end; return its exit status and its report."""
    monitors = ("--qmp", str(source), "--target-qmp", str(target))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli", "migrate", "--json", *monitors, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate()
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return process.returncode, report

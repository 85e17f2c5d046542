"""The lab of one scenario: its VMs, its folder, and what must hold at its end.

Rules kept here: whatever the scenario was, no VM ran in two places, no primary was asked twice to
leave in one migration, every answer to the tables was asked for and declared, every line of every
journal was a legal step and everything received was sent, no process left a traceback, and none
outlives it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from statemachines.checker.conformance import Journal, check
from statemachines.effects import Do
from statemachines.events import E, Origin
from statemachines.system import VM_MACHINES
from tests.integration.vms import GUEST, PAIR, SIZE, TIMERS, Vm, words

P = ParamSpec("P")
#: command, as journals have it -> the names of the events that may answer it
ANSWERS: dict[str, frozenset[str]] = {
    effect.command.value: frozenset(event.name for event in effect.answers)
    for spec in VM_MACHINES
    for row in spec.rows
    for effect in row.then
    if isinstance(effect, Do) and effect.answers
}
#: What only a hang can reach.
LIMIT_S = 20.0


class Lab:
    """The VMs of one scenario, and its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vms: list[Vm] = []
        #: Whether something that keeps no journal talks to them.
        self.has_strangers = False

    def path(self, name: str) -> str:
        """Return a path in the scenario's folder."""
        return str(self.folder / name)

    def uri(self, name: str = "migration") -> str:
        """Return the URI of a unix socket in the scenario's folder."""
        return f"unix:{self.path(name)}"

    async def vm(
        self,
        name: str,
        *options: str,
        incoming: str | None = None,
        devices: Iterable[str] = PAIR,
        guest: str = GUEST,
        size: Iterable[str] = SIZE,
    ) -> Vm:
        """Start one VM, as `replug incoming` with a URI, and connect to it."""
        vm = await self.start(
            name, *options, incoming=incoming, devices=devices, guest=guest, size=size
        )
        await vm.connect()
        return vm

    async def start(
        self,
        name: str,
        *options: str,
        incoming: str | None = None,
        devices: Iterable[str] = PAIR,
        guest: str = GUEST,
        size: Iterable[str] = SIZE,
        executed: bool = False,
    ) -> Vm:
        """Start one VM and leave it to itself."""
        vm = Vm(name, self.folder)
        self.vms.append(vm)
        command = ["vm"] if incoming is None else ["incoming", incoming]
        told = ["-guest", guest] if guest else []
        await vm.start(
            *command, *size, *words(*devices, *TIMERS, *options), *told, executed=executed
        )
        return vm

    async def pair(
        self,
        *options: str,
        guest: str = GUEST,
        source_options: Iterable[str] = (),
        target_options: Iterable[str] = (),
        uri: str | None = None,
        devices: Iterable[str] = PAIR,
        target_devices: Iterable[str] | None = None,
        target_size: Iterable[str] = SIZE,
        settled: bool = True,
    ) -> tuple[Vm, Vm]:
        """Start a source and a target that listens; `settled`: its primaries carry its traffic."""
        target_devices = devices if target_devices is None else target_devices
        source, target = await asyncio.gather(
            self.vm("source", *options, *source_options, guest=guest, devices=devices),
            self.vm(
                "target",
                *options,
                *target_options,
                incoming=uri or self.uri(),
                guest="",
                devices=target_devices,
                size=target_size,
            ),
        )
        await target.reaches("link", "listening")
        if settled:
            await source.on_primaries()
        source.forget()
        target.forget()
        return source, target

    async def close(self) -> None:
        """End every VM."""
        await asyncio.gather(*(vm.end() for vm in self.vms))

    def check(self) -> None:
        """Check what must hold after every scenario."""
        for vm in self.vms:
            assert "Traceback" not in vm.stderr, vm.stderr
            assert "never retrieved" not in vm.stderr, vm.stderr
            check_unplug_requests(vm)
            check_answers(vm)
        check_one_runs(self.vms)
        check_journals(self.vms, strangers=self.has_strangers)


def check_unplug_requests(vm: Vm) -> None:
    """Check that no primary was asked twice to leave in one migration."""
    asked: set[str] = set()
    for entry in vm.journal:
        if entry["event"] == "MIGRATE":
            asked.clear()
        if "emit UNPLUG_PRIMARY" in entry["commands"]:
            for name, state in entry["state"]["primary"].items():
                if state == "unplug-pending" and entry["instance"] in (None, name):
                    assert name not in asked, f"{name} was asked twice"
            asked |= {n for n, s in entry["state"]["primary"].items() if s == "unplug-pending"}


def check_answers(vm: Vm) -> None:
    """Check that whatever answered a command of the tables was asked, and may answer it.

    A command is answered once; one that was given again may be answered as often as it was given.
    """
    waiting: Counter[str] = Counter()
    for entry in vm.journal:
        if E[entry["event"]].info.origin in (Origin.ANSWER, Origin.TIME):
            asked = [c for c in ANSWERS if entry["event"] in ANSWERS[c] and waiting[c] > 0]
            # The link's own timer is no command of the tables.
            assert asked or entry["event"] == E.LINK_SILENT.name, f"nobody asked: {entry}"
            waiting.subtract(asked[:1])
        waiting.update(command for command in entry["commands"] if command in ANSWERS)


def check_journals(vms: list[Vm], *, strangers: bool) -> None:
    """Check that the journals are a run of the rules, each and together."""
    journals = [
        Journal(vm.name, vm.journal_lines, killed=vm.process.returncode == -signal.SIGKILL)
        for vm in vms
    ]
    conformance = check(journals, strangers=strangers)
    assert conformance.disagreement is None, str(conformance.disagreement)


def check_one_runs(vms: list[Vm]) -> None:
    """Check that never two of them ran, going by the one clock of all journals."""
    steps = sorted(
        (entry["time_ms"], vm.name, entry["state"]["run_state"])
        for vm in vms
        for entry in vm.journal
    )
    ends = {vm.name: vm.journal[-1]["time_ms"] for vm in vms if vm.journal}
    gone = {vm.name for vm in vms if vm.process.returncode not in (None, 0)}
    running: set[str] = set()
    for time_ms, name, state in steps:
        running = {n for n in running if n not in gone or ends[n] >= time_ms}
        (running.add if state == "running" else running.discard)(name)
        assert len(running) <= 1, f"at {time_ms} ms {running} run"


def scenario(
    test: Callable[Concatenate[Lab, P], Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Make a test of a coroutine: in a lab of its own, within the limit, with its checks after."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with tempfile.TemporaryDirectory(prefix="replug-") as folder:
            asyncio.run(_in_lab(Path(folder), lambda lab: test(lab, *args, **kwargs)))

    parameters = list(inspect.signature(test).parameters.values())[1:]
    setattr(run, "__signature__", inspect.Signature(parameters))  # noqa: B010 - pytest reads it
    return run


async def _in_lab(folder: Path, test: Callable[[Lab], Coroutine[Any, Any, None]]) -> None:
    lab = Lab(folder)
    try:
        async with asyncio.timeout(LIMIT_S):
            await test(lab)
    except BaseException as failure:
        for vm in lab.vms:
            failure.add_note(story_of(vm))
        raise
    finally:
        await lab.close()
    lab.check()


def story_of(vm: Vm) -> str:
    """Return what a VM did, for a failed test."""
    steps = " ".join(entry["event"] for entry in vm.journal[-40:])
    lines = (", ".join(vm.events), f"... {steps}", vm.stderr[-3000:])
    return f"--- {vm.name}: " + "\n".join(lines)

"""Real QEMU and replug side by side: the same options, the same commands, both answers.

Rules kept here: QEMU is Debian's qemu-system-x86, under TCG, without a guest OS: its firmware finds
nothing to boot and halts, so no guest driver acknowledges anything. QEMU 7.2 is what the profile
`qemu-7.2` says it is; a newer one is compared in what has stayed (see `is_reference`). One
that is missing or older fails the test and is never skipped. Nothing is polled that has an event:
QEMU is handed sockets that listen already, so a monitor can be connected to at once.
"""

from __future__ import annotations

import asyncio
import functools
import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from qemu.qmp import EventListener, ExecuteError

from tests.integration.lab import Lab
from tests.integration.vms import Vm, words

PROGRAM = "qemu-system-x86_64"
REFERENCE = (7, 2)
MAC = "52:54:00:6f:55:cc"
SIZE = ("-M", "q35", "-m", "64M")
ROOTS = tuple(
    f"-device pcie-root-port,id=root{number},bus=pcie.0,chassis={number + 1},addr={number + 2}"
    for number in range(4)
)
NETDEVS = tuple(f"-netdev user,id=hs{number}" for number in range(4))
STANDBY = f"-device virtio-net-pci,netdev=hs0,id=net1,mac={MAC},bus=root0,failover=on,romfile="
PRIMARY = f"-device e1000e,netdev=hs1,id=pri0,mac={MAC},bus=root1,failover_pair_id=net1,romfile="
#: A standby, and room for primaries.
DEVICES = (*ROOTS, *NETDEVS, STANDBY)
#: A guest as QEMU's firmware is one: memory in use, and nobody who drives the standby.
IDLE_GUEST = "standby=off,fill=4M,working-set=1M,dirty=0"


@dataclass(frozen=True)
class Answer:
    """What came of one command."""

    #: The class of the error; None: it was carried out.
    error_class: str | None
    #: What was returned, or the description of the error.
    content: Any
    #: The events before it, as (name, data).
    events: tuple[tuple[str, Any], ...]


def done(content: Any, *events: tuple[str, Any]) -> Answer:
    """The answer of a command that was carried out."""
    return Answer(None, content, events)


def refused(description: str, *events: tuple[str, Any]) -> Answer:
    """The answer of a command that was refused for the usual reasons."""
    return Answer("GenericError", description, events)


class Qemu(Vm):
    """One real QEMU, commanded and watched like a replug."""

    async def start(self, *arguments: str, executed: bool = False) -> None:
        """Start it with two monitors that listen: the test's, and one for a second client."""
        command = [program(), "-accel", "tcg", "-no-user-config", "-nodefaults"]
        command += ["-display", "none", *arguments]
        listeners = [listen(str(path)) for path in (self.monitor_path, self.second_monitor_path)]
        for number, listener in enumerate(listeners):
            chardev = f"socket,id=qmp{number},fd={listener.fileno()},server=on,wait=off"
            command += ["-chardev", chardev, "-mon", f"chardev=qmp{number},mode=control"]
        with (self.folder / f"{self.name}.stderr").open("wb") as stderr:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                pass_fds=[listener.fileno() for listener in listeners],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )
        for listener in listeners:
            listener.close()
        self._tasks.append(asyncio.create_task(self._until_end()))

    @property
    def second_monitor_path(self) -> str:
        """Where its other monitor listens; QEMU's take one client each."""
        return str(self.folder / f"{self.name}.second")

    async def booted(self) -> None:
        """Return at once: its monitors listened before it began."""

    async def _until_end(self) -> None:
        await self.process.wait()
        self._news.set()


def program() -> str:
    """Return QEMU's path; fails the test if there is none that is new enough."""
    path = shutil.which(PROGRAM)
    if path is None:
        pytest.fail(f"no {PROGRAM} here: run `make test-tools`, or install qemu-system-x86")
    if version() < REFERENCE:
        pytest.fail(f"{path} is older than 7.2, which replug is compared with")
    return path


@functools.cache
def version() -> tuple[int, int]:
    """Return QEMU's version, major and minor."""
    text = subprocess.run([PROGRAM, "--version"], capture_output=True, check=True, text=True).stdout
    major, minor = text.split("version ")[1].split(".")[:2]
    return int(major), int(minor)


def is_reference() -> bool:
    """Say whether QEMU is 7.2 itself; texts and statuses that changed later are compared then."""
    return version() == REFERENCE


def listen(path: str) -> socket.socket:
    """Return a unix socket that listens at a path."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


async def start(
    kind: str,
    lab: Lab,
    name: str,
    *options: str,
    devices: Iterable[str] = DEVICES,
    size: Iterable[str] = SIZE,
    incoming: bool = False,
) -> Vm:
    """Start a `qemu` or a `replug` with these options and connect to it.

    One that is `incoming` waits for migrate-incoming.
    """
    name = f"{kind}-{name}"
    if kind == "replug":
        return await lab.vm(
            name,
            *options,
            "-profile qemu-7.2",
            incoming="defer" if incoming else None,
            devices=devices,
            guest="" if incoming else IDLE_GUEST,
            size=size,
        )
    qemu = Qemu(name, lab.folder)
    lab.vms.append(qemu)
    waits = ("-incoming", "defer") if incoming else ()
    await qemu.start(*size, *words(*devices, *options), *waits)
    await qemu.connect()
    return qemu


class Twins:
    """A QEMU and a replug with the same options, asked the same."""

    def __init__(self, qemu: Vm, replug: Vm) -> None:
        self.qemu = qemu
        self.replug = replug
        self._news = {vm: EventListener() for vm in (qemu, replug)}
        for vm, listener in self._news.items():
            vm.qmp.register_listener(listener)

    @classmethod
    async def start(cls, lab: Lab, *options: str, incoming: bool = False) -> Twins:
        """Start both; with `-S` neither firmware nor guest does anything of its own."""
        return cls(
            *[
                await start(kind, lab, "twin", *options, incoming=incoming)
                for kind in ("qemu", "replug")
            ]
        )

    async def ask(self, command: str, arguments: dict[str, Any]) -> tuple[Answer, Answer]:
        """Have both carry out a command and return QEMU's answer and replug's."""
        return (
            await self._ask(self.qemu, command, arguments),
            await self._ask(self.replug, command, arguments),
        )

    async def _ask(self, vm: Vm, command: str, arguments: dict[str, Any]) -> Answer:
        error_class: str | None = None
        try:
            content = await vm.qmp.execute(command, dict(arguments))
        except ExecuteError as error:
            error_class, content = error.error_class, str(error)
        # An event that was sent before the answer has been queued before it.
        news = self._news[vm].clear()
        return Answer(error_class, content, tuple((str(e["event"]), e.get("data")) for e in news))

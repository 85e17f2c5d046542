"""Who is measured: programs, and the migration settings each is measured with.

What may live here: the settings of both sides, as data, and what they are measured at. A setting
that replug does not serve is refused by it and then not measured; nothing is assumed here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from benchmarks.ram.contents import Contents

#: More than any link: nothing is held back.
UNLIMITED_BYTES_PER_SECOND = 100 << 30
#: The limit while the guest is writing.
LIMITED_BYTES_PER_SECOND = 1 << 30
DOWNTIME_LIMIT_MS = 300
#: What the busy guest writes.
DIRTY_BYTES_PER_SECOND = 200 << 20


class Way(Enum):
    """What is done with RAM."""

    #: It is streamed while the guest idles.
    IDLE = "idle guest"
    #: It is streamed while the guest writes DIRTY_BYTES_PER_SECOND of it.
    DIRTY = "guest dirtying 200 MiB/s"
    #: It stays where it is and changes hands, on one machine.
    HAND_OVER = "local hand-over"


@dataclass(frozen=True)
class Case:
    """One situation in which all contenders are measured, in turn."""

    way: Way
    contents: Contents
    #: "unix" or "tcp".
    transport: str = "unix"

    @property
    def name(self) -> str:
        """The situation in words."""
        over = "" if self.transport == "unix" else f", over {self.transport}"
        return f"{self.way.value}, {self.contents.value}{over}"


@dataclass(frozen=True)
class Program:
    """What runs VMs."""

    #: What it is called in tables.
    name: str
    #: QEMU's path; empty: replug, in this interpreter.
    path: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is replug."""
        return not self.path


@dataclass(frozen=True)
class Settings:
    """Migration settings, made on both ends."""

    name: str
    capabilities: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict, hash=False)
    #: Whether pages are compressed.
    compresses: bool = False


@dataclass(frozen=True)
class Contender:
    """A program with settings."""

    program: Program
    settings: Settings

    @property
    def name(self) -> str:
        """The contender in words."""
        return f"{self.program.name}, {self.settings.name}"

    @property
    def is_ours(self) -> bool:
        """Whether it is replug."""
        return self.program.is_ours


REPLUG = Program("replug")

_CHANNELS = {"multifd-channels": 2}
_COMPRESSION = "multifd-compression"
PLAIN = Settings("plain")
MULTIFD = Settings("multifd 2", ("multifd",), _CHANNELS)
ZSTD = Settings("multifd 2 zstd", ("multifd",), {**_CHANNELS, _COMPRESSION: "zstd"}, True)
#: Ours: pages are compressed as far as that saves time.
ADAPTIVE = Settings("multifd 2 x-adaptive", ("multifd", "x-adaptive"), _CHANNELS, True)
SHARED = Settings("x-share-memory", ("x-share-memory",))
IGNORED = Settings("x-ignore-shared", ("x-ignore-shared",))


def qemu(path: str) -> Program:
    """Return the QEMU at a path, named with its version.

    :raise OSError: if there is no such program, or if it does not tell its version.
    """
    told = subprocess.run([path, "--version"], capture_output=True, check=False, text=True)
    version = re.search(r"^QEMU emulator version (\S+)", told.stdout)
    if version is None:
        raise OSError(
            f"{path} --version: expected QEMU's version, got {told.stdout!r}{told.stderr!r}"
        )
    return Program(f"QEMU {version[1]}", path)


def contenders(case: Case, rivals: Iterable[Program]) -> list[Contender]:
    """Return who is measured in a case: replug, and every rival."""
    ours: tuple[Settings, ...] = (PLAIN, MULTIFD)
    theirs: tuple[Settings, ...] = (PLAIN, MULTIFD, ZSTD)
    if case.way is Way.HAND_OVER:
        ours, theirs = (SHARED,), (IGNORED,)
    elif case.way is Way.IDLE and case.contents is Contents.MIXED:
        ours = (PLAIN, MULTIFD, ZSTD, ADAPTIVE)
    return [
        *(Contender(REPLUG, each) for each in ours),
        *(Contender(rival, each) for rival in rivals for each in theirs),
    ]

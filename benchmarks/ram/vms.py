"""Sources and targets as processes: a replug and a QEMU of the same size, holding the same RAM.

What may live here: command lines, and finding and filling the RAM of a VM from outside. Rules:

1. RAM is a memfd on both sides. QEMU is given one of this process's, by its path under /proc;
   replug's is found under /proc/PID/fd. So there is no file to be left behind.
2. Both targets have their RAM preallocated, the best case of both, unless it is handed over; QEMU's
   firmware is ours (see firmware.py).
3. No process outlives this one: the kernel kills it when this one ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from benchmarks.ram.contenders import Program
from benchmarks.ram.monitor import Monitor, MonitorError

_END_SECONDS_MAX = 20.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class VmError(Exception):
    """A VM could not be started, or its RAM not be found."""


class RamFile:
    """RAM that this process holds for QEMU: sparse, and gone with its last user."""

    def __init__(self, size_bytes: int) -> None:
        self.fd = os.memfd_create("benchmark-ram", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, size_bytes)
        self.size_bytes = size_bytes

    @property
    def path(self) -> str:
        """Where another process opens it."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Vm:
    """One running VM and its monitor."""

    def __init__(self, name: str, folder: Path, command: list[str]) -> None:
        """Start it and connect; VmError with its last words if it does not come up."""
        self._stderr_path = folder / f"{name}.stderr"
        monitor_path = folder / f"{name}.qmp"
        with suppress(FileNotFoundError):
            monitor_path.unlink()
        with self._stderr_path.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*command, "-qmp", f"unix:{monitor_path},server=on,wait=off"],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                preexec_fn=_die_with_parent,
            )
        try:
            self.monitor = Monitor(monitor_path, lambda: self._process.poll() is None)
        except MonitorError as error:
            self._kill()
            raise VmError(f"{error}\n{self.last_words}") from error

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """What it wrote to stderr."""
        return self._stderr_path.read_text("utf-8", "replace").strip()

    def open_ram(self, size_bytes: int) -> int:
        """Open its RAM, the file of that size that it has mapped, and return the descriptor.

        A target that was handed the source's memory may still hold a file of its own.
        """
        mapped = _mapped_inodes(self.pid)
        for path in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found = path.stat()
                is_ram = stat.S_ISREG(found.st_mode) and found.st_size == size_bytes
                if is_ram and found.st_ino in mapped:
                    return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        raise VmError(
            f"process {self.pid} holds no file of {size_bytes} bytes that could be its RAM"
        )

    def end(self) -> None:
        """End it."""
        with suppress(MonitorError, OSError):
            self.monitor.execute("quit")
        self.monitor.close()
        try:
            self._process.wait(_END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


def start_replug(
    name: str, folder: Path, ram_bytes: int, options: list[str], *, incoming: bool
) -> Vm:
    """Start `replug vm`, or `replug incoming` that waits for migrate-incoming."""
    command = [sys.executable, "-m", "engine.cli", *(["incoming", "defer"] if incoming else ["vm"])]
    size = ["-nodefaults", "-M", "q35", "-m", f"{ram_bytes >> 20}M", "-name", name]
    return Vm(name, folder, [*command, *size, *options])


def start_qemu(
    name: str,
    folder: Path,
    program: Program,
    ram: RamFile,
    options: list[str],
    *,
    firmware: Path,
    incoming: bool,
) -> Vm:
    """Start a QEMU over `ram`; one that is incoming has it preallocated."""
    backend: dict[str, Any] = {
        "size": f"{ram.size_bytes >> 20}M",
        "mem-path": ram.path,
        "share": "on",
        "prealloc": "on" if incoming else "off",
    }
    described = ",".join(f"{key}={value}" for key, value in backend.items())
    command = [program.path, "-no-user-config", "-nodefaults", "-display", "none", "-vga", "none"]
    command += ["-M", "q35,memory-backend=ram", "-accel", "tcg", "-m", f"{ram.size_bytes >> 20}M"]
    command += ["-object", f"memory-backend-file,id=ram,{described}", "-bios", str(firmware)]
    command += ["-name", name, *(["-incoming", "defer"] if incoming else []), *options]
    return Vm(name, folder, command)


def _mapped_inodes(pid: int) -> set[int]:
    """Return the inodes of the files a process has mapped: the fifth field of /proc/PID/maps."""
    lines = Path(f"/proc/{pid}/maps").read_text("utf-8", "replace").splitlines()
    return {int(line.split()[4]) for line in lines}


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

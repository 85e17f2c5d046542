"""A source and a target of one kind, with the same guest in both and its RAM filled.

What may live here: what differs between a pair of QEMUs and a pair of replugs, so that nothing
else has to know. Rule: whoever makes a pair gives the stack that ends it.
"""

from __future__ import annotations

import os
import struct
from contextlib import ExitStack
from pathlib import Path

from benchmarks.ram import contents
from benchmarks.ram.accounting import cpu_seconds
from benchmarks.ram.contenders import DIRTY_BYTES_PER_SECOND, Case, Contender, Way
from benchmarks.ram.contents import Contents
from benchmarks.ram.firmware import COUNT_ADDRESS, firmware
from benchmarks.ram.vms import RamFile, Vm, start_qemu, start_replug
from devices.guest_memory import FILL_GENERATION, RAM_BYTES_MIN, GuestMemory
from devices.ram import BitmapRam

_WORKING_SET_BYTES_MAX = 256 << 20


def working_set_bytes(ram_bytes: int) -> int:
    """Return how much the busy guest rewrites: replug's default."""
    return min(_WORKING_SET_BYTES_MAX, ram_bytes // 2)


class Pair:
    """Both ends of one migration. The source's guest does not run before it is told to."""

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        case: Case,
        contender: Contender,
        sizes: tuple[int, int],
        held: tuple[bool, bool],
    ) -> None:
        """Say what it will be.

        `sizes` are those of RAM and of what is filled of it, in bytes; `held` says whether the
        source's guest and the target's are not to run.
        """
        self.ram_bytes, self.filled_bytes = sizes
        self.is_source_held, self.is_target_held = held
        self._stack = stack
        self._folder = folder
        self._case = case
        self._contender = contender
        self.source: Vm
        self.target: Vm
        #: The source's RAM.
        self.source_fd: int
        self._target_ram: RamFile | None = None

    def start(self, master: RamFile | None) -> None:
        """Start both; `master` has the contents already, without it they are made."""
        if self._contender.is_ours:
            self._start_replugs(master)
        else:
            self._start_qemus(master)

    def _start_replugs(self, master: RamFile | None) -> None:
        rate, working = 0, contents.PAGE_BYTES
        if self._case.way is Way.DIRTY:
            rate, working = DIRTY_BYTES_PER_SECOND, working_set_bytes(self.ram_bytes)
        guest = ["-guest", f"fill=0,standby=off,working-set={working},dirty={rate}"]
        # Where memory is handed over the target's own is of no use, and QEMU's has none either.
        own = self._case.way is not Way.HAND_OVER
        target = [*self._held(), *(["-mem-prealloc"] if own else [])]
        self.source = self._kept(
            start_replug("source", self._folder, self.ram_bytes, ["-S", *guest], incoming=False)
        )
        self.target = self._kept(
            start_replug("target", self._folder, self.ram_bytes, target, incoming=True)
        )
        self.source_fd = self._opened(self.source)
        if master is None:
            contents.fill(self.source_fd, self._case.contents, self.filled_bytes)
        else:
            contents.copy(master.fd, self.source_fd, self.ram_bytes)

    def _start_qemus(self, master: RamFile | None) -> None:
        rate = DIRTY_BYTES_PER_SECOND if self._case.way is Way.DIRTY else 0
        image = self._folder / "firmware"
        image.write_bytes(firmware(rate, working_set_bytes(self.ram_bytes)))
        if master is None or self._case.contents is Contents.UNTOUCHED:
            # Reading what was never touched touches it: every run needs one that nobody has read.
            master = self._stack.enter_context(RamFile(self.ram_bytes))
            contents.fill(master.fd, self._case.contents, self.filled_bytes)
        source_ram = target_ram = master
        if self._case.way is not Way.HAND_OVER:
            target_ram = self._stack.enter_context(RamFile(self.ram_bytes))
        self.source_fd, self._target_ram = source_ram.fd, target_ram
        self.source, self.target = (
            self._kept(
                start_qemu(
                    name,
                    self._folder,
                    self._contender.program,
                    ram,
                    options,
                    firmware=image,
                    incoming=incoming,
                )
            )
            for name, ram, options, incoming in (
                ("source", source_ram, ["-S"], False),
                ("target", target_ram, self._held(), True),
            )
        )

    def _held(self) -> list[str]:
        return ["-S"] if self.is_target_held else []

    def _kept(self, vm: Vm) -> Vm:
        self._stack.callback(vm.end)
        return vm

    def _opened(self, vm: Vm) -> int:
        fd = vm.open_ram(self.ram_bytes)
        self._stack.callback(os.close, fd)
        return fd

    def open_target(self) -> int:
        """Return the target's RAM; replug's may be there only after the migration."""
        return self._target_ram.fd if self._target_ram else self._opened(self.target)

    def cpu_seconds(self) -> float:
        """Return the CPU time of both processes."""
        return cpu_seconds(self.source.pid) + cpu_seconds(self.target.pid)

    def dirtied_pages(self) -> int:
        """Return how many pages the source's guest has written, as its RAM says."""
        if self._case.way is not Way.DIRTY:
            return 0
        if not self._contender.is_ours:
            return int(struct.unpack("<I", os.pread(self.source_fd, 4, COUNT_ADDRESS))[0])
        memory = GuestMemory(BitmapRam(bytearray(os.pread(self.source_fd, RAM_BYTES_MIN, 0))))
        rounds = memory.generation - FILL_GENERATION - 1
        return rounds * memory.working_pages + memory.cursor

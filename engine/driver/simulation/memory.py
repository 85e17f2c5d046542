"""Guest RAM of a simulated VM: its own, or such as can be lent to a VM on the same host.

What may live here: what `engine.driver.memory` does, where nobody else looks on. Rules:

1. What may hold data is said in coarse blocks, and who notes writes is a bitmap: what the kernel
   would say differs between hosts.
2. What can be lent is production's own memory, mapped and passed on as a descriptor. A target that
   wrote to it too early would end this process there and then; here it may, and is found out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from devices.dirty import DirtyBitmap, DirtyRecord
from devices.page_copies import scatter
from devices.page_runs import Runs, intersection, one_run, union
from devices.ram import PAGE_BYTES
from engine.driver.memory import GuestMemory
from engine.profile import DirtyTracking

_BLOCK_BYTES = 1 << 16
_BLOCK_PAGES = _BLOCK_BYTES // PAGE_BYTES
_ZEROS = bytes(_BLOCK_BYTES)


def _in_blocks(runs: Runs, is_zero: Callable[[int], bool]) -> Runs:
    """Return what lies in blocks that hold data; `is_zero` says of an offset that none is there."""
    if not len(runs):
        return runs
    first, end = int(runs[0, 0]) // _BLOCK_PAGES, -(-int(runs[-1, 1]) // _BLOCK_PAGES)
    blocks = [
        (block * _BLOCK_PAGES, (block + 1) * _BLOCK_PAGES)
        for block in range(first, end)
        if not is_zero(block * _BLOCK_BYTES)
    ]
    rows = np.array(blocks, dtype=np.int64).reshape(-1, 2)
    return intersection(runs, union(one_run(0, 0), rows))


class SimulatedMemory:
    """Guest RAM in this process."""

    def __init__(self, size_bytes: int) -> None:
        #: The contents.
        self.contents = bytearray(size_bytes)
        #: The same, for a VM to write to.
        self.buffer = memoryview(self.contents)

    def holding(self, runs: Runs) -> Runs:
        """Return what may hold data, in coarse blocks."""
        return _in_blocks(runs, lambda offset: self.contents.startswith(_ZEROS, offset))

    def reading_view(self) -> memoryview:
        """Return the one way there is to see it."""
        return self.buffer.toreadonly()

    def dirty_record(self, choice: DirtyTracking) -> DirtyRecord:
        """Return a bitmap, whatever was chosen: what the kernel does is not simulated."""
        return DirtyBitmap(len(self.contents) // PAGE_BYTES, self.holding)

    def begin_tracking(self) -> None:
        """Do nothing: it has one user."""

    def end_tracking(self) -> None:
        """Do nothing."""

    @property
    def is_its_own(self) -> bool:
        """Say so: there is nobody else."""
        return True

    @property
    def is_preallocated(self) -> bool:
        """Say so: it is all there."""
        return True

    def place(self, runs: Runs, data: memoryview) -> None:
        """Write what a stream brings."""
        scatter(
            np.frombuffer(self.buffer, dtype=np.uint8).reshape(-1, PAGE_BYTES),
            runs,
            np.frombuffer(data, dtype=np.uint8).reshape(-1, PAGE_BYTES),
        )

    def lend(self) -> int:
        """Lend it to nobody: its VM is on a host of its own."""
        raise AssertionError("a simulated VM has no unix socket to pass a descriptor through")

    def adopt(self, descriptor: int) -> None:
        """Adopt nothing, likewise."""
        raise AssertionError(f"no descriptor {descriptor} was passed in")

    def take_back(self) -> None:
        """Do nothing: it is never lent."""

    def part(self) -> None:
        """Do nothing: it is never lent."""

    def settle(self) -> None:
        """Do nothing: it is never parted."""

    def rejoin(self) -> None:
        """Do nothing: it is never lent."""

    def own(self) -> None:
        """Do nothing: nothing is adopted."""

    def digest(self) -> bytes:
        """Hash the whole of it; of zeros only where they are."""
        hashed = hashlib.sha256()
        for start in range(0, len(self.contents), _BLOCK_BYTES):
            if not self.contents.startswith(_ZEROS, start):
                hashed.update(start.to_bytes(8, "little"))
                hashed.update(self.buffer[start : start + _BLOCK_BYTES])
        return hashed.digest()

    def close(self) -> None:
        """Keep it: it is compared after its process has ended."""

    def release(self) -> None:
        """Do nothing: it goes by itself."""


class TouchedMemoryError(AssertionError):
    """Memory was written to by a VM that could only read it."""


class LendableMemory(GuestMemory):
    """Guest RAM that a VM on the same host can be lent."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._as_adopted = b""

    @property
    def contents(self) -> bytes:
        """The contents, as this VM sees them."""
        return bytes(self.buffer)

    def holding(self, runs: Runs) -> Runs:
        """Return what may hold data, in coarse blocks."""
        view = self.buffer
        return _in_blocks(runs, lambda at: bytes(view[at : at + _BLOCK_BYTES]) == _ZEROS)

    def dirty_record(self, choice: DirtyTracking) -> DirtyRecord:
        """Return a bitmap, whatever was chosen: what the kernel does is not simulated."""
        return super().dirty_record(DirtyTracking.BITMAP)

    def part(self) -> None:
        """Part at once: there is no thread here."""
        super().part()
        self.settle()

    def adopt(self, descriptor: int) -> None:
        """Become another VM's memory, and note what it is before it is owned."""
        super().adopt(descriptor)
        self._as_adopted = self.contents

    def own(self) -> None:
        """Let what was adopted be written to; TouchedMemoryError if it was before."""
        if self._is_adopted and self._as_adopted != self.contents:
            raise TouchedMemoryError("adopted memory was written to before it was owned")
        super().own()

    def _exchange(self, fd: int, *, writable: bool, shared: bool) -> None:
        super()._exchange(fd, writable=True, shared=shared)

    def close(self) -> None:
        """Keep it: it is compared after its process has ended."""

    def release(self) -> None:
        """Let go of mapping and descriptor."""
        super().close()


#: What a simulated VM may have.
AnyMemory: TypeAlias = SimulatedMemory | LendableMemory

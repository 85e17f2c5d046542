"""Guest memory as the host provides it: an anonymous file, mapped and shared.

What may live here: making, lending and releasing the mapping, which of its pages hold data, and
the digest of what is in it. What the pages mean belongs to `devices.ram`, what notes their being
written to `devices.dirty` and dirty_kernel.py.

Pages that were never touched are holes of the file: they are zero by definition and are neither
read nor allocated here, because reading one through the mapping would allocate it.

While writes are tracked, all access goes through the one mapping: the kernel's record would not
see a store through a second one or a write to the file, and a bitmap sees even less. So the
descriptor is private, it is lent to another process only while nothing is tracked, and tracking
is refused while it is lent; a forked child does not inherit the mapping. To seal the file against
other writers (F_SEAL_FUTURE_WRITE) would say the same to the kernel, but for good: who is lent a
sealed file can never map it writable, and a VM that moves by handing over its memory must.

The digest is a hash of hashes: SHA-256 of the SHA-256 of each 1 MiB of RAM, in order, so that the
blocks can be hashed by as many threads as there are processors to spare and the result is the
same; a block that is a hole has a known hash. hashlib releases the GIL for a block. SHA-256 is
also the fastest here: with the SHA instructions of current processors 1.65 GiB/s per thread,
against 0.86 for BLAKE2b and 0.77 for SHA-512 (measured over a 256 MiB mapping).
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np

from devices.dirty import DirtyBitmap, DirtyRecord
from devices.page_runs import Runs
from devices.ram import PAGE_BYTES
from engine.driver.dirty_kernel import KernelDirtyRecord
from engine.driver.residency import Residency
from engine.driver.shared_mapping import allow_writing, exchange
from engine.profile import DirtyTracking

_DIGEST_BLOCK_BYTES = 1 << 20
#: Who maps the memory must not find its end before the mapping's: that is a SIGBUS.
_SIZE_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


class GuestMemoryError(OSError):
    """The host did not provide the memory, or the record of it, that was asked for."""


class MemoryTrackedError(GuestMemoryError):
    """The memory's descriptor was asked for while writes are tracked through its mapping."""


class MemoryLentError(GuestMemoryError):
    """Tracking was asked for while another process may write to the memory."""


class Memory(Protocol):
    """Guest RAM, from wherever: zeros at first."""

    @property
    def buffer(self) -> memoryview:
        """The memory itself, writable."""
        ...

    def holding(self, runs: Runs) -> Runs:
        """Return those of the pages that may hold data; the rest is zero. Touches none."""
        ...

    def dirty_record(self, choice: DirtyTracking) -> DirtyRecord:
        """Return what notes writes to it; GuestMemoryError when it is not what was chosen."""
        ...

    def begin_tracking(self) -> None:
        """Let nobody else at it; MemoryLentError when somebody is already."""
        ...

    def end_tracking(self) -> None:
        """Allow others again."""
        ...

    def place(self, offset: int, data: memoryview) -> None:
        """Write what a stream brings; it is inside."""
        ...

    def lend(self) -> int:
        """Return a descriptor of it for another process; the caller closes it."""
        ...

    def take_back(self) -> None:
        """Say that nobody else will write to it; that cannot be said once it is parted."""
        ...

    def part(self) -> None:
        """See no more of what is written to it elsewhere, and write nothing others see."""
        ...

    def settle(self) -> None:
        """Wait until `part` is done: from then on it may be written to."""
        ...

    def rejoin(self) -> None:
        """Undo `part`, and take it back."""
        ...

    def adopt(self, descriptor: int) -> None:
        """Become the memory of another process, to be read only until `own`.

        Closes the descriptor. GuestMemoryError, and nothing is changed, if it is no such memory.
        """
        ...

    def own(self) -> None:
        """Let what was adopted be written to."""
        ...

    def digest(self) -> bytes:
        """Hash the whole of it."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class GuestMemory:
    """Guest RAM in a memfd, mapped shared, so that another process can be lent the descriptor.

    Pages cost nothing until they are touched; touching includes reading.
    """

    #: The mapping: writable, zero at first.
    buffer: memoryview

    def __init__(self, size_bytes: int, name: str = "replug-ram") -> None:
        """Map `size_bytes` (> 0) of zeros; GuestMemoryError when the host refuses."""
        try:
            self._fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.ftruncate(self._fd, size_bytes)
                fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SIZE_SEALS)
                self._mapping = mmap.mmap(self._fd, size_bytes)
                self._mapping.madvise(mmap.MADV_DONTFORK)
            except BaseException:
                os.close(self._fd)
                raise
        except (OSError, ValueError) as error:
            raise GuestMemoryError(
                f"cannot set up guest memory of {size_bytes} bytes: {error}; give the VM less "
                "with -m, or free some"
            ) from error
        self.buffer = memoryview(self._mapping)
        self._address = np.frombuffer(self.buffer, dtype=np.uint8).ctypes.data
        self._residency = Residency(self._fd, self._address, size_bytes)
        self._kernel_record: KernelDirtyRecord | None = None
        self._is_tracked = False
        self._is_lent = False
        self._is_parted = False
        self._parting: threading.Thread | None = None
        self._is_adopted = False

    def holding(self, runs: Runs) -> Runs:
        """Return those of the pages that hold data; the rest was never touched."""
        return self._residency.holding(runs)

    @property
    def allocated_bytes(self) -> int:
        """How much of the host's memory it takes."""
        return self._residency.allocated_bytes

    def dirty_record(self, choice: DirtyTracking) -> DirtyRecord:
        """Return the kernel's record of it, or a bitmap; see `DirtyTracking`.

        GuestMemoryError when only the kernel's will do and there is none.
        """
        size_bytes = self.buffer.nbytes
        if choice is not DirtyTracking.BITMAP:
            try:
                record = KernelDirtyRecord(self._address, size_bytes, self.holding)
            except OSError as error:
                if choice is DirtyTracking.KERNEL:
                    raise GuestMemoryError(
                        f"the kernel cannot track writes to guest memory: {error}; it takes Linux "
                        "6.7 or later with userfaultfd, or -global replug.dirty_tracking=bitmap"
                    ) from error
            else:
                self._kernel_record = record
                return record
        return DirtyBitmap(size_bytes // PAGE_BYTES, self.holding)

    def begin_tracking(self) -> None:
        """Lend the descriptor to nobody from now on; MemoryLentError when it is lent."""
        if self._is_lent:
            raise MemoryLentError(
                "expected guest memory that only this process can write to, but it is lent: take "
                "it back once the other process has let go of it"
            )
        self._is_tracked = True

    def end_tracking(self) -> None:
        """The descriptor may be lent again."""
        self._is_tracked = False

    def lend(self) -> int:
        """Return a descriptor of the memory for another process; the caller closes it.

        MemoryTrackedError while writes are tracked. Until `take_back` nothing can be tracked.
        """
        if self._is_tracked:
            raise MemoryTrackedError(
                "guest memory cannot be lent while writes to it are tracked: another process's "
                "would not be seen; end the migration that tracks them first"
            )
        descriptor = fcntl.fcntl(self._fd, fcntl.F_DUPFD_CLOEXEC, 0)
        self._is_lent = True
        return descriptor

    def take_back(self) -> None:
        """Say that whoever was lent the memory will not write to it; not once it is parted."""
        if not self._is_parted:
            self._is_lent = False

    def part(self) -> None:
        """See no more of what is written to it elsewhere, and write nothing others see."""
        if self._is_lent and not self._is_parted:
            self._is_parted = True
            # Unmapping takes 50 ms for a GiB, in the middle of the guest's downtime.
            self._parting = threading.Thread(
                target=partial(self._exchange, self._fd, writable=True, shared=False)
            )
            self._parting.start()

    def settle(self) -> None:
        """Wait until `part` is done: from then on it may be written to."""
        if self._parting is not None:
            self._parting.join()
            self._parting = None

    def rejoin(self) -> None:
        """Undo `part`, and take it back."""
        self.settle()
        if self._is_parted:
            self._exchange(self._fd, writable=True, shared=True)
            self._is_parted = False
            self._renew_record()
            self.take_back()

    def adopt(self, descriptor: int) -> None:
        """Become the memory of another process, to be read only until `own`.

        Closes the descriptor. GuestMemoryError, and nothing is changed, if it is no such memory.
        """
        try:
            _check_adoptable(descriptor, self.buffer.nbytes)
            self._exchange(descriptor, writable=False, shared=True)
        except OSError:
            os.close(descriptor)
            raise
        os.close(self._fd)
        self._residency.close()
        self._fd = descriptor
        self._residency = Residency(descriptor, self._address, self.buffer.nbytes)
        self._is_adopted = True

    def own(self) -> None:
        """Let what was adopted be written to."""
        if self._is_adopted:
            self._is_adopted = False
            allow_writing(self._address, self.buffer.nbytes)
            self._renew_record()

    def _exchange(self, fd: int, *, writable: bool, shared: bool) -> None:
        size_bytes = self.buffer.nbytes
        try:
            exchange(self._address, size_bytes, fd, writable=writable, shared=shared)
        except OSError as error:
            raise GuestMemoryError(f"cannot map guest memory anew: {error}") from error

    def _renew_record(self) -> None:
        if self._kernel_record is not None:
            self._kernel_record.renew()

    def place(self, offset: int, data: memoryview) -> None:
        """Write to the file what a stream brings: new pages, mostly.

        Half the price of writing to the mapping, where each new page costs a fault and is cleared
        first (1.9 GiB/s against 0.9, measured). The mapping shows the same bytes; what is tracked
        is written there, for the kernel notes nothing else.
        """
        if self._is_tracked:
            self.buffer[offset : offset + data.nbytes] = data
            return
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written

    def digest(self, *, threads: int = 1) -> bytes:
        """Hash the whole of RAM like `digest`, without reading what was never touched."""
        return _digest(self.buffer, self._residency.extents(), threads)

    def close(self) -> None:
        """Close the descriptor and let go of the mapping.

        The mapping itself goes when the last view into it does, so a RAM that still refers to it
        stays readable.
        """
        self.settle()
        if self._fd < 0:
            return
        if self._kernel_record is not None:
            self._kernel_record.close()
        self._residency.close()
        os.close(self._fd)
        self._fd = -1
        try:
            self.buffer.release()
            self._mapping.close()
        except BufferError:
            # Somebody still looks at it (an array over it, a write in progress); the last one out
            # unmaps it.
            pass


def _check_adoptable(descriptor: int, size_bytes: int) -> None:
    """Raise GuestMemoryError unless it is a file in memory, of this size for ever."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        seals = 0  # no file in memory at all
    there_bytes = os.fstat(descriptor).st_size
    if seals & _SIZE_SEALS != _SIZE_SEALS or there_bytes != size_bytes:
        raise GuestMemoryError(
            f"expected the memory of a replug source, {size_bytes} bytes that cannot change in "
            f"number, got a descriptor of {there_bytes} bytes with seals {seals:#x}"
        )


def digest(ram_view: memoryview, *, threads: int = 1) -> bytes:
    """Hash the whole of RAM; 32 bytes, the same for every number of threads.

    Blocks its caller, not the interpreter: call it from a worker thread. RAM must not change
    meanwhile.
    """
    whole = ram_view.cast("B") if ram_view.format != "B" or ram_view.ndim != 1 else ram_view
    return _digest(whole, [(0, whole.nbytes)], threads)


def _digest(whole: memoryview, extents: list[tuple[int, int]], threads: int) -> bytes:
    outer = hashlib.sha256()
    blocks = _blocks(whole, extents)
    if threads <= 1:
        for block in blocks:
            outer.update(_hash(block))
    else:
        with ThreadPoolExecutor(threads, "ram-digest") as pool:
            for hashed in pool.map(_hash, blocks):
                outer.update(hashed)
    return outer.digest()


def _blocks(whole: memoryview, extents: list[tuple[int, int]]) -> Iterator[memoryview | None]:
    """Yield the blocks in order; None stands for a whole block of zeros."""
    data = iter([*extents, (whole.nbytes, whole.nbytes)])
    first, last = next(data)
    for start in range(0, whole.nbytes, _DIGEST_BLOCK_BYTES):
        end = min(start + _DIGEST_BLOCK_BYTES, whole.nbytes)
        while last <= start and first < whole.nbytes:
            first, last = next(data)
        is_hole = first >= end and end - start == _DIGEST_BLOCK_BYTES
        yield None if is_hole else whole[start:end]


def _hash(block: memoryview | None) -> bytes:
    return _ZERO_HASH if block is None else hashlib.sha256(block).digest()


_ZERO_HASH = hashlib.sha256(bytes(_DIGEST_BLOCK_BYTES)).digest()

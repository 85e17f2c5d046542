"""Guest memory as the host provides it: an anonymous file, mapped and shared.

What may live here: making, lending and releasing the mapping, and which of its pages hold data.
The digest of what is in it is ram_digest.py's. What the pages mean belongs to `devices.ram`, what
notes their being written to `devices.dirty` and dirty_kernel.py.

Pages that were never touched are holes of the file: they are zero by definition and are neither
read nor allocated here, because reading one through the mapping would allocate it.

While writes are tracked, all writing goes through the one mapping: the kernel's record would not
see a store through a second one or a write to the file, and a bitmap sees even less. Another
mapping, from which streams are read, cannot be written to. So the descriptor is private, it is lent
to another process only while nothing is tracked, and tracking is refused while it is lent; a forked
child does not inherit the mapping. To seal the file against other writers (F_SEAL_FUTURE_WRITE)
would say the same to the kernel, but for good: who is lent a sealed file can never map it writable,
and a VM that moves by handing over its memory must.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
from functools import partial
from typing import Protocol

import numpy as np

from devices.dirty import DirtyBitmap, DirtyRecord
from devices.page_copies import scatter
from devices.page_runs import Runs
from devices.ram import PAGE_BYTES
from engine.driver.dirty_kernel import KernelDirtyRecord
from engine.driver.ram_digest import digest_of_extents
from engine.driver.residency import Residency
from engine.driver.shared_mapping import allow_writing, exchange
from engine.profile import DirtyTracking

#: Make the pages, and map them (Linux 5.14).
_MADV_POPULATE_WRITE = 23
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

    def reading_view(self) -> memoryview:
        """Return the memory, to be read only, by the cheapest way to read much of it once."""
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

    @property
    def is_its_own(self) -> bool:
        """Whether it was zero at first, and nobody but who has its buffer ever wrote to it."""
        ...

    @property
    def is_preallocated(self) -> bool:
        """Whether all of it is in memory, and in this process's page tables."""
        ...

    def place(self, runs: Runs, data: memoryview) -> None:
        """Write the pages that a stream brings; they are inside, and the data is theirs."""
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

    def __init__(
        self, size_bytes: int, name: str = "replug-ram", *, preallocated: bool = False
    ) -> None:
        """Map `size_bytes` (> 0) of zeros; GuestMemoryError when the host refuses.

        Preallocated, all of it is taken from the host now: no page costs anything later.
        """
        try:
            self._fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                os.ftruncate(self._fd, size_bytes)
                fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, _SIZE_SEALS)
                self._mapping = mmap.mmap(self._fd, size_bytes)
                self._mapping.madvise(mmap.MADV_DONTFORK)
                if preallocated:
                    self._mapping.madvise(_MADV_POPULATE_WRITE)
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
        self._reading: mmap.mmap | None = None
        self._is_preallocated = preallocated
        self._is_its_own = True
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

    def reading_view(self) -> memoryview:
        """Return the memory, to be read only, by the cheapest way to read much of it once.

        Where the kernel records writes to the mapping, each page that was never used through it
        costs a fault of its own when it is read there. A second mapping, of which nobody can
        write anything, is filled by fewer faults: 0.17 s for a GiB to be copied, against 0.67.
        """
        if self._kernel_record is None or self._residency.is_mostly_used():
            return self.buffer.toreadonly()
        if self._reading is None:
            self._reading = mmap.mmap(self._fd, self.buffer.nbytes, prot=mmap.PROT_READ)
            self._reading.madvise(mmap.MADV_DONTFORK)
        return memoryview(self._reading)

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
        self._is_its_own = False
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
        self._is_its_own = self._is_preallocated = False

    def own(self) -> None:
        """Let what was adopted be written to."""
        if self._is_adopted:
            self._is_adopted = False
            allow_writing(self._address, self.buffer.nbytes)
            self._renew_record()

    def _exchange(self, fd: int, *, writable: bool, shared: bool) -> None:
        # Of other memory, from here on; unmapped once nobody looks at it any more.
        self._reading = None
        size_bytes = self.buffer.nbytes
        try:
            exchange(self._address, size_bytes, fd, writable=writable, shared=shared)
        except OSError as error:
            raise GuestMemoryError(f"cannot map guest memory anew: {error}") from error

    def _renew_record(self) -> None:
        if self._kernel_record is not None:
            self._kernel_record.renew()

    @property
    def is_its_own(self) -> bool:
        """Whether nobody else was ever lent it, and it was never somebody else's."""
        return self._is_its_own

    @property
    def is_preallocated(self) -> bool:
        """Whether all of it is there already."""
        return self._is_preallocated

    def place(self, runs: Runs, data: memoryview) -> None:
        """Write to the file what a stream brings: new pages, mostly.

        Half the price of writing to the mapping, where each new page costs a fault and is cleared
        first (1.9 GiB/s against 0.9, measured). The mapping shows the same bytes; what is tracked
        is written there, for the kernel notes nothing else. Where the pages are there already,
        preallocated, it is the mapping that costs half as much.
        """
        if self._is_tracked or self._is_preallocated:
            memory = np.frombuffer(self.buffer, dtype=np.uint8).reshape(-1, PAGE_BYTES)
            scatter(memory, runs, np.frombuffer(data, dtype=np.uint8).reshape(-1, PAGE_BYTES))
            return
        start = 0
        for first, after in (runs * PAGE_BYTES).tolist():
            end = start + after - first
            self._write(first, data[start:end])
            start = end

    def _write(self, offset: int, data: memoryview) -> None:
        while data:
            written = os.pwrite(self._fd, data, offset)
            data, offset = data[written:], offset + written

    def digest(self, *, threads: int = 1) -> bytes:
        """Hash the whole of RAM like `digest`, without reading what was never touched."""
        return digest_of_extents(self.buffer, self._residency.extents(), threads)

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
        self._reading = None
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

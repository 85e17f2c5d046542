"""Guest memory as the host provides it: an anonymous file, mapped and shared.

What may live here: making and releasing the mapping, and the digest of what is in it. What the
pages mean, and which are dirty, belongs to `devices.ram`.

Pages that were never touched are holes of the file: they are zero by definition and are neither
read nor allocated here, because reading one through the mapping would allocate it.

The digest is a hash of hashes: SHA-256 of the SHA-256 of each 1 MiB of RAM, in order, so that the
blocks can be hashed by as many threads as there are processors to spare and the result is the
same; a block that is a hole has a known hash. hashlib releases the GIL for a block. SHA-256 is
also the fastest here: with the SHA instructions of current processors 1.65 GiB/s per thread,
against 0.86 for BLAKE2b and 0.77 for SHA-512 (measured over a 256 MiB mapping).
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from devices.page_runs import Runs, intersection, one_run
from devices.ram import PAGE_BYTES, BitmapRam

_DIGEST_BLOCK_BYTES = 1 << 20


class GuestMemoryError(OSError):
    """The host did not provide the memory that was asked for."""


class Memory(Protocol):
    """Guest RAM, from wherever: zeros at first."""

    @property
    def buffer(self) -> memoryview:
        """The memory itself, writable."""
        ...

    def extents(self) -> list[tuple[int, int]]:
        """Return where it may hold data: (start, end) in bytes, ascending; the rest is zero."""
        ...

    def place(self, offset: int, data: memoryview) -> None:
        """Write what a stream brings; it is inside."""
        ...

    def digest(self) -> bytes:
        """Hash the whole of it."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class GuestMemory:
    """Guest RAM in a memfd, mapped shared, so that another process can be handed the descriptor.

    Pages cost nothing until they are touched; touching includes reading.
    """

    #: The memfd's descriptor; -1 once closed.
    fd: int
    #: The mapping: writable, zero at first.
    buffer: memoryview

    def __init__(self, size_bytes: int, name: str = "replug-ram") -> None:
        """Map `size_bytes` (> 0) of zeros; GuestMemoryError when the host refuses."""
        try:
            self.fd = os.memfd_create(name, os.MFD_CLOEXEC)
            try:
                os.ftruncate(self.fd, size_bytes)
                self._mapping = mmap.mmap(self.fd, size_bytes)
            except BaseException:
                os.close(self.fd)
                raise
        except (OSError, ValueError) as error:
            raise GuestMemoryError(
                f"cannot set up guest memory of {size_bytes} bytes: {error}; give the VM less "
                "with -m, or free some"
            ) from error
        self.buffer = memoryview(self._mapping)

    def extents(self) -> list[tuple[int, int]]:
        """Return where the file holds data: (start, end) in bytes, ascending; the rest is zero."""
        found: list[tuple[int, int]] = []
        size_bytes = self.buffer.nbytes
        end = 0
        while end < size_bytes:
            try:
                start = os.lseek(self.fd, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            end = min(os.lseek(self.fd, start, os.SEEK_HOLE), size_bytes)
            found.append((start, end))
        return found

    def place(self, offset: int, data: memoryview) -> None:
        """Write to the file what a stream brings: new pages, mostly.

        Half the price of writing to the mapping, where each new page costs a fault and is cleared
        first (1.9 GiB/s against 0.9, measured). The mapping shows the same bytes.
        """
        while data:
            written = os.pwrite(self.fd, data, offset)
            data, offset = data[written:], offset + written

    def digest(self, *, threads: int = 1) -> bytes:
        """Hash the whole of RAM like `digest`, without reading what was never touched."""
        return _digest(self.buffer, self.extents(), threads)

    def close(self) -> None:
        """Close the descriptor and let go of the mapping.

        The mapping itself goes when the last view into it does, so a RAM that still refers to it
        stays readable.
        """
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        try:
            self.buffer.release()
            self._mapping.close()
        except BufferError:
            # Somebody still looks at it (an array over it, a write in progress); the last one out
            # unmaps it.
            pass


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


class GuestRam(BitmapRam):
    """RAM in a memfd: what was never touched is not dirty but zero, and is not read."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory.buffer)
        self._memory = memory

    def start_tracking(self, *, all_dirty: bool = False) -> None:
        """Record writes from now on; with `all_dirty`, every page that may hold contents."""
        self._record.start(self._holding(one_run(0, self.pages if all_dirty else 0)))

    def place(self, first_page: int, data: memoryview) -> None:
        """Write whole pages, as a stream brings them, by way of the host's own memory."""
        # For its checks and its marks: nothing is written through the view.
        self.receive_view(first_page, data.nbytes // PAGE_BYTES)
        self._memory.place(first_page * PAGE_BYTES, data)

    def _holding(self, runs: Runs) -> Runs:
        extents = np.array(self._memory.extents(), dtype=np.int64).reshape(-1, 2)
        extents[:, 1] += PAGE_BYTES - 1
        return intersection(runs, extents // PAGE_BYTES)

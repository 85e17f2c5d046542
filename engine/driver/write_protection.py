"""The kernel's own record of stores to a mapping: userfaultfd and PAGEMAP_SCAN, as they are.

What may live here: these two interfaces of Linux for one mapping, with their numbers; what is
made of them is dirty_kernel.py's.

A page that is protected is noted by the kernel when it is next written, and let go at once: with
WP_ASYNC nobody is asked and no thread waits (Linux 6.7; Documentation/admin-guide/mm/pagemap.rst,
PAGEMAP_SCAN). What was written is then found, and protected again in the same stroke, by walking
the page tables: `scan`. It counts by page-table entry:

- an entry that is protected was not written, be it of a page or of none yet (WP_UNPOPULATED);
- any other counts as written, an empty one too where its neighbours have been used, because a
  page that was written and then swapped out leaves an empty entry;
- where no page table is, nothing was written since the mapping was made, and nothing is walked.

userfaultfd is opened with UFFD_USER_MODE_ONLY, which needs no privilege: it only keeps faults of
the kernel from being handed to a thread, and with WP_ASYNC none ever is.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct

import numpy as np
import numpy.typing as npt

#: What asm/unistd.h calls __NR_userfaultfd: the C library has no function for it.
_SYSTEM_CALLS = {"x86_64": 323, "aarch64": 282, "riscv64": 282, "loongarch64": 282, "s390x": 355}

_USER_MODE_ONLY = 1
_API_VERSION = 0xAA
#: UFFD_FEATURE_WP_HUGETLBFS_SHMEM, _WP_UNPOPULATED and _WP_ASYNC.
_FEATURES = 1 << 12 | 1 << 13 | 1 << 15
_API = 0xC018AA3F
_REGISTER = 0xC020AA00
_WRITE_PROTECT = 0xC018AA06
_MODE_WRITE_PROTECT = 1 << 1
_PROTECT = 1 << 0

_PAGEMAP_SCAN = 0xC0606610
_SCAN = struct.Struct("=12Q")
#: PM_SCAN_WP_MATCHING and PM_SCAN_CHECK_WPASYNC.
_PROTECT_MATCHING, _ONLY_ASYNC = 1 << 0, 1 << 1
#: PAGE_IS_WRITTEN; asked for alone, and only then, empty entries count as written.
_IS_WRITTEN = 1 << 1
#: Where the kernel got to, in what it gives back.
_WALK_END = 4
#: Runs fetched in one call: 1.5 MiB of them.
_RUNS_PER_CALL = 1 << 16

Places = npt.NDArray[np.int64]


class WriteProtection:
    """One mapping whose stores the kernel notes, from now until it is closed.

    Nothing is protected at first: everything that has been used counts as written.
    """

    def __init__(self, address: int, size_bytes: int) -> None:
        """Take charge of the mapping at `address`; OSError where the kernel cannot do this."""
        self._address = address
        self._size_bytes = size_bytes
        self._userfault = self._pagemap = -1
        try:
            self._userfault = _open_userfault()
            self._control(_API, struct.pack("=3Q", _API_VERSION, _FEATURES, 0))
            register = struct.pack("=4Q", address, size_bytes, _MODE_WRITE_PROTECT, 0)
            self._control(_REGISTER, register)
            self._pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
            # Of nothing: what matters is whether the kernel knows the question.
            self._walk(np.empty((1, 3), dtype=np.uint64), address, address, 0)
        except BaseException:
            self.close()
            raise

    def protect(self, start: int, end: int) -> None:
        """Protect the bytes from `start` up to `end`, whole pages, whatever they are now."""
        asked = struct.pack("=3Q", self._address + start, end - start, _PROTECT)
        self._control(_WRITE_PROTECT, asked)

    def scan(self, *, protect: bool) -> Places:
        """Return what was written, as rows of (start, end) in bytes, ascending and disjoint.

        With `protect` it is protected again in the same stroke: a store is either in this answer
        or in the next. The cost is in the page tables there are and in what is returned.
        """
        found: list[Places] = []
        vector = np.empty((_RUNS_PER_CALL, 3), dtype=np.uint64)
        position, end = self._address, self._address + self._size_bytes
        flags = _ONLY_ASYNC | (_PROTECT_MATCHING if protect else 0)
        while position < end:
            count, position = self._walk(vector, position, end, flags)
            found.append((vector[:count, :2] - np.uint64(self._address)).astype(np.int64))
        return _joined(np.concatenate(found))

    def close(self) -> None:
        """Let go of the mapping; what was protected no longer is."""
        for descriptor in (self._userfault, self._pagemap):
            if descriptor >= 0:
                os.close(descriptor)
        self._userfault = self._pagemap = -1

    def _control(self, request: int, argument: bytes) -> None:
        fcntl.ioctl(self._userfault, request, bytearray(argument))

    def _walk(
        self, vector: npt.NDArray[np.uint64], start: int, end: int, flags: int
    ) -> tuple[int, int]:
        place = vector.ctypes.data
        asked = (_SCAN.size, flags, start, end, 0, place, len(vector), 0)
        argument = bytearray(_SCAN.pack(*asked, 0, _IS_WRITTEN, 0, _IS_WRITTEN))
        count = fcntl.ioctl(self._pagemap, _PAGEMAP_SCAN, argument)
        return count, _SCAN.unpack(argument)[_WALK_END]


def _joined(places: Places) -> Places:
    """Make one of rows that touch, as where one call ended and the next began."""
    begins = np.insert(places[1:, 0] != places[:-1, 1], 0, values=True)[: len(places)]
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(places))[: first.size] - 1
    return np.stack((places[first, 0], places[last, 1]), axis=1)


def _open_userfault() -> int:
    number = _SYSTEM_CALLS.get(platform.machine())
    if number is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(errno.ENOSYS, f"userfaultfd is not known here on {platform.machine()}")
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    flags = os.O_CLOEXEC | os.O_NONBLOCK | _USER_MODE_ONLY
    descriptor = call(ctypes.c_long(number), ctypes.c_long(flags))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), f"userfaultfd: {os.strerror(ctypes.get_errno())}")
    return int(descriptor)

"""The kernel's own record of stores to a mapping: userfaultfd with asynchronous write protection.

What may live here: that interface of Linux for one mapping, with its numbers; what is made of it
is dirty_kernel.py's.

A page that is protected is noted by the kernel when it is next written, and let go at once: with
WP_ASYNC nobody is asked and no thread waits (Linux 6.7). What was written is then found, and
protected again in the same stroke, by walking the page tables. It counts by page-table entry:

- an entry that is protected was not written, be it of a page or of none yet (WP_UNPOPULATED);
- any other counts as written; so does an empty one, because a page that was written and then
  swapped out leaves one. To protect what was never used takes page tables, 2 MiB for a GiB.

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

from engine.driver.page_map import PageMap, Places

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


class WriteProtection:
    """One mapping whose stores the kernel notes, from now until it is closed.

    Nothing is protected at first: everything that has been used counts as written.
    """

    def __init__(self, address: int, size_bytes: int) -> None:
        """Take charge of the mapping at `address`; OSError where the kernel cannot do this."""
        self._address = address
        self._userfault = -1
        self._page_map = PageMap()
        try:
            self._userfault = _open_userfault()
            self._control(_API, struct.pack("=3Q", _API_VERSION, _FEATURES, 0))
            register = struct.pack("=4Q", address, size_bytes, _MODE_WRITE_PROTECT, 0)
            self._control(_REGISTER, register)
        except BaseException:
            self.close()
            raise

    def protect(self, start: int, end: int) -> None:
        """Protect the bytes from `start` up to `end`, whole pages, whatever they are now."""
        asked = struct.pack("=3Q", self._address + start, end - start, _PROTECT)
        self._control(_WRITE_PROTECT, asked)

    def scan(self, start: int, end: int, *, protect: bool) -> Places:
        """Return what was written of these bytes: rows of (start, end), ascending and disjoint.

        With `protect` it is protected again in the same stroke: a store is either in this answer
        or in the next.
        """
        first, after = self._address + start, self._address + end
        return self._page_map.written(first, after, protect=protect) - self._address

    def close(self) -> None:
        """Let go of the mapping; what was protected no longer is."""
        self._page_map.close()
        if self._userfault >= 0:
            os.close(self._userfault)
            self._userfault = -1

    def _control(self, request: int, argument: bytes) -> None:
        if self._userfault < 0:
            raise OSError(errno.EBADF, "the kernel's record of writes was let go of")
        fcntl.ioctl(self._userfault, request, bytearray(argument))


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

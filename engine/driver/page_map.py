"""This process's page tables, walked by the kernel: PAGEMAP_SCAN (Linux 6.7), as it is.

What may live here: that one system call, with its numbers (Documentation/admin-guide/mm/
pagemap.rst). What is made of its answers is residency.py's and write_protection.py's.

The cost is in the page tables there are and in what is returned: where nothing was ever used there
are no tables, and nothing is walked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

import numpy as np
import numpy.typing as npt

#: Bytes as rows (start, end), ascending and disjoint.
Places = npt.NDArray[np.int64]

_PAGEMAP_SCAN = 0xC0606610
_ARGUMENT = struct.Struct("=12Q")
#: PM_SCAN_WP_MATCHING and PM_SCAN_CHECK_WPASYNC.
_PROTECT_MATCHING, _ONLY_ASYNC = 1 << 0, 1 << 1
#: PAGE_IS_WRITTEN. Asked for alone, and only then, an empty entry counts as written too.
_IS_WRITTEN = 1 << 1
#: PAGE_IS_PRESENT.
_IS_PRESENT = 1 << 3
#: Where the kernel got to, in what it gives back.
_WALK_END = 4
#: Rows fetched in one call: 1.5 MiB of them.
_ROWS_PER_CALL = 1 << 16


class PageMap:
    """The page tables, from now until it is closed."""

    def __init__(self) -> None:
        """Open them; OSError where the kernel does not know how to walk them."""
        self._fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # Nothing is walked: what matters is whether the kernel knows the question.
            self._scan(0, 0, 0, _IS_PRESENT)
        except BaseException:
            self.close()
            raise

    def present(self, start: int, end: int) -> Places:
        """Return which addresses have a page: the process has used it, and it is in memory."""
        return self._scan(start, end, 0, _IS_PRESENT)

    def written(self, start: int, end: int, *, protect: bool) -> Places:
        """Return which addresses have an entry that is not protected; `protect` protects them.

        All of it has to be registered for asynchronous write protection, or it is an OSError.
        """
        flags = _ONLY_ASYNC | (_PROTECT_MATCHING if protect else 0)
        return self._scan(start, end, flags, _IS_WRITTEN)

    def close(self) -> None:
        """Let go of them."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _scan(self, start: int, end: int, flags: int, category: int) -> Places:
        if self._fd < 0:
            raise OSError(errno.EBADF, "the page tables were let go of")
        found: list[Places] = []
        vector = np.empty((_ROWS_PER_CALL, 3), dtype=np.uint64)
        while True:
            asked = (_ARGUMENT.size, flags, start, end, 0, vector.ctypes.data, len(vector), 0)
            argument = bytearray(_ARGUMENT.pack(*asked, 0, category, 0, category))
            count = fcntl.ioctl(self._fd, _PAGEMAP_SCAN, argument)
            found.append(vector[:count, :2].astype(np.int64))
            start = _ARGUMENT.unpack(argument)[_WALK_END]
            if start >= end:
                return found[0] if len(found) == 1 else _joined(np.concatenate(found))


def _joined(places: Places) -> Places:
    """Make one of rows that touch, as where one call ended and the next began."""
    begins = np.insert(places[1:, 0] != places[:-1, 1], 0, values=True)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(places)) - 1
    return np.stack((places[first, 0], places[last, 1]), axis=1)

"""Pages of memory into a socket, by reference: vmsplice(2) into a pipe, splice(2) out of it.

What may live here: the pipe and the two calls. Rules:

- nothing is copied on this side: the socket's queue refers to the pages, and what their owner
  writes to them until the other end has read them is what that reads;
- a page stays what it is in memory: its mapping, its protection and its record of writes are left
  alone, and nothing is given away (no SPLICE_F_GIFT);
- a pipe of so many bytes takes as many pages. It is empty between two pieces.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from devices.page_runs import Runs
from engine.driver.channel import GATHERED_MAX
from engine.live_pages import PagesInPlace
from engine.wire_runs import RunQueue

#: How much is moved at a time, if the system gives a pipe that much room.
_PIPE_BYTES = 1 << 20
#: With less than this, copying is faster: with 64 KiB it is so seven times.
PIPE_BYTES_MIN = 256 << 10
#: splice(2): do not wait, neither for the pipe nor for the socket.
_NONBLOCK = 2

_VMSPLICE = ctypes.CDLL(None, use_errno=True).vmsplice
_VMSPLICE.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint)
_VMSPLICE.restype = ctypes.c_ssize_t


class PageSplice:
    """What moves pages into one socket."""

    def __init__(self, fd: int) -> None:
        """Move pages into the non-blocking socket `fd`; OSError where there is no pipe for it."""
        self._fd = fd
        self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Refused when the user's pipes together are at their limit.
        with suppress(OSError):
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        #: How much the pipe holds.
        self.room_bytes = fcntl.fcntl(self._in, fcntl.F_GETPIPE_SZ)

    @classmethod
    def open(cls, fd: int) -> PageSplice | None:
        """Return one that works and pays, or None where the system does not allow it."""
        try:
            splice = cls(fd)
        except OSError:
            return None
        page: npt.NDArray[np.uint8] = np.zeros(1, dtype=np.uint8)
        try:
            splice._refer(page.ctypes.data, np.array([[0, 1]], dtype=np.int64), 1)
            os.read(splice._out, 1)
        except OSError:
            splice.room_bytes = 0
        if splice.room_bytes < PIPE_BYTES_MIN:
            splice.close()
            return None
        return splice

    def moves(self, pages: PagesInPlace) -> Iterator[bool]:
        """Move pages into the socket; False whenever it has to take some away first.

        OSError when it is broken.
        """
        page_bytes = pages.rows.shape[1]
        address = pages.rows.ctypes.data
        queue = RunQueue(pages.runs)
        while len(queue):
            # Of more than it has room for the pipe takes a part.
            referred_bytes = self._refer(address, queue.rest()[:GATHERED_MAX], page_bytes)
            queue.take(referred_bytes // page_bytes)
            yield from self._drain(referred_bytes)

    def _refer(self, address: int, runs: Runs, page_bytes: int) -> int:
        """Put references to pages into the pipe, and return how many bytes they have."""
        places: npt.NDArray[np.uint64] = (runs * page_bytes).astype(np.uint64)
        places[:, 1] -= places[:, 0]
        places[:, 0] += np.uint64(address)
        referred_bytes = _VMSPLICE(self._in, places.ctypes.data, len(places), _NONBLOCK)
        if referred_bytes < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        if not referred_bytes or referred_bytes % page_bytes:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return int(referred_bytes)

    def _drain(self, left_bytes: int) -> Iterator[bool]:
        while left_bytes:
            try:
                left_bytes -= os.splice(self._out, self._fd, left_bytes, flags=_NONBLOCK)
            except BlockingIOError:
                yield False
            else:
                yield True

    def close(self) -> None:
        """Let go of the pipe, and of the pages that are in it."""
        os.close(self._out)
        os.close(self._in)

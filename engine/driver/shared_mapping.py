"""One mapping whose memory is exchanged under those who look at it.

What may live here: mmap and mprotect at an address that is mapped already, which Python's mmap does
not do. Views and arrays over the mapping stay what they are; what they show changes.
"""

from __future__ import annotations

import ctypes
import mmap
import os

_FIXED = 0x10

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_FAILED = ctypes.c_void_p(-1).value


def exchange(address: int, size_bytes: int, fd: int, *, writable: bool, shared: bool) -> None:
    """Map the file `fd` at an address in place of what is mapped there; OSError if refused.

    What is not shared can be written to without the file or anybody else seeing it.
    """
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    flags = _FIXED | (mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE)
    if _libc.mmap(address, size_bytes, protection, flags, fd, 0) == _FAILED:
        raise _last_error()
    if _libc.madvise(address, size_bytes, mmap.MADV_DONTFORK):
        raise _last_error()


def allow_writing(address: int, size_bytes: int) -> None:
    """Let a mapping that could only be read be written to; OSError if refused."""
    if _libc.mprotect(address, size_bytes, mmap.PROT_READ | mmap.PROT_WRITE):
        raise _last_error()


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))

"""The digest of guest memory.

What may live here: the hash, and who computes how much of it.

The digest is a hash of hashes: SHA-256 of the SHA-256 of each 1 MiB of RAM, in order, so that the
blocks can be hashed by as many threads as there are processors to spare and the result is the
same; a block that is a hole has a known hash. hashlib releases the GIL for a block. SHA-256 is
also the fastest here: with the SHA instructions of current processors 1.65 GiB/s per thread,
against 0.86 for BLAKE2b and 0.77 for SHA-512 (measured over a 256 MiB mapping).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

_DIGEST_BLOCK_BYTES = 1 << 20


def digest(ram_view: memoryview, *, threads: int = 1) -> bytes:
    """Hash the whole of RAM; 32 bytes, the same for every number of threads.

    Blocks its caller, not the interpreter: call it from a worker thread. RAM must not change
    meanwhile.
    """
    whole = ram_view.cast("B") if ram_view.format != "B" or ram_view.ndim != 1 else ram_view
    return digest_of_extents(whole, [(0, whole.nbytes)], threads)


def digest_of_extents(whole: memoryview, extents: list[tuple[int, int]], threads: int) -> bytes:
    """Hash it like `digest`, knowing that it is zero outside of these (start, end) in bytes."""
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

"""engine.driver.memory and .clock: what the host gives a VM."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import time

import pytest

from devices.ram import PAGE_BYTES, BitmapRam
from engine.driver.clock import LoopClock
from engine.driver.memory import GuestMemory, GuestMemoryError
from engine.driver.ram_digest import digest

BLOCK_BYTES = 1 << 20


def test_guest_memory_is_zero_shared_and_outlives_its_close_while_looked_at() -> None:
    memory = GuestMemory(4 * PAGE_BYTES)
    ram = BitmapRam(memory.buffer)
    assert ram.read(0, ram.size_bytes) == bytes(4 * PAGE_BYTES)
    ram.write(5000, b"seen")
    fd = memory.lend()
    assert os.pread(fd, 4, 5000) == b"seen"
    with mmap.mmap(fd, 4 * PAGE_BYTES) as elsewhere:
        elsewhere[0:5] = b"other"
    assert ram.read(0, 5) == b"other"
    os.close(fd)
    before = os.listdir("/proc/self/fd")
    memory.close()
    memory.close()
    assert len(os.listdir("/proc/self/fd")) < len(before)
    ram.write(0, b"still")
    assert ram.read(0, 5) == b"still"


@pytest.mark.parametrize("size_bytes", [0, -1, 1 << 62])
def test_memory_that_cannot_be_had_is_refused(size_bytes: int) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(GuestMemoryError, match=f"guest memory of {size_bytes} bytes"):
        GuestMemory(size_bytes)
    assert os.listdir("/proc/self/fd") == before


def test_the_digest_is_the_documented_one_for_any_number_of_threads() -> None:
    content = os.urandom(PAGE_BYTES) * (2 * BLOCK_BYTES // PAGE_BYTES + 1)
    blocks = [content[i : i + BLOCK_BYTES] for i in range(0, len(content), BLOCK_BYTES)]
    assert len(blocks) == 3
    expected = hashlib.sha256(b"".join(hashlib.sha256(b).digest() for b in blocks)).digest()
    assert digest(memoryview(content)) == expected
    assert digest(memoryview(content).cast("Q"), threads=2) == expected
    assert digest(memoryview(content)[:-1]) != expected


def test_the_digest_neither_reads_nor_allocates_what_was_never_touched() -> None:
    memory = GuestMemory(16 * BLOCK_BYTES)
    ram = BitmapRam(memory.buffer)
    ram.write(5 * BLOCK_BYTES + 7, b"here")
    before = memory.allocated_bytes
    sparse = memory.digest()
    assert memory.allocated_bytes - before <= BLOCK_BYTES
    assert sparse == digest(memory.buffer) == memory.digest(threads=2)
    ram.write(16 * BLOCK_BYTES - 1, b"x")
    assert memory.digest() == digest(memory.buffer) != sparse
    memory.close()


def test_the_loop_s_clock_calls_back_when_due_unless_cancelled() -> None:
    async def main() -> None:
        clock = LoopClock()
        called: list[str] = []
        done = asyncio.Event()
        started_ms = clock.now_ms()
        clock.call_later(5, lambda: called.append("forgotten")).cancel()
        clock.call_later(20, done.set)
        clock.call_later(10, lambda: called.append("ten"))
        clock.call_later(-1, lambda: called.append("at once"))
        assert called == [], "never from within call_later"
        await asyncio.wait_for(done.wait(), 20)
        assert called == ["at once", "ten"]
        # A loop may be up to its clock's resolution early.
        assert clock.now_ms() - started_ms > 19
        seconds, microseconds = clock.wall()
        assert abs(seconds + microseconds / 1e6 - time.time()) < 20
        assert 0 <= microseconds < 1_000_000

    asyncio.run(main())

"""Pages that go into a socket by reference: what arrives is what they are when they are read."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import socket
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from devices.page_copies import Pages
from devices.page_runs import Runs, one_run
from engine.driver import page_splice
from engine.driver.channel import Channel, Piece, TransportError
from engine.driver.channel_stream import PipeChannel, SocketChannel
from engine.live_pages import PagesInPlace
from tests.integration.migration_streams import run
from tests.integration.test_transport import pair

PAGES, PAGE_BYTES = 2000, 4096
#: More runs than one call takes, more pages than a pipe does, and single pages.
SCATTERED: Runs = np.array([[page, page + 1] for page in range(0, 1998, 2)], dtype=np.int64)


@pytest.fixture
def memory() -> Pages:
    mapped = mmap.mmap(-1, PAGES * PAGE_BYTES)
    rows = np.frombuffer(mapped, dtype=np.uint8).reshape(PAGES, PAGE_BYTES)
    rows[:] = np.random.default_rng(3).integers(0, 256, rows.shape, dtype=np.uint8)
    return rows


async def arrived(target: Channel, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += await target.read(1 << 20)
    return received


def written(*frames: list[Piece]) -> Generator[list[Piece], None, None]:
    yield from frames


@pytest.mark.parametrize("runs", [one_run(0, PAGES), one_run(7, 8), SCATTERED], ids=len)
def test_they_arrive_between_what_is_written_before_and_after(
    memory: Pages, runs: Runs, tmp_path: Path
) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(source), closing(target):
            assert source.splices()
            frame: list[Piece] = [b"head", PagesInPlace(memory, runs), b"tail"]
            expected = b"".join(memory[first:end].tobytes() for first, end in runs.tolist())
            sending = asyncio.create_task(source.carry_out(written(frame, frame)))
            received = await arrived(target, 2 * (len(expected) + 8))
            assert received == (b"head" + expected + b"tail") * 2
            await sending

    run(main())


def test_what_is_written_to_one_before_it_is_read_is_what_is_read(
    memory: Pages, tmp_path: Path
) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(source), closing(target):
            assert source.splices()
            await source.carry_out(written([PagesInPlace(memory, one_run(5, 7))]))
            memory[6, :3] = 1, 2, 3
            assert await arrived(target, 2 * PAGE_BYTES) == memory[5:7].tobytes()

    run(main())


@pytest.mark.parametrize("goes", ["reader", "writer"])
def test_a_write_that_nobody_reads_fails_when_either_end_goes(
    memory: Pages, tmp_path: Path, goes: str
) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(source), closing(target):
            assert source.splices()
            frame: list[Piece] = [PagesInPlace(memory, one_run(0, PAGES))]
            sending = asyncio.create_task(source.carry_out(written(*[frame] * 10)))
            await target.read(1)
            (target.close if goes == "reader" else source.shutdown)()
            with pytest.raises(TransportError, match="Unable to write to socket: "):
                await sending

    run(main())


def test_cancelling_a_write_that_nobody_reads_ends_it(memory: Pages, tmp_path: Path) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(source), closing(target):
            assert source.splices()
            frame: list[Piece] = [PagesInPlace(memory, one_run(0, PAGES))]
            sending = asyncio.create_task(source.carry_out(written(*[frame] * 10)))
            await target.read(1)
            sending.cancel()
            # What only a hang can reach.
            await asyncio.wait([sending], timeout=5)
            assert sending.cancelled()

    run(main())


def test_it_goes_on_where_the_system_took_only_a_part(
    memory: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_of_it = page_splice._VMSPLICE
    monkeypatch.setattr(
        page_splice,
        "_VMSPLICE",
        lambda pipe, places, count, flags: all_of_it(pipe, places, min(count, 7), flags),
    )

    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(source), closing(target):
            assert source.splices()
            sending = asyncio.create_task(
                source.carry_out(written([PagesInPlace(memory, SCATTERED)]))
            )
            expected = b"".join(memory[first:end].tobytes() for first, end in SCATTERED.tolist())
            assert await arrived(target, len(expected)) == expected
            await sending

    run(main())


def test_a_closed_channel_needs_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        for end in (source, target):
            end.close()
        assert not source.splices()

    before = len(os.listdir("/proc/self/fd"))
    run(main())
    assert len(os.listdir("/proc/self/fd")) == before


def test_where_no_descriptor_is_left_the_channel_fails(
    memory: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, "")

    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(source), closing(target):
            monkeypatch.setattr(os, "eventfd", fail)
            monkeypatch.setattr(os, "pipe2", fail)
            assert not source.splices()
            with pytest.raises(TransportError, match="Unable to write to socket: Too many open"):
                await source.carry_out(written([PagesInPlace(memory, one_run(0, 1))]))

    run(main())


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        assert source.splices()
        assert source.splices()
        for end in (source, target):
            end.close()

    before = len(os.listdir("/proc/self/fd"))
    run(main())
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_no_stream_socket_of_this_machine_gets_copies() -> None:
    async def main() -> None:
        for end in await pair("tcp:127.0.0.1:0"):
            with closing(end):
                assert not end.splices()
        reading, writing = os.pipe()
        with closing(PipeChannel(writing, writing=True)) as channel:
            assert not channel.splices()
        os.close(reading)
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other, closing(SocketChannel(one)) as connected:
            assert not connected.splices()

    run(main())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("_VMSPLICE", lambda *_: -1, id="refused"),
        pytest.param("_PIPE_BYTES", 64 << 10, id="a small pipe"),
    ],
)
def test_where_it_cannot_be_or_does_not_pay_pages_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(page_splice, name, value)

    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(source), closing(target):
            assert not source.splices()

    before = len(os.listdir("/proc/self/fd"))
    run(main())
    assert len(os.listdir("/proc/self/fd")) == before

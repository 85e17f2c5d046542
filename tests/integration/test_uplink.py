"""engine.driver.uplink, and the framing below it, against a bare socket as the other end."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest

from devices.frames import (
    ControlFrame,
    ControlOperation,
    PlainFrame,
    build,
)
from engine.driver.channel import TransportError
from engine.driver.framing import POSTED_FRAMES_MAX, FramedSocket, FramingError
from engine.driver.uplink import Uplink
from tests.integration.switched_network import (
    GUEST,
    STATION,
    Wire,
    numbered,
    run,
    until,
)


def test_frames_are_framed_as_qemu_s_netdev_stream_does(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{tmp_path}/s")
            listener.listen()
            frames: list[bytes] = []
            lost: list[str] = []
            uplink = Uplink.connect(f"{tmp_path}/s", on_frame=frames.append, on_lost=lost.append)
            peer, _ = listener.accept()
            frame = numbered(STATION, GUEST, 7)
            assert uplink.send(frame)
            assert peer.recv(999) == len(frame).to_bytes(4, "big") + frame
            # Arriving byte by byte, two frames are still two frames.
            reply = numbered(GUEST, STATION, 8)
            for byte in (len(reply).to_bytes(4, "big") + reply) * 2:
                peer.send(bytes([byte]))
                uplink.drain()
            assert frames == [reply, reply]
            peer.send(b"\0\0\0\x3c half")
            peer.close()
            await until(lambda: lost)
            assert lost == ["the peer closed the connection"]
            assert frames == [reply, reply]
            assert uplink.closed
            assert not uplink.send(frame)
            with pytest.raises(TransportError, match="ASSOCIATE cannot be asked"):
                uplink.associate(GUEST)

    run(main())


@pytest.mark.parametrize("length", [0, 13, (64 << 10) + 1, 2**32 - 1])
def test_a_length_no_frame_has_ends_the_connection(length: int) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        lost: list[str] = []
        frames: list[bytes] = []
        Uplink(here, on_frame=frames.append, on_lost=lost.append)
        with there:
            good = numbered(GUEST, STATION, 1)
            there.send(len(good).to_bytes(4, "big") + good + length.to_bytes(4, "big") + good)
            await until(lambda: lost)
            assert str(length) in lost[0]
            assert frames == [good], "what came before it was delivered"

    run(main())


def test_a_frame_that_cannot_be_is_not_sent() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        with there, closing(Uplink(here, on_frame=print)) as uplink:
            for frame in (b"", bytes(13), bytes((64 << 10) + 1)):
                with pytest.raises(FramingError, match=f"not {len(frame)}"):
                    uplink.send(frame)

    run(main())


async def read_exactly(peer: socket.socket, size: int) -> bytes:
    """Read `size` bytes from a non-blocking socket, and find nothing behind them."""
    received = b""
    while True:
        try:
            received += peer.recv(1 << 20)
        except BlockingIOError:
            if len(received) >= size:
                break
            await asyncio.sleep(0)
    assert len(received) == size
    return received


def test_a_refused_frame_was_not_touched_and_a_loss_comes_last() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        there.setblocking(False)
        writable: list[bool] = []
        lost: list[str] = []
        frames: list[bytes] = []
        uplink = Uplink(
            here,
            on_frame=frames.append,
            on_writable=lambda: writable.append(True),
            on_lost=lost.append,
        )
        big = [build(PlainFrame(STATION, GUEST, 0x0800, bytes([i]) * 30_000)) for i in range(256)]
        taken = 0
        while taken < len(big) and uplink.send(big[taken]):
            taken += 1
        assert 0 < taken < len(big)
        assert uplink.unwritten_frames <= 1
        assert not writable
        await read_exactly(there, taken * (4 + len(big[0])))
        await until(lambda: writable)
        assert uplink.send(big[taken])
        assert (await read_exactly(there, 4 + len(big[0])))[4:] == big[taken], (
            "the refused one had left nothing behind"
        )
        # The peer answers and is gone; the write that notices must not outrun the answer.
        answer = numbered(GUEST, STATION, 1)
        there.send(len(answer).to_bytes(4, "big") + answer)
        there.close()
        assert not uplink.send(big[0])
        assert not lost, "not from within send"
        await until(lambda: lost)
        assert len(lost) == 1
        assert frames == [answer]

    run(main())


def test_a_paused_uplink_takes_nothing_until_drained_or_resumed(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire, closing(await wire.plug("a")) as nic:
            await nic.associate()
            nic.uplink.pause()
            frames = [numbered(GUEST, STATION, i) for i in range(4)]
            assert all(wire.switch.send(frame) for frame in frames[:2])
            for _ in range(5):
                await asyncio.sleep(0)
            assert nic.frames == []
            nic.uplink.drain()
            assert nic.frames == frames[:2], "before drain returns"
            assert all(wire.switch.send(frame) for frame in frames[2:])
            for _ in range(5):
                await asyncio.sleep(0)
            assert nic.frames == frames[:2], "draining does not resume"
            nic.uplink.resume()
            await until(lambda: nic.frames == frames)

    run(main())


def test_a_switch_ignores_what_only_a_nic_gets_and_a_nic_the_reverse() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        answers: list[tuple[bytes, bool]] = []
        frames: list[bytes] = []
        uplink = Uplink(
            here, on_frame=frames.append, on_associated=lambda *answer: answers.append(answer)
        )
        with there, closing(uplink):
            asked = build(ControlFrame(ControlOperation.ASSOCIATE, GUEST))
            cut = build(ControlFrame(ControlOperation.ASSOCIATED, GUEST))[:20]
            for frame in (asked, cut):
                there.send(len(frame).to_bytes(4, "big") + frame)
            uplink.drain()
            assert (answers, frames, uplink.malformed_frames) == ([], [], 2)

    run(main())


def test_only_so_many_frames_wait_in_a_queue() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        link = FramedSocket(here, on_frame=print, on_writable=lambda: None, on_lost=print)
        frame = build(PlainFrame(STATION, GUEST, 0x0800, bytes(10_000)))
        while link.try_send(frame):
            pass
        already = link.pending_frames
        for _ in range(POSTED_FRAMES_MAX - already):
            link.post(frame)
        with pytest.raises(FramingError, match="wait already"):
            link.post(frame)
        done: list[bool] = []
        link.when_written(lambda: done.append(True))
        assert not done
        there.close()
        link.close()
        assert done == [True]
        link.post(frame)

    run(main())

"""engine.driver.transport over sockets and descriptors that are handed in."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import closing, suppress
from pathlib import Path

import pytest

from engine.driver.channel import Channel, TransportError
from engine.message_shape import CHANNELS_MAX
from tests.integration.migration_streams import PAYLOAD, incoming, outgoing, run, waits


async def pair(uri: str) -> tuple[Channel, Channel]:
    """A connected pair over a socket: source's end, target's end."""
    with closing(await incoming(uri)) as listener:
        if uri.startswith("tcp:"):
            address = listener.addresses[0]
            host = f"[{address['host']}]" if "ipv6" in address else address["host"]
            uri = f"tcp:{host}:{address['port']}"
        return await outgoing(uri), await listener.accept()


@pytest.fixture(params=["tcp:127.0.0.1:0", "tcp:[::1]:0", "tcp::0", "unix:"])
def socket_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    uri: str = request.param
    return f"unix:{tmp_path}/migration" if uri == "unix:" else uri


def test_a_socket_carries_gathered_writes_both_ways(socket_uri: str) -> None:
    async def main() -> None:
        source, target = await pair(socket_uri)
        with closing(source), closing(target):
            assert source.reply_path is target.reply_path is True
            pages = memoryview(PAYLOAD)
            pieces: list[bytes | memoryview] = [b"", b"head"]
            pieces += [pages[i : i + 4096] for i in range(0, len(PAYLOAD), 4096)]

            async def send() -> None:
                await source.write([*pieces, memoryview(b"tail").cast("H")])
                await source.flushed()
                assert await source.read(10) == b"answer"
                source.shutdown()

            async def receive() -> bytes:
                received = b""
                while len(received) < len(PAYLOAD) + 8:
                    received += await target.read(1 << 20)
                await target.write([b"ans", bytearray(b"wer")])
                assert await target.read(1) == b"", "the end of the stream"
                return received

            _, received = await asyncio.gather(send(), receive())
            assert received == b"head" + PAYLOAD + b"tail"

    run(main())


def test_a_stream_that_is_always_ready_leaves_the_loop_its_turns(tmp_path: Path) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/migration")
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        with closing(source), closing(target):
            counting = asyncio.create_task(count())
            for _ in range(64):
                await source.write([bytes(64 << 10)])
                received = 0
                while received < 64 << 10:
                    received += len(await target.read(64 << 10))
            counting.cancel()
        # Nothing above ever had to wait: 4 MiB on each of two channels, a turn per MiB.
        assert turns >= 6

    run(main())


def test_all_channels_of_a_migration_connect_before_the_first_is_accepted(tmp_path: Path) -> None:
    async def main() -> None:
        uri = f"unix:{tmp_path}/migration"
        with closing(await incoming(uri)) as listener:
            connected = [await outgoing(uri) for _ in range(1 + CHANNELS_MAX)]
            accepted = [await listener.accept() for _ in connected]
            for channel in [*connected, *accepted]:
                channel.close()

    run(main())


def test_listening_addresses_have_qmp_s_shape(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(await incoming("tcp:127.0.0.1:0")) as listener:
            (address,) = listener.addresses
            port = address["port"]
            assert isinstance(port, str)
            assert int(port) > 0
            assert address == {"type": "inet", "host": "127.0.0.1", "port": port, "ipv4": True}
        with closing(await incoming("tcp::0")) as listener:
            assert {address["host"] for address in listener.addresses} == {"0.0.0.0", "::"}
            assert len({address["port"] for address in listener.addresses}) == 1
        path = f"{tmp_path}/s"
        with closing(await incoming(f"unix:{path}")) as listener:
            assert listener.addresses == [{"type": "unix", "path": path}]
            assert os.path.exists(path)
        assert not os.path.exists(path)

    run(main())


def test_only_a_socket_of_one_s_own_is_replaced_or_removed(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "s"
        first = await incoming(f"unix:{path}")
        second = await incoming(f"unix:{path}")
        first.close()
        source = await outgoing(f"unix:{path}")
        target = await second.accept()
        for end in (source, target, second):
            end.close()
        path.write_text("precious")
        with pytest.raises(TransportError, match=f"Failed to bind socket to {path}: Address"):
            await incoming(f"unix:{path}")
        assert path.read_text() == "precious"

    run(main())


def test_what_cannot_be_connected_or_listened_to_has_qemu_s_text(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(TransportError, match=f"^Failed to bind .*127.0.0.1:{port}: Addre"):
                await incoming(f"tcp:127.0.0.1:{port}")
        with pytest.raises(TransportError) as refused:
            await outgoing(f"tcp:127.0.0.1:{port}")
        assert str(refused.value) == f"Failed to connect to '127.0.0.1:{port}': Connection refused"
        with pytest.raises(TransportError) as refused:
            await outgoing(f"unix:{tmp_path}/nobody")
        assert str(refused.value) == (
            f"Failed to connect to '{tmp_path}/nobody': No such file or directory"
        )
        with pytest.raises(TransportError) as refused:
            await incoming(f"unix:{tmp_path}/no/s")
        assert str(refused.value) == (
            f"Failed to bind socket to {tmp_path}/no/s: No such file or directory"
        )
        with pytest.raises(TransportError, match=r"^address resolution failed for a\.\.b:1: "):
            await outgoing("tcp:a..b:1")
        for direction in (outgoing, incoming):
            with pytest.raises(TransportError) as refused:
                await direction(f"file:{tmp_path}/no/file")
            assert str(refused.value) == (
                f"Unable to open {tmp_path}/no/file: No such file or directory"
            )

    run(main())


def test_a_peer_that_is_gone_is_a_broken_pipe(tmp_path: Path) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/migration")
        target.close()
        with closing(source):
            assert await source.read(1) == b""
            with pytest.raises(TransportError) as broken:
                await source.write([PAYLOAD])
            assert str(broken.value) == "Unable to write to socket: Broken pipe"

    run(main())


def test_shutdown_unblocks_both_directions_at_once(socket_uri: str) -> None:
    async def main() -> None:
        source, target = await pair(socket_uri)
        with closing(source), closing(target):
            reading = asyncio.create_task(source.read(1))
            writing = asyncio.create_task(source.write([PAYLOAD] * 4))
            # Both wait: nothing is sent to the source, and nobody reads at the target.
            while not waits(source, 2):
                await asyncio.sleep(0)
            source.shutdown()
            assert await reading == b""
            with pytest.raises(TransportError, match=r"^Unable to write to socket: Broken pipe$"):
                await writing
            with pytest.raises(TransportError, match=r"^Unable to write to socket: Broken pipe$"):
                await source.write([b"more"])
            assert await source.read(1) == b""

    run(main())


def test_a_cancelled_read_loses_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/migration")
        with closing(source), closing(target):
            reading = asyncio.create_task(target.read(10))
            while not waits(target, 1):
                await asyncio.sleep(0)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
            await source.write([b"kept"])
            assert await target.read(10) == b"kept"

    run(main())


def test_closing_a_listener_ends_accept(socket_uri: str) -> None:
    async def main() -> None:
        listener = await incoming(socket_uri)
        accepting = asyncio.create_task(listener.accept())
        await asyncio.sleep(0)
        listener.close()
        with pytest.raises(TransportError, match="closed"):
            await accepting

    run(main())


def test_a_descriptor_decides_what_kind_of_channel_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        with closing(await outgoing("fd:mig", here.detach())) as source:
            with closing(await (await incoming("fd:mig", there.detach())).accept()) as target:
                assert source.reply_path is target.reply_path is True
                await source.write([b"over a socket"])
                assert await target.read(99) == b"over a socket"

        read_end, write_end = os.pipe()
        source = await outgoing("fd:mig", write_end)
        target = await (await incoming("fd:mig", read_end)).accept()
        assert source.reply_path is target.reply_path is False
        watching = asyncio.create_task(source.read(1))
        _, received = await asyncio.gather(source.write([PAYLOAD]), read_exactly(target))
        assert received == PAYLOAD
        target.close()
        assert await watching == b"", "the reader is gone"
        with pytest.raises(TransportError, match=r"^Unable to write to file: Broken pipe$"):
            await source.write([b"x"])
        source.close()

        path = tmp_path / "state"
        with closing(await outgoing("fd:mig", os.open(path, os.O_WRONLY | os.O_CREAT))) as source:
            assert source.reply_path is False
            await source.write([b"into a file"])
            await source.flushed()
        assert path.read_bytes() == b"into a file"

    run(main())


async def read_exactly(channel: Channel) -> bytes:
    received = b""
    while len(received) < len(PAYLOAD):
        received += await channel.read(1 << 20)
    return received


def test_a_descriptor_that_will_not_do_is_refused() -> None:
    async def main() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        duplicate = os.dup(listening.fileno())
        with pytest.raises(TransportError, match="is a listening socket"):
            await outgoing("fd:mig", duplicate)
        with closing(await incoming("fd:mig", listening.detach())) as listener:
            with closing(await outgoing(f"tcp:127.0.0.1:{port}")) as source:
                with closing(await listener.accept()) as target:
                    await source.write([b"through it"])
                    assert await target.read(99) == b"through it"
        here, there = socket.socketpair(type=socket.SOCK_DGRAM)
        with there, pytest.raises(TransportError, match="is not a stream socket"):
            await outgoing("fd:mig", here.detach())
        with pytest.raises(TransportError, match="Bad file descriptor"):
            await outgoing("fd:mig", 1 << 20)
        with pytest.raises(LookupError):
            await outgoing("fd:mig")

    run(main())

"""engine.driver.transport through commands and files, which answer nothing."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from pathlib import Path

import pytest

from engine.driver import channel_command
from engine.driver.channel import Channel, TransportError
from engine.driver.channel_stream import PipeChannel
from tests.integration.migration_streams import PAYLOAD, incoming, outgoing, read_all, run, waits


def test_a_command_saves_and_another_loads(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "saved"
        with closing(await outgoing(f"exec: cat > {path}")) as source:
            assert source.reply_path is False
            watching = asyncio.create_task(source.read(1))
            await source.write([PAYLOAD[:1000], PAYLOAD[1000:]])
            await source.flushed()
            assert path.read_bytes() == PAYLOAD, "flushed means that the command has ended"
            assert await watching == b""
            with pytest.raises(TransportError, match=r"^Unable to write to command: Broken pipe$"):
                await source.write([b"late"])
        with closing(await incoming(f"exec:cat {path}")) as listener:
            assert listener.addresses == []
            with closing(await listener.accept()) as target:
                assert target.reply_path is False
                assert await read_all(target) == PAYLOAD
                await target.flushed()

    run(main())


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat > /dev/null; exit 3", "The command ended with status 3"),
        ("cat > /dev/null; kill -9 $$", "The command was ended by SIGKILL"),
        ("cat > /dev/null; kill -35 $$", "The command was ended by signal 35"),
        ("exec no-such-program-here 2> /dev/null", "The command ended with status 127"),
    ],
)
def test_a_command_that_fails_is_an_error_when_flushed(command: str, said: str) -> None:
    async def main() -> None:
        with closing(await outgoing(f"exec:{command}")) as source:
            with pytest.raises(TransportError) as ended:
                await source.flushed()
            assert str(ended.value) == said
        with closing(await incoming(f"exec:{command} < /dev/null")) as listener:
            with closing(await listener.accept()) as target:
                assert await read_all(target) == b""
                with pytest.raises(TransportError) as ended:
                    await target.flushed()
                assert str(ended.value) == said

    run(main())


def test_a_command_that_exits_at_once_is_noticed() -> None:
    async def main() -> None:
        with closing(await outgoing("exec:exit 0")) as source:
            assert await source.read(1) == b"", "without a write"
            with pytest.raises(TransportError) as broken:
                await source.write([PAYLOAD])
            assert str(broken.value) == "Unable to write to command: Broken pipe"

    run(main())


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "], ids=["", "ignores SIGTERM"])
def test_a_command_that_is_given_up_is_ended_with_all_its_children(
    stubborn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_command, "TERMINATION_S", 0.05)

    async def main() -> None:
        # Every process of the command holds this pipe: it ends with the last of them.
        os.mkfifo(tmp_path / "alive")
        alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
        listener = await incoming(
            f"exec:{stubborn}exec 9> {tmp_path}/alive; echo ready; sleep 99 | sleep 99"
        )
        channel = await listener.accept()
        assert await channel.read(6) == b"ready\n"
        reading = asyncio.create_task(channel.read(1))
        await asyncio.sleep(0)
        channel.close()
        assert await reading == b""
        held = PipeChannel(alive, writing=False)
        assert await held.read(1) == b""
        held.close()
        assert await exit_status(channel) == (-9 if stubborn else -15)

    run(main())


async def exit_status(channel: Channel) -> int:
    process = getattr(channel, "_process")  # noqa: B009 - not part of the interface
    while process.returncode is None:
        await asyncio.sleep(0)
    status: int = process.returncode
    return status


def test_a_command_that_reads_no_more_can_be_given_up() -> None:
    async def main() -> None:
        source = await outgoing("exec:exec tail -f /dev/null")
        writing = asyncio.create_task(source.write([PAYLOAD]))
        while not waits(source, 1):
            await asyncio.sleep(0)
        source.shutdown()
        with pytest.raises(TransportError, match=r"^Unable to write to command: Broken pipe$"):
            await writing
        source.close()
        assert await exit_status(source) == -15

    run(main())


def test_a_file_is_written_and_read_at_its_offset(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "state"
        path.write_bytes(b"header!!" + b"old" * 1000)
        uri = f"file:{path},offset=8"
        with closing(await outgoing(uri)) as source:
            assert source.reply_path is False
            await source.write([PAYLOAD[:9], PAYLOAD[9:]])
            await source.write([b"end"])
            await source.flushed()
        assert path.read_bytes() == b"header!!" + PAYLOAD + b"end"
        with closing(await incoming(uri)) as listener:
            assert listener.addresses == []
            with closing(await listener.accept()) as target:
                assert await read_all(target) == PAYLOAD + b"end"

    run(main())


def test_a_new_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(await outgoing(f"file:{tmp_path}/state")) as source:
            watching = asyncio.create_task(source.read(1))
            await source.write([b"x"])
            source.shutdown()
            assert await watching == b""
            with pytest.raises(TransportError, match=r"^Unable to write to file: Broken pipe$"):
                await source.write([b"y"])
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600

    run(main())


def test_a_full_disk_is_an_error_with_its_text() -> None:
    async def main() -> None:
        with closing(await outgoing("file:/dev/full")) as source:
            with pytest.raises(TransportError) as refused:
                await source.write([b"x"])
            assert str(refused.value) == "Unable to write to file: No space left on device"

    run(main())


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(TransportError, match="use fd: or exec: for a pipe"):
            await incoming(f"file:{tmp_path}/pipe")

    run(main())


def test_a_stream_that_was_there_already_is_handed_out_once(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "state").write_bytes(b"x")
        listener = await incoming(f"file:{tmp_path}/state")
        (await listener.accept()).close()
        second = asyncio.create_task(listener.accept())
        await asyncio.sleep(0)
        assert not second.done()
        listener.close()
        with pytest.raises(TransportError, match="closed"):
            await second

    run(main())

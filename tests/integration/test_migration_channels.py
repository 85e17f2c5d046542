"""RAM through channels of its own, capability multifd, between two real processes."""

from __future__ import annotations

import asyncio
import struct
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from devices.page_runs import Marks, one_run
from devices.page_sums import page_sums
from devices.ram import PAGE_BYTES
from engine import texts
from engine.arriving_ram import ArrivingRam
from engine.codec import StreamEncoder
from engine.driver.connection import Connection
from engine.driver.ram_channels import GatheredChannels
from engine.messages import ChannelHello, LivePages, RamMessage, RamPages
from engine.wire_runs import runs_to_wire
from tests.integration.lab import Lab, scenario
from tests.integration.migration_streams import incoming, run
from tests.integration.outcomes import failed_at_target, migrates_again, moved, stayed
from tests.integration.test_transport import pair
from tests.integration.vms import Vm


async def channelled(lab: Lab, channels: int, uri: str | None = None) -> tuple[Vm, Vm]:
    source, target = await lab.pair(uri=uri) if uri else await lab.pair()
    for vm in (source, target):
        await vm.capability("multifd")
        await vm.parameters(multifd_channels=channels)
    await source.capability("x-verify-ram")
    return source, target


@pytest.mark.parametrize("channels", [1, 2, 9])
@scenario
async def test_memory_arrives_whole_over_unix(lab: Lab, channels: int) -> None:
    source, target = await channelled(lab, channels)
    await source.command("migrate", uri=lab.uri())
    report = await moved(source, target)
    assert report["x-replug"]["digest-equal"] is True


@scenario
async def test_memory_arrives_whole_over_tcp(lab: Lab) -> None:
    source, target = await channelled(lab, 3, "tcp:127.0.0.1:0")
    (address,) = (await target.query())["socket-address"]
    await source.command("migrate", uri=f"tcp:{address['host']}:{address['port']}")
    report = await moved(source, target)
    assert report["x-replug"]["digest-equal"] is True


@scenario
async def test_many_passes_do_not_overtake_each_other(lab: Lab) -> None:
    source, target = await channelled(lab, 4)
    await source.tell_guest("dirty", "100M")
    await source.parameters(downtime_limit=1, max_bandwidth=60_000_000)
    await source.command("migrate", uri=lab.uri())
    await source.event("MIGRATION_PASS 6")
    await source.parameters(downtime_limit=300, max_bandwidth=0)
    report = await moved(source, target)
    assert report["x-replug"]["digest-equal"] is True


@pytest.mark.parametrize("capability", ["multifd", "x-adaptive"])
@scenario
async def test_memory_arrives_whole_compressed(lab: Lab, capability: str) -> None:
    source, target = await lab.pair()
    for name in ("multifd", capability, "x-verify-ram"):
        await source.capability(name)
    await source.parameters(multifd_compression="zstd", multifd_zstd_level=3)
    await source.command("migrate", uri=lab.uri())
    report = await moved(source, target)
    assert report["x-replug"]["digest-equal"] is True


@scenario
async def test_zlib_is_refused_with_what_to_do(lab: Lab) -> None:
    source = await lab.vm("source")
    reason = await source.refusal("migrate-set-parameters", multifd_compression="zlib")
    assert "'zstd'" in reason


@scenario
async def test_a_source_alone_may_ask_for_channels(lab: Lab) -> None:
    source, target = await lab.pair()
    await source.capability("multifd")
    await source.command("migrate", uri=lab.uri())
    await moved(source, target)


@scenario
async def test_cancel_lets_go_of_every_channel(lab: Lab) -> None:
    source, target = await channelled(lab, 3)
    await source.parameters(max_bandwidth=300_000)
    await source.command("migrate", uri=lab.uri())
    await source.status("active")
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")
    await failed_at_target(target)
    await source.parameters(max_bandwidth=0)
    await migrates_again(lab, source)


@scenario
async def test_a_channel_before_its_migration_is_none(lab: Lab) -> None:
    target = await lab.vm("target", incoming=lab.uri(), guest="")
    _, writer = await asyncio.open_unix_connection(lab.path("migration"))
    writer.write(greeting(MIGRATION, 1))
    await failed_at_target(target)
    writer.close()


MIGRATION = bytes(range(16))


def greeting(migration: bytes, number: int) -> bytes:
    encoder = StreamEncoder()
    pieces = [encoder.header(), *encoder.encode(ChannelHello(migration, number))]
    return b"".join(bytes(piece) for piece in pieces)


class NoRam:
    """Nobody sends any."""

    def begin(self) -> None:
        raise AssertionError

    def heard(self) -> None:
        raise AssertionError

    def take(self, message: RamMessage) -> None:
        raise AssertionError

    def land(self, arriving: ArrivingRam) -> list[memoryview] | None:
        raise AssertionError

    def landed(self, arriving: ArrivingRam) -> None:
        raise AssertionError


def test_strangers_are_let_go_and_the_channels_are_gathered(tmp_path: Path) -> None:
    strangers = [
        greeting(bytes(16), 1),
        greeting(MIGRATION, 3),
        b"GET / HTTP/1.1",
        greeting(MIGRATION, 1)[:20],
        StreamEncoder().header() + bytes(24),
        b"",
    ]

    async def gather() -> None:
        warnings: list[str] = []
        losses: list[Exception | None] = []
        listener = await incoming(f"unix:{tmp_path}/here")
        gathered = GatheredChannels(
            MIGRATION,
            2,
            ram=NoRam(),
            on_lost=losses.append,
            go_on=losses.clear,
            warn=warnings.append,
        )
        gathering = asyncio.create_task(gathered.gather(listener))
        for stranger in strangers:
            reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/here")
            writer.write(stranger)
            writer.write_eof()
            with suppress(ConnectionError):
                await reader.read()
            writer.close()
        right = [await asyncio.open_unix_connection(f"{tmp_path}/here") for _ in range(2)]
        for number, (_, writer) in enumerate(right, 1):
            writer.write(greeting(MIGRATION, number))
        await gathering
        assert (warnings, losses) == ([texts.STRANGE_CHANNEL] * 2, [])
        gathered.close()
        listener.close()
        for _, writer in right:
            writer.close()

    run(gather())


class OnePlace(NoRam):
    """Takes what comes straight to one place, and keeps what it is told."""

    def __init__(self, pages: int) -> None:
        self.memory = bytearray(pages * PAGE_BYTES)
        self.wrong: asyncio.Future[Marks | None] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        pass

    def heard(self) -> None:
        pass

    def land(self, arriving: ArrivingRam) -> list[memoryview]:
        return [memoryview(self.memory)]

    def landed(self, arriving: ArrivingRam) -> None:
        loop = self.wrong.get_loop()
        loop.call_soon_threadsafe(self.wrong.set_result, arriving.wrong)


class Heard(OnePlace):
    """Notes that something of a frame has come."""

    def __init__(self) -> None:
        super().__init__(64)
        self.news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def heard(self) -> None:
        self._loop.call_soon_threadsafe(self.news.set)


def test_a_frame_is_heard_while_it_comes(tmp_path: Path) -> None:
    encoder = StreamEncoder()
    message = RamPages(1, runs_to_wire(one_run(0, 64)), memoryview(bytes(64 * PAGE_BYTES)))
    frame = encoder.header() + b"".join(bytes(piece) for piece in encoder.encode(message))

    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        ram = Heard()
        connection = Connection(
            target, hears="from_source", on_message=lambda _: None, on_lost=lambda _: None, ram=ram
        )
        with closing(source), closing(connection):
            for start in range(0, len(frame) // 2, 1000):
                await source.write([frame[start : start + 1000]])
            for start in range(3):
                ram.news.clear()
                await source.write([bytes([start])])
                await ram.news.wait()
            assert not ram.wrong.done()
        await connection.finished()

    run(main())


def test_which_pages_are_wrong_is_told_of_those_that_come_by_a_channel_too(tmp_path: Path) -> None:
    pages = np.random.default_rng(1).integers(0, 256, (64, PAGE_BYTES), dtype=np.uint8)
    sums = page_sums(pages)
    sums[3] += 1
    encoder = StreamEncoder()
    stream = [encoder.header(), *encoder.encode(ChannelHello(MIGRATION, 1))]
    runs = struct.pack("<2Q", 0, 64)
    stream += encoder.encode(LivePages(1, runs, sums.tobytes(), pages.tobytes()))

    async def gather() -> None:
        ram = OnePlace(64)
        listener = await incoming(f"unix:{tmp_path}/here")
        gathered = GatheredChannels(
            MIGRATION, 1, ram=ram, on_lost=print, go_on=lambda: None, warn=print
        )
        gathering = asyncio.create_task(gathered.gather(listener))
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/here")
        writer.writelines(stream)
        await gathering
        wrong = await ram.wrong
        assert wrong is not None
        assert np.flatnonzero(wrong).tolist() == [3]
        assert ram.memory == pages.tobytes()
        gathered.close()
        listener.close()
        writer.write_eof()
        await reader.read()
        writer.close()

    run(gather())


@pytest.mark.parametrize("uri", ["exec:cat > /dev/null", "file:/dev/null"])
@scenario
async def test_only_sockets_can_have_channels(lab: Lab, uri: str) -> None:
    source = await lab.vm("source")
    await source.capability("multifd")
    assert await source.refusal("migrate", uri=uri) == (
        "multifd is not supported by current protocol"
    )
    assert "MIGRATION setup" not in source.events

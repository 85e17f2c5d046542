"""The simulated network does to bytes what a network does, and nothing else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from engine.driver.channel import Channel, TransportError
from engine.driver.simulation.link import LinkConditions
from engine.driver.simulation.loop import EndlessError, VirtualLoop
from engine.driver.simulation.network import SimulatedNetwork, SocketUri
from engine.uri import TcpUri, UnixUri

URI = TcpUri("target", 4444)
HERE = UnixUri("/run/target")
Work = Callable[[SimulatedNetwork], Coroutine[Any, Any, None]]


def run(work: Work, **conditions: Any) -> float:
    """Run a coroutine with a network; return the virtual time it took, in ms."""
    loop = VirtualLoop()
    network = SimulatedNetwork(LinkConditions(**conditions), Random(1))
    try:
        loop.run_until_complete(work(network))
        return loop.time() * 1000
    finally:
        loop.close()


async def pair(network: SimulatedNetwork, uri: SocketUri = URI) -> tuple[Channel, Channel]:
    """Return both ends of a new link."""
    listener = network.listen(uri, lambda channel: None)
    source = await network.connect(uri)
    return source, await listener.accept()


async def everything(channel: Channel) -> bytes:
    """Read to the end."""
    found = b""
    while data := await channel.read(1 << 20):
        found += data
    return found


def test_bytes_arrive_whole_and_in_order_however_they_are_read() -> None:
    sent = bytes(Random(3).randbytes(5000))

    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network)
        reading = asyncio.ensure_future(everything(target))
        for start in range(0, 5000, 700):
            await source.write([sent[start : start + 300], sent[start + 300 : start + 700]])
        source.end_writing()
        assert await reading == sent

    run(work, short_reads=0.9, buffer_bytes=1000)


def test_latency_and_bandwidth_take_their_time() -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network)
        await source.write([bytes(1000)])
        assert len(await target.read(1 << 20)) == 1000

    # Connecting is a round trip of 20 ms; 1000 bytes take 10 ms, and then 10 more on their way.
    assert run(work, latency_ms=10.0, bytes_per_ms=100.0) == pytest.approx(40.0)


def test_nothing_arrives_while_it_is_stalled() -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network)
        network.stall(True)
        asyncio.get_running_loop().call_later(0.5, network.stall, False)
        await source.write([b"x"])
        assert await target.read(10) == b"x"

    assert run(work, latency_ms=1.0) == pytest.approx(502.0)


def test_a_full_buffer_holds_the_writer_up() -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network)
        await source.write([bytes(100)])
        writing = asyncio.ensure_future(source.write([bytes(100)]))
        await asyncio.wait([writing], timeout=1)
        assert not writing.done()
        await target.read(100)
        await writing

    run(work, buffer_bytes=100)


@pytest.mark.parametrize("keeps", [True, False])
def test_a_cut_keeps_what_it_is_told_to_keep(keeps: bool) -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network)
        await source.write([b"on its way"])
        network.cut(keeps_to_source=False, keeps_to_target=keeps, with_error=True)
        if keeps:
            assert await target.read(100) == b"on its way"
        for end in (source, target):
            with pytest.raises(TransportError, match="reset by peer"):
                await end.read(100)
            with pytest.raises(TransportError, match="Broken pipe"):
                await end.write([b"more"])

    run(work)


def test_who_closes_over_unread_bytes_resets_the_other() -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network)
        await source.write([b"unread"])
        target.close()
        with pytest.raises(TransportError, match="reset by peer"):
            await everything(source)

    run(work)


def test_damage_changes_one_bit() -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network)
        ((_, end),) = network.ends
        assert not end.damage()
        await source.write([bytes(50)])
        assert end.damage()
        received = await target.read(50)
        assert sum(byte.bit_count() for byte in received) == 1

    run(work)


def test_a_descriptor_comes_with_the_bytes_it_was_sent_with() -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network, HERE)
        reading, writing = os.pipe()
        await source.write([b"before"])
        await source.write_with([b"with", b" it"], writing)
        os.close(writing)
        assert await target.read(100) == b"before"
        assert target.take_descriptor() is None
        assert await target.read(2) == b"wi"
        passed = target.take_descriptor()
        assert passed is not None
        assert (await target.read(100), await target.read(100)) == (b"th", b" it")
        assert target.take_descriptor() is None
        os.write(passed, b"x")
        os.close(passed)
        assert os.read(reading, 2) == b"x"
        os.close(reading)

    run(work)


@pytest.mark.parametrize("how", ["cut", "closed"])
def test_a_descriptor_that_is_lost_is_closed(how: str) -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, target = await pair(network, HERE)
        reading, writing = os.pipe()
        await source.write_with([b"with it"], writing)
        os.close(writing)
        if how == "cut":
            network.cut(keeps_to_source=False, keeps_to_target=False, with_error=True)
        else:
            await target.read(100)
            network.close()
        # The end of the pipe: nobody can write to it any more.
        assert os.read(reading, 1) == b""
        os.close(reading)

    run(work)


def test_no_descriptor_goes_to_another_host() -> None:
    async def work(network: SimulatedNetwork) -> None:
        source, _ = await pair(network)
        with pytest.raises(TransportError, match="only a unix socket can"):
            await source.write_with([b"with it"], 0)

    run(work)


def test_one_channel_is_cut_and_the_others_live() -> None:
    async def work(network: SimulatedNetwork) -> None:
        listener = network.listen(HERE, lambda channel: None)
        links = [(await network.connect(HERE), await listener.accept()) for _ in range(3)]
        network.cut_channel(1, keeps_to_source=True, keeps_to_target=True, with_error=True)
        for number, (source, target) in enumerate(links):
            if number == 2:
                with pytest.raises(TransportError, match="reset by peer"):
                    await target.read(100)
            else:
                await source.write([b"x"])
                assert await target.read(100) == b"x"

    run(work)


def test_nobody_listens() -> None:
    async def work(network: SimulatedNetwork) -> None:
        with pytest.raises(TransportError, match="Failed to connect to 'target:4444'"):
            await network.connect(URI)
        listener = network.listen(URI, lambda channel: None)
        with pytest.raises(TransportError, match="Address already in use"):
            network.listen(URI, lambda channel: None)
        listener.close()
        with pytest.raises(TransportError, match="Connection refused"):
            await network.connect(URI)

    run(work)


def test_waiting_for_ever_is_an_error() -> None:
    async def work(_network: SimulatedNetwork) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(EndlessError, match="nothing is due"):
        run(work)

"""RAM at the pace that limit and link allow, and what is measured of it, on a virtual clock.

A link here takes what a channel writes at a rate of its own, or all links together at one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from devices.ram import PAGE_BYTES
from engine.codec import StreamEncoder
from engine.driver import ram_path
from engine.driver.channel import views
from engine.driver.connection import Connection
from engine.driver.ram_path import SPLICING_MAX, RamPath
from engine.driver.simulation.loop import VirtualLoop
from engine.precopy import Precopy
from engine.ram_sending import Sending, Sent
from tests.unit.engine.commands.commanded_vm import CommandedVm

MIB = 1 << 20


class Link:
    """What carries bytes, at so many a second, for one channel after the other."""

    def __init__(self, bytes_per_second: float) -> None:
        self.bytes_per_second = bytes_per_second
        self.free_at = 0.0
        self.written_bytes = 0

    async def carry(self, carried_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self.free_at = max(self.free_at, loop.time()) + carried_bytes / self.bytes_per_second
        self.written_bytes += carried_bytes
        is_free = loop.create_future()
        loop.call_at(self.free_at, is_free.set_result, None)
        await is_free


class Channel:
    """A connection to write RAM to."""

    ended = False

    def __init__(self, link: Link) -> None:
        self.channel = self
        self.encoder = StreamEncoder()
        self._link = link

    was_asked = False

    def splices(self) -> bool:
        self.was_asked = True
        return True

    async def send_ram(self, sending: Sending) -> Sent:
        while True:
            try:
                frame = next(sending)
            except StopIteration as end:
                return cast(Sent, end.value)
            await self._link.carry(sum(view.nbytes for view in views(frame)))


class Paced:
    """A VM full of contents, and the way its RAM takes over channels that share a link."""

    def __init__(self, ram_bytes: int, limit: int, link: Link, channels: int) -> None:
        self._loop = VirtualLoop()
        self.host = CommandedVm("-m", f"{ram_bytes // MIB}M")
        self.host.time_is(lambda: self._loop.time() * 1000)
        self.vm = self.host.vm
        self.vm.ram.write(0, b"x" * ram_bytes)
        self.host.execute("migrate-set-parameters", **{"max-bandwidth": limit})
        self.precopy = Precopy(
            self.vm.ram,
            self.vm.statistics.ram,
            downtime_limit_ms=300.0,
        )
        main, *others = (cast(Connection, Channel(link)) for _ in range(channels + 1))
        self.path = RamPath(self.vm, main, others)
        self.precopy.setup()
        self._has_begun = False

    async def send_pass(self, *, is_last: bool = False) -> float:
        """Send one pass and return the seconds it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        now_ms = self.vm.world.now_ms()
        if self._has_begun:
            self.precopy.synchronise(now_ms)
        else:
            self.precopy.collect(now_ms)
        self._has_begun = True
        assert await self.path.send_pass(self.precopy, is_last=is_last)
        return loop.time() - began

    def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            self._loop.run_until_complete(work())
        finally:
            self._loop.close()


@pytest.mark.parametrize("channels", [0, 2, 16])
@pytest.mark.parametrize("limit", [32 * MIB, 256 * MIB])
def test_max_bandwidth_is_kept_within_five_percent(channels: int, limit: int) -> None:
    link = Link(10 * limit)
    paced = Paced(64 * MIB, limit, link, channels)

    async def work() -> None:
        seconds = await paced.send_pass()
        for _ in range(int(limit / (64 * MIB)) + 1):
            paced.vm.ram.write(0, b"y" * 64 * MIB)
            seconds += await paced.send_pass()
        assert link.written_bytes / seconds == pytest.approx(limit, rel=0.05)
        measured = paced.vm.statistics.ram.bandwidth_bytes_per_second
        assert measured == pytest.approx(limit, rel=0.1)

    paced.run(work)


@pytest.mark.parametrize("rate", [MIB // 4, MIB, 8 * MIB, 100 * MIB])
@pytest.mark.parametrize("limit", [0, 128 * MIB])
@pytest.mark.parametrize("ram_bytes", [MIB, 2 * MIB, 64 * MIB])
def test_the_speed_of_a_slow_link_is_learnt_within_a_pass(
    rate: int, limit: int, ram_bytes: int
) -> None:
    paced = Paced(ram_bytes, limit, Link(rate), 0)

    async def work() -> None:
        await paced.send_pass()
        measured = paced.vm.statistics.ram.bandwidth_bytes_per_second
        assert measured == pytest.approx(rate, rel=0.1)
        dirty_bytes = min(rate, ram_bytes) // PAGE_BYTES * PAGE_BYTES
        paced.vm.ram.write(0, b"y" * dirty_bytes)
        paced.precopy.synchronise(paced.vm.world.now_ms())
        expected_ms = paced.vm.statistics.ram.expected_downtime_ms
        assert expected_ms == pytest.approx(dirty_bytes / rate * 1000, rel=0.1)

    paced.run(work)


@pytest.mark.parametrize("rate", [MIB // 4, MIB, 8 * MIB, 100 * MIB])
@pytest.mark.parametrize("channels", [0, 2])
def test_the_downtime_limit_is_kept(rate: int, channels: int) -> None:
    """By a guest that dirties less with every pass: half of what it did before."""
    ram_bytes = 2 * MIB
    paced = Paced(ram_bytes, 128 * MIB, Link(rate), channels)

    async def work() -> None:
        await paced.send_pass()
        dirty_bytes = ram_bytes
        while True:
            paced.vm.ram.write(0, b"y" * dirty_bytes)
            paced.precopy.synchronise(paced.vm.world.now_ms())
            if paced.precopy.converged():
                break
            assert await paced.path.send_pass(paced.precopy)
            dirty_bytes //= 2
        assert await paced.send_pass(is_last=True) <= 0.3 * 1.1

    paced.run(work)


def test_what_a_pass_has_overdrawn_is_measured_once() -> None:
    limit = 256 * MIB
    paced = Paced(64 * MIB, limit, Link(100 * limit), 2)

    async def work() -> None:
        await paced.send_pass()
        for _ in range(8):
            # A pass of 30 ms, of which much is waiting for what the one before has overdrawn.
            paced.vm.ram.write(0, b"y" * (limit * 3 // 100 // PAGE_BYTES * PAGE_BYTES))
            await paced.send_pass()
        measured = paced.vm.statistics.ram.bandwidth_bytes_per_second
        assert measured == pytest.approx(limit, rel=0.1)

    paced.run(work)


class Always:
    """A condition."""

    @staticmethod
    def holds(*_: object) -> bool:
        return True


def test_not_every_one_of_many_channels_gets_ready_to_splice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ram_path, "TWO_PHASE", Always)
    host = CommandedVm("-m", "16M")
    main, *others = (Channel(Link(1.0)) for _ in range(SPLICING_MAX + 5))
    RamPath(host.vm, cast(Connection, main), cast(list[Connection], others))
    assert [each.was_asked for each in others] == [True] * SPLICING_MAX + [False] * 4

"""The source's stream, live: connect, RAM passes, the last pages, and their end.

Rules kept here: each command of the tables is one method, and answers with one of the events its
row lists. What a pass holds and when it has converged is `engine.precopy`'s; here are the socket,
the bandwidth limit and the threads for digests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from devices.ram import PAGE_BYTES
from engine import texts
from engine.auto_converge import AutoConverge
from engine.driver.channel import Channel, TransportError
from engine.driver.connection import Connection
from engine.driver.surroundings import Connect
from engine.errors import StreamError
from engine.messages import Message
from engine.parameters import Capability
from engine.precopy import Precopy
from engine.qmp.errors import QmpError
from engine.source import Source
from engine.statistics import RamStatistics
from engine.vm import Vm
from statemachines.events import E
from statemachines.states import Handover, Link

#: How much is written between two measurements of the bandwidth, in time.
MEASURE_MS = 50.0
#: How often max-bandwidth is looked at while a stream waits for it (QEMU: each 100 ms).
LIMIT_LOOK_MS = 100.0


class Outgoing:
    """One VM's outgoing stream; a new connection for each migration."""

    def __init__(
        self, vm: Vm, source: Source, connect: Connect, digest: Callable[[], Awaitable[bytes]]
    ) -> None:
        """`connect` opens a channel to a URI; `digest` hashes the whole RAM, in a thread."""
        self._vm = vm
        self._digest = digest
        self._source = source
        self._connect_to = connect
        self._connection: Connection | None = None
        self._precopy: Precopy | None = None
        self._auto_converge = AutoConverge(vm.profile.timings.throttle_period_ms)
        self._tasks: set[asyncio.Task[None]] = set()
        self._own_digest: asyncio.Future[bytes] | None = None
        #: When something last came from the target.
        self.heard_ms = 0.0
        self._end_sent_ms = 0.0
        source.compare = lambda theirs: self._spawn(self._compare(theirs))

    @property
    def connection(self) -> Connection | None:
        """The connection in use."""
        return self._connection

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- CONNECT, CLOSE_CHANNEL

    def connect(self) -> None:
        """CONNECT: answers CONNECTED, CONNECTED_ONE_WAY or CONNECT_FAILED."""
        if self._vm.outgoing_uri is None:
            self._vm.fire(E.CONNECT_FAILED)
            return
        self._spawn(self._connect())

    async def _connect(self) -> None:
        uri = self._vm.outgoing_uri
        assert uri is not None
        try:
            channel = await self._connect_to(uri)
        except (TransportError, QmpError, OSError) as error:
            self._vm.error_description = str(error)
            self._vm.fire(E.CONNECT_FAILED)
            return
        self.heard_ms = self._vm.world.now_ms()
        self._connection = self._open(channel)
        self._vm.fire(E.CONNECTED if channel.reply_path else E.CONNECTED_ONE_WAY)

    def _open(self, channel: Channel) -> Connection:
        return Connection(channel, hears="from_target", on_message=self._heard, on_lost=self._lost)

    def _heard(self, message: Message) -> None:
        self.heard_ms = self._vm.world.now_ms()
        self._source.receive(message)

    def _lost(self, error: Exception | None) -> None:
        vm = self._vm
        if vm.error_description is None and vm.state(Handover) is not Handover.IDLE:
            if vm.profile.explains_losses:
                vm.error_description = self._loss(error)
            else:
                # QEMU 7.2 does not read here, so it only ever meets a failed write.
                known = isinstance(error, TransportError) and "Unable to write" in str(error)
                vm.error_description = str(error) if known else texts.BROKEN_PIPE
        if not isinstance(error, StreamError):
            self._connection = None
        vm.fire(E.LINK_BROKEN)
        self._connection = None

    def _loss(self, error: Exception | None) -> str:
        if error is not None:
            return f"{texts.PEER_LOST}: {error}"
        unanswered = self._vm.state(Handover) is Handover.GREETED
        return texts.NO_ANSWER if unanswered else texts.PEER_LOST

    def close(self) -> None:
        """CLOSE_CHANNEL: whatever was under way stops; answers CHANNEL_CLOSED."""
        for task in list(self._tasks):
            task.cancel()
        if self._own_digest is not None:
            self._own_digest.cancel()
            self._own_digest = None
        if self._precopy is not None:
            self._precopy.finish()
            self._precopy = None
        self._slow_guest_by(0)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def send(self, message: Message) -> None:
        """Put a message of the tables on the stream."""
        if self._connection is not None:
            self._connection.send(message)

    # -- SAVE_SETUP, ITERATE, SAVE_FINAL, FLUSH

    def save_setup(self) -> None:
        """SAVE_SETUP: start tracking; answers SETUP_DONE, or STREAM_FAILED where that fails."""
        vm = self._vm
        limit = vm.parameters.max_bandwidth_bytes_per_second
        vm.statistics.ram = RamStatistics()
        self._precopy = Precopy(
            vm.ram,
            vm.statistics.ram,
            downtime_limit_ms=vm.parameters.downtime_limit_ms,
            bandwidth_bytes_per_second=limit or 1 << 30,
        )
        self._auto_converge = AutoConverge(vm.profile.timings.throttle_period_ms)
        try:
            number = self._precopy.setup(vm.world.now_ms())
        except OSError as error:
            self._not_tracked(error)
            return
        self._passed(number)
        self._throttle()
        vm.fire(E.SETUP_DONE)

    def _not_tracked(self, error: OSError) -> None:
        """Fail the stream: nobody can say which pages are still to be sent."""
        self._vm.error_description = texts.NOT_TRACKED % error
        self._vm.fire(E.STREAM_FAILED)

    def _throttle(self) -> None:
        """Slow the guest down as auto-converge wants it after a synchronisation."""
        vm, ram = self._vm, self._vm.statistics.ram
        is_on = vm.capabilities.on(Capability.AUTO_CONVERGE)
        percent = self._auto_converge.synchronised(
            vm.world.now_ms(),
            dirtied_bytes=ram.dirtied_pages * PAGE_BYTES,
            sent_bytes=ram.transferred_bytes,
            throttling=vm.parameters.throttling if is_on else None,
        )
        self._slow_guest_by(percent)

    def _slow_guest_by(self, percent: int) -> None:
        self._vm.statistics.ram.throttle_percent = percent
        self._vm.guest.workload.throttle(percent)

    def _passed(self, number: int) -> None:
        if self._vm.events_enabled:
            self._vm.emit("MIGRATION_PASS", {"pass": number})

    def iterate(self) -> None:
        """ITERATE: answers CONVERGED or STREAM_FAILED."""
        self._begin(self._iterate)

    def save_final(self) -> None:
        """SAVE_FINAL: answers FINAL_SENT or STREAM_FAILED."""
        self._begin(self._save_final)

    def flush(self) -> None:
        """FLUSH: answers FLUSHED or STREAM_FAILED."""
        self._begin(self._flush)

    def _begin(self, work: Callable[[Connection, Precopy], Coroutine[Any, Any, None]]) -> None:
        if self._connection is None or self._precopy is None:
            self._vm.error_description = self._vm.error_description or texts.BROKEN_PIPE
            self._vm.fire(E.STREAM_FAILED)
        else:
            self._spawn(self._tracked(work(self._connection, self._precopy)))

    async def _tracked(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except OSError as error:
            self._not_tracked(error)

    async def _iterate(self, connection: Connection, precopy: Precopy) -> None:
        vm = self._vm
        while True:
            if not await self._send_pass(connection, precopy, limited=True):
                return
            connection.send(precopy.end_of_pass())
            precopy.downtime_limit_ms = vm.parameters.downtime_limit_ms
            self._passed(precopy.synchronise(vm.world.now_ms()))
            self._throttle()
            if precopy.converged():
                vm.fire(E.CONVERGED)
                return

    async def _save_final(self, connection: Connection, precopy: Precopy) -> None:
        vm = self._vm
        self._passed(precopy.synchronise(vm.world.now_ms()))
        if not await self._send_pass(connection, precopy, limited=False):
            return
        connection.send(precopy.end_of_pass())
        precopy.finish()
        self._source.end_digest = None
        if vm.capabilities.on(Capability.X_VERIFY_RAM):
            self._own_digest = asyncio.ensure_future(self._digest())
            if vm.state(Link) is Link.ONE_WAY:
                self._source.end_digest = await self._own_digest
        self._end_sent_ms = vm.world.now_ms()
        vm.fire(E.FINAL_SENT)

    async def _flush(self, connection: Connection, _precopy: Precopy) -> None:
        try:
            if await connection.drained():
                # A command that ends now has ended as it should: its status says whether.
                connection.stop_reading()
                await connection.channel.flushed()
                self._vm.fire(E.FLUSHED)
        except TransportError as error:
            self._vm.error_description = str(error)
            self._vm.fire(E.STREAM_FAILED)

    async def _send_pass(self, connection: Connection, precopy: Precopy, *, limited: bool) -> bool:
        """Send what is queued of a pass; False when the connection has ended."""
        vm = self._vm
        window_bytes, window_ms = 0, vm.world.now_ms()
        while batch := precopy.batch():
            sent = sum(connection.send(message) for message in batch)
            window_bytes += sent
            if not await connection.writable():
                return False
            await asyncio.sleep(0)
            if limited:
                await self._keep_to_the_limit(window_bytes, window_ms)
            elapsed_ms = vm.world.now_ms() - window_ms
            if elapsed_ms >= MEASURE_MS:
                precopy.wrote(window_bytes, elapsed_ms)
                window_bytes, window_ms = 0, vm.world.now_ms()
        precopy.wrote(window_bytes, vm.world.now_ms() - window_ms)
        return True

    async def _keep_to_the_limit(self, window_bytes: int, window_ms: float) -> None:
        """Wait while more was written than max-bandwidth allows, as it is by then."""
        vm = self._vm
        while rate := vm.parameters.max_bandwidth_bytes_per_second:
            ahead_ms = window_bytes * 1000 / rate - (vm.world.now_ms() - window_ms)
            if ahead_ms <= 0:
                return
            await asyncio.sleep(min(ahead_ms, LIMIT_LOOK_MS) / 1000)

    # -- x-verify-ram

    async def _compare(self, theirs: bytes) -> None:
        """Compare the target's digest with ours; answers RECV_LOADED or DIGEST_MISMATCH."""
        vm = self._vm
        ours = await self._own_digest if self._own_digest is not None else b""
        vm.statistics.digest_equal = ours == theirs
        vm.statistics.verify_ms = vm.world.now_ms() - self._end_sent_ms
        if ours == theirs:
            vm.fire(E.RECV_LOADED)
        else:
            vm.error_description = texts.DIGEST_DIFFERS
            vm.fire(E.DIGEST_MISMATCH)

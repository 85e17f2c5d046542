"""The source's stream, live: connect, RAM passes, the last pages, and their end.

Rules kept here: each command of the tables is one method, and answers with one of the events its
row lists. What a pass holds and when it has converged is `engine.precopy`'s, how its pages leave is
`ram_path`'s; here are the connection and the threads for what takes long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from devices.ram import PAGE_BYTES
from engine import texts
from engine.auto_converge import AutoConverge
from engine.driver.channel import Channel, TransportError
from engine.driver.connection import Connection
from engine.driver.memory import Memory
from engine.driver.ram_channels import open_channels
from engine.driver.ram_path import RamPath
from engine.driver.surroundings import Connect, InThread
from engine.driver.tasks import Defect, Tasks
from engine.errors import StreamError
from engine.messages import Message, RamShared
from engine.parameters import Capability
from engine.precopy import Precopy
from engine.qmp.errors import QmpError
from engine.source import Source
from engine.statistics import RamStatistics
from engine.vm import Vm
from statemachines.events import E
from statemachines.guards import VM_SCOPE
from statemachines.states import Handover, Link, Migration
from statemachines.tables.conditions import TWO_PHASE

_Work: TypeAlias = Coroutine[Any, Any, None]


class Outgoing:
    """One VM's outgoing stream; a new connection for each migration."""

    def __init__(
        self,
        vm: Vm,
        source: Source,
        connect: Connect,
        new_name: Callable[[], bytes],
        memory: Memory,
        in_thread: InThread,
    ) -> None:
        """Be the source of migrations.

        `connect` opens a channel to a URI, `new_name` makes the name of a migration; `in_thread`
        does what would hold up the guest.
        """
        self._vm = vm
        self._new_name = new_name
        self._memory = memory
        self._shares = False
        self._in_thread = in_thread
        self._source = source
        self._connect_to = connect
        self._connection: Connection | None = None
        self._precopy: Precopy | None = None
        #: Done when writes are noted, between setup and the first pass.
        self._prepared: asyncio.Future[None] | None = None
        self._path: RamPath | None = None
        self._auto_converge = AutoConverge(vm.profile.timings.throttle_period_ms)
        self._tasks = Tasks(self._fell_over)
        self._own_digest: asyncio.Future[bytes] | None = None
        #: When something last came from the target.
        self.heard_ms = 0.0
        self._end_sent_ms = 0.0
        source.compare = self._start_comparing

    @property
    def connection(self) -> Connection | None:
        """The connection in use."""
        return self._connection

    # -- CONNECT, CLOSE_CHANNEL

    def connect(self) -> None:
        """CONNECT: answers CONNECTED, CONNECTED_ONE_WAY or CONNECT_FAILED."""
        if self._vm.outgoing_uri is None:
            self._vm.fire(E.CONNECT_FAILED)
            return
        self._tasks.start(self._connect())

    async def _connect(self) -> None:
        uri = self._vm.outgoing_uri
        assert uri is not None
        try:
            channel = await self._connect_to(uri)
        except (TransportError, QmpError, OSError) as error:
            self._vm.error_description = str(error)
            self._vm.fire(E.CONNECT_FAILED)
            return
        try:
            self._connection = self._open(channel)
        except BaseException:
            channel.close()
            raise
        vm = self._vm
        self.heard_ms = vm.world.now_ms()
        self._source.migration = self._new_name()
        multifd = vm.capabilities.on(Capability.MULTIFD)
        self._source.channels = vm.parameters.channels if multifd else 0
        self._vm.fire(E.CONNECTED if channel.reply_path else E.CONNECTED_ONE_WAY)

    def _open(self, channel: Channel) -> Connection:
        return Connection(channel, hears="from_target", on_message=self._heard, on_lost=self._lost)

    def _heard(self, message: Message) -> None:
        self.heard_ms = self._vm.world.now_ms()
        self._source.receive(message)

    def _lost(self, error: Exception | None) -> None:
        vm = self._vm
        if isinstance(error, Defect):
            if self._is_given_away():
                vm.world.warn(texts.UNDECIDED % error)
                return
            if self._connection is not None:
                self._connection.close()
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

    def _fell_over(self, defect: Defect) -> None:
        vm = self._vm
        if self._is_given_away():
            vm.world.warn(texts.UNDECIDED % defect)
            return
        if vm.state(Migration) is Migration.PRE_SWITCHOVER:
            # The pass was whole, and whoever continues or cancels finds all as it should be.
            vm.world.warn(str(defect))
            return
        vm.error_description = str(defect)
        if vm.state(Handover) is Handover.COMMITTED:
            vm.fire(E.LINK_BROKEN)
        elif vm.state(Link) is Link.CONNECTING:
            vm.fire(E.CONNECT_FAILED)
        else:
            vm.fire(E.STREAM_FAILED)

    def _is_given_away(self) -> bool:
        """Whether the target may run the VM without having to ask, or does."""
        if self._vm.state(Migration) is Migration.COMPLETED:
            return True
        return self._vm.state(Handover) is Handover.DELIVERED and not self._two_phase()

    def _two_phase(self) -> bool:
        return TWO_PHASE.holds(self._vm.runtime, VM_SCOPE)

    def _loss(self, error: Exception | None) -> str:
        if isinstance(error, Defect):
            return str(error)
        unanswered = self._vm.state(Handover) is Handover.GREETED
        if unanswered and not isinstance(error, StreamError):
            # Whether its end reads as an end or as a reset depends on what it had not read yet.
            return texts.NO_ANSWER
        return texts.PEER_LOST if error is None else f"{texts.PEER_LOST}: {error}"

    def close(self) -> None:
        """CLOSE_CHANNEL: whatever was under way stops; answers CHANNEL_CLOSED."""
        self._tasks.cancel()
        if self._own_digest is not None:
            self._own_digest.cancel()
            self._own_digest = None
        if self._prepared is not None:
            # A thread that is at it goes on to its end, and nobody minds.
            self._prepared.cancel()
            self._prepared = None
        if self._precopy is not None:
            self._precopy.finish()
            self._precopy = None
        if self._path is not None:
            self._path.close()
            self._path = None
        self._slow_guest_by(0)
        # A target that has not been given the VM can only read it, and is told, or sees, the end.
        self._memory.take_back()
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
        vm.statistics.ram = RamStatistics()
        precopy = self._precopy = Precopy(
            vm.ram,
            vm.statistics.ram,
            downtime_limit_ms=vm.parameters.downtime_limit_ms,
            shortens_downtime=vm.profile.shortens_downtime,
        )
        self._auto_converge = AutoConverge(vm.profile.timings.throttle_period_ms)
        self._shares = vm.capabilities.on(Capability.X_SHARE_MEMORY)
        try:
            number = precopy.count_pass() if self._shares else precopy.setup()
        except OSError as error:
            self._not_tracked(error)
            return
        if not self._shares:
            # While the guest ejects its primary, and while the first pages are sent.
            self._prepared = asyncio.ensure_future(self._in_thread(vm.ram.prepare_tracking))
            # That it failed is no matter where the migration ends before.
            self._prepared.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._passed(number)
        self._throttle()
        if self._connection is None:
            vm.fire(E.SETUP_DONE)  # what comes next says that it is gone
        elif self._source.channels:
            self._tasks.start(self._open_channels(self._connection))
        else:
            self._path = RamPath(vm, self._connection, [])
            vm.fire(E.SETUP_DONE)

    async def _open_channels(self, connection: Connection) -> None:
        vm, source = self._vm, self._source
        assert vm.outgoing_uri is not None
        try:
            channels = await open_channels(
                self._connect_to,
                vm.outgoing_uri,
                source.migration,
                source.channels,
                lambda error: connection.abandon(error or TransportError(texts.CHANNEL_LOST)),
            )
        except (TransportError, QmpError, OSError) as error:
            vm.error_description = str(error)
            vm.fire(E.STREAM_FAILED)
            return
        try:
            self._path = RamPath(vm, connection, channels)
        except BaseException:
            for channel in channels:
                channel.close()
            raise
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

    def _begin(self, work: Callable[[Connection, Precopy, RamPath], _Work]) -> None:
        connection, precopy, path = self._connection, self._precopy, self._path
        if connection is None or precopy is None or path is None:
            self._vm.error_description = self._vm.error_description or texts.BROKEN_PIPE
            self._vm.fire(E.STREAM_FAILED)
        else:
            self._tasks.start(self._tracked(work, connection, precopy, path))

    async def _tracked(
        self,
        work: Callable[[Connection, Precopy, RamPath], _Work],
        connection: Connection,
        precopy: Precopy,
        path: RamPath,
    ) -> None:
        try:
            await work(connection, precopy, path)
        except OSError as error:
            self._not_tracked(error)

    async def _iterate(self, _connection: Connection, precopy: Precopy, path: RamPath) -> None:
        vm = self._vm
        if self._shares:
            self._passed(precopy.count_pass())
            vm.fire(E.CONVERGED)
            return
        if not precopy.is_collected:
            precopy.collect(vm.world.now_ms())
        while True:
            if not await path.send_pass(precopy):
                return
            if self._prepared is not None:
                # What was sent is protected; what holds nothing may not be yet.
                await self._prepared
                self._prepared = None
            precopy.downtime_limit_ms = vm.parameters.downtime_limit_ms
            self._passed(precopy.synchronise(vm.world.now_ms()))
            path.end_pass(precopy.passed())
            self._throttle()
            if precopy.converged():
                vm.fire(E.CONVERGED)
                return

    async def _save_final(self, connection: Connection, precopy: Precopy, path: RamPath) -> None:
        vm = self._vm
        if self._shares:
            self._passed(precopy.count_pass())
            connection.send_with(RamShared(vm.ram.size_bytes), self._memory.lend())
        else:
            self._passed(precopy.synchronise(vm.world.now_ms()))
            if not await path.send_pass(precopy, is_last=True):
                return
            precopy.finish()
        path.end_pass(precopy.last_passed())
        # Their ends must not be taken for a loss once the target is through.
        await path.drained()
        path.close()
        self._source.end_digest = None
        if vm.capabilities.on(Capability.X_VERIFY_RAM):
            self._own_digest = asyncio.ensure_future(self._in_thread(self._memory.digest))
            if not self._two_phase():
                # Nobody waits for the target's: it gets ours to compare.
                self._source.end_digest = await self._own_digest
        self._end_sent_ms = vm.world.now_ms()
        vm.fire(E.FINAL_SENT)

    async def _flush(self, connection: Connection, _precopy: Precopy, _path: RamPath) -> None:
        try:
            if await connection.drained():
                # A command that ends now has ended as it should: its status says whether.
                connection.stop_reading()
                await connection.channel.flushed()
                self._vm.fire(E.FLUSHED)
        except TransportError as error:
            self._vm.error_description = str(error)
            self._vm.fire(E.STREAM_FAILED)

    # -- x-verify-ram

    def _start_comparing(self, theirs: bytes) -> None:
        self._tasks.start(self._compare(theirs))

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

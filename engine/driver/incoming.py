"""The target's stream, live: listen, take one source, verify, answer.

Rules kept here: each command of the tables is one method, and answers with one of the events its
row lists. What a message means is `engine.target`'s. Once nothing more is expected, nothing more
is read: the end of a one-way stream is no loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from engine import texts
from engine.driver.channel import Channel, TransportError
from engine.driver.connection import Connection
from engine.driver.transport import Listener, ResolveFd, SocketAddress, listen
from engine.errors import EngineError, StreamError
from engine.messages import End, Message
from engine.qmp.errors import QmpError
from engine.target import Target
from engine.vm import Vm
from statemachines.events import E
from statemachines.guards import VM_SCOPE
from statemachines.states import Takeover
from statemachines.tables.conditions import TWO_PHASE


class IncomingStream:
    """One VM's incoming stream."""

    def __init__(
        self, vm: Vm, target: Target, resolve_fd: ResolveFd, digest: Callable[[], bytes]
    ) -> None:
        """`digest` hashes the whole RAM, in a thread."""
        self._vm = vm
        self._digest = digest
        self._target = target
        self._resolve_fd = resolve_fd
        self._listener: Listener | None = None
        self._connection: Connection | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard_ms = 0.0
        #: Where it listens, as QMP SocketAddress.
        self.addresses: list[SocketAddress] = []

    @property
    def connection(self) -> Connection | None:
        """The connection in use."""
        return self._connection

    @property
    def heard_ms(self) -> float:
        """When something last came from the source."""
        return self._heard_ms

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def listen(self) -> None:
        """LISTEN: answers PEER_CONNECTED, PEER_CONNECTED_ONE_WAY or LISTEN_FAILED."""
        self._spawn(self._listen())

    async def _listen(self) -> None:
        vm = self._vm
        assert vm.incoming_uri is not None
        try:
            self._listener = await listen(vm.incoming_uri, self._resolve_fd)
            self.addresses = list(self._listener.addresses)
            vm.world.settled()
            channel = await self._listener.accept()
        except (TransportError, QmpError, OSError) as error:
            self._target.reason = str(error)
            vm.world.warn(str(error))
            vm.fire(E.LISTEN_FAILED)
            return
        self._listener.close()
        self._accept(channel)

    def _accept(self, channel: Channel) -> None:
        self._heard_ms = self._vm.world.now_ms()
        self._vm.fire(E.PEER_CONNECTED if channel.reply_path else E.PEER_CONNECTED_ONE_WAY)
        self._connection = Connection(
            channel, hears="from_source", on_message=self._heard, on_lost=self._lost
        )

    def _heard(self, message: Message) -> None:
        self._heard_ms = self._vm.world.now_ms()
        if isinstance(message, End) and not self._two_phase() and self._connection is not None:
            self._connection.stop_reading()
        try:
            self._target.receive(message)
        except StreamError as error:
            self._fail(error)

    def _two_phase(self) -> bool:
        return TWO_PHASE.holds(self._vm.runtime, VM_SCOPE)

    def _lost(self, error: Exception | None) -> None:
        self._connection = None
        if isinstance(error, StreamError):
            self._fail(error)
            return
        if not self._target.reason:
            self._target.reason = texts.STREAM_CUT
        self._vm.fire(E.LINK_BROKEN)

    def _fail(self, error: StreamError | EngineError) -> None:
        self._target.reason = str(error)
        if self._vm.state(Takeover) in (Takeover.LOADED, Takeover.IN_DOUBT):
            self._vm.fire(E.LINK_BROKEN)
        else:
            self._vm.fire(E.LOAD_FAILED)

    def verify(self) -> None:
        """VERIFY: answers VERIFIED or LOAD_FAILED."""
        if not self._target.is_complete:
            self._target.reason = texts.STREAM_CUT
            self._vm.fire(E.LOAD_FAILED)
        elif self._target.verifies:
            self._spawn(self._verify())
        else:
            self._target.loaded_digest = None
            self._vm.fire(E.VERIFIED)

    async def _verify(self) -> None:
        ours = await asyncio.to_thread(self._digest)
        theirs = self._target.announced_digest
        if theirs is not None and theirs != ours:
            self._target.reason = texts.DIGEST_DIFFERS
            self._vm.statistics.digest_equal = False
            self._vm.fire(E.LOAD_FAILED)
            return
        self._target.loaded_digest = ours
        self._vm.fire(E.VERIFIED)

    def send(self, message: Message) -> None:
        """Put a message of the tables on the stream."""
        if self._connection is not None:
            self._connection.send(message)

    def close(self) -> None:
        """CLOSE_CHANNEL: answers CHANNEL_CLOSED."""
        for task in list(self._tasks):
            task.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def finished(self) -> None:
        """Wait until a last answer has left."""
        if self._connection is not None:
            await self._connection.finished()

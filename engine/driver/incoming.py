"""The target's stream, live: listen, take one source, verify, answer.

Rules kept here: each command of the tables is one method, and answers with one of the events its
row lists. What a message means is `engine.target`'s. The end of a one-way stream is heard only
when its END is dealt with: it is no loss.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

from engine import texts
from engine.arriving_ram import ArrivingRam
from engine.driver.channel import Channel, TransportError
from engine.driver.connection import Connection
from engine.driver.memory import Memory
from engine.driver.ram_channels import GatheredChannels
from engine.driver.surroundings import Listen
from engine.driver.tasks import Defect, Tasks
from engine.driver.transport import Listener, SocketAddress
from engine.errors import MalformedMessage, StreamError
from engine.messages import End, Hello, Message, PassEnd, RamMessage
from engine.qmp.errors import QmpError
from engine.ram_receiving import land_ram, load_ram, note_landed
from engine.suspect_pages import SuspectPages
from engine.target import Target
from engine.vm import Vm
from statemachines.events import E
from statemachines.guards import VM_SCOPE
from statemachines.states import Link, RunState, Takeover
from statemachines.tables.conditions import TWO_PHASE


class IncomingStream:
    """One VM's incoming stream."""

    def __init__(
        self,
        vm: Vm,
        target: Target,
        listen: Listen,
        memory: Memory,
        digest: Callable[[], Awaitable[bytes]],
    ) -> None:
        """`listen` waits for a channel at a URI; `digest` hashes the whole RAM, in a thread."""
        self._vm = vm
        self._digest = digest
        self._memory = memory
        self._target = target
        target.adopt = self._adopt
        target.suspects = SuspectPages(threading.Lock())
        self._listen_at = listen
        self._listener: Listener | None = None
        self._connection: Connection | None = None
        self._channels: GatheredChannels | None = None
        self._last: Connection | None = None
        self._tasks = Tasks(self._fell_over)
        #: When something last came from the source.
        self.heard_ms = 0.0
        #: Where it listens, as QMP SocketAddress.
        self.addresses: list[SocketAddress] = []

    @property
    def connection(self) -> Connection | None:
        """The connection in use."""
        return self._connection

    def listen(self) -> None:
        """LISTEN: answers PEER_CONNECTED, PEER_CONNECTED_ONE_WAY or LISTEN_FAILED.

        A failure is answered before this returns, so that whoever asked for it can be told.
        """
        vm = self._vm
        assert vm.incoming_uri is not None
        vm.listen_error = None
        try:
            self._listener = self._listen_at(vm.incoming_uri)
        except (TransportError, OSError, QmpError) as error:
            vm.listen_error = str(error)
            vm.fire(E.LISTEN_FAILED)
            return
        self.addresses = list(self._listener.addresses)
        self._tasks.start(self._await_source(self._listener))

    async def _await_source(self, listener: Listener) -> None:
        try:
            channel = await listener.accept()
        except (TransportError, OSError) as error:
            self._listen_no_more(error)
            return
        try:
            self._accept(channel)
        except BaseException:
            channel.close()
            raise

    def _listen_no_more(self, error: Exception) -> None:
        self._vm.world.warn(str(error))
        if self._listener is not None:
            # It can be told to listen again, at the same place.
            self._listener.close()
            self._listener = None
        self._vm.fire(E.LISTEN_FAILED)

    def _accept(self, channel: Channel) -> None:
        self.heard_ms = self._vm.world.now_ms()
        self._vm.fire(E.PEER_CONNECTED if channel.reply_path else E.PEER_CONNECTED_ONE_WAY)
        self._connection = Connection(
            channel, hears="from_source", on_message=self._heard, on_lost=self._lost, ram=self
        )

    def _heard(self, message: Message) -> None:
        self.heard_ms = self._vm.world.now_ms()
        if isinstance(message, End) and not self._two_phase() and self._connection is not None:
            # What comes next is the end of the stream: no news until this END is dealt with.
            self._connection.pause_reading()
        try:
            if isinstance(message, PassEnd) and self._channels is not None:
                self._target.check_ram(message)
                self._channels.reached(0, message.pass_number, self._connection_in_use())
            else:
                self._target.receive(message)
        except StreamError as error:
            self._fail(error)
        if self._listener is not None:
            self._gather(message, self._listener)
        if self._vm.state(Takeover) is not Takeover.STATE_LOADED:
            self._go_on_reading()

    def _connection_in_use(self) -> Connection:
        assert self._connection is not None
        return self._connection

    # -- RAM

    def _adopt(self) -> None:
        """Make the memory that came along this VM's, to be read only until it is the target's."""
        descriptor = self._connection_in_use().channel.take_descriptor()
        if descriptor is None:
            raise MalformedMessage(
                expected="a descriptor with RamShared",
                came="none",
                remedy="let nothing stand between source and target",
            )
        try:
            self._memory.adopt(descriptor)
        except OSError as error:
            raise MalformedMessage(
                expected="memory that can be mapped",
                came=f"none ({error})",
                remedy="leave capability x-share-memory off",
            ) from error

    def _gather(self, message: Message, listener: Listener) -> None:
        """The first message of a source says whether more channels are to come."""
        if not isinstance(message, Hello) or not message.channels or self._connection is None:
            listener.close()
        else:
            self._channels = GatheredChannels(
                bytes(message.migration),
                message.channels,
                ram=self,
                on_lost=self._channel_lost,
                go_on=self._go_on_reading,
                warn=self._vm.world.warn,
            )
            self._tasks.start(self._await_channels(self._channels, listener))
        self._listener = None

    async def _await_channels(self, channels: GatheredChannels, listener: Listener) -> None:
        try:
            await channels.gather(listener)
        finally:
            listener.close()

    def _channel_lost(self, error: Exception | None) -> None:
        if isinstance(error, Defect):
            self._fell_over(error)
        elif self._connection is not None:
            self._connection.abandon(error or TransportError(texts.CHANNEL_LOST))

    def begin(self) -> None:
        """Hear that RAM comes now; UnexpectedMessage when this is not the time."""
        self.heard_ms = self._vm.world.now_ms()
        self._target.check_ram()

    def heard(self) -> None:
        """Hear that some of it has come, in whatever thread: a slow link is not a silent one."""
        self.heard_ms = self._vm.world.now_ms()

    def take(self, message: RamMessage) -> None:
        """Take one message of RAM, in whatever thread."""
        load_ram(self._vm.ram, message, self._target.suspects)

    def land(self, arriving: ArrivingRam) -> list[memoryview] | None:
        """Find places for the pages of a message that arrives, in whatever thread."""
        return land_ram(self._vm.ram, arriving)

    def landed(self, arriving: ArrivingRam) -> None:
        """Hear that they are in place, in whatever thread."""
        note_landed(self._vm.ram, arriving, self._target.suspects)

    def _go_on_reading(self) -> None:
        held = self._channels is not None and self._channels.holds_main()
        if self._connection is not None and not held:
            self._connection.resume_reading()

    def _two_phase(self) -> bool:
        return TWO_PHASE.holds(self._vm.runtime, VM_SCOPE)

    def _lost(self, error: Exception | None) -> None:
        if isinstance(error, Defect):
            self._fell_over(error)
            return
        if isinstance(error, StreamError):
            self._fail(error)
            if self._connection is None:
                return
        self._connection = None
        if not self._target.reason:
            self._target.reason = texts.STREAM_CUT
        self._vm.fire(E.LINK_BROKEN)

    def _fell_over(self, defect: Defect) -> None:
        if self._vm.state(Link) is Link.LISTENING:
            self._listen_no_more(defect)
        elif self._vm.state(RunState) is RunState.INMIGRATE:
            self._fail(defect)
        else:
            # The VM is here. A source that waits to hear so must not see the end of the stream.
            self._vm.world.warn(str(defect))

    def _fail(self, error: Exception) -> None:
        self._target.reason = str(error)
        if self._vm.state(Takeover) in (Takeover.LOADED, Takeover.IN_DOUBT):
            self._vm.fire(E.LINK_BROKEN)
        else:
            self._vm.fire(E.STREAM_BAD)

    def verify(self) -> None:
        """VERIFY: answers VERIFIED or LOAD_FAILED."""
        if not self._target.is_complete:
            self._target.reason = texts.STREAM_CUT
            self._vm.fire(E.LOAD_FAILED)
        elif self._target.verifies:
            self._tasks.start(self._verify())
        else:
            self._target.loaded_digest = None
            self._vm.fire(E.VERIFIED)

    async def _verify(self) -> None:
        ours = await self._digest()
        theirs = self._target.announced_digest
        if theirs is not None:
            self._vm.statistics.digest_equal = theirs == ours
            if theirs != ours:
                self._target.reason = texts.DIGEST_DIFFERS
                self._vm.fire(E.LOAD_FAILED)
                return
        self._target.loaded_digest = ours
        self._vm.fire(E.VERIFIED)
        self._go_on_reading()

    def send(self, message: Message) -> None:
        """Put a message of the tables on the stream."""
        if self._connection is not None:
            self._connection.send(message)

    def close(self) -> None:
        """CLOSE_CHANNEL: answers CHANNEL_CLOSED."""
        self._tasks.cancel()
        if self._listener is not None:
            self._listener.close()
        if self._channels is not None:
            self._channels.close()
        if self._connection is not None:
            self._connection.close()
            self._last = self._connection
            self._connection = None

    async def finished(self) -> None:
        """Wait until a last answer has left, for no longer than a connection lingers."""
        if self._last is not None:
            await self._last.finished()

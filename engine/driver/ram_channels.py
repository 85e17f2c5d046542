"""The channels for RAM beside the main one: opened by the source, gathered by the target.

Rules kept here: each says first whose it is; a stranger is let go, and nobody waits for it longer
than GREETING_SECONDS; the loss of one is told once and is the loss of the stream. One that ends
between two passes is no loss unless there is another pass: the source lets go of them when all RAM
is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine import texts
from engine.arriving_ram import ArrivingRam
from engine.driver.channel import Channel, TransportError
from engine.driver.connection import Connection, RamTaker
from engine.driver.surroundings import Connect
from engine.driver.tasks import Defect
from engine.driver.transport import Listener
from engine.errors import UnexpectedMessage
from engine.messages import ChannelHello, ChannelSync, Message, RamMessage
from engine.pass_barrier import PassBarrier
from engine.uri import Uri

#: How long a channel may take to say whose it is.
GREETING_SECONDS = 5.0
#: The most channels that have not said yet whose they are.
GREETING_MAX = 16

Lost = Callable[[Exception | None], None]


async def open_channels(
    connect: Connect, uri: Uri, migration: bytes, count: int, on_lost: Lost
) -> list[Connection]:
    """Open so many channels to the target and say whose they are; TransportError if one fails."""
    opened: list[Connection] = []
    try:
        for number in range(1, count + 1):
            channel = await connect(uri)
            connection = Connection(
                channel, hears="from_target", on_message=_refuse, on_lost=on_lost
            )
            opened.append(connection)
            connection.send(ChannelHello(migration, number))
    except BaseException:
        for connection in opened:
            connection.close()
        raise
    return opened


def _refuse(message: Message) -> None:
    raise UnexpectedMessage(
        expected="nothing from the target on a channel for RAM",
        came=type(message).__name__,
        remedy="use the same version of replug at both ends",
    )


class GatheredChannels:
    """The channels of one migration at its target."""

    def __init__(
        self,
        migration: bytes,
        count: int,
        *,
        ram: RamTaker,
        on_lost: Lost,
        go_on: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        """`go_on` is called when the main channel, held at the end of a pass, may go on."""
        self._migration = migration
        self._count = count
        self._ram = ram
        self._on_lost = on_lost
        self._go_on = go_on
        self._warn = warn
        self._barrier = PassBarrier(count)
        self._guests: set[_Guest] = set()
        self._channels: dict[int, Connection] = {}
        self._all_here = asyncio.Event()
        self._room = asyncio.Event()
        self._missed: asyncio.TimerHandle | None = None
        self._closed = False

    async def gather(self, listener: Listener) -> None:
        """Accept channels until all are here."""
        accepting = asyncio.create_task(self._accept(listener))
        all_here = asyncio.create_task(self._all_here.wait())
        try:
            await asyncio.wait((accepting, all_here), return_when=asyncio.FIRST_COMPLETED)
            if accepting.done():
                accepting.result()
        finally:
            accepting.cancel()
            all_here.cancel()

    async def _accept(self, listener: Listener) -> None:
        while not self._closed:
            while len(self._guests) >= GREETING_MAX:
                self._room.clear()
                await self._room.wait()
            try:
                channel = await listener.accept()
            except (TransportError, OSError) as error:
                self.lost(error)
                return
            self._guests.add(_Guest(self, channel))

    # -- what its channels say

    @property
    def ram(self) -> RamTaker:
        """Who takes what comes of RAM."""
        return self._ram

    def said_hello(self, guest: _Guest, hello: ChannelHello) -> None:
        """Take a channel in, or let it go."""
        number = hello.channel
        if (
            bytes(hello.migration) != self._migration
            or number in self._channels
            or number > self._count
        ):
            self.left(guest)
            guest.connection.close()
            self._warn(texts.STRANGE_CHANNEL)
            return
        self._forget(guest)
        guest.number = number
        self._channels[number] = guest.connection
        if len(self._channels) == self._count:
            self._all_here.set()
            if self._missed is not None:
                self._missed.cancel()

    def reached(self, participant: int, pass_number: int, connection: Connection) -> None:
        """Hold a channel at the end of a pass until all have come so far."""
        if not self._barrier.reached(participant, pass_number):
            connection.pause_reading()
            self._go_on_without()
            if self._missed is None and not self._all_here.is_set():
                # All have been opened by now. One that was lost before it said whose it is, is
                # known by nothing but that it does not come.
                loop = asyncio.get_running_loop()
                self._missed = loop.call_later(GREETING_SECONDS, self.lost, None)
            return
        for number, other in self._channels.items():
            if number != participant:
                other.resume_reading()
        self._go_on()

    def ended(self, number: int) -> None:
        """Take note that one of them has ended between two passes."""
        self._barrier.left(number)
        self._go_on_without()

    def _go_on_without(self) -> None:
        if self._barrier.waits_for_ever:
            self.lost(None)

    def holds_main(self) -> bool:
        """Say whether the main channel has to wait for the others."""
        return self._barrier.holds(0)

    def left(self, guest: _Guest) -> None:
        """Forget a channel that never said whose it is."""
        self._forget(guest)

    def _forget(self, guest: _Guest) -> None:
        self._guests.discard(guest)
        self._room.set()
        guest.deadline.cancel()

    def lost(self, error: Exception | None) -> None:
        """Tell that one of them is lost."""
        if not self._closed:
            self._on_lost(error)

    def close(self) -> None:
        """Let go of all."""
        self._closed = True
        if self._missed is not None:
            self._missed.cancel()
        for guest in list(self._guests):
            guest.deadline.cancel()
            guest.connection.close()
        for connection in self._channels.values():
            connection.close()


class _Guest:
    """A channel that was accepted; a stranger until it has said whose it is."""

    def __init__(self, owner: GatheredChannels, channel: Channel) -> None:
        self._owner = owner
        self._is_at_rest = True
        #: Which one it is; 0 until it has said so.
        self.number = 0
        self.connection = Connection(
            channel, hears="from_source", on_message=self._heard, on_lost=self._lost, ram=self
        )
        self.deadline = asyncio.get_running_loop().call_later(GREETING_SECONDS, self._give_up)

    def begin(self) -> None:
        """Hear that RAM comes now; UnexpectedMessage from a stranger, or at a wrong time."""
        if not self.number:
            raise UnexpectedMessage(
                expected="ChannelHello",
                came="RAM",
                remedy="the source is of another version, or the stream is damaged",
            )
        self._is_at_rest = False
        self._owner.ram.begin()

    def heard(self) -> None:
        """Hear that some of it has come, in whatever thread."""
        self._owner.ram.heard()

    def take(self, message: RamMessage) -> None:
        """Take one message of RAM, in whatever thread."""
        self._owner.ram.take(message)

    def land(self, arriving: ArrivingRam) -> list[memoryview] | None:
        """Find places for what arrives, in whatever thread."""
        return self._owner.ram.land(arriving)

    def landed(self, arriving: ArrivingRam) -> None:
        """Hear that they are in place, in whatever thread."""
        self._owner.ram.landed(arriving)

    def _heard(self, message: Message) -> None:
        match message:
            case ChannelHello() if not self.number:
                self._owner.said_hello(self, message)
            case ChannelSync(pass_number=pass_number) if self.number:
                self._is_at_rest = True
                self._owner.reached(self.number, pass_number, self.connection)
            case _:
                raise UnexpectedMessage(
                    expected="ChannelSync" if self.number else "ChannelHello",
                    came=type(message).__name__,
                    remedy="the source is of another version, or the stream is damaged",
                )

    def _lost(self, error: Exception | None) -> None:
        if not self.number:
            self._owner.left(self)
        elif isinstance(error, Defect) or not self._is_at_rest:
            self._owner.lost(error)
        else:
            self._owner.ended(self.number)
        self.connection.close()

    def _give_up(self) -> None:
        self._owner.left(self)
        self.connection.close()

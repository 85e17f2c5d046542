"""VMs and a network that do nothing of themselves: whoever replays a trace says when.

What may live here: what surrounds the production code where the order of things is given. Rules:

1. A command of the tables is carried out when its answer is due: the world is slow, never other.
2. A guest does what it is told, by the deeds that any guest has; a timer fires when it is told to.
3. Bytes arrive parcel by parcel, as told; none is lost but by a disturbance.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from devices.dirty import DirtyBitmap, DirtyRecord
from devices.page_runs import Runs
from devices.ram import PAGE_BYTES
from engine.driver.channel import Channel, TransportError
from engine.driver.simulation.link import LinkConditions, SimulatedChannel, Wire
from engine.driver.simulation.machine import SimulatedVm, WatchedVm
from engine.driver.simulation.memory import SimulatedMemory
from engine.driver.simulation.network import SimulatedListener, SimulatedNetwork
from engine.driver.transport import Listener
from engine.profile import DirtyTracking
from engine.uri import Uri
from statemachines.effects import Command
from statemachines.events import E

#: Carried out when their answer is due. A target listens at once, or nobody could connect.
HELD = frozenset(
    {
        Command.CONNECT,
        Command.CLOSE_CHANNEL,
        Command.SAVE_SETUP,
        Command.ITERATE,
        Command.SAVE_FINAL,
        Command.FLUSH,
        Command.VERIFY,
        Command.QUIESCE_GUEST,
    }
)


class _ToldLive(WatchedVm):
    """The live VM, in a world that waits for a word."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        #: Commands that wait.
        self.held: deque[tuple[Command, int | None]] = deque()
        #: Timers that run.
        self.running: set[E] = set()
        super().__init__(*arguments, **named)

    def perform(self, command: Command, index: int | None) -> None:
        if command in HELD:
            self.held.append((command, index))
        else:
            super().perform(command, index)

    def release(self, command: Command) -> bool:
        """Carry out a command that waits; False where none does."""
        for place, (held, index) in enumerate(self.held):
            if held is command:
                del self.held[place]
                super().perform(command, index)
                return True
        return False

    def start_timer(self, event: E, delay_ms: float) -> None:
        self.running.add(event)

    def stop_timer(self, event: E) -> None:
        self.running.discard(event)

    def expire(self, event: E) -> bool:
        """Let a timer fire; False where it does not run."""
        if event not in self.running:
            return False
        self.running.discard(event)
        self._timers.expired(event)
        return True

    def _advance(self) -> None:
        """Do nothing: the guest is told what to do."""
        self._tick = None


class _ToldRecord(DirtyBitmap):
    """What notes writes, on a host that may be told to fail."""

    #: Whether the host does not tell what was written.
    fails = False

    def start(self, dirty: Runs) -> None:
        self._fail()
        super().start(dirty)

    def take(self, *, ahead: bool = False) -> Runs:
        self._fail()
        return super().take(ahead=ahead)

    def _fail(self) -> None:
        if self.fails:
            raise OSError(errno.EIO, "Input/output error")


class _ToldMemory(SimulatedMemory):
    """Guest RAM of such a host."""

    def dirty_record(self, choice: DirtyTracking) -> DirtyRecord:
        self.record = _ToldRecord(len(self.contents) // PAGE_BYTES, self.holding)
        return self.record


class ToldVm(SimulatedVm):
    """One VM process that is told what its surroundings do."""

    live_class = _ToldLive
    memory_class = _ToldMemory
    live: _ToldLive
    memory: _ToldMemory


class _ToldWire(Wire):
    """One direction of a channel, on which things arrive when they are told to."""

    def arrive(self) -> None:
        """Let nothing arrive by itself."""

    def let_one(self) -> bool:
        """Let the next thing arrive; False where nothing is on its way."""
        if not self._flying:
            return False
        self._land()
        self.interrupt()
        return True


class _Kind(Random):
    """Chances that turn out so that nothing is lost."""

    def random(self) -> float:
        return 1.0

    def getrandbits(self, k: int, /) -> int:
        return 0


class ToldNetwork(SimulatedNetwork):
    """The network between two VMs that are told."""

    def __init__(self, *, one_way: bool) -> None:
        conditions = LinkConditions(latency_ms=0.01, buffer_bytes=1 << 30)
        super().__init__(conditions, _Kind(0))
        self.one_way = one_way
        #: Whether nobody can listen at the moment.
        self.occupied = False
        self._offered: deque[tuple[SimulatedListener, SimulatedChannel]] = deque()

    def listen(self, uri: Uri, accepted: Callable[[Channel], None]) -> Listener:
        if self.occupied:
            raise TransportError("Failed to bind socket: Address already in use")
        return super().listen(uri, accepted)

    def _wire(self) -> Wire:
        return _ToldWire(self)

    def _offer(self, listener: SimulatedListener, channel: SimulatedChannel) -> None:
        self._offered.append((listener, channel))

    def admit(self) -> bool:
        """Let the listener accept who has connected; False where nobody has."""
        if not self._offered:
            return False
        listener, channel = self._offered.popleft()
        listener.offer(channel)
        return True

    def turn_away(self) -> None:
        """Let who has connected find that nobody is there any more."""
        while self._offered:
            _, channel = self._offered.popleft()
            channel.close()

    def let_one(self, side: str) -> bool:
        """Let the next thing arrive at a side; False where nothing is on its way."""
        if not self._wires:
            return False
        wire = self._wires[-2 if side == "target" else -1]
        assert isinstance(wire, _ToldWire)
        return wire.let_one()

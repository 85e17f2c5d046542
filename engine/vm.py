"""One VM's core: its machines, its devices and its guest, moved by events, asking its world.

What may live here: taking events and commands in, carrying the effects of each step out, in
order. Rules:

1. `fire` is the only way anything moves. While a step's effects are carried out, further events
   are queued and taken when the machines have come to rest (run to completion).
2. A command of the tables is carried out by the one handler registered for it; commands without
   one of their own here go to the world.
3. Nothing here waits, reads a clock or touches a socket.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from devices.guest import Guest
from devices.pci import PciDevice
from devices.ram import Ram
from engine.board import Board
from engine.configuration import VmConfiguration
from engine.guest_view import BoardView
from engine.journal import Journal
from engine.parameters import Capabilities, Capability, Parameters
from engine.qmp.errors import ErrorClass, QmpError
from engine.statistics import Statistics
from engine.uri import Uri
from engine.world import World
from statemachines import effects
from statemachines.effects import Command, Do, Send
from statemachines.events import E
from statemachines.guards import Per
from statemachines.refusals import Field, RefusalKind
from statemachines.runtime import Happening, Latched, RefusedError, Runtime, StateError, Step
from statemachines.states import Incoming, Migration, Primary, RunState, State

Handler = Callable[[int | None], None]
Sender = Callable[[effects.Message, Happening], None]

#: For an event whose refusals have no blanks.
NO_VALUES: Mapping[Field, str] = MappingProxyType({})
_ERROR_CLASSES = {
    RefusalKind.GENERIC: ErrorClass.GENERIC_ERROR,
    RefusalKind.DEVICE_NOT_FOUND: ErrorClass.DEVICE_NOT_FOUND,
}


@dataclass(frozen=True)
class _Pending:
    """An event that waits for the machines to come to rest."""

    event: E
    index: int | None
    latched: Latched | None


class Vm:
    """The sans-IO core of one VM; see the module's rules."""

    def __init__(self, configuration: VmConfiguration, ram: Ram, world: World) -> None:
        """Build the VM without devices; `engine.hotplug.cold_plug` adds those."""
        self.configuration = configuration
        self.profile = configuration.profile
        self.world = world
        self.ram = ram
        self.runtime = Runtime(self.profile.policies)
        self.board = Board(
            configuration.machine,
            configuration.inventory,
            newer_checks=self.profile.checks_early,
        )
        self.guest = Guest(ram, configuration.guest, BoardView(self.runtime, self.board))
        self.capabilities = Capabilities()
        self.parameters = Parameters()
        self.statistics = Statistics()
        #: Why the last migration failed, for query-migrate; None where QEMU has no text.
        self.error_description: str | None = None
        #: Where the last migration was to go; None where its URI could not be used.
        self.outgoing_uri: Uri | None = None
        #: Where a stream is expected from; None before -incoming or migrate-incoming names it.
        self.incoming_uri: Uri | None = None
        #: Why the last attempt to listen for a stream failed; None where it did not.
        self.listen_error: str | None = None
        self._handlers: dict[Command, Handler] = {}
        self._sender: Sender | None = None
        self._pending: deque[_Pending] = deque()
        self._busy = False
        #: What a step's entry in the journal is made with.
        self.journal = Journal(self.runtime, self.board, self.profile.policies)

    # -- wiring

    def handle(self, command: Command, handler: Handler) -> None:
        """Register the handler of a command.

        :raise ValueError: if it has one already.
        """
        if command in self._handlers:
            raise ValueError(f"{command.name} has a handler already")
        self._handlers[command] = handler

    def send_with(self, sender: Sender) -> None:
        """Register what builds and sends the messages of the tables."""
        self._sender = sender

    # -- reading

    def state(self, lifecycle: type[State], index: int = 0) -> State:
        """Return the present state of one lifecycle's instance."""
        return self.runtime.state(lifecycle, index)

    @property
    def migration(self) -> Migration:
        """The outgoing status."""
        state = self.state(Migration)
        assert isinstance(state, Migration)
        return state

    @property
    def incoming(self) -> Incoming:
        """The incoming status."""
        state = self.state(Incoming)
        assert isinstance(state, Incoming)
        return state

    @property
    def run_state(self) -> RunState:
        """The run state."""
        state = self.state(RunState)
        assert isinstance(state, RunState)
        return state

    def is_ejected(self, device: PciDevice) -> bool:
        """Return whether a device is a primary that the guest ejected and the host has kept."""
        return any(
            entry.device is device and self.state(Primary, entry.index) is Primary.UNPLUGGED
            for entry in self.board.primaries.values()
        )

    @property
    def events_enabled(self) -> bool:
        """Capability `events`: are MIGRATION and MIGRATION_PASS emitted."""
        return self.capabilities.on(Capability.EVENTS)

    # -- moving

    def check(
        self, event: E, index: int | None = None, values: Mapping[Field, str] = NO_VALUES
    ) -> None:
        """Check that an event could happen now; `values` fill the refusal's text.

        :raise QmpError: with the table's text and class.
        """
        try:
            self.runtime.check(event, index)
        except RefusedError as error:
            refused = error.refused
            raise QmpError(_ERROR_CLASSES[refused.kind], refused.told(values)) from error

    def ask(
        self, event: E, index: int | None = None, values: Mapping[Field, str] = NO_VALUES
    ) -> None:
        """Fire an event that a table may refuse; `values` fill the refusal's text.

        :raise QmpError: with the table's text and class; nothing has moved.
        """
        self.check(event, index, values)
        self.fire(event, index)

    def fire(self, event: E, index: int | None = None, latched: Latched | None = None) -> None:
        """Make an event happen, carry out its effects, then all that follows from them.

        :raise StateError: if no row, reason or refusal covers it: a defect of the tables or of a
            driver; nothing of that event has moved.
        """
        if self._busy:
            self._pending.append(_Pending(event, index, latched))
        else:
            self._run(self.runtime.fire(event, index, latched), latched)

    def _run(self, steps: Iterator[Step], latched: Latched | None = None) -> None:
        """Carry out an event's steps, then the events that have come meanwhile."""
        self._busy = True
        try:
            self._take(steps, latched)
            while self._pending:
                waiting = self._pending.popleft()
                fired = self.runtime.fire(waiting.event, waiting.index, waiting.latched)
                self._take(fired, waiting.latched)
        finally:
            self._busy = False
        self.settle()

    def is_waiting(self, event: E) -> bool:
        """Return whether an event has been fired and waits for the machines to come to rest."""
        return any(pending.event is event for pending in self._pending)

    def settle(self) -> None:
        """Let guest and world look at what has changed beside the tables; `fire` does it itself."""
        self.guest.observe(self.world.now_ms())
        self.world.settled()

    def offer(self, event: E, index: int | None = None) -> bool:
        """Fire an event if its machines can take it now; say whether they could.

        For events whose time may have passed: a guest's deed, a timer.
        """
        if self._busy:
            # Its turn comes later: whether it can be taken now is all that can be said.
            possible = self.runtime.enabled(event, index)
            if possible:
                self.fire(event, index)
            return possible
        try:
            steps = self.runtime.fire(event, index)
        except StateError:
            return False
        self._run(steps)
        return True

    def _take(self, steps: Iterator[Step], latched: Latched | None) -> None:
        for step in steps:
            self._note(step, latched)
            latched = None
            for happening in step.effects:
                self._carry_out(happening)

    def _note(self, step: Step, latched: Latched | None) -> None:
        self.statistics.note(step, self.world.now_ms())
        self.world.record(step, latched)

    def _carry_out(self, happening: Happening) -> None:
        match happening.effect:
            case Send(message=message):
                if self._sender is None:
                    raise RuntimeError(f"nobody sends {message.name}: call send_with first")
                self._sender(message, happening)
            case Do(command=command):
                index = happening.scope.index if happening.scope.per is not Per.VM else None
                handler = self._handlers.get(command)
                if handler is None:
                    self.world.perform(command, index)
                else:
                    handler(index)

    def emit(self, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Emit a QMP event."""
        self.world.emit(name, data or {})

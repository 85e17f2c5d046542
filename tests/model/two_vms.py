"""Source and target on one table: two runtimes, the channel between them, and the world.

Rules kept here:
1. Nothing but the tables decides. The harness offers events and keeps what the tables may rely on:
   a message arrives in order and at most once, a `Do` is answered at most once and only as it
   declares, nothing comes through a channel that its end has seen closed.
2. A second `Do` of the same command for the same instance replaces the first. `CLOSE_CHANNEL` and
   `RUN_GUEST` overtake what they make pointless: it may be answered once more, or never.
3. An event is checked at its owner: refused and not-enabled ones are no offence there. What the
   owner lets happen, and what was answered, sent or raised, every listener has to take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from statemachines.effects import RECEIVED_AS, Command, Do, Message, Send
from statemachines.events import E
from statemachines.guards import Per
from statemachines.runtime import Happening, RefusedError, Runtime, StateError, Step
from statemachines.states import Link, RunState, State
from statemachines.system import spec_of
from tests.model.wire import Channel, Latched, Wire, heard

#: Messages on the way in one direction; no more are ever sent ahead of an answer.
IN_FLIGHT_MAX = 4
STREAM_COMMANDS = (Command.SAVE_SETUP, Command.ITERATE, Command.SAVE_FINAL, Command.FLUSH)
#: What a closed channel makes pointless.
CHANNEL_COMMANDS = (Command.CONNECT, *STREAM_COMMANDS)
TIMERS = (Command.START_POLL, Command.START_DEADLINE, Command.START_CANCEL_WAIT)
CONNECTED_LINKS = (Link.OPEN, Link.ONE_WAY)

Key = tuple[Command, int]


class Observer(Protocol):
    """What looks on while the two are at work."""

    def stepped(self, vm: Vm, step: Step) -> None:
        """Look at one step of one VM; others may follow before anything else happens."""

    def restarted(self) -> None:
        """Forget both VMs: they are new processes."""

    def settled(self) -> None:
        """Look at both VMs when an event and all it raised are done."""


class UnhandledError(AssertionError):
    """A table cannot take what another one, the peer or the world lets happen."""


class WatchedRuntime(Runtime):
    """A runtime that counts which entries of its tables were taken."""

    def __init__(self, policies: Mapping[str, str], taken: Counter[int]) -> None:
        self.taken = taken
        super().__init__(policies)

    def _collect(self, spec: Any, instance: Any, effects: list[Happening]) -> None:
        self.taken[id(instance.chosen)] += 1
        super()._collect(spec, instance, effects)

    def rewind(self) -> None:
        """Put every instance back into its initial state."""
        for lifecycle, instances in self._instances.items():
            for instance in instances.values():
                instance.state = spec_of(lifecycle).initial


@dataclass
class Outstanding:
    """A command that the world has not answered."""

    #: With its answers.
    do: Do
    #: Overtaken: it may be answered once more, or never.
    overtaken: bool = False


class Vm:
    """One VM: its runtime and what the world owes it."""

    def __init__(self, name: str, runtime: WatchedRuntime, topology: tuple[int, ...]) -> None:
        """Build the pairs: `topology` says how many primaries each standby has."""
        self.name = name
        self.runtime = runtime
        self.lives = 0
        self.outstanding: dict[Key, Outstanding] = {}
        self.begin()
        self.standbys: list[int] = []
        self.primaries: list[int] = []
        self.standby_of: dict[int, int] = {}
        for count in topology:
            standby = runtime.add_standby()
            self.standbys.append(standby)
            for _ in range(count):
                primary = runtime.add_primary(standby)
                self.primaries.append(primary)
                self.standby_of[primary] = standby

    def begin(self) -> None:
        """Be a new process."""
        self.runtime.rewind()
        self.lives += 1
        self.alive = True
        self.exited = False
        self.outstanding.clear()
        self.channel: Channel | None = None
        self.inbox: Wire | None = None
        self.outbox: Wire | None = None
        self.end_seen = False

    def is_in(self, *states: State, index: int = 0) -> bool:
        """Return whether the lifecycle of the states is in one of them."""
        return self.runtime.state(type(states[0]), index) in states

    @property
    def runs(self) -> bool:
        """Whether a guest runs here."""
        return self.alive and self.is_in(RunState.RUNNING)

    def owed(self, command: Command, index: int = 0) -> bool:
        """Return whether the world has not answered a command yet."""
        return (command, index) in self.outstanding


class TwoVms:
    """A source, a target that waits for it, and the channel between them."""

    def __init__(
        self,
        policies: Mapping[str, str],
        topology: tuple[int, ...] = (1,),
    ) -> None:
        self.policies = policies
        self.topology = topology
        self.observers: list[Observer] = []
        self.taken: Counter[int] = Counter()
        self.misplaced: set[tuple[str, int]] = set()
        #: Head of line: (take-over, event) where a message had to wait for its receiver.
        self.waited: set[tuple[State, E]] = set()
        self.source = self._vm("source")
        self.target = self._vm("target")

    def _vm(self, name: str) -> Vm:
        return Vm(name, WatchedRuntime(self.policies, self.taken), self.topology)

    def respawn_target(self) -> None:
        """Put a new target process in the place of one that has ended."""
        assert not self.target.alive
        self.target.begin()

    def restart(self) -> None:
        """Begin again with two new processes; observers and counts stay."""
        for vm in (self.source, self.target):
            vm.begin()
        self.misplaced.clear()
        for observer in self.observers:
            observer.restarted()

    def kill_target(self) -> None:
        """End the target's process without a word."""
        self._end(self.target)

    # -- events

    def offer(self, vm: Vm, event: E, index: int | None = None) -> str:
        """Make an event happen if its owner allows it.

        :return: "taken", "illegal", or the text with which it is refused.
        :raise UnhandledError: if the owner allows it and a listener cannot take it.
        """
        try:
            vm.runtime.check(event, index)
        except RefusedError as refused:
            if refused.machine == spec_of(event.info.owner).name:
                return refused.refused.text
            raise UnhandledError(f"{vm.name}: {refused}") from refused
        except StateError as illegal:
            if illegal.machine == spec_of(event.info.owner).name:
                return "illegal"
            raise UnhandledError(f"{vm.name}: {illegal}") from illegal
        self.fire(vm, event, index)
        return "taken"

    def fire(
        self, vm: Vm, event: E, index: int | None = None, latched: Latched | None = None
    ) -> None:
        """Make an event happen that has to be taken, and carry out what follows."""
        try:
            for step in vm.runtime.fire(event, index, latched):
                for happening in step.effects:
                    self._carry_out(vm, happening)
                for observer in self.observers:
                    observer.stepped(vm, step)
        except StateError as illegal:
            raise UnhandledError(f"{vm.name}: {illegal}") from illegal
        if vm.is_in(Link.LOST, Link.CLOSED) and vm.inbox is not None:
            vm.inbox.parcels.clear()
        for observer in self.observers:
            observer.settled()

    def answer(self, vm: Vm, command: Command, event: E, index: int = 0) -> None:
        """Answer a command; the event must be one that it declares."""
        owed = vm.outstanding.pop((command, index))
        assert event in owed.do.answers, f"{command.name} declares no {event.name}"
        if command is Command.CONNECT and event in (E.CONNECTED, E.CONNECTED_ONE_WAY):
            self._connect(one_way=event is E.CONNECTED_ONE_WAY)
        if event is E.CHANNEL_CLOSED:
            self._forget_channel(vm)
        self.fire(vm, event, index if event.info.per is not Per.VM else None)

    def plausible(self, vm: Vm, command: Command, index: int = 0) -> list[E]:
        """Return the answers that the present state of the world allows, in a fixed order."""
        answers = sorted(
            vm.outstanding[command, index].do.answers, key=lambda event: list(E).index(event)
        )
        match command:
            case Command.CONNECT if vm is self.target:
                answers = [E.CONNECT_FAILED]
            case Command.CONNECT if not self.target.owed(Command.LISTEN):
                answers.remove(E.CONNECTED)
            case Command.LISTEN:
                answers = [heard(vm.channel)]
            case Command.VERIFY if not vm.end_seen:
                answers = [E.LOAD_FAILED]
            case Command.PLUG_PRIMARY if (vm.name, index) in self.misplaced:
                answers = [E.PLUG_FAILED]
            case _ if command in STREAM_COMMANDS and not vm.is_in(*CONNECTED_LINKS):
                answers = [e for e in answers if e in (E.STREAM_FAILED, E.SETUP_DONE)]
        return answers

    # -- the channel

    def _connect(self, *, one_way: bool) -> None:
        channel = Channel(one_way)
        self.source.channel = channel
        self.source.inbox, self.source.outbox = channel.to_source, channel.to_target
        if self.target.owed(Command.LISTEN) and self.target.channel is None:
            self.target.channel = channel
            self.target.inbox, self.target.outbox = channel.to_target, channel.to_source

    def next_for(self, vm: Vm) -> Message | None:
        """Return the message that a VM could receive now."""
        if vm.channel is None or vm.channel.stalled or vm.inbox is None or not vm.inbox.parcels:
            return None
        ready = vm.alive and vm.is_in(*CONNECTED_LINKS)
        return vm.inbox.parcels[0][0] if ready else None

    def deliver(self, vm: Vm, received_as: E | None = None) -> bool:
        """Let a VM receive its next message.

        A receiver that is still busy with the one before leaves it where it is.
        :return: whether the message was received.
        """
        assert vm.inbox is not None
        message, latched = vm.inbox.parcels[0]
        event = received_as or RECEIVED_AS[message]
        try:
            vm.runtime.check(event, None, latched)
        except StateError as busy:
            if busy.machine != spec_of(event.info.owner).name or not vm.owed(Command.CHECK_HELLO):
                raise UnhandledError(f"{vm.name}: {busy}") from busy
            self.waited.add((busy.state, event))
            return False
        vm.inbox.parcels.popleft()
        if message is Message.END:
            vm.end_seen = True
        self.fire(vm, event, None, latched)
        return True

    def link_is_broken(self, vm: Vm) -> bool:
        """Return whether a VM's end could notice now that the other end is gone."""
        if not vm.alive or not vm.is_in(*CONNECTED_LINKS):
            return False
        return vm.inbox is not None and vm.inbox.ended and not vm.inbox.parcels

    def can_be_silent(self, vm: Vm) -> bool:
        """Return whether a VM's heartbeat could run out now."""
        stalled = vm.channel is not None and vm.channel.stalled
        return vm.alive and stalled and vm.is_in(Link.OPEN)

    def cut(self, kept_towards_target: int = 0, kept_towards_source: int = 0) -> None:
        """Cut the channel; of what is on the way, only the given counts still arrive."""
        channel = self.source.channel or self.target.channel
        assert channel is not None
        for wire, kept in (
            (channel.to_target, kept_towards_target),
            (channel.to_source, kept_towards_source),
        ):
            while len(wire.parcels) > kept:
                wire.parcels.pop()
            wire.ended = True
        channel.stalled = False

    # -- what rows ask for

    def _carry_out(self, vm: Vm, happening: Happening) -> None:
        match happening.effect:
            case Send(message=message):
                self._send(vm, message, happening.latched)
            case Do() as do:
                self._do(vm, do, happening.scope.index)

    def _send(self, vm: Vm, message: Message, latched: Latched) -> None:
        assert vm.alive, f"{vm.name} has ended, then sent {message.name}"
        assert vm.outbox is not None, f"{vm.name} sends {message.name} nowhere"
        assert not vm.owed(Command.CLOSE_CHANNEL), f"{vm.name} closed, then sent {message.name}"
        if not vm.outbox.ended:
            vm.outbox.parcels.append((message, latched))
        assert len(vm.outbox.parcels) <= IN_FLIGHT_MAX

    def _do(self, vm: Vm, do: Do, index: int) -> None:
        if not vm.alive:
            return
        if do.command is Command.CLOSE_CHANNEL:
            self._overtake(vm, *CHANNEL_COMMANDS)
            if vm.outbox is not None:
                vm.outbox.ended = True
        if do.command is Command.RUN_GUEST:
            self._overtake(vm, Command.QUIESCE_GUEST)
        if do.command is Command.EXIT:
            vm.exited = True
            self._end(vm)
        elif do.answers:
            vm.outstanding[do.command, index] = Outstanding(do)

    def _overtake(self, vm: Vm, *commands: Command) -> None:
        for (command, _), owed in vm.outstanding.items():
            if command in commands:
                owed.overtaken = True

    def _forget_channel(self, vm: Vm) -> None:
        for key in [k for k, owed in vm.outstanding.items() if k[0] in CHANNEL_COMMANDS]:
            del vm.outstanding[key]
        self._let_go(vm)

    def _end(self, vm: Vm) -> None:
        vm.alive = False
        vm.outstanding.clear()
        self._let_go(vm)

    def _let_go(self, vm: Vm) -> None:
        for wire in (vm.outbox, vm.inbox):
            if wire is not None:
                wire.ended = True
        if vm.inbox is not None:
            vm.inbox.parcels.clear()
        vm.channel = vm.inbox = vm.outbox = None

    # -- shared by walks and scenarios

    def boot(self, *, held: bool = False, held_target: bool = False, adopt: bool = False) -> None:
        """Start both with their first primary of each standby configured."""
        for vm in (self.source, self.target):
            self.configure(vm, adopt=adopt and vm is self.source)
        self.fire(self.source, E.BOOT_HELD if held else E.BOOT)
        self.boot_target(held=held_target)

    def boot_target(self, *, held: bool = False) -> None:
        """Start the target and let it listen."""
        self.fire(self.target, E.BOOT_INCOMING_HELD if held else E.BOOT_INCOMING)
        self.fire(self.target, E.INCOMING)

    def configure(self, vm: Vm, *, adopt: bool = False) -> None:
        """Configure a VM's primaries: all as adopted, or the first of each standby."""
        seen: set[int] = set()
        for primary in vm.primaries:
            if adopt:
                self.fire(vm, E.ADOPT, primary)
            elif vm.standby_of[primary] not in seen:
                self.fire(vm, E.DEVICE_ADD, primary)
            seen.add(vm.standby_of[primary])

"""One simulated VM process: the production VM, its monitor in memory, its life and its death.

What may live here: what `engine.driver.process` does for a real process, without sockets and
signals: a QMP session carries commands to the dispatcher, events go back through it, an exit ends
the VM as an exit does. Rules: commands are bytes of QMP; nothing of a VM is reached around them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO, TypeVar

from engine.commands.dispatcher import Dispatcher
from engine.configuration import VmConfiguration
from engine.driver.channel import Channel
from engine.driver.live import LiveVm
from engine.driver.simulation.memory import AnyMemory, LendableMemory, SimulatedMemory
from engine.driver.simulation.network import SimulatedNetwork
from engine.driver.surroundings import Surroundings, Transport
from engine.driver.transport import Listener, ResolveFd, SocketAddress
from engine.qmp.errors import QmpError
from engine.qmp.session import QmpSession, Request
from engine.uri import Uri, parse_uri
from statemachines.events import E
from statemachines.runtime import Step
from statemachines.states import RunState, State
from statemachines.steps import Latched

Result = TypeVar("Result")

#: How long work takes that a real VM gives to a thread, such as a digest of all RAM.
THREAD_MS = 1.0


class Watcher(Protocol):
    """Who looks on."""

    def stepped(self, vm: SimulatedVm, step: Step) -> None:
        """Look at a step; its effects are still to come."""

    def settled(self, vm: SimulatedVm) -> None:
        """Look at a VM whose machines have come to rest."""

    def emitted(self, vm: SimulatedVm, name: str, data: Mapping[str, Any]) -> None:
        """Look at a QMP event."""

    def ended(self, vm: SimulatedVm) -> None:
        """Look at a VM that quits."""


class WatchedVm(LiveVm):
    """The live VM, with somebody looking on once it is built."""

    watched_by: SimulatedVm | None = None
    has_stepped = False

    def record(self, step: Step, latched: Latched | None) -> None:
        super().record(step, latched)
        self.has_stepped = True
        if self.watched_by is not None:
            self.watched_by.watcher.stepped(self.watched_by, step)

    def settled(self) -> None:
        super().settled()
        if self.watched_by is not None and self.has_stepped:
            self.has_stepped = False
            self.watched_by.watcher.settled(self.watched_by)


class SimulatedVm:
    """One VM process, from its start to its end."""

    #: What it is in the core.
    live_class: type[WatchedVm] = WatchedVm
    #: What its RAM is.
    memory_class: type[AnyMemory] = SimulatedMemory

    def __init__(
        self,
        configuration: VmConfiguration,
        network: SimulatedNetwork,
        watcher: Watcher,
        journal: TextIO | None,
    ) -> None:
        """Start nothing yet; see `boot`."""
        self.name = configuration.name
        self._network = network
        #: Who looks on.
        self.watcher = watcher
        self._journal = journal
        self._channels: list[Channel] = []
        self._listeners: list[Listener] = []
        #: Whether the process lives.
        self.alive = True
        #: How it ended by itself; None while it lives, or if it was killed.
        self.exit_status: int | None = None
        profile = configuration.profile
        self._session = QmpSession(profile.version, profile.package)
        self._session.receive(b'{"execute": "qmp_capabilities"}\n')
        self._declared = QmpSession(profile.version, profile.package)
        self.memory = self.memory_class(configuration.ram_bytes)
        self.live = self.live_class(
            configuration,
            resolve_fd=lambda name: self._dispatcher.resolve_descriptor(name),
            emit=self._emit,
            journal=journal,
            exit_with=self.exit_with,
            surroundings=Surroundings(
                memory=lambda _size, _preallocated: self.memory,
                transport=self._transport,
                new_name=network.new_name,
                in_thread=_after_a_while,
                warn=self._warn,
            ),
        )
        self._dispatcher = Dispatcher(self.live.vm, self.live.hotplug, self)
        self._state_of = self.live.vm.runtime.state
        self.live.watched_by = self

    def boot(self) -> None:
        """Start it as its command line says."""
        self.live.boot()
        incoming = self.live.vm.configuration.incoming
        if incoming is not None:
            self.live.vm.incoming_uri = parse_uri(incoming, incoming=True)
            self.live.vm.fire(E.INCOMING)
            if self.live.vm.listen_error is not None:
                self.exit_with(1)

    # -- commands and events

    def execute(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Give a QMP command and return the reply: its `return` or its `error`."""
        if not self.alive:
            raise ConnectionRefusedError(f"{self.name} has ended")
        request = json.dumps({"execute": command, "arguments": arguments})
        (outcome,) = self._session.receive(request.encode() + b"\n")
        reply = outcome if isinstance(outcome, bytes) else self._carry_out(outcome)
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _carry_out(self, request: Request) -> bytes:
        try:
            value = self._dispatcher.dispatch(request.command, request.arguments, lambda: None)
        except QmpError as error:
            return self._session.error(request.id, error)
        return self._session.reply(request.id, value)

    def _emit(self, name: str, data: Mapping[str, Any]) -> None:
        if self.alive:
            microseconds = round(self.now_ms() * 1000)
            # An event that is not as it was declared is an error, though nobody listens.
            self._declared.event(name, data, divmod(microseconds, 1_000_000))
            self.watcher.emitted(self, name, data)

    def _warn(self, text: str) -> None:
        self.note({"process": self.name, "warning": text})

    def note(self, entry: Mapping[str, Any]) -> None:
        """Put something into the journal that is no step."""
        if self._journal is not None:
            self._journal.write(json.dumps(entry, separators=(",", ":")) + "\n")

    # -- the Host protocol of the commands

    def quit(self) -> None:
        """End with status 0."""
        self.watcher.ended(self)
        self.exit_with(0)

    def close_descriptor(self, fd: int) -> None:
        """Close a descriptor that a monitor passed in: none ever is."""
        raise AssertionError(f"no descriptor {fd} was passed in")

    def socket_addresses(self) -> list[SocketAddress]:
        """Return where the incoming migration listens."""
        return self.live.incoming.addresses

    def now_ms(self) -> float:
        """Return the time."""
        return self.live.now_ms()

    def details(self) -> dict[str, Any]:
        """Return what only the live VM knows of a migration."""
        return {"first-frames-ms": dict(self.live.first_frames_ms)}

    # -- streams

    def _transport(self, _resolve_fd: ResolveFd) -> Transport:
        async def connect(uri: Uri) -> Channel:
            channel = await self._network.connect(uri)
            self._channels.append(channel)
            return channel

        def listen(uri: Uri) -> Listener:
            listener = self._network.listen(uri, self._channels.append)
            self._listeners.append(listener)
            return listener

        return Transport(connect, listen)

    # -- the end

    def exit_with(self, status: int) -> None:
        """End by itself: what it has still to say may leave first."""
        if self.exit_status is None and self.alive:
            self.exit_status = status
            self._ending = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        await self.live.incoming.finished()
        self._die()

    def kill(self) -> None:
        """End at once, as by SIGKILL: the system closes what was open."""
        self._die()

    def _die(self) -> None:
        if self.alive:
            self.alive = False
            for listener in self._listeners:
                listener.close()
            for channel in self._channels:
                channel.close()
            self.live.close()

    # -- reading

    def state(self, lifecycle: type[State], index: int = 0) -> State:
        """Return the present state of one lifecycle's instance."""
        return self.live.vm.runtime.state(lifecycle, index)

    def is_in(self, *states: State, index: int = 0) -> bool:
        """Say whether the lifecycle of these states is in one of them."""
        # Asked more often than anything else, hence without a detour.
        return self._state_of(type(states[0]), index) in states

    @property
    def runs(self) -> bool:
        """Whether a guest runs here."""
        return self.alive and (self.is_in(RunState.RUNNING) or self.live.vm.guest.is_running)


class NeighbourVm(SimulatedVm):
    """A VM process whose RAM can be handed to another on its host."""

    memory_class = LendableMemory


async def _after_a_while(work: Callable[[], Result]) -> Result:
    """Do work as a thread does: once begun, it goes on to its end whoever waits."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Result] = loop.create_future()

    def do() -> None:
        try:
            result = work()
        except Exception as error:
            if not ended.done():
                ended.set_exception(error)
        else:
            if not ended.done():
                ended.set_result(result)

    loop.call_later(THREAD_MS / 1000, do)
    return await ended

"""A counterexample of the tables, let happen to the production code.

What may live here: taking a trace event by event, and looking at what comes of each. Rules:

1. What operator, guest, hosts, network and time do in a trace is enacted by the means that any
   simulation has; what follows from it is done by production code alone, and only watched.
2. An event is enacted when its turn comes. Production code may be quicker: what has happened
   already is not enacted. What never happens ends the replay, which says what did not.
3. The end is compared by joint states, as journals have them; nothing of a checker is asked.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from devices.errors import DeviceError
from engine.command_line_error import CommandLineError
from engine.driver.simulation.loop import EndlessError, VirtualLoop
from engine.driver.simulation.machine import SimulatedVm
from engine.driver.simulation.told import HELD, ToldNetwork, ToldVm
from engine.driver.simulation.trace import SIDES, System, Trace, TraceEvent
from engine.driver.simulation.trace_make_up import (
    make_up,
    operator_command,
    primary_id,
    primary_options,
    standby_id,
)
from engine.guest_deeds import perform
from engine.journal import joint_state
from engine.qmp.errors import QmpError
from statemachines.effects import Command
from statemachines.events import E, Origin
from statemachines.guards import Per
from statemachines.runtime import Step

#: How long everything that needs no word gets, in its own time.
_IDLE_SECONDS = 0.005
#: How often that is waited for, or one more thing let arrive, before an event counts as missing.
_ATTEMPTS_MAX = 400
#: How long silence lasts, at least, until it is noticed.
_SILENCE_SECONDS = 60.0
#: Events by which a VM's process starts.
_BOOTS = (E.BOOT, E.BOOT_HELD, E.BOOT_INCOMING, E.BOOT_INCOMING_HELD)
#: On the command line before that.
_CONFIGURED = (E.DEVICE_ADD, E.ADOPT)
_BOOT_NAMES = tuple(event.name for event in _BOOTS)
_CONFIGURED_NAMES = tuple(event.name for event in _CONFIGURED)
#: Who holds a function that a VM cannot have.
_ANOTHER = "another program"
#: What a VM's states are as its journal has them; None: its process is no more.
States = Mapping[str, str | Mapping[str, str]] | None


class _Happened(NamedTuple):
    """Something that production code did."""

    #: What.
    event: E
    #: To which device; None for the VM.
    name: str | None
    #: Number of the joint state after it.
    state: int


class _NotEnactedError(Exception):
    """An event of the trace that could not be made to happen, and why."""


@dataclass
class Replayed:
    """What came of a trace."""

    #: Number of the event that could not be enacted, from 1; None where all were.
    stuck_at: int | None = None
    #: Why not.
    why: str | None = None
    #: What happened and is not in the trace, in order.
    besides: list[str] = field(default_factory=list)
    #: The joint states, by side, once the last event has happened, and after each step from
    #: there on; production code may do more than was asked of it.
    states: list[dict[str, States]] = field(default_factory=list)
    #: The journals of both VMs, one after another as it happened.
    journal: str = ""


def replay(trace: Trace, system: System) -> Replayed:
    """Let a trace happen, and return what came of it."""
    loop = VirtualLoop()
    stage = _Stage(trace, system, loop)
    try:
        return stage.run()
    finally:
        loop.close()


class _Stage:
    """Both VMs and what surrounds them; looks on at every step."""

    def __init__(self, trace: Trace, system: System, loop: VirtualLoop) -> None:
        self._trace = trace
        self._system = system
        self._loop = loop
        self._journal = io.StringIO()
        self._vms: dict[str, ToldVm] = {}
        self._processes: list[ToldVm] = []
        #: What has happened at each side and was not yet its turn.
        self._ahead: dict[str, list[_Happened]] = {side: [] for side in SIDES}
        #: The joint states after each step.
        self._passed: list[dict[str, States]] = []
        #: How many states lie before the last event.
        self._last = 0
        #: What has happened at each side in its turn.
        self._happened: dict[str, list[E]] = {side: [] for side in SIDES}
        self._errors: list[str] = []
        self._place = 0
        self.outcome = Replayed()
        loop.tell_errors(self._errors.append)

    def run(self) -> Replayed:
        """Let it happen."""
        try:
            self._loop.run_until_complete(self._main())
        except EndlessError as error:
            self._stuck(str(error))
        self._loop.go_on()
        self._loop.run_until_complete(self._clean_up())
        self.outcome.journal = self._journal.getvalue()
        return self.outcome

    async def _main(self) -> None:
        self._network = ToldNetwork(one_way=not self._system.reply_path)
        for place, event in enumerate(self._trace.events):
            self._place = place
            try:
                await self._turn(event)
            except _NotEnactedError as error:
                self._stuck(f"{event}: {error}")
                break
        await self._idle()
        self._look()
        self.outcome.states = self._passed[self._last :]
        self.outcome.besides = [
            f"{side}: {event.name}" + (f" of {name}" if name else "")
            for side in SIDES
            for event, name, _ in self._ahead[side]
        ]
        if self._errors and self.outcome.why is None:
            self._stuck(self._errors[0])

    def _look(self) -> None:
        """Note the joint states as they are now."""
        self._passed.append(
            {
                side: joint_state(vm.live.vm.runtime, vm.live.vm.board)
                if (vm := self._vms.get(side)) is not None and vm.alive
                else None
                for side in SIDES
            }
        )

    def _stuck(self, why: str) -> None:
        self.outcome.stuck_at, self.outcome.why = self._place + 1, why

    async def _clean_up(self) -> None:
        for vm in self._processes:
            vm.kill()
        await self._loop.cancel_tasks()

    # -- looking on

    def stepped(self, vm: SimulatedVm, step: Step) -> None:
        """Note a step that nothing but its origin has caused."""
        self._look()
        if step.event.info.origin is not Origin.RAISED:
            name = None
            board = vm.live.vm.board
            if step.scope.per is not Per.VM:
                entries = board.standbys if step.scope.per is Per.STANDBY else board.primaries
                name = entries[step.scope.index].id
            self._ahead[vm.name].append(_Happened(step.event, name, len(self._passed) - 1))

    def settled(self, vm: SimulatedVm) -> None:
        """Let it be."""

    def emitted(self, vm: SimulatedVm, name: str, data: Mapping[str, Any]) -> None:
        """Let it be."""

    def ended(self, vm: SimulatedVm) -> None:
        """Let it be."""

    async def _idle(self) -> None:
        """Let happen what needs no word."""
        await asyncio.sleep(_IDLE_SECONDS)

    # -- one event

    async def _turn(self, event: TraceEvent) -> None:
        if event.event not in E.__members__:
            self._disturb(event.event)
            self._last = len(self._passed)
            return
        side, what = str(event.side), E[event.event]
        if side not in self._vms:
            self._build(side)
        is_new = not any(each in _BOOTS for each in self._happened[side])
        if is_new and what in _CONFIGURED:
            return  # on its command line
        name = self._name(what, event.instance)
        self._foresee(side)
        found = self._found(side, what, name)
        if found is None:
            found = await self._enact(event, what, name)
        if found is not None:
            self._ahead[side].remove(found)
        self._happened[side].append(what)
        self._last = len(self._passed) - 1 if found is None else found.state

    def _found(self, side: str, what: E, name: str | None) -> _Happened | None:
        """Return what has happened and was not its turn."""
        ahead = (each for each in self._ahead[side] if each[:2] == (what, name))
        return next(ahead, None)

    async def _enact(self, event: TraceEvent, what: E, name: str | None) -> _Happened | None:
        """Make an event happen; None where a command was taken that changes nothing."""
        side = str(event.side)
        vm = self._vms[side]
        if not vm.alive:
            raise _NotEnactedError("its process has ended")
        refusal: str | None = None
        match what.info.origin:
            case Origin.OPERATOR:
                refusal = self._command(vm, what, event.instance)
            case Origin.GUEST:
                self._deed(vm, what, event.instance)
            case Origin.ANSWER | Origin.TIME if what is not E.LINK_SILENT:
                self._answer(vm, what, event.answers)
        arrives = what.info.origin in (Origin.PEER, Origin.HOST)
        if what is E.STREAM_BAD and self._network.ends:
            self._network.ends[-1][side == "target"].damage()
        for _ in range(_ATTEMPTS_MAX):
            await asyncio.sleep(_SILENCE_SECONDS if what is E.LINK_SILENT else _IDLE_SECONDS)
            found = self._found(side, what, name)
            if found is not None:
                return found
            if arrives and not self._arrive(side):
                break
        if what.info.origin is Origin.OPERATOR and refusal is None:
            # Nothing was to be changed, and so it is no event.
            return None
        came = ", ".join(other.event.name for other in self._ahead[side]) or "nothing"
        raise _NotEnactedError(refusal or f"it does not come about, but {came}")

    def _name(self, what: E, rank: int | None) -> str | None:
        if rank is None:
            return None
        return standby_id(rank) if what.info.per is Per.STANDBY else primary_id(rank)

    # -- who does what

    def _command(self, vm: ToldVm, what: E, rank: int | None) -> str | None:
        """Let the operator give a command; return what it is refused with, if it is."""
        if what in _BOOTS:
            vm.live.boot()
            return None
        command, arguments = operator_command(self._system, vm.name, what, rank)
        reply = vm.execute(command, **arguments)
        return str(reply["error"]["desc"]) if "error" in reply else None

    def _deed(self, vm: ToldVm, what: E, rank: int | None) -> None:
        board = vm.live.vm.board
        name = self._name(what, rank)
        entries = [board.standby_named(name), board.primary_named(name)]
        index = next((entry.index for entry in entries if entry is not None), None)
        if index is None:
            raise _NotEnactedError(f"there is no {name}")
        if not perform(vm.live.vm, what, index):
            raise _NotEnactedError("the guest cannot do that now")

    def _answer(self, vm: ToldVm, what: E, asked: str | None) -> None:
        """Let the world answer a command: carry it out, in circumstances that give this answer."""
        live, network = vm.live, self._network
        if what in (E.PEER_CONNECTED, E.PEER_CONNECTED_ONE_WAY):
            done = network.admit()
        elif what.info.origin is Origin.TIME:
            done = live.expire(what)
        else:
            network.refuses = what is E.CONNECT_FAILED
            vm.memory.record.fails = what is E.STREAM_FAILED
            if what is E.STREAM_FAILED and network.ends:
                network.ends[-1][0].spoilt = True
            done = asked is not None and live.release(Command[asked])
            if asked is not None and Command[asked] not in HELD:
                raise _NotEnactedError(f"'{Command[asked].value}' is carried out at once")
        if not done:
            raise _NotEnactedError("nothing of the kind is waited for")

    def _arrive(self, side: str) -> bool:
        """Let one more thing arrive; False where nothing is left that could."""
        if self._network.let_one(side):
            return True
        other = self._vms.get(SIDES[side == "source"])
        return other is not None and other.alive and other.live.release(Command.CLOSE_CHANNEL)

    def _disturb(self, what: str) -> None:
        match what:
            case "KILL_SOURCE" | "KILL_TARGET":
                self._vms[what.removeprefix("KILL_").lower()].kill()
                if what == "KILL_TARGET":
                    self._network.turn_away()
            case "RESPAWN_TARGET":
                del self._vms["target"]
                self._ahead["target"], self._happened["target"] = [], []
            case "STALL" | "UNSTALL":
                pass  # nothing arrives but when it is told to
            case _:
                self._network.cut(
                    keeps_to_source=what in ("CUT", "CUT_TO_TARGET"),
                    keeps_to_target=what in ("CUT", "CUT_TO_SOURCE"),
                    with_error=True,
                )

    # -- what must be so beforehand

    def _coming(self, side: str) -> list[TraceEvent]:
        """Return what is still to happen to the present process of a side."""
        found = []
        for event in self._trace.events[self._place :]:
            if event.event == "RESPAWN_TARGET" and side == "target":
                break
            if event.side == side and event.event in E.__members__:
                found.append(event)
        return found

    def _build(self, side: str) -> None:
        """Make the process of a side, of what is configured before it starts."""
        coming = self._coming(side)
        names = [event.event for event in coming]
        boots = next((n for n, name in enumerate(names) if name in _BOOT_NAMES), len(names))
        before = [event for event in coming[:boots] if event.event in _CONFIGURED_NAMES]
        try:
            made_of = make_up(
                self._system,
                self._trace.profile,
                is_target=side == "target",
                plugged=[event.instance for event in before],
                adopted=[event.instance for event in before if event.event == "ADOPT"],
                held=boots < len(names) and names[boots].endswith("HELD"),
                differs="HELLO_BAD" in names,
            )
            vm = ToldVm(made_of, self._network, self, self._journal)
        except (CommandLineError, DeviceError, QmpError) as error:
            raise _NotEnactedError(f"no such VM can be built: {error}") from error
        self._vms[side] = vm
        self._processes.append(vm)

    def _foresee(self, side: str) -> None:
        """Arrange what makes the next plugging, and the next listening, go as the trace has it."""
        coming = self._coming(side)
        listens = ("PEER_CONNECTED", "PEER_CONNECTED_ONE_WAY", "LISTEN_FAILED")
        next_listens = next((e.event for e in coming if e.event in listens), None)
        self._network.occupied = next_listens == "LISTEN_FAILED"
        inventory = self._vms[side].live.vm.board.inventory
        for rank in self._system.standby_of:
            plugs = ("PRIMARY_PLUGGED", "PLUG_FAILED")
            mine = (e.event for e in coming if e.instance == rank and e.event in plugs)
            host = primary_options(self._system, rank)["host"]
            fails = next(mine, None) == "PLUG_FAILED"
            if fails and inventory.owner(host) is None:
                inventory.claim(host, _ANOTHER)
            elif not fails and inventory.owner(host) == _ANOTHER:
                inventory.release(host)

"""What must hold at every step of a simulated migration, said without the tables.

Rules kept here: a property reads states, moves, effects, events and memory; it never asks a table
what it would do. The first thing that is broken is told once, as a `Violation`.

Some properties are `native`'s alone: a profile that mirrors QEMU mirrors what QEMU breaks. There
they are counted as QEMU's defects and nothing more is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.driver.simulation.machine import SimulatedVm
from statemachines.effects import Command, Do, Message, Send, do
from statemachines.events import E
from statemachines.guards import Per
from statemachines.runtime import Move, Step
from statemachines.states import (
    Feature,
    Handover,
    Incoming,
    Lower,
    Migration,
    NetFailover,
    Partial,
    Pending,
    Primary,
    Request,
    RunState,
    Slot,
    Standby,
    State,
    Takeover,
)

_ROLLED_BACK = (Migration.CANCELLED, Migration.FAILED)
_BEFORE_SWITCHOVER = (RunState.PRELAUNCH, RunState.RUNNING, RunState.PAUSED)
#: The guest can still use a device in such a slot.
_LIVE_SLOTS = (Slot.INSERTED, Slot.OCCUPIED, Slot.REQUESTED, Slot.BLINKING)
#: How late a timer of the loop may be.
_LATE_MS = 0.01
_UNPLUG = do(Command.EMIT_UNPLUG_PRIMARY)
#: An operator asks for one of these by hand.
_PRIMARY_ARRIVES = (E.DEVICE_ADD, E.ADOPT)


@dataclass(frozen=True)
class Violation:
    """A property that was broken."""

    #: Which, in a sentence.
    property: str
    #: Where both VMs stood.
    where: str
    #: When, of the simulation's time.
    time_ms: float


class Safety:
    """Looks on; `source` and `target` are the processes that play these parts now."""

    def __init__(self, *, native: bool, broken: Callable[[str], None]) -> None:
        """`broken` is told each property that does not hold."""
        self._native = native
        self._broken = broken
        self.source: SimulatedVm | None = None
        self.target: SimulatedVm | None = None
        #: What the operator has decided about a doubt.
        self.keeper: str | None = None
        #: Properties that a profile of QEMU's broke, and how often.
        self.defects: Counter[str] = Counter()
        self._stopped_in: State = RunState.RUNNING
        #: What the source's RAM was when its guest had stopped.
        self._stopped_with: bytes | None = None
        self._waits_since_ms = 0.0
        self._wait_max_ms: float | None = None
        self._asked: Counter[str] = Counter()
        self._negotiated: set[str] = set()
        # Primaries that have been asked to leave and have not, by VM and index: by whom.
        self._asked_by_migration: set[tuple[str, int]] = set()
        self._asked_by_user: set[tuple[str, int]] = set()

    def new_target(self, target: SimulatedVm) -> None:
        """Watch another process as the target."""
        self.target = target
        self._negotiated = set()

    def _check(self, holds: bool, sentence: str, *, always: bool = False) -> None:
        if holds:
            return
        if self._native or always:
            self._broken(sentence)
        else:
            self.defects[sentence] += 1

    # -- one step

    def stepped(self, vm: SimulatedVm, step: Step) -> None:
        """Look at one step's moves and effects."""
        if vm is self.source and step.event is E.MIGRATE:
            self._asked.clear()
            self.keeper = None
        if vm is self.target and step.event is E.LAUNCH:
            self._memory_is_equal()
        if vm is self.source:
            self._memory_is_kept(vm, step)
        self._note_requests(vm, step)
        for move in step.moves:
            if move.before is move.after and not isinstance(move.after, Primary):
                continue
            if isinstance(move.after, Primary):
                self._primary_moved(vm, step, move)
            elif isinstance(move.after, Migration):
                self._wait_is_bounded(vm, move)
            elif isinstance(move.after, RunState) and vm is self.source:
                self._source_moved(step, move)
        for happening in step.effects:
            match happening.effect:
                case Send(message=Message.STATE):
                    self._no_primary_is_attached(vm)
                case Do(command=Command.PLUG_PRIMARY) if vm is self.target:
                    self._plugs(vm, happening.scope.index)
        self._has_ejected(vm, step)

    def _note_requests(self, vm: SimulatedVm, step: Step) -> None:
        if step.event is E.SYSTEM_RESET:
            # The guest that was asked is no more.
            self._asked_by_migration.clear()
        if step.event is E.DEVICE_DEL:
            self._asked_by_user.add((vm.name, step.scope.index))
        for happening in step.effects:
            if happening.effect == _UNPLUG:
                self._asked_by_migration.add((vm.name, happening.scope.index))

    def _has_ejected(self, vm: SimulatedVm, step: Step) -> None:
        if step.event is E.GUEST_EJECTS:
            self._asked_by_migration.discard((vm.name, step.scope.index))
            self._asked_by_user.discard((vm.name, step.scope.index))

    def _plugs(self, vm: SimulatedVm, index: int) -> None:
        board = vm.live.vm.board
        standby = board.standbys[board.primaries[index].standby].id
        self._check(standby in self._negotiated, "a primary is plugged before FAILOVER_NEGOTIATED")

    def _memory_is_equal(self) -> None:
        assert self.source is not None
        assert self.target is not None
        if self.source.runs:
            return  # that is another defect, and has been told
        equal = self.source.memory.contents == self.target.memory.contents
        self._check(equal, "the target is launched with other RAM than the source's")

    def _memory_is_kept(self, source: SimulatedVm, step: Step) -> None:
        """Whoever was lent or sent the source's RAM, it gets it back as it was."""
        match step.event:
            case E.GUEST_STOPPED:
                self._stopped_with = bytes(source.memory.contents)
            case E.SYSTEM_RESET:
                self._stopped_with = None
            case E.RESUME_SOURCE if self._stopped_with is not None:
                same = self._stopped_with == source.memory.contents
                self._check(same, "the source goes on with other RAM than it stopped with")
                self._stopped_with = None

    def _wait_is_bounded(self, vm: SimulatedVm, move: Move) -> None:
        now_ms = vm.now_ms()
        if move.after is Migration.WAIT_UNPLUG:
            self._waits_since_ms = now_ms
            self._wait_max_ms = vm.live.vm.parameters.unplug_timeout_ms
        elif move.before is Migration.WAIT_UNPLUG and self._wait_max_ms is not None:
            bounded = now_ms - self._waits_since_ms <= self._wait_max_ms + _LATE_MS
            self._check(bounded, "wait-unplug lasts longer than its deadline")

    def _source_moved(self, step: Step, move: Move) -> None:
        if move.after is RunState.FINISH_MIGRATE:
            self._stopped_in = move.before
        if step.event is E.RESUME_SOURCE:
            ran = self._stopped_in is RunState.RUNNING
            expected = RunState.RUNNING if ran else RunState.PAUSED
            self._check(
                move.after is expected, "the source goes on in another run state than it had"
            )

    def _no_primary_is_attached(self, vm: SimulatedVm) -> None:
        for primary in vm.live.vm.board.primaries:
            for is_so, sentence in (
                (vm.is_in(Primary.PLUGGED, index=primary), "is attached"),
                (vm.is_in(Primary.UNPLUG_PENDING, index=primary), "is leaving"),
                (vm.is_in(Request.MIGRATION, Request.USER, index=primary), "is asked to leave"),
                (vm.is_in(Pending.SET, index=primary), "is expected to leave"),
                (not vm.is_in(Slot.EMPTY, index=primary), "is in its slot"),
                (vm.is_in(Lower.IN, index=primary), "is enslaved"),
            ):
                self._check(not is_so, f"device state is streamed while a primary {sentence}")

    def _primary_moved(self, vm: SimulatedVm, step: Step, move: Move) -> None:
        commands = {
            h.effect.command
            for h in step.effects
            if isinstance(h.effect, Do) and h.scope == move.scope
        }
        before = next(
            (m.before for m in step.moves if m.scope == move.scope and type(m.before) is Request),
            Request.NONE,
        )
        if move.before is Primary.ABSENT and move.after is not Primary.ABSENT:
            self._check(step.event in _PRIMARY_ARRIVES, "a deleted primary comes back")
        if move.after is Primary.ABSENT and move.before is not Primary.ABSENT:
            if step.event is E.PLUG_FAILED:
                warned = Command.WARN_PLUG_FAILED in commands
                self._check(warned, "a primary that cannot be plugged is lost unreported")
            else:
                deleted = Command.DELETE_PRIMARY in commands
                self._check(deleted, "a primary is forgotten without being deleted")
                mine = (vm.name, move.scope.index)
                unasked = mine in self._asked_by_migration and mine not in self._asked_by_user
                asked = step.event is E.DEVICE_DEL or not unasked
                self._check(asked, "a primary that only the migration asked for is deleted")
        late = step.event is E.GUEST_EJECTS and before is Request.WITHDRAWN
        if late and move.scope.per is Per.PRIMARY:
            replugged = Command.REPLUG_PRIMARY in commands
            self._check(replugged, "a late eject is not answered by a replug")

    # -- events

    def emitted(self, vm: SimulatedVm, name: str, data: Mapping[str, Any]) -> None:
        """Look at a QMP event."""
        if name == "UNPLUG_PRIMARY" and vm is self.source:
            self._asked[data["device-id"]] += 1
            once = self._asked[data["device-id"]] == 1
            self._check(
                once, "UNPLUG_PRIMARY comes twice for a primary in one migration", always=True
            )
        if name == "FAILOVER_NEGOTIATED" and vm is self.target:
            self._negotiated.add(data["device-id"])

    # -- at rest

    def settled(self, vm: SimulatedVm) -> None:
        """Look at both VMs after an event of `vm`'s and all that it raised."""
        source, target = self.source, self.target
        if source is None or target is None:
            return
        self._check(not (source.runs and target.runs), "both VMs run")
        self._one_owner(source, target)
        if vm is source and source.alive:
            self._rolled_back(source)
        if vm.alive:
            is_running = vm.is_in(RunState.RUNNING)
            agree = vm.live.vm.guest.is_running == is_running
            self._check(agree, "the guest and its run state differ", always=True)
            if is_running:
                for standby in vm.live.vm.board.standbys:
                    self._has_a_path(vm, standby)

    def ended(self, vm: SimulatedVm) -> None:
        """Look at a process that ends by itself with status 0: somebody made it quit."""
        in_doubt = vm.is_in(Handover.IN_DOUBT) or vm.is_in(Takeover.IN_DOUBT)
        self._check(not in_doubt, "a VM in doubt quits", always=True)

    def _one_owner(self, source: SimulatedVm, target: SimulatedVm) -> None:
        launched = target.is_in(Incoming.COMPLETED)
        given = source.is_in(Handover.COMMITTED, Handover.IN_DOUBT)
        completed = source.is_in(Migration.COMPLETED)
        if not (launched or given or completed or source.is_in(RunState.POSTMIGRATE)):
            return
        has_it = target.is_in(Takeover.LOADED, Takeover.IN_DOUBT) and target.exit_status is None
        if given:
            left = source.is_in(RunState.FINISH_MIGRATE, RunState.POSTMIGRATE)
            self._check(left, "the source runs what it gave away")
        if completed:
            left = source.is_in(RunState.POSTMIGRATE)
            self._check(left, "the migration is completed and the source may run the VM")
            held = self.keeper == "target" and has_it and target.alive
            self._check(launched or held, "the migration is completed and nobody has the VM")
        if launched:
            gone = given or completed or not source.alive
            self._check(gone, "the target has launched what the source may run")
        if source.is_in(RunState.POSTMIGRATE):
            in_doubt = source.is_in(Handover.IN_DOUBT)
            self._check(completed or in_doubt, "the source is left behind in postmigrate")
        if given and self.keeper is None and (target.alive or target.exit_status is not None):
            self._check(has_it or launched, "the source gave away what the target does not hold")

    def _rolled_back(self, source: SimulatedVm) -> None:
        over = source.is_in(*_ROLLED_BACK)
        if not (over or source.is_in(Migration.CANCELLING)):
            return
        resumed = source.is_in(*_BEFORE_SWITCHOVER)
        self._check(resumed, "a migration is given up and the VM is not resumed")
        if not over:
            return
        for primary in source.live.vm.board.primaries:
            pending = source.is_in(Primary.UNPLUG_PENDING, index=primary)
            by_user = source.is_in(Request.USER, index=primary)
            plugged = source.is_in(Primary.PLUGGED, index=primary)
            for holds, sentence in (
                (not source.is_in(Primary.UNPLUGGED, index=primary), "a primary is left unplugged"),
                (source.is_in(Partial.WHOLE, index=primary), "a primary is left half unplugged"),
                (not source.is_in(Request.MIGRATION, index=primary), "a request is left behind"),
                (not pending or by_user, "a primary is left leaving, and nobody asked for it"),
                (not (plugged and source.is_in(Slot.EMPTY, index=primary)), "a slot is left empty"),
            ):
                self._check(holds, f"after a migration was given up {sentence}")

    def _has_a_path(self, vm: SimulatedVm, standby: int) -> None:
        bound = vm.is_in(Standby.DRIVER_OK, index=standby)
        if not (bound and vm.is_in(Feature.ACKED, index=standby)):
            return
        path = vm.state(NetFailover, standby)
        self._check(path is not NetFailover.ABSENT, "the guest runs without any path")
        lower = [
            entry.index
            for entry in vm.live.vm.board.primaries_of(standby)
            if vm.is_in(Lower.IN, index=entry.index)
        ]
        by_primary = path in (NetFailover.PRIMARY, NetFailover.PRIMARY_DOWN)
        self._check(len(lower) == by_primary, "the guest's path and its lower devices differ")
        for primary in lower:
            live = vm.is_in(*_LIVE_SLOTS, index=primary)
            self._check(live, "traffic goes to a slot without power")
            here = vm.is_in(Primary.PLUGGED, Primary.UNPLUG_PENDING, index=primary)
            self._check(here, "traffic goes to a primary that is gone")

"""What must hold at every step of two VMs under the profile `native`, said without the tables.

Rules kept here: a property reads joint states, moves and effects; it never asks a table what it
would do. `Safety` watches a `TwoVms` and raises `AssertionError` with the property's sentence.
Ownership of the VM is promised where the target can answer: one-way, `completed` says only that
the bytes have left.
"""

from __future__ import annotations

from collections import Counter

from statemachines.effects import Command, Do, Message, Send
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
from tests.model.two_vms import TwoVms, Vm

ROLLED_BACK = (Migration.CANCELLED, Migration.FAILED)
BEFORE_SWITCHOVER = (RunState.PRELAUNCH, RunState.RUNNING, RunState.PAUSED)
#: The guest can still use a device in such a slot.
LIVE_SLOTS = (Slot.INSERTED, Slot.OCCUPIED, Slot.REQUESTED, Slot.BLINKING)
#: An operator asks for one of these by hand.
PRIMARY_ARRIVES = (E.DEVICE_ADD, E.ADOPT)


class Safety:
    """Watches both VMs; `keeper` is what the operator has promised about a doubt."""

    def __init__(self, vms: TwoVms) -> None:
        self.vms = vms
        self.restarted()
        vms.observers.append(self)

    def restarted(self) -> None:
        """Watch two new processes."""
        self.keeper: str | None = None
        self.one_way = False
        self.stopped_in: State = RunState.RUNNING
        self.asked: Counter[int] = Counter()
        self.negotiated: set[int] = set()
        self.watched_life = self.vms.target.lives

    # -- one step

    def stepped(self, vm: Vm, step: Step) -> None:
        """Look at one step's moves and effects."""
        if vm is self.vms.target and vm.lives != self.watched_life:
            self.watched_life, self.negotiated, self.one_way = vm.lives, set(), False
        if vm is self.vms.source and step.event is E.MIGRATE:
            self.asked.clear()
            self.keeper = None
            self.one_way &= not self.vms.target.is_in(Incoming.NONE, Incoming.SETUP)
        if vm is self.vms.source and step.event is E.CONNECTED_ONE_WAY:
            self.one_way = True
        for move in step.moves:
            if isinstance(move.after, Primary):
                self._primary_moved(vm, step, move)
            if isinstance(move.after, RunState) and vm is self.vms.source:
                self._source_moved(step, move)
        for happening in step.effects:
            match happening.effect:
                case Send(message=Message.STATE):
                    self._no_primary_is_attached(vm)
                case Do(command=command):
                    self._commanded(vm, command, happening.scope.index)

    def _commanded(self, vm: Vm, command: Command, index: int) -> None:
        if vm is self.vms.source and command is Command.EMIT_UNPLUG_PRIMARY:
            self.asked[index] += 1
            assert self.asked[index] == 1, "UNPLUG_PRIMARY twice in one migration"
        if vm is self.vms.target and command is Command.EMIT_FAILOVER_NEGOTIATED:
            self.negotiated.add(index)
        if vm is self.vms.target and command is Command.PLUG_PRIMARY:
            assert vm.standby_of[index] in self.negotiated, "plugged before FAILOVER_NEGOTIATED"

    def _source_moved(self, step: Step, move: Move) -> None:
        if move.after is RunState.FINISH_MIGRATE and move.before is not RunState.FINISH_MIGRATE:
            self.stopped_in = move.before
        if step.event is E.RESUME_SOURCE and move.before is not move.after:
            ran = self.stopped_in is RunState.RUNNING
            expected = RunState.RUNNING if ran else RunState.PAUSED
            assert move.after is expected, f"resumed as {move.after}, was {self.stopped_in}"

    def _no_primary_is_attached(self, vm: Vm) -> None:
        for primary in vm.primaries:
            attached = vm.is_in(Primary.PLUGGED, Primary.UNPLUG_PENDING, index=primary)
            assert not attached, "STATE sent while a primary is attached"
            asked = vm.is_in(Request.MIGRATION, Request.USER, index=primary)
            assert not asked, "STATE sent while a request is outstanding"
            assert vm.is_in(Pending.CLEAR, index=primary), "STATE sent while an eject is expected"
            assert vm.is_in(Slot.EMPTY, index=primary), "STATE sent while a slot is occupied"
            plugging = vm.owed(Command.PLUG_PRIMARY, primary)
            assert not plugging, "STATE sent while a primary is being plugged"
            assert not vm.owed(Command.REPLUG_PRIMARY, primary)
            assert vm.is_in(Lower.OUT, index=primary), "STATE sent while a primary is enslaved"

    def _primary_moved(self, vm: Vm, step: Step, move: Move) -> None:
        effects = {str(h.effect) for h in step.effects if h.scope == move.scope}
        before = next(
            (
                m.before
                for m in step.moves
                if m.scope == move.scope and isinstance(m.before, Request)
            ),
            Request.NONE,
        )
        if move.before is Primary.ABSENT and move.after is not Primary.ABSENT:
            assert step.event in PRIMARY_ARRIVES, f"a deleted primary is back at {step.event.name}"
        if move.after is Primary.ABSENT and move.before is not Primary.ABSENT:
            if step.event is E.PLUG_FAILED:
                assert str(Do(Command.WARN_PLUG_FAILED)) in effects, "a primary lost unreported"
            else:
                assert str(Do(Command.DELETE_PRIMARY)) in effects
                assert step.event is E.DEVICE_DEL or before in (Request.USER, Request.NONE), (
                    f"a primary of the migration is deleted at {step.event.name}"
                )
        late = step.event is E.GUEST_EJECTS and before is Request.WITHDRAWN
        if late and move.scope.per is Per.PRIMARY:
            assert str(Do(Command.REPLUG_PRIMARY)) in effects, "a late eject without a replug"

    # -- both VMs

    def settled(self) -> None:
        """Look at both VMs after an event and all it raised."""
        source, target = self.vms.source, self.vms.target
        if not self.one_way:
            self._one_owner(source, target)
        self._rolled_back(source)
        for vm in (source, target):
            for standby in vm.standbys:
                self._has_a_path(vm, standby)

    def _one_owner(self, source: Vm, target: Vm) -> None:
        launched = target.is_in(Incoming.COMPLETED)
        given = source.is_in(Handover.COMMITTED, Handover.IN_DOUBT)
        completed = source.is_in(Migration.COMPLETED)
        assert not (source.runs and target.runs), "both VMs run"
        if given:
            assert source.is_in(RunState.FINISH_MIGRATE, RunState.POSTMIGRATE), "gave it, resumed"
        if completed:
            assert source.is_in(RunState.POSTMIGRATE), "completed, but the source may run it"
            held = target.alive and target.is_in(Takeover.LOADED, Takeover.IN_DOUBT)
            assert launched or (self.keeper == "target" and held), "completed, but nobody has it"
        if launched:
            assert given or completed, "the target has launched what the source may resume"
        if source.is_in(RunState.POSTMIGRATE):
            assert completed or source.is_in(Handover.IN_DOUBT), "left behind in postmigrate"
        if given and self.keeper is None and (target.alive or target.exited):
            held = target.is_in(Takeover.LOADED, Takeover.IN_DOUBT) and not target.exited
            assert held or launched, "the source gave away what the target does not hold"

    def _rolled_back(self, source: Vm) -> None:
        if source.is_in(*ROLLED_BACK, Migration.CANCELLING):
            assert source.is_in(*BEFORE_SWITCHOVER), "given up, but the VM is not resumed"
        if not source.is_in(*ROLLED_BACK):
            return
        for primary in source.primaries:
            assert not source.is_in(Primary.UNPLUGGED, index=primary), "a primary left unplugged"
            assert source.is_in(Partial.WHOLE, index=primary)
            assert not source.is_in(Request.MIGRATION, index=primary), "a request left outstanding"
            if source.is_in(Primary.UNPLUG_PENDING, index=primary):
                assert source.is_in(Request.USER, index=primary), "pending for no user"
            plugging = source.owed(Command.PLUG_PRIMARY, primary) or source.owed(
                Command.REPLUG_PRIMARY, primary
            )
            if source.is_in(Primary.PLUGGED, index=primary):
                empty = source.is_in(Slot.EMPTY, index=primary)
                assert empty == plugging, "plugged, but its slot is empty"

    def _has_a_path(self, vm: Vm, standby: int) -> None:
        bound = vm.is_in(Standby.DRIVER_OK, index=standby) and vm.is_in(
            Feature.ACKED, index=standby
        )
        if not vm.runs or not bound:
            return
        assert not vm.is_in(NetFailover.ABSENT, index=standby), "bound, but no path"
        lower = [
            primary
            for primary, mine in vm.standby_of.items()
            if mine == standby and vm.is_in(Lower.IN, index=primary)
        ]
        by_primary = vm.is_in(NetFailover.PRIMARY, NetFailover.PRIMARY_DOWN, index=standby)
        assert len(lower) == by_primary, "the path and the lower devices differ"
        for primary in lower:
            assert vm.is_in(*LIVE_SLOTS, index=primary), "traffic goes to a slot without power"
            assert vm.is_in(Primary.PLUGGED, Primary.UNPLUG_PENDING, index=primary)

"""The tables at work: one `transitions.Machine` per table and VM, instances as its models.

Rules kept here:
1. The next state comes from `transitions`; this is the only module that imports it. Rows become
   its transitions once, at construction, in the order of the table.
2. A step is joint: every listening instance is asked first, against a frozen snapshot; if one
   cannot take the event nothing moves. Then all move.
3. What a step raises is taken, in order, before `fire` returns. Callbacks only collect effects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from transitions import EventData, Machine

from statemachines.effects import Do, Effect, Raise, Send
from statemachines.events import E
from statemachines.guards import VM_SCOPE, Guard, Per, Scope, narrower
from statemachines.policies import check_valuation
from statemachines.spec import Entry, Ignored, MachineSpec, Refused, Row
from statemachines.states import State
from statemachines.system import VM_MACHINES


class StateError(Exception):
    """An event came that its machine has no row for; nothing has moved.

    `machine`, `state`, `event` say where; `allowed` lists the events that could have come.
    """

    def __init__(self, machine: str, state: State, event: E, allowed: frozenset[E]) -> None:
        names = ", ".join(sorted(other.name for other in allowed)) or "nothing"
        super().__init__(f"{machine} in {state.value} cannot take {event.name}; it takes {names}")
        self.machine = machine
        self.state = state
        self.event = event
        self.allowed = allowed


class RefusedError(StateError):
    """An event was refused by a table, with a text for whoever asked; nothing has moved."""

    def __init__(self, machine: str, state: State, event: E, refused: Refused) -> None:
        super().__init__(machine, state, event, frozenset())
        self.refused = refused
        self.args = (f"{machine} in {state.value} refuses {event.name}: {refused.text}",)


@dataclass(frozen=True)
class Happening:
    """One effect, and the instance whose row has it."""

    #: What is to happen.
    effect: Effect
    #: Whose row it is.
    scope: Scope
    #: For `Send`: the latched states, by lifecycle, then instance.
    latched: Mapping[type[State], Mapping[int, State]]


@dataclass(frozen=True)
class Move:
    """One instance's part in a step."""

    #: The table's name.
    machine: str
    #: Whose instance.
    scope: Scope
    #: Before.
    before: State
    #: After; the same where it stayed.
    after: State


@dataclass(frozen=True)
class Step:
    """One joint step of one VM."""

    #: What happened.
    event: E
    #: To whom.
    scope: Scope
    #: Every instance that has a row or a reason for it.
    moves: tuple[Move, ...]
    #: Effects in order; `Raise` is shown although it is dealt with inside.
    effects: tuple[Happening, ...]


def _unbound(_event: str) -> bool:
    raise TypeError("this instance belongs to no machine")


class _Machine(Machine):
    """A `Machine` that gives a model the two functions it declares, and no method per event.

    `model_override=True` does the same, but logs a warning for each event that it leaves out.
    """

    def _checked_assignment(self, model: object, name: str, func: Callable[..., Any]) -> None:
        if name in ("trigger", "may_trigger"):
            setattr(model, name, func)


class _Instance:
    """A model of `transitions`: one instance of one lifecycle."""

    state: State
    trigger: Callable[[str], bool] = staticmethod(_unbound)
    may_trigger: Callable[[str], bool] = staticmethod(_unbound)

    def __init__(self, spec: MachineSpec, scope: Scope) -> None:
        self.spec = spec
        self.scope = scope


Latched = Mapping[type[State], Mapping[int, State]]


class Runtime:
    """The joint state of one VM, moved by events alone.

    Not thread-safe; `fire` must not be called while it runs.
    """

    def __init__(self, policies: Mapping[str, str]) -> None:
        """Build the VM's own machines; pairs are added with `add_standby`, `add_primary`.

        :raise ValueError: if `policies` is not a valuation of the policies.
        """
        check_valuation(policies)
        self._policies = dict(policies)
        self._instances: dict[type[State], dict[int, _Instance]] = {}
        self._machines: dict[type[State], Machine] = {}
        self._listeners: dict[E, list[MachineSpec]] = {event: [] for event in E}
        self._standby_of: dict[int, int] = {}
        self._present: dict[Per, set[int]] = {Per.STANDBY: set(), Per.PRIMARY: set()}
        self._next_index = 0
        self._snapshot: dict[type[State], dict[int, State]] = {}
        self._about = VM_SCOPE
        self._latched: Latched = {}
        self._collected: list[Happening] = []
        for spec in VM_MACHINES:
            self._machines[spec.states] = self._build(spec)
            self._instances[spec.states] = {}
            for event in spec.alphabet:
                self._listeners[event].append(spec)
            if spec.per is Per.VM:
                self._add_instance(spec, VM_SCOPE)

    # -- what guards may read (the View protocol)

    def state_of(self, lifecycle: type[State], scope: Scope) -> State:
        """Return a state from the snapshot the current step is decided on."""
        return self._snapshot[lifecycle][self._index(lifecycle, scope)]

    def latched_of(self, lifecycle: type[State], scope: Scope) -> State | None:
        """Return a state latched into the message being received."""
        return self._latched.get(lifecycle, {}).get(self._index(lifecycle, scope))

    def policy(self, name: str) -> str:
        """Return the profile's value of a policy."""
        return self._policies[name]

    def primaries(self, scope: Scope) -> tuple[int, ...]:
        """Return all primaries, a standby's, or those of a primary's standby, oldest first."""
        if scope.per is Per.VM:
            return tuple(self._standby_of)
        standby = scope.index if scope.per is Per.STANDBY else self._standby_of[scope.index]
        return tuple(p for p, mine in self._standby_of.items() if mine == standby)

    # -- topology

    def add_standby(self) -> int:
        """Add a standby's machines, in their initial states, and return its index."""
        return self._add(Per.STANDBY)

    def add_primary(self, standby: int) -> int:
        """Add the machines of a primary of `standby` and return its index.

        :raise ValueError: if there is no such standby.
        """
        self._check_present(Per.STANDBY, standby)
        index = self._add(Per.PRIMARY)
        self._standby_of[index] = standby
        return index

    def remove(self, per: Per, index: int) -> None:
        """Drop the machines of a standby or primary whose device is gone.

        :raise ValueError: if there is no such device, or a standby still has primaries.
        """
        self._check_present(per, index)
        if per is Per.STANDBY and index in self._standby_of.values():
            raise ValueError(f"standby {index} still has primaries: remove these first")
        for spec in VM_MACHINES:
            if spec.per is per:
                self._machines[spec.states].remove_model(self._instances[spec.states].pop(index))
        self._present[per].remove(index)
        self._standby_of.pop(index, None)

    # -- events

    def state(self, lifecycle: type[State], index: int = 0) -> State:
        """Return the present state of one instance."""
        return self._instances[lifecycle][index].state

    def joint(self) -> dict[type[State], dict[int, State]]:
        """Return the present state of every instance of every lifecycle."""
        return {
            lifecycle: {index: instance.state for index, instance in instances.items()}
            for lifecycle, instances in self._instances.items()
        }

    def scope_of(self, event: E, index: int | None) -> Scope:
        """Return whom an event with this index is about."""
        per = event.info.per
        if (per is Per.VM) != (index is None):
            raise ValueError(f"{event.name} is per {per.value}: got index {index}")
        if index is None:
            return VM_SCOPE
        self._check_present(per, index)
        return Scope(per, index)

    def check(self, event: E, index: int | None = None, latched: Latched | None = None) -> None:
        """Check that an event could happen now, without moving anything.

        :raise RefusedError: if its owner's table refuses it, with the text.
        :raise StateError: if some listener has no row for it.
        """
        scope = self.scope_of(event, index)
        self._freeze(scope, latched)
        self._listening(event, scope)

    def enabled(self, event: E, index: int | None = None) -> bool:
        """Return whether `check` would pass."""
        try:
            self.check(event, index)
        except StateError:
            return False
        return True

    def fire(
        self, event: E, index: int | None = None, latched: Latched | None = None
    ) -> Iterator[Step]:
        """Make an event happen, and all that it raises, step by step.

        The first step is taken at the call; the iterator takes the raised ones as it is read, so
        that each step's effects can be carried out before the next step. It must be exhausted.

        :raise RefusedError: if the owner's table refuses the event; nothing has moved.
        :raise StateError: if a listener has no row for it; nothing has moved.
        """
        inbox: deque[tuple[E, Scope]] = deque()
        first = self._step(event, self.scope_of(event, index), latched, inbox)
        return self._rest(first, inbox)

    def _rest(self, first: Step, inbox: deque[tuple[E, Scope]]) -> Iterator[Step]:
        yield first
        while inbox:
            event, scope = inbox.popleft()
            yield self._step(event, scope, None, inbox)

    def _step(
        self, event: E, scope: Scope, latched: Latched | None, inbox: deque[tuple[E, Scope]]
    ) -> Step:
        self._freeze(scope, latched)
        listening = self._listening(event, scope)
        moves = []
        for instance in listening:
            before = instance.state
            instance.trigger(event.name)
            moves.append(Move(instance.spec.name, instance.scope, before, instance.state))
        effects, self._collected = tuple(self._collected), []
        for happening in effects:
            if isinstance(happening.effect, Raise):
                raised = happening.effect.event
                inbox.append((raised, self._widened(raised, happening.scope)))
        return Step(event, scope, tuple(moves), effects)

    def _freeze(self, about: Scope, latched: Latched | None) -> None:
        self._about = about
        self._snapshot = self.joint()
        self._latched = latched or {}
        self._collected = []

    def _listening(self, event: E, scope: Scope) -> list[_Instance]:
        found = [
            instance
            for spec in sorted(
                self._listeners[event], key=lambda spec: spec.states is not event.info.owner
            )
            for instance in self._reached(spec, scope)
        ]
        for instance in found:
            if not instance.may_trigger(event.name):
                raise self._error(instance, event)
        return found

    def _reached(self, spec: MachineSpec, scope: Scope) -> list[_Instance]:
        instances = self._instances[spec.states]
        if scope.per is Per.VM or spec.per is Per.VM:
            return list(instances.values())
        if spec.per is scope.per:
            return [instances[scope.index]]
        if spec.per is Per.STANDBY:
            return [instances[self._standby_of[scope.index]]]
        return [instances[index] for index in self.primaries(scope)]

    def _error(self, instance: _Instance, event: E) -> StateError:
        spec, state = instance.spec, instance.state
        for entry in spec.entries(state, event):
            if isinstance(entry, Refused) and entry.when.holds(
                self, narrower(self._about, instance.scope)
            ):
                return RefusedError(spec.name, state, event, entry)
        allowed = frozenset(e for s, e in spec.cells if s is state)
        return StateError(spec.name, state, event, allowed)

    def _widened(self, event: E, scope: Scope) -> Scope:
        per = event.info.per
        if per is Per.VM:
            return VM_SCOPE
        if per is Per.STANDBY and scope.per is Per.PRIMARY:
            return Scope(Per.STANDBY, self._standby_of[scope.index])
        return scope

    # -- construction

    def _index(self, lifecycle: type[State], scope: Scope) -> int:
        per = _PER[lifecycle]
        if per is Per.VM:
            return 0
        if per is scope.per:
            return scope.index
        if per is Per.STANDBY and scope.per is Per.PRIMARY:
            return self._standby_of[scope.index]
        raise ValueError(f"{lifecycle.__name__} is per {per.value}: which one, from {scope}?")

    def _check_present(self, per: Per, index: int) -> None:
        if index not in self._present.get(per, ()):
            raise ValueError(f"there is no {per.value} {index}")

    def _add(self, per: Per) -> int:
        index = self._next_index
        self._next_index += 1
        self._present[per].add(index)
        for spec in VM_MACHINES:
            if spec.per is per:
                self._add_instance(spec, Scope(per, index))
        return index

    def _add_instance(self, spec: MachineSpec, scope: Scope) -> None:
        instance = _Instance(spec, scope)
        self._machines[spec.states].add_model(instance, initial=spec.initial)
        self._instances[spec.states][scope.index] = instance

    def _build(self, spec: MachineSpec) -> Machine:
        rows = [
            {
                "trigger": event.name,
                "source": state,
                "dest": entry.next if isinstance(entry, Row) else None,
                "conditions": [partial(self._holds, entry.when)],
                "after": [partial(self._collect, entry)],
            }
            for (state, event), entries in spec.cells.items()
            for entry in entries
            if not isinstance(entry, Refused)
        ]
        return _Machine(
            model=None,
            states=spec.states,
            transitions=rows,
            initial=spec.initial,
            auto_transitions=False,
            send_event=True,
        )

    def _holds(self, guard: Guard, data: EventData) -> bool:
        model: Any = data.model
        return guard.holds(self, narrower(self._about, model.scope))

    def _collect(self, entry: Entry, data: EventData) -> None:
        if isinstance(entry, Ignored | Refused):
            return
        model: Any = data.model
        for effect in entry.then:
            latch = effect.latch if isinstance(effect, Send) else ()
            latched = {lifecycle: dict(self._snapshot[lifecycle]) for lifecycle in latch}
            self._collected.append(Happening(effect, model.scope, latched))


_PER = {spec.states: spec.per for spec in VM_MACHINES}

__all__ = ["Do", "Happening", "Move", "RefusedError", "Runtime", "StateError", "Step"]

"""The tables at work: one `transitions.Machine` per table and process, instances as its models.

Rules kept here:
1. The next state comes from `transitions`; this is the only module that imports it. Rows become
   its transitions once, in the order of the table.
2. A step is joint: every listening instance is asked first, which of its rows it takes, and that
   row's effects are noted. If one instance cannot take the event nothing moves. Then all move.
   So every guard, and everything latched, is read from the states before the step.
3. What a step raises is taken, in order, before `fire` returns.
4. A `Machine` knows no policies and no VM: whose guard held is said by the model, its instance. It
   keeps no list of its models, so that a VM that is dropped is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from transitions.core import Event, EventData, Machine, Transition

from statemachines.effects import Do, Raise, Send
from statemachines.events import E
from statemachines.guards import ALWAYS, VM_SCOPE, Per, Scope, narrower
from statemachines.policies import check_valuation
from statemachines.spec import Entry, MachineSpec, Refused, Row
from statemachines.states import State
from statemachines.steps import Happening, Latched, Move, RefusedError, StateError, Step
from statemachines.system import VM_MACHINES


class _Instance:
    """A model of `transitions`: one instance of one lifecycle."""

    __slots__ = ("chosen", "scope", "spec", "state")

    def __init__(self, spec: MachineSpec, scope: Scope) -> None:
        self.spec = spec
        self.scope = scope
        self.state = spec.initial
        #: What the step under way does to it.
        self.chosen: Entry | None = None


class _Listener(NamedTuple):
    """What one table has to do with one event."""

    #: The table.
    spec: MachineSpec
    #: What it says, by the state in which the event comes.
    cells: Mapping[State, tuple[Entry, ...]]
    #: Has `transitions` move an instance by the row that it has chosen.
    move: Callable[[_Instance], bool]


def _is_chosen(row: Row) -> Callable[[EventData], bool]:
    def is_chosen(data: EventData) -> bool:
        model: Any = data.model
        return model.chosen is row

    return is_chosen


class _Transition(Transition):
    """A transition without the callbacks around it, which no row has; its condition is no name."""

    def execute(self, event_data: EventData) -> bool:
        """Move the model if the condition holds; say whether it did."""
        conditions: list[Any] = self.conditions
        if self.dest is None or not all(each.func(event_data) for each in conditions):
            return False
        event_data.machine.set_state(self.dest, event_data.model)
        return True


class _Event(Event):
    """An event without a queue and without the callbacks around it, which no table has."""

    def trigger(self, model: Any, *args: Any, **kwargs: Any) -> bool:
        """Move the model by the first transition that takes it; say whether one did."""
        state = self.machine.get_model_state(model)
        data = EventData(state, self, self.machine, model, args=args, kwargs=kwargs)
        return self._is_valid_source(state) and any(
            transition.execute(data) for transition in self.transitions[state.name]
        )


class _Machine(Machine):
    """A machine of such events and transitions, whose states all have an Enum."""

    event_cls = _Event
    transition_cls = _Transition

    def get_model_state(self, model: Any) -> Any:
        """Return what `transitions` knows of a model's state."""
        return self.states[model.state._name_]

    def set_state(self, state: Any, model: Any = None) -> None:
        """Put one model into the state of a name."""
        model.state = self.states[state].value


def _machine(spec: MachineSpec) -> Machine:
    rows = [
        {
            "trigger": event.name,
            "source": state,
            "dest": entry.next,
            "conditions": _is_chosen(entry),
        }
        for (state, event), entries in spec.cells.items()
        for entry in entries
        if isinstance(entry, Row)
    ]
    return _Machine(
        model=None,
        states=spec.states,
        transitions=rows,
        initial=spec.initial,
        auto_transitions=False,
        send_event=True,
    )


def _stays(_instance: _Instance) -> bool:
    """Stand in for the move where a table has no row for an event, but reasons or refusals."""
    return False


@cache
def _listeners(machines: tuple[MachineSpec, ...]) -> dict[E, tuple[_Listener, ...]]:
    """Return who listens to each event, its owner first: made once in a process."""
    found: dict[E, list[_Listener]] = {event: [] for event in E}
    for spec in machines:
        machine = _machine(spec)
        cells: dict[E, dict[State, tuple[Entry, ...]]] = {}
        for (state, event), entries in spec.cells.items():
            cells.setdefault(event, {})[state] = entries
        for event, by_state in cells.items():
            known = machine.events.get(event.name)
            move = known.trigger if known is not None else _stays
            is_owner = event.info.owner is spec.states
            at = 0 if is_owner else len(found[event])
            found[event].insert(at, _Listener(spec, by_state, move))
    return {event: tuple(listeners) for event, listeners in found.items()}


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
        self._listeners = _listeners(VM_MACHINES)
        self._instances: dict[type[State], dict[int, _Instance]] = {}
        self._standby_of: dict[int, int] = {}
        self._present: dict[Per, set[int]] = {Per.STANDBY: set(), Per.PRIMARY: set()}
        self._next_index = 0
        self._latched: Latched = {}
        for spec in VM_MACHINES:
            self._instances[spec.states] = {}
            if spec.per is Per.VM:
                self._add_instance(spec, VM_SCOPE)

    # -- what guards may read (the View protocol)

    def state_of(self, lifecycle: type[State], scope: Scope) -> State:
        """Return the state of the instance that a scope means."""
        return self._instances[lifecycle][self._index(lifecycle, scope)].state

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
                del self._instances[spec.states][index]
        self._present[per].remove(index)
        self._standby_of.pop(index, None)

    # -- events

    def state(self, lifecycle: type[State], index: int = 0) -> State:
        """Return the present state of one instance."""
        return self._instances[lifecycle][index].state

    def joint(self) -> dict[type[State], dict[int, State]]:
        """Return the present state of every instance of every lifecycle."""
        return {lifecycle: self._states_of(lifecycle) for lifecycle in self._instances}

    def _states_of(self, lifecycle: type[State]) -> dict[int, State]:
        return {index: each.state for index, each in self._instances[lifecycle].items()}

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
        self._choose(event, self.scope_of(event, index), latched)

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
        choices = self._choose(event, scope, latched)
        effects: list[Happening] = []
        for listener, instance in choices:
            self._collect(listener.spec, instance, effects)
        moves = []
        for listener, instance in choices:
            before, chosen = instance.state, instance.chosen
            if isinstance(chosen, Row) and chosen.next is not None:
                listener.move(instance)
            moves.append(Move(listener.spec.name, instance.scope, before, instance.state))
        for happening in effects:
            if isinstance(happening.effect, Raise):
                raised = happening.effect.event
                inbox.append((raised, self._widened(raised, happening.scope)))
        return Step(event, scope, tuple(moves), tuple(effects))

    def _choose(
        self, event: E, scope: Scope, latched: Latched | None
    ) -> list[tuple[_Listener, _Instance]]:
        """Let every listening instance choose its entry; raise for the first that has none."""
        self._latched = latched or {}
        choices = []
        for listener in self._listeners[event]:
            for instance in self._reached(listener.spec, scope):
                eyes = narrower(scope, instance.scope)
                for entry in listener.cells.get(instance.state, ()):
                    if entry.when is ALWAYS or entry.when.holds(self, eyes):
                        break
                else:
                    raise self._illegal(instance, event)
                if isinstance(entry, Refused):
                    raise RefusedError(listener.spec.name, instance.state, event, entry)
                instance.chosen = entry
                choices.append((listener, instance))
        return choices

    def _collect(self, spec: MachineSpec, instance: _Instance, effects: list[Happening]) -> None:
        """Add what an instance's chosen row does besides moving; `spec` is the instance's."""
        chosen = instance.chosen
        if isinstance(chosen, Row):
            for effect in chosen.then:
                latched: Latched = {}
                if isinstance(effect, Send):
                    latched = {each: self._states_of(each) for each in effect.latch}
                effects.append(Happening(effect, instance.scope, latched))

    def _reached(self, spec: MachineSpec, scope: Scope) -> Iterable[_Instance]:
        instances = self._instances[spec.states]
        if scope.per is Per.VM or spec.per is Per.VM:
            return instances.values()
        if spec.per is scope.per:
            return [instances[scope.index]]
        if spec.per is Per.STANDBY:
            return [instances[self._standby_of[scope.index]]]
        return [instances[index] for index in self.primaries(scope)]

    def _illegal(self, instance: _Instance, event: E) -> StateError:
        spec, state = instance.spec, instance.state
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
        self._instances[spec.states][scope.index] = _Instance(spec, scope)


_PER = {spec.states: spec.per for spec in VM_MACHINES}

__all__ = [
    "Do",
    "Happening",
    "Latched",
    "Move",
    "RefusedError",
    "Runtime",
    "StateError",
    "Step",
]

"""One VM twice: a `Runtime` and the ground rules, put into the same state and made to step.

Rules kept here: the runtime is moved by `fire` alone, but for being put into a state, instance by
instance. What is compared is what a driver could notice: whether the
event is taken, which machine does not take it and whether it refuses it, every machine's next
state, the effects in order with what they carry, and what is raised, step by step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from statemachines.checker.steps import State, Step, Stepper
from statemachines.effects import Do, Message, Raise, Send
from statemachines.ground import Asks, GroundEffect, Happens, Kind, Says
from statemachines.guards import Per, Scope
from statemachines.runtime import Happening, RefusedError, Runtime, StateError
from statemachines.runtime import Step as RuntimeStep
from statemachines.spec import MachineSpec
from statemachines.states import State as Lifecycle
from statemachines.system import VM_MACHINES

#: An effect as both sides can tell it: what, of which instance, carrying what.
Told = tuple[str, int | None, tuple[object, ...]]


class PlacedRuntime(Runtime):
    """A runtime that can be put into any state."""

    def place(self, lifecycle: type[Lifecycle], index: int, state: Lifecycle) -> None:
        """Put one instance into a state."""
        self._instances[lifecycle][index].state = state


class Twin:
    """The two, and how often they were compared."""

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.model = stepper.model
        self.runtime = PlacedRuntime(self.model.policies)
        for count in self.model.topology.primaries:
            standby = self.runtime.add_standby()
            for _ in range(count):
                self.runtime.add_primary(standby)
        #: Fields of machines: number, table, instance.
        self.fields: list[tuple[int, MachineSpec, int]] = [
            (self.model.number(spec.states, scope.index), spec, scope.index)
            for spec in VM_MACHINES
            for scope in self.model.topology.scopes(spec.per)
        ]
        self._states = {spec.states: tuple(spec.states) for spec in VM_MACHINES}
        self._of = {number: (spec, index) for number, spec, index in self.fields}
        #: (state, event) pairs compared, each one step.
        self.compared = 0
        #: Those that were taken.
        self.taken = 0

    def heard(self, message: Message, values: tuple[int, ...]) -> dict[int, int]:
        """Return what a message with these latched values tells, by field."""
        return dict(zip(self.model.carried.get(message, ()), values, strict=True))

    def compare(self, happens: Happens, state: State, heard: dict[int, int]) -> None:
        """Let an event, and all it raises, happen to both; they have to do the same."""
        self._place(state)
        inbox = deque([happens])
        try:
            steps = self.runtime.fire(happens.event, happens.index, self._latched(heard))
            for told in steps:
                happening = inbox.popleft()
                ground = self.stepper.step(happening, state, heard)
                assert not isinstance(ground, int), self._differs(happening, state, "it is taken")
                self._compare_step(happening, state, ground, told)
                state, heard = ground.state, {}
                inbox.extend(ground.raised)
                self.taken += 1
        except StateError as refused:
            self._compare_refusal(inbox[0], state, heard, refused)
        else:
            assert not inbox, self._differs(happens, state, f"{inbox} is not raised")

    # -- putting the runtime into a state

    def _place(self, state: State) -> None:
        for number, spec, index in self.fields:
            wanted = self._states[spec.states][state[number]]
            if self.runtime.state(spec.states, index) is not wanted:
                self.runtime.place(spec.states, index, wanted)

    def _latched(self, heard: dict[int, int]) -> Mapping[type[Lifecycle], Mapping[int, Lifecycle]]:
        latched: dict[type[Lifecycle], dict[int, Lifecycle]] = {}
        for number, value in heard.items():
            spec, index = self._of[number]
            latched.setdefault(spec.states, {})[index] = self._states[spec.states][value]
        return latched

    # -- comparing

    def _differs(self, happens: Happens, state: State, how: str) -> str:
        here = ", ".join(
            f"{self.model.fields[number].name}={self._states[spec.states][state[number]].name}"
            for number, spec, _ in self.fields
        )
        return f"{happens}: the runtime says that {how}, in {here}"

    def _compare_refusal(
        self, happens: Happens, state: State, heard: dict[int, int], refused: StateError
    ) -> None:
        self.compared += 1
        ground = self.stepper.step(happens, state, heard)
        how = f"it is not: {refused}"
        assert isinstance(ground, int), self._differs(happens, state, how)
        spec, _ = self._of[ground]
        listeners = self.model.events[happens].listeners
        cells = next(listener.cells for listener in listeners if listener.field == ground)
        kinds = {choice.kind for choice in cells.get(state[ground], ())}
        assert spec.name == refused.machine, self._differs(happens, state, how)
        if isinstance(refused, RefusedError):
            assert Kind.REFUSED in kinds, self._differs(happens, state, how)
        self._compare_states(happens, state, state)

    def _compare_step(
        self, happens: Happens, state: State, ground: Step, told: RuntimeStep
    ) -> None:
        self.compared += 1
        index = None if told.scope.per is Per.VM else told.scope.index
        assert (told.event, index) == (happens.event, happens.index)
        moved = [(move.machine, move.scope.index) for move in told.moves]
        asked = [(self._of[number][0].name, self._of[number][1]) for number, _ in ground.taken]
        assert moved == asked, self._differs(happens, state, f"{moved} move, not {asked}")
        ours = [self._told(effect, state) for effect in ground.effects]
        theirs = [self._told_at_run_time(effect) for effect in told.effects]
        assert ours == theirs, self._differs(happens, state, f"{theirs} follow, not {ours}")
        self._compare_states(happens, state, ground.state)

    def _compare_states(self, happens: Happens, before: State, after: State) -> None:
        for number, spec, index in self.fields:
            state = self.runtime.state(spec.states, index)
            if state is not self._states[spec.states][after[number]]:
                how = f"{self.model.fields[number].name} is {state.name} then"
                raise AssertionError(self._differs(happens, before, how))

    def _told(self, effect: GroundEffect, state: State) -> Told:
        match effect:
            case Happens(event=event, index=index):
                return f"raise {event.name}", index, ()
            case Says(message=message, fields=fields):
                carried = tuple(
                    self._states[self._of[number][0].states][state[number]] for number in fields
                )
                return f"send {message.name}", None, carried
            case Asks(command=command, index=index):
                return f"do {command.value}", index, ()

    def _told_at_run_time(self, happening: Happening) -> Told:
        match happening.effect:
            case Raise(event=event):
                return f"raise {event.name}", self._about(event.info.per, happening.scope), ()
            case Send(message=message):
                carried = tuple(
                    state
                    for instances in happening.latched.values()
                    for state in instances.values()
                )
                return f"send {message.name}", None, carried
            case Do(command=command):
                return f"do {command.value}", happening.scope.index, ()

    def _about(self, per: Per, scope: Scope) -> int | None:
        if per is Per.VM:
            return None
        if per is Per.STANDBY and scope.per is Per.PRIMARY:
            return self.model.topology.standby_of[scope.index]
        return scope.index

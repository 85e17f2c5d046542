"""The runtime against a second reading of the tables that shares no code with it.

The model is a dictionary of states. It reads `cells` and evaluates guards by itself, without
`transitions`, `holds` or the runtime's views. Whatever comes, legal or not, both must agree on the
joint state, on what was raised and asked for, and on the text or place of a refusal. Answers come
here that nobody was asked for: what they raise may find no row, and that too must be told alike.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from statemachines.effects import Effect, Raise
from statemachines.events import E, Origin
from statemachines.guards import (
    All,
    Always,
    AnyOf,
    Guard,
    In,
    Latched,
    Mine,
    Not,
    Older,
    Per,
    Policy,
    Scope,
    Sibling,
    Some,
)
from statemachines.policies import NATIVE, POLICIES, QEMU_7_2
from statemachines.runtime import RefusedError, Runtime, StateError
from statemachines.spec import MachineSpec, Refused, Row
from statemachines.states import (
    Feature,
    Lower,
    NetFailover,
    Resume,
    ReturnPath,
    Standby,
    State,
    VfioMigration,
)
from statemachines.system import VM_MACHINES

EVENTS = [event for event in E if event.info.owner is not VfioMigration]
TABLES = {spec.states: spec for spec in VM_MACHINES}
CARRIED = (ReturnPath, Standby, Feature, NetFailover, Lower, Resume)
#: One device: ("vm", 0), ("standby", 3), ("primary", 4).
Device = tuple[str, int]
THE_VM: Device = ("vm", 0)
#: One step: what happened, to whom, with which effects on whose behalf.
Happened = tuple[E, Device, list[tuple[Effect, Device]]]
#: Who says no, and the text; None if nobody does.
Verdict = tuple[str, str] | None


class Model:
    """One VM as a dictionary: (lifecycle, index) -> state."""

    def __init__(self, policies: dict[str, str]) -> None:
        self.policies = policies
        self.pair_of: dict[int, int] = {}
        self.states: dict[tuple[type[State], int], State] = {}
        self.message: dict[type[State], dict[int, State]] = {}
        self.add("vm", 0)

    def add(self, kind: str, index: int) -> None:
        """Put a device's lifecycles into their initial states."""
        for lifecycle, spec in TABLES.items():
            if spec.per.value == kind:
                self.states[lifecycle, index] = spec.initial

    def drop(self, kind: str, index: int) -> None:
        """Forget a device."""
        for lifecycle, spec in TABLES.items():
            if spec.per.value == kind:
                del self.states[lifecycle, index]
        self.pair_of.pop(index, None)

    def devices(self, kind: str) -> list[int]:
        """Return the indices of all devices of a kind, oldest first."""
        lifecycle = next(spec.states for spec in VM_MACHINES if spec.per.value == kind)
        return [index for each, index in self.states if each is lifecycle]

    # -- guards, read anew

    def true(self, guard: Guard, who: Device) -> bool:
        """Evaluate a guard for one device on the present states."""
        match guard:
            case Always():
                return True
            case Policy(name=name, value=value):
                return self.policies[name] == value
            case Latched():
                index = self._index_for(guard.lifecycle, who)
                return self.message.get(guard.lifecycle, {}).get(index) in guard.states
            case In():
                index = self._index_for(guard.lifecycle, who)
                return self.states[guard.lifecycle, index] in guard.states
            case Not(guard=inner):
                return not self.true(inner, who)
            case All(guards=parts):
                return min(self.true(part, who) for part in parts)
            case AnyOf(guards=parts):
                return max(self.true(part, who) for part in parts)
            case Some(guard=inner):
                return self._any(inner, set(self.pair_of))
            case Mine(guard=inner):
                return self._any(inner, self._pair(who))
            case Sibling(guard=inner):
                return self._any(inner, self._pair(who) - {who[1]})
            case Older(guard=inner):
                return self._any(inner, {p for p in self._pair(who) if p < who[1]})
        raise AssertionError(f"a new kind of guard: {guard!r}")

    def _any(self, guard: Guard, primaries: set[int]) -> bool:
        return any(self.true(guard, ("primary", primary)) for primary in primaries)

    def _pair(self, who: Device) -> set[int]:
        standby = who[1] if who[0] == "standby" else self.pair_of[who[1]]
        return {primary for primary, mine in self.pair_of.items() if mine == standby}

    def _index_for(self, lifecycle: type[State], who: Device) -> int:
        kind = TABLES[lifecycle].per.value
        if kind == "vm":
            return 0
        if kind == "standby" and who[0] == "primary":
            return self.pair_of[who[1]]
        assert kind == who[0]
        return who[1]

    # -- events

    def hears(self, spec: MachineSpec, about: Device) -> list[int]:
        """Return which instances of a lifecycle an event about a device reaches."""
        kind = spec.per.value
        if about[0] == "vm" or kind == "vm":
            return [index for lifecycle, index in self.states if lifecycle is spec.states]
        if kind == about[0]:
            return [about[1]]
        if kind == "standby":
            return [self.pair_of[about[1]]]
        return [primary for primary, mine in self.pair_of.items() if mine == about[1]]

    def decide(self, event: E, about: Device) -> list[tuple[MachineSpec, int, Any]]:
        """Return which entry each reached instance takes: the first that holds, or None."""
        tables = [spec for spec in VM_MACHINES if event in {each for _, each in spec.cells}]
        tables.sort(key=lambda spec: event.info.owner is not spec.states)
        decided = []
        for spec in tables:
            for index in self.hears(spec, about):
                # An event about a primary is read with its eyes, unless the row is narrower.
                own: Device = (spec.per.value, index)
                who = about if _depth(about) > _depth(own) else own
                cell = spec.cells.get((self.states[spec.states, index], event), ())
                taken = next((entry for entry in cell if self.true(entry.when, who)), None)
                decided.append((spec, index, taken))
        return decided

    def verdict(self, event: E, about: Device) -> Verdict:
        """Return (machine, text) of who says no, with "" for no text; None if nobody does."""
        for spec, _, taken in self.decide(event, about):
            if taken is None:
                return spec.name, ""
            if isinstance(taken, Refused):
                return spec.name, taken.text
        return None

    def happen(self, event: E, about: Device) -> tuple[list[Happened], Verdict]:
        """Let an event happen and all it raises, until somebody says no; return both."""
        inbox, steps = [(event, about)], list[Happened]()
        while inbox:
            event, about = inbox.pop(0)
            if verdict := self.verdict(event, about):
                return steps, verdict
            effects: list[tuple[Effect, Device]] = []
            after: dict[tuple[type[State], int], State] = {}
            for spec, index, taken in self.decide(event, about):
                if isinstance(taken, Row):
                    if taken.next is not None:
                        after[spec.states, index] = taken.next
                    effects += [(effect, (spec.per.value, index)) for effect in taken.then]
                    inbox += [
                        (effect.event, self._widened(effect.event, (spec.per.value, index)))
                        for effect in taken.then
                        if isinstance(effect, Raise)
                    ]
            self.states.update(after)
            self.message = {}
            steps.append((event, about, effects))
        return steps, None

    def _widened(self, event: E, who: Device) -> Device:
        kind = event.info.per.value
        return THE_VM if kind == "vm" else (kind, who[1])


def _device(scope: Scope) -> Device:
    return scope.per.value, scope.index


def _depth(device: Device) -> int:
    return ("vm", "standby", "primary").index(device[0])


def _latched(chosen: int, model: Model) -> dict[type[State], dict[int, State]]:
    random = Random(chosen)
    return {
        lifecycle: {
            index: random.choice(list(lifecycle))
            for index in model.devices(TABLES[lifecycle].per.value)
        }
        for lifecycle in CARRIED
    }


MESSAGES = st.integers(0, 2**16)


@st.composite
def valuations(draw: st.DrawFn) -> dict[str, str]:
    """A profile as it is, or one in which policies are mixed at will."""
    if draw(st.booleans()):
        return dict(draw(st.sampled_from([NATIVE, QEMU_7_2])))
    return {name: draw(st.sampled_from(sorted(values))) for name, (_, values) in POLICIES.items()}


class RuntimeAgreesWithTheTables(RuleBasedStateMachine):
    """Drives one runtime and the model with the same events."""

    @initialize(policies=valuations(), incoming=st.booleans())
    def boot(self, policies: dict[str, str], incoming: bool) -> None:
        """Begin with two pairs, one of them with two primaries."""
        self.runtime = Runtime(policies)
        self.model = Model(policies)
        for count in (1, 2):
            self.add_pair(count)
        self._both(E.BOOT_INCOMING if incoming else E.BOOT, THE_VM)

    def add_pair(self, count: int) -> None:
        """Add a standby with so many primaries to both."""
        standby = self.runtime.add_standby()
        self.model.add("standby", standby)
        for _ in range(count):
            primary = self.runtime.add_primary(standby)
            self.model.pair_of[primary] = standby
            self.model.add("primary", primary)

    def _both(self, event: E, about: Device) -> None:
        index = None if about == THE_VM else about[1]
        steps, verdict = self._run(event, index)
        assert (steps, verdict) == self.model.happen(event, about)
        self.model.message = {}

    def _run(self, event: E, index: int | None) -> tuple[list[Happened], Verdict]:
        steps = list[Happened]()
        try:
            for step in self.runtime.fire(event, index, dict(self.model.message)):
                effects = [(h.effect, _device(h.scope)) for h in step.effects]
                steps.append((step.event, _device(step.scope), effects))
        except StateError as error:
            text = error.refused.text if isinstance(error, RefusedError) else ""
            return steps, (error.machine, text)
        return steps, None

    def _about(self, event: E) -> list[Device]:
        kind = event.info.per.value
        return [(kind, index) for index in self.model.devices(kind)]

    @rule(data=st.data(), event=st.sampled_from(EVENTS), message=MESSAGES)
    def anything(self, data: st.DataObject, event: E, message: int) -> None:
        """An event that may well be illegal."""
        if devices := self._about(event):
            self.model.message = _latched(message, self.model)
            self._both(event, data.draw(st.sampled_from(devices)))

    @rule(chosen=st.integers(0, 10**6), message=MESSAGES)
    def something_possible(self, chosen: int, message: int) -> None:
        """An event that can happen, by which the walk gets anywhere."""
        self.model.message = _latched(message, self.model)
        possible = [
            (event, about)
            for event in EVENTS
            for about in self._about(event)
            if event.info.origin is not Origin.RAISED and not self.model.verdict(event, about)
        ]
        self._both(*possible[chosen % len(possible)])

    @rule(data=st.data(), count=st.integers(0, 2))
    def a_pair_comes_or_goes(self, data: st.DataObject, count: int) -> None:
        """Devices are plugged and unplugged between events."""
        standbys = self.model.devices("standby")
        if len(standbys) < 3:
            self.add_pair(count)
            return
        standby = data.draw(st.sampled_from(standbys))
        for primary in [p for p, mine in self.model.pair_of.items() if mine == standby]:
            self.runtime.remove(Per.PRIMARY, primary)
            self.model.drop("primary", primary)
        self.runtime.remove(Per.STANDBY, standby)
        self.model.drop("standby", standby)

    @invariant()
    def the_joint_state_is_the_model_s(self) -> None:
        """Every instance of every lifecycle."""
        if hasattr(self, "runtime"):
            joint = {
                (lifecycle, index): state
                for lifecycle, instances in self.runtime.joint().items()
                for index, state in instances.items()
            }
            assert joint == self.model.states


TestRuntimeAgreesWithTheTables = RuntimeAgreesWithTheTables.TestCase
TestRuntimeAgreesWithTheTables.settings = settings(max_examples=40, stateful_step_count=50)

"""The tables of one VM, made ground: policies folded, instances named, every guard over fields.

Rules kept here:
1. A ground rule says exactly what its row says, for one event, instance and profile; the checker's
   masks, the Promela export and the explorer page are printed from ground rules, from nothing else.
2. A VM's joint state is a tuple of small numbers, one per field of the layout: the machines'
   states, then the observers', then what the world owes an answer for, then the process's life.
3. Nothing here explores or evaluates; it is pure translation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from statemachines.effects import Command, Do, Effect, Message, Raise, Send
from statemachines.events import E
from statemachines.ground import (
    Asks,
    Choice,
    Field,
    Glance,
    Ground,
    GroundEffect,
    GroundEvent,
    Happens,
    Heard,
    Kind,
    Listener,
    Says,
    Test,
    both,
    either,
    negated,
)
from statemachines.guards import (
    VM_SCOPE,
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
    narrower,
)
from statemachines.observers import OBSERVERS, Life
from statemachines.permits import MATTERS_IN
from statemachines.spec import Entry, Ignored, MachineSpec, Refused, Row
from statemachines.states import State
from statemachines.system import VM_MACHINES
from statemachines.topology import Topology
from statemachines.watch import Observer


class Model:
    """One VM of a topology under a valuation of the policies, ground.

    `machines` can be others than those that run, for mutations.
    """

    def __init__(
        self,
        topology: Topology,
        policies: Mapping[str, str],
        machines: tuple[MachineSpec, ...] = VM_MACHINES,
        observers: tuple[Observer, ...] = OBSERVERS,
    ) -> None:
        self.topology = topology
        self.policies = {**policies, **topology.policies}
        self.machines = machines
        self.observers = observers
        self.fields: list[Field] = []
        self._numbers: dict[tuple[object, int], int] = {}
        self._per: dict[type[State], Per] = {}
        #: Event -> commands that it answers.
        self.answers: dict[E, tuple[Command, ...]] = {}
        self._lay_out()
        self.events: dict[Happens, GroundEvent] = {
            happens: self._ground_event(happens) for happens in self._all_events()
        }
        self.glances: tuple[Glance, ...] = tuple(self._ground_watches())
        #: Message -> the fields that it carries, for messages that carry any.
        self.carried: dict[Message, tuple[int, ...]] = self._all_carried()
        #: (owed, field, values): what is owed is forgotten where the field has no such value.
        self.forgotten: tuple[tuple[int, int, frozenset[int]], ...] = tuple(self._forgets())

    # -- layout

    def _lay_out(self) -> None:
        lifecycles: tuple[MachineSpec | Observer, ...] = (*self.machines, *self.observers)
        for spec in lifecycles:
            self._per[spec.states] = spec.per
            for scope in self.topology.scopes(spec.per):
                suffix = f".{scope.index}" if spec.per is not Per.VM else ""
                values = tuple(spec.states)
                self._add(
                    (spec.states, scope.index),
                    spec.name + suffix,
                    values,
                    values.index(spec.initial),
                )
        for command, per in self._commands():
            for scope in self.topology.scopes(per):
                suffix = f".{scope.index}" if per is not Per.VM else ""
                self._add((command, scope.index), f"owes.{command.name}{suffix}", (False, True), 0)
        self._per[Life] = Per.VM
        self._add((Life, 0), "life", tuple(Life), 0)

    def _add(
        self, key: tuple[object, int], name: str, values: tuple[object, ...], initial: int
    ) -> None:
        self._numbers[key] = len(self.fields)
        bits = max(1, (len(values) - 1).bit_length())
        self.fields.append(Field(name, values, initial, bits))

    def _commands(self) -> list[tuple[Command, Per]]:
        found: dict[Command, Per] = {}
        answers: dict[E, list[Command]] = {}
        for spec in self.machines:
            for row in spec.rows:
                for effect in row.then:
                    if isinstance(effect, Do) and effect.answers:
                        if effect.command not in found:
                            found[effect.command] = spec.per
                        for event in effect.answers:
                            if effect.command not in answers.setdefault(event, []):
                                answers[event].append(effect.command)
        self.answers = {event: tuple(commands) for event, commands in answers.items()}
        return list(found.items())

    def number(self, of: type[State] | Command, index: int = 0) -> int:
        """Return the number of a field.

        :raise KeyError: if there is none.
        """
        return self._numbers[of, index]

    def owed(self, command: Command, index: int = 0) -> int | None:
        """Return the field that remembers a command, or None where nothing answers it."""
        return self._numbers.get((command, index))

    def owing(self, command: Command) -> list[int]:
        """Return the fields that remember a command, of all its instances."""
        return [number for (of, _), number in self._numbers.items() if of is command]

    def initial(self) -> tuple[int, ...]:
        """Return the joint state of a VM that has just been built."""
        return tuple(field.initial for field in self.fields)

    # -- events

    def _all_events(self) -> Iterable[Happens]:
        listened = frozenset[E]().union(*(spec.alphabet for spec in self.machines))
        for event in E:
            if event in listened:
                for scope in self.topology.scopes(event.info.per):
                    yield Happens(event, scope.index if scope.per is not Per.VM else None)

    def scope(self, happens: Happens) -> Scope:
        """Return whom an event is about."""
        per = happens.event.info.per
        return VM_SCOPE if happens.index is None else Scope(per, happens.index)

    def _ground_event(self, happens: Happens) -> GroundEvent:
        about = self.scope(happens)
        listening = [spec for spec in self.machines if happens.event in spec.alphabet]
        listening.sort(key=lambda spec: spec.states is not happens.event.info.owner)
        return GroundEvent(
            happens,
            tuple(
                self._listener(spec, instance, happens.event, about)
                for spec in listening
                for instance in self._reached(spec.per, about)
            ),
        )

    def _reached(self, per: Per, about: Scope) -> tuple[Scope, ...]:
        if about.per is Per.VM or per is Per.VM:
            return self.topology.scopes(per)
        if per is about.per:
            return (about,)
        if per is Per.STANDBY:
            return (Scope(per, self.topology.standby_of[about.index]),)
        return tuple(Scope(per, index) for index in self._primaries(about))

    def _primaries(self, scope: Scope) -> tuple[int, ...]:
        standby_of = self.topology.standby_of
        if scope.per is Per.VM:
            return tuple(standby_of)
        mine = scope.index if scope.per is Per.STANDBY else standby_of[scope.index]
        return tuple(primary for primary, standby in standby_of.items() if standby == mine)

    def _listener(self, spec: MachineSpec, instance: Scope, event: E, about: Scope) -> Listener:
        cells: dict[int, tuple[Choice, ...]] = {}
        for number, state in enumerate(spec.states):
            choices = []
            for entry in spec.entries(state, event):
                guard = self.ground(entry.when, narrower(about, instance))
                if guard is False:
                    continue
                choices.append(self._choice(spec, entry, guard, instance))
                if guard is True:
                    break
            if choices:
                cells[number] = tuple(choices)
        return Listener(self._numbers[spec.states, instance.index], cells)

    def _choice(self, spec: MachineSpec, entry: Entry, guard: Ground, instance: Scope) -> Choice:
        match entry:
            case Row():
                after = None if entry.next is None else tuple(spec.states).index(entry.next)
                effects = tuple(self._effect(effect, instance) for effect in entry.then)
                return Choice(guard, Kind.ROW, after, effects, entry)
            case Ignored():
                return Choice(guard, Kind.IGNORED, None, (), entry)
            case Refused():
                return Choice(guard, Kind.REFUSED, None, (), entry)

    def _effect(self, effect: Effect, instance: Scope) -> GroundEffect:
        match effect:
            case Raise(event=event):
                return Happens(event, self._widened(event, instance))
            case Send(message=message, latch=latch):
                return Says(
                    message,
                    tuple(
                        self._numbers[lifecycle, scope.index]
                        for lifecycle in latch
                        for scope in self.topology.scopes(self._per[lifecycle])
                    ),
                )
            case Do(command=command, answers=answers):
                owed = self._numbers[command, instance.index] if answers else None
                return Asks(command, instance.index, owed)

    def _widened(self, event: E, instance: Scope) -> int | None:
        per = event.info.per
        if per is Per.VM:
            return None
        if per is Per.STANDBY and instance.per is Per.PRIMARY:
            return self.topology.standby_of[instance.index]
        return instance.index

    def _all_carried(self) -> dict[Message, tuple[int, ...]]:
        found: dict[Message, tuple[int, ...]] = {}
        for effect in (
            e for event in self.events.values() for c in event.choices for e in c.effects
        ):
            if isinstance(effect, Says) and effect.fields != found.setdefault(
                effect.message, effect.fields
            ):
                raise ValueError(f"{effect.message.name} does not always carry the same")
        return {message: fields for message, fields in found.items() if fields}

    # -- guards

    def ground(self, guard: Guard, scope: Scope) -> Ground:
        """Return a guard as read in a scope, over fields, with the policies folded."""
        match guard:
            case Always():
                return True
            case Policy(name=name, value=value):
                return self.policies[name] == value
            case Latched() | In():
                return self._test(guard, scope)
            case Not(guard=inner):
                return negated(self.ground(inner, scope))
            case All(guards=parts):
                return both(self.ground(part, scope) for part in parts)
            case AnyOf(guards=parts):
                return either(self.ground(part, scope) for part in parts)
            case Some(guard=inner):
                return either(self._each(inner, self._primaries(VM_SCOPE)))
            case Mine(guard=inner):
                return either(self._each(inner, self._primaries(scope)))
            case Sibling(guard=inner):
                others = (i for i in self._primaries(scope) if i != scope.index)
                return either(self._each(inner, others))
            case Older(guard=inner):
                older = (i for i in self._primaries(scope) if i < scope.index)
                return either(self._each(inner, older))
            case _:
                raise TypeError(f"{type(guard).__name__} is no guard of the algebra")

    def _each(self, guard: Guard, primaries: Iterable[int]) -> list[Ground]:
        return [self.ground(guard, Scope(Per.PRIMARY, index)) for index in primaries]

    def _test(self, guard: In, scope: Scope) -> Ground:
        per = self._per[guard.lifecycle]
        index = scope.index
        if per is Per.VM:
            index = 0
        elif per is Per.STANDBY and scope.per is Per.PRIMARY:
            index = self.topology.standby_of[scope.index]
        number = self._numbers[guard.lifecycle, index]
        values = frozenset(
            place for place, state in enumerate(guard.lifecycle) if state in guard.states
        )
        if isinstance(guard, Latched):
            return Heard(number, values)
        return True if len(values) == len(guard.lifecycle) else Test(number, values)

    # -- observers and the world

    def _forgets(self) -> Iterable[tuple[int, int, frozenset[int]]]:
        for command, guard in MATTERS_IN.items():
            owed, test = self.owed(command), self.ground(guard, VM_SCOPE)
            if owed is not None and isinstance(test, Test):
                yield owed, test.field, test.values

    def _ground_watches(self) -> Iterable[Glance]:
        for observer in self.observers:
            places = {state: place for place, state in enumerate(observer.states)}
            for instance in self.topology.scopes(observer.per):
                for watch in observer.watches:
                    for trigger, about in self._triggers(watch.trigger, instance):
                        scope = narrower(about, instance)
                        yield Glance(
                            self._numbers[observer.states, instance.index],
                            frozenset(places[state] for state in watch.state),
                            trigger,
                            self.ground(watch.when, scope),
                            places[watch.next],
                        )

    def _triggers(
        self, trigger: E | Command | Message, instance: Scope
    ) -> Iterable[tuple[Happens | Asks | Says, Scope]]:
        match trigger:
            case E():
                for scope in self.topology.scopes(trigger.info.per):
                    if instance in self._reached(instance.per, scope):
                        index = scope.index if scope.per is not Per.VM else None
                        yield Happens(trigger, index), scope
            case Command():
                yield Asks(trigger, instance.index, self.owed(trigger, instance.index)), instance
            case Message():
                yield Says(trigger, ()), instance

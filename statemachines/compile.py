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
from dataclasses import dataclass
from enum import Enum

from statemachines.effects import Command, Do, Effect, Message, Raise, Send
from statemachines.environment import MATTERS_IN
from statemachines.events import E
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
from statemachines.spec import Entry, Ignored, MachineSpec, Refused, Row
from statemachines.states import State
from statemachines.system import VM_MACHINES
from statemachines.topology import Topology
from statemachines.watch import Observer

# -- ground guards


@dataclass(frozen=True)
class Test:
    """A field has one of some values."""

    #: Number of the field in the layout.
    field: int
    #: Which values make it true.
    values: frozenset[int]


@dataclass(frozen=True)
class Heard:
    """The message being received carries one of some values for a field."""

    #: Number of the field in the layout (it is the sender's).
    field: int
    #: Which values make it true.
    values: frozenset[int]


@dataclass(frozen=True)
class Negation:
    """The part does not hold."""

    #: What is negated.
    part: Ground


@dataclass(frozen=True)
class Both:
    """Every part holds."""

    #: At least two.
    parts: tuple[Ground, ...]


@dataclass(frozen=True)
class Either:
    """Some part holds."""

    #: At least two.
    parts: tuple[Ground, ...]


Ground = bool | Test | Heard | Negation | Both | Either


def negated(part: Ground) -> Ground:
    """Return what holds where a part does not."""
    if isinstance(part, bool):
        return not part
    return part.part if isinstance(part, Negation) else Negation(part)


def both(parts: Iterable[Ground]) -> Ground:
    """Return the conjunction, folded."""
    kept = [part for part in parts if part is not True]
    if any(part is False for part in kept):
        return False
    return kept[0] if len(kept) == 1 else Both(tuple(kept)) if kept else True


def either(parts: Iterable[Ground]) -> Ground:
    """Return the disjunction, folded."""
    kept = [part for part in parts if part is not False]
    if any(part is True for part in kept):
        return True
    return kept[0] if len(kept) == 1 else Either(tuple(kept)) if kept else False


def fields_read(guard: Ground) -> frozenset[int]:
    """Return the fields of the VM that a ground guard reads."""
    match guard:
        case Test(field=field):
            return frozenset({field})
        case Negation(part=part):
            return fields_read(part)
        case Both(parts=parts) | Either(parts=parts):
            return frozenset[int]().union(*(fields_read(part) for part in parts))
        case _:
            return frozenset()


# -- ground effects and rules


@dataclass(frozen=True)
class Happens:
    """An event of this VM, and whom it is about."""

    #: Which event.
    event: E
    #: Index of the standby or primary; None for the VM.
    index: int | None

    def __str__(self) -> str:
        return self.event.name + (f" {self.index}" if self.index is not None else "")


@dataclass(frozen=True)
class Says:
    """A message is sent; `fields` are latched into it."""

    #: Which message.
    message: Message
    #: Numbers of the fields it carries, in the order in which it carries them.
    fields: tuple[int, ...]


@dataclass(frozen=True)
class Asks:
    """A command is given to the world."""

    #: Which command.
    command: Command
    #: Index of the instance whose row it is.
    index: int
    #: Number of the field that remembers it; None when the world does not answer.
    owed: int | None


GroundEffect = Happens | Says | Asks


class Kind(Enum):
    """What an entry of a table does."""

    #: It moves, or stays and has effects.
    ROW = "row"
    #: It changes nothing.
    IGNORED = "ignored"
    #: It says no.
    REFUSED = "refused"


@dataclass(frozen=True)
class Choice:
    """One entry of a cell, ground."""

    #: When it is taken, if none before it is.
    guard: Ground
    #: What it does.
    kind: Kind
    #: The field's next value; None stays.
    next: int | None
    #: Effects, in order.
    effects: tuple[GroundEffect, ...]
    #: The entry it comes from.
    entry: Entry


@dataclass(frozen=True)
class Listener:
    """How one machine's instance takes one event."""

    #: Number of its field.
    field: int
    #: Present value -> its choices, in the order in which they are tried; a missing one is illegal.
    cells: Mapping[int, tuple[Choice, ...]]


@dataclass(frozen=True)
class Glance:
    """How one observer takes one event or effect."""

    #: Number of its field.
    field: int
    #: In which values it watches.
    values: frozenset[int]
    #: For what: an event that happens, or an effect that a taken row has.
    trigger: Happens | Asks | Says
    #: Guard.
    guard: Ground
    #: The next value.
    next: int


@dataclass(frozen=True)
class GroundEvent:
    """Everything that one event does to one VM."""

    #: Which event.
    happens: Happens
    #: The owner's instance first; the order is that of the effects.
    listeners: tuple[Listener, ...]


# -- the layout


@dataclass(frozen=True)
class Field:
    """One field of a VM's joint state."""

    #: Name, such as `primary.1` or `owed.POLL`.
    name: str
    #: Its values in order; a field that is owed has False and True.
    values: tuple[object, ...]
    #: The value it begins with.
    initial: int
    #: Bits it takes.
    bits: int


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

"""The checked system explored plainly: a dictionary, a list, and `transitions` for every step.

What may live here: the rival that `benchmarks.checker` measures. It takes from the checker what can
happen (`actions`, `wire`), and nothing that makes it fast: each step is the `Runtime` that drives a
real VM, put into a state, fired and read. Its count must be the explorer's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from statemachines.actions import (
    RESPAWN_PEER,
    TOLL_OF,
    Action,
    Environment,
    actions_of,
    charge,
    checks_hello,
    forfeits_of,
    is_prompt,
    reads,
    start,
)
from statemachines.compile import Model
from statemachines.effects import Command, Do, Message, Raise, Send
from statemachines.environment import Disturbance, Need, Side
from statemachines.events import E
from statemachines.ground import (
    Asks,
    Both,
    Either,
    Ground,
    GroundEffect,
    Happens,
    Heard,
    Negation,
    Says,
    Test,
)
from statemachines.guards import VM_SCOPE, In, Per
from statemachines.observers import Life
from statemachines.runtime import Happening, Runtime, StateError, Step
from statemachines.states import Incoming, Link, State
from statemachines.topology import Topology
from statemachines.wire import NO_CHANNEL, Channel, Content, Op, apply

Fields = tuple[int, ...]
Joint = tuple[Fields, Fields, Channel, Environment]
_KILLS = {Disturbance.KILL_SOURCE: Side.SOURCE, Disturbance.KILL_TARGET: Side.TARGET}


@dataclass(frozen=True)
class Searched:
    """What a search has found."""

    #: States.
    states: int
    #: Seconds that it took.
    seconds: float


def holds(guard: Ground, fields: Fields, heard: Mapping[int, int]) -> bool:
    """Return whether a ground guard holds of one VM's state and the message it receives."""
    match guard:
        case bool():
            return guard
        case Test(field=field, values=values):
            return fields[field] in values
        case Heard(field=field, values=values):
            return heard.get(field) in values
        case Negation(part=part):
            return not holds(part, fields, heard)
        case Both(parts=parts):
            return all(holds(part, fields, heard) for part in parts)
        case Either(parts=parts):
            return any(holds(part, fields, heard) for part in parts)


class _Placed(Runtime):
    """A runtime that can be put into any state."""

    def place(self, states: Mapping[tuple[type[State], int], State]) -> None:
        """Put every instance into a state."""
        for (lifecycle, index), state in states.items():
            self._instances[lifecycle][index].state = state


class PlainSearch:
    """One system, searched breadth first."""

    def __init__(self, topology: Topology, policies: Mapping[str, str]) -> None:
        self.model = model = Model(topology, policies)
        self.runtime = _Placed(model.policies)
        for count in topology.primaries:
            standby = self.runtime.add_standby()
            for _ in range(count):
                self.runtime.add_primary(standby)
        self.keys = [
            (spec.states, scope.index)
            for spec in model.machines
            for scope in topology.scopes(spec.per)
        ]
        self.numbers = [model.number(*key) for key in self.keys]
        self.actions = [action for side in Side for action in actions_of(model, side)]
        self.life, self.link = model.number(Life), model.number(Link)
        self.shut = model.ground(In(Link.LOST, Link.CLOSED), VM_SCOPE)
        self.alive = model.ground(In(Life.ALIVE), VM_SCOPE)
        self.owner = model.ground(In(Incoming.COMPLETED), VM_SCOPE)
        self.respawn = model.ground(RESPAWN_PEER, VM_SCOPE)
        self.checks, self.reads = checks_hello(model), reads(model)
        self.forfeits = forfeits_of(model)
        self.latches: dict[Message, tuple[tuple[type[State], int], ...]] = {}

    def run(self) -> Searched:
        """Find every reachable state."""
        begun = time.perf_counter()
        first = self.model.initial()
        found: dict[Joint, None] = {(first, first, NO_CHANNEL, start(self.model)): None}
        frontier = list(found)
        while frontier:
            following = []
            for here in frontier:
                for there in self.successors(here):
                    if there not in found:
                        found[there] = None
                        following.append(there)
            frontier = following
        return Searched(len(found), time.perf_counter() - begun)

    def successors(self, here: Joint) -> Iterator[Joint]:
        """Yield the state after each thing that can happen."""
        for action in self.actions:
            there = self._after(action, here)
            if there is not None:
                yield self._left(there)
        for disturbance in Disturbance:
            there = self._disturbed(disturbance, here)
            if there is not None:
                yield self._left(there)

    def _left(self, there: Joint) -> Joint:
        """Let go of what nothing can be spent on any more."""
        source, target, channel, environment = there
        for ground, forfeit in self.forfeits:
            if holds(ground, source, {}):
                environment = environment.without(forfeit)
        return source, target, channel, environment

    # -- actions

    def _after(self, action: Action, here: Joint) -> Joint | None:
        source, target, channel, environment = here
        mine, other = (source, target) if action.side is Side.SOURCE else (target, source)
        paid = charge(environment, action.toll)
        if paid is None or not holds(action.peer, other, {}):
            return None
        if action.waits and (
            holds(self.checks, target, {}) or (holds(self.reads, target, {}) and is_prompt(channel))
        ):
            return None
        content = self._received(action, channel)
        if action.receives is not None and content is None:
            return None
        if not holds(action.guard, mine, {}):
            return None
        cleared = list(mine)
        for field in action.clears:
            cleared[field] = 0
        moved = self._step(action, cleared, content)
        if moved is None:
            return None
        after, ops = moved
        wire = apply(channel, (*_asked(action), *ops))
        if wire is None:
            return None
        pair = (after, other) if action.side is Side.SOURCE else (other, after)
        return (*pair, wire, paid)

    def _received(self, action: Action, channel: Channel) -> Content | None:
        inbox = channel.to_source if action.side is Side.SOURCE else channel.to_target
        if action.receives is None or channel.stalled or not inbox:
            return None
        return inbox[0] if inbox[0].message is action.receives else None

    def _step(
        self, action: Action, fields: list[int], content: Content | None
    ) -> tuple[Fields, tuple[Op, ...]] | None:
        """Let the runtime take an event; return the state at rest and the channel operations."""
        keys = self.latches.get(content.message, ()) if content else ()
        latched: dict[type[State], dict[int, State]] = {}
        heard: dict[int, int] = {}
        for key, value in zip(keys, content.latched if content else (), strict=True):
            latched.setdefault(key[0], {})[key[1]] = tuple(key[0])[value]
            heard[self.model.number(*key)] = value
        self.runtime.place(
            {key: tuple(key[0])[fields[n]] for key, n in zip(self.keys, self.numbers, strict=True)}
        )
        happens, side = action.happens, action.side
        ops: list[Op] = []
        exits = False
        began = False
        try:
            for step in self.runtime.fire(happens.event, happens.index, latched):
                began = True
                exits |= self._take(step, fields, heard, ops, side)
        except StateError as wrong:
            owner = happens.event.info.owner
            if not began and any(
                spec.name == wrong.machine and spec.states is owner for spec in self.model.machines
            ):
                return None
            return self._dead(Life.BROKEN), (Op("perish", side),)
        if exits:
            return self._dead(Life.EXITED), (*ops, Op("perish", side))
        for owed, field, values in self.model.forgotten:
            if fields[field] not in values:
                fields[owed] = 0
        if holds(self.shut, tuple(fields), {}):
            ops.append(Op("deafen", side))
        return tuple(fields), tuple(ops)

    def _take(
        self, step: Step, fields: list[int], heard: dict[int, int], ops: list[Op], side: Side
    ) -> bool:
        """Note one step in the fields and the operations; return whether the process ends."""
        before = tuple(fields)
        exits = False
        for key, number in zip(self.keys, self.numbers, strict=True):
            fields[number] = tuple(key[0]).index(self.runtime.state(*key))
        for happening in step.effects:
            effect = happening.effect
            match effect:
                case Send(message=message):
                    ops.append(Op("send", side, self._content(happening, message)))
                    self._notice(Says(message, ()), before, fields, heard)
                case Do(command=command):
                    index = happening.scope.index
                    owed = self.model.owed(command, index) if effect.answers else None
                    if owed is not None:
                        fields[owed] = 1
                    if command is Command.CLOSE_CHANNEL:
                        ops.append(Op("close", side))
                    exits |= command is Command.EXIT
                    self._notice(Asks(command, index, None), before, fields, heard)
                case Raise():
                    pass
        about = None if step.scope.per is Per.VM else step.scope.index
        self._notice(Happens(step.event, about), before, fields, heard)
        return exits

    def _content(self, happening: Happening, message: Message) -> Content:
        keys = tuple(
            (lifecycle, index)
            for lifecycle, states in happening.latched.items()
            for index in states
        )
        self.latches[message] = keys
        return Content(
            message, tuple(tuple(of).index(happening.latched[of][index]) for of, index in keys)
        )

    def _notice(
        self, trigger: GroundEffect, before: Fields, fields: list[int], heard: dict[int, int]
    ) -> None:
        for glance in self.model.glances:
            if _same(glance.trigger, trigger) and (
                fields[glance.field] == before[glance.field]
                and before[glance.field] in glance.values
                and holds(glance.guard, before, heard)
            ):
                fields[glance.field] = glance.next

    def _dead(self, life: Life) -> Fields:
        state = list(self.model.initial())
        state[self.life] = tuple(Life).index(life)
        return tuple(state)

    # -- disturbances

    def _disturbed(self, disturbance: Disturbance, here: Joint) -> Joint | None:
        source, target, channel, environment = here
        paid = charge(environment, TOLL_OF[disturbance])
        if paid is None:
            return None
        if disturbance is Disturbance.RESPAWN_TARGET:
            ready = not holds(self.alive, target, {}) and holds(self.respawn, source, {})
            return (source, self.model.initial(), channel, paid) if ready else None
        if (side := _KILLS.get(disturbance)) is None:
            wire = apply(channel, (Op("disturb", None, disturbance),))
            return None if wire is None else (source, target, wire, paid)
        mine = source if side is Side.SOURCE else target
        if not holds(self.alive, mine, {}):
            return None
        wire = apply(channel, (Op("perish", side),))
        assert wire is not None
        if side is Side.SOURCE:
            return self._dead(Life.DIED), target, wire, paid
        has_it = holds(self.owner, target, {})
        return source, self._dead(Life.DIED_WITH_VM if has_it else Life.DIED), wire, paid


def _asked(action: Action) -> tuple[Op, ...]:
    ops = [] if action.need is Need.ANY else [Op("need", action.side, action.need)]
    match action.happens.event:
        case E.CONNECTED | E.CONNECTED_ONE_WAY:
            ops.append(Op("make", action.side, action.happens.event is E.CONNECTED_ONE_WAY))
        case E.PEER_CONNECTED | E.PEER_CONNECTED_ONE_WAY:
            ops.append(Op("accept", action.side))
        case E.CHANNEL_CLOSED:
            ops.append(Op("let go", action.side))
    if action.receives is not None:
        ops.append(Op("pop", action.side))
    return tuple(ops)


def _same(trigger: GroundEffect, other: GroundEffect) -> bool:
    match trigger, other:
        case (Says(message=one), Says(message=another)):
            return one is another
        case (Asks(command=one, index=here), Asks(command=another, index=there)):
            return (one, here) == (another, there)
    return trigger == other

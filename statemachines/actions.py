"""What can happen next to one VM: each permit of the environment, ground, with what it needs.

Rules kept here:
1. An action is one permit for one instance at one side; what it does to the VM is the ground
   event, what it does to channel and budgets stands here. Explorer, Promela and page share it.
2. An action and everything its event raises is one transition: the VM comes to rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from statemachines.compile import Model
from statemachines.effects import RECEIVED_AS, Command, Message
from statemachines.environment import (
    DISTURBANCES,
    UNFAIR_ORIGINS,
    Budget,
    Disturbance,
    Forfeit,
    Need,
    Option,
    Permit,
    Promise,
    Side,
    Stage,
)
from statemachines.events import E, Origin
from statemachines.ground import Ground, Happens, Test, both
from statemachines.guards import VM_SCOPE, All, In
from statemachines.observers import Life
from statemachines.permits import AT_ONCE, FORFEITS, PERMITS
from statemachines.states import Link, Migration, RunState
from statemachines.wire import Channel, End

_RUNS = In(RunState.RUNNING)
#: What a closed channel makes pointless: the world no longer owes it.
CHANNEL_COMMANDS = (
    Command.CONNECT,
    Command.SAVE_SETUP,
    Command.ITERATE,
    Command.SAVE_FINAL,
    Command.FLUSH,
)
#: Message that an event receives.
MESSAGE_OF: dict[E, Message] = {
    **{event: message for message, event in RECEIVED_AS.items()},
    E.RECV_BAD_STATE: Message.STATE,
    E.DIGEST_MISMATCH: Message.LOADED,
}


class Environment(NamedTuple):
    """What is left of the budgets, and how far things are set up."""

    #: What is left, in the order of `Budget`.
    left: tuple[int, ...]
    #: Stage of setting up.
    stage: Stage
    #: What the operator has promised about a doubt.
    promise: Promise

    def paid(self, cost: Budget | None) -> Environment | None:
        """Return what is left after paying, or None where that is not possible."""
        if cost is None:
            return self
        place = tuple(Budget).index(cost)
        if not self.left[place]:
            return None
        left = (*self.left[:place], self.left[place] - 1, *self.left[place + 1 :])
        return self._replace(left=left)

    def without(self, forfeit: Forfeit) -> Environment:
        """Return what is left when something is let go."""
        if forfeit.spent is not None and self.left[tuple(Budget).index(forfeit.spent)]:
            return self
        left = zip(Budget, self.left, strict=True)
        return self._replace(left=tuple(0 if b in forfeit.budgets else n for b, n in left))


class Toll(NamedTuple):
    """What an action asks of the environment, and leaves it in."""

    #: What it is paid from.
    cost: Budget | None = None
    #: In which stage.
    stage: Stage = Stage.LIVE
    #: Which stage follows; None: the same.
    then: Stage | None = None
    #: What it promises about a doubt.
    promise: Promise = Promise.NONE
    #: It ends every promise.
    forgets: bool = False
    #: Some of this has to be left for later.
    spares: Budget | None = None


def charge(environment: Environment, toll: Toll) -> Environment | None:
    """Return the environment after an action, or None where the action is not possible in it."""
    if environment.stage is not toll.stage:
        return None
    if toll.spares is not None and not environment.left[tuple(Budget).index(toll.spares)]:
        return None
    if toll.promise is not Promise.NONE:
        if environment.promise not in (Promise.NONE, toll.promise):
            return None
        environment = environment._replace(promise=toll.promise)
    if toll.forgets:
        environment = environment._replace(promise=Promise.NONE)
    if toll.then is not None:
        environment = environment._replace(stage=toll.then)
    return environment.paid(toll.cost)


def forfeits_of(model: Model) -> tuple[tuple[Ground, Forfeit], ...]:
    """Return what is let go where: after each step of the source, by how it is then."""
    return tuple(
        (model.ground(forfeit.when, VM_SCOPE), forfeit)
        for forfeit in FORFEITS
        if not forfeit.unless & model.topology.options
    )


@dataclass(frozen=True, eq=False)
class Action:
    """One thing that can happen to one VM."""

    #: At whose VM.
    side: Side
    #: The event.
    happens: Happens
    #: The command that it answers.
    answers: Command | None
    #: What must be so at this VM, beside the owner's table.
    guard: Ground
    #: What must be so at the other VM.
    peer: Ground
    #: What must be so of the channel.
    need: Need
    #: What it asks of the environment.
    toll: Toll
    #: Fields that it clears before the event: answers that are owed no longer.
    clears: tuple[int, ...]
    #: It goes on where operator, guest and faults are taken away.
    fair: bool

    @property
    def waits(self) -> bool:
        """Whether it has to wait while the target has something to do at once."""
        return self.side is Side.SOURCE and self.toll.cost is not Budget.FAULTS

    @property
    def name(self) -> str:
        """A line of a trace: side, event, instance, and what it answers."""
        answered = f" ({self.answers.name})" if self.answers else ""
        return f"{self.side.value}: {self.happens}{answered}"

    @property
    def receives(self) -> Message | None:
        """The message that it takes from the channel."""
        if self.happens.event.info.origin is Origin.PEER:
            return MESSAGE_OF[self.happens.event]
        return None


def actions_of(model: Model, side: Side) -> tuple[Action, ...]:
    """Return every action of one side, in a fixed order."""
    found = []
    for permit in PERMITS:
        if side not in permit.sides:
            continue
        if permit.reply_path is not None and permit.reply_path is not model.topology.reply_path:
            continue
        if permit.option is not None and permit.option not in model.topology.options:
            continue
        for happens in model.events:
            if happens.event is permit.event:
                found += list(_actions(model, side, permit, happens))
    return tuple(found)


#: What comes as an answer and never by itself: nobody has asked for it where no row asks.
ANSWERS_ONLY = frozenset(
    event for event in E if event.info.origin in (Origin.ANSWER, Origin.TIME)
) - {E.LINK_SILENT}


def _actions(model: Model, side: Side, permit: Permit, happens: Happens) -> Iterable[Action]:
    origin = happens.event.info.origin
    parts: list[Ground] = [alive(model)]
    if origin is Origin.GUEST:
        parts.append(model.ground(_RUNS, VM_SCOPE))
    parts.append(model.ground(permit.when, model.scope(happens)))
    owed: list[tuple[Command | None, int | None]] = [
        (command, model.owed(command, happens.index or 0))
        for command in model.answers.get(happens.event, ())
    ]
    if not owed and happens.event in ANSWERS_ONLY:
        return
    at_once = () if Option.SLOW_WORLD in model.topology.options else AT_ONCE
    busy = [field for command in at_once for field in model.owing(command)]
    for command, field in owed or [(None, None)]:
        clears = () if field is None else (field,)
        if happens.event is E.CHANNEL_CLOSED:
            also = (model.owed(other) for other in CHANNEL_COMMANDS)
            clears = (*clears, *(number for number in also if number is not None))
        waits: list[Ground] = [] if field is None else [Test(field, frozenset({1}))]
        if command not in at_once:
            waits += [Test(other, frozenset({0})) for other in busy]
        guard = both([*parts, *waits])
        if guard is False:
            continue
        yield Action(
            side=side,
            happens=happens,
            answers=command,
            guard=guard,
            peer=model.ground(permit.peer, VM_SCOPE),
            need=permit.channel,
            toll=Toll(
                permit.cost,
                permit.stage,
                permit.then,
                permit.promise,
                forgets=happens.event is E.MIGRATE,
            ),
            clears=clears,
            fair=origin not in UNFAIR_ORIGINS and permit.cost is None,
        )


def is_prompt(channel: Channel) -> bool:
    """Return whether the channel has something that a target deals with at once."""
    heads = channel.to_target[:1] if not channel.stalled else ()
    offered = channel.target is End.OFFERED
    return offered or any(content.message is Message.HELLO for content in heads)


def checks_hello(model: Model) -> Ground:
    """Return the guard that a target is comparing HELLO."""
    owed = model.owed(Command.CHECK_HELLO)
    return False if owed is None else Test(owed, frozenset({1}))


def reads(model: Model) -> Ground:
    """Return the guard that a target can accept a connection or read from one."""
    return both([alive(model), model.ground(In(Link.LISTENING, Link.OPEN, Link.ONE_WAY), VM_SCOPE)])


def alive(model: Model) -> Ground:
    """Return the guard that a VM's process lives."""
    return Test(model.number(Life), frozenset({tuple(Life).index(Life.ALIVE)}))


def start(model: Model) -> Environment:
    """Return the environment that a topology begins in."""
    budgets = model.topology.budgets
    return Environment(
        tuple(budgets.get(budget, 0) for budget in Budget), Stage.SOURCE, Promise.NONE
    )


#: What each disturbance asks of the environment.
TOLL_OF: dict[Disturbance, Toll] = {
    **{disturbance: Toll(cost) for disturbance, cost in DISTURBANCES.items()},
    Disturbance.RESPAWN_TARGET: Toll(then=Stage.TARGET, spares=Budget.MIGRATIONS),
}
#: What must be so at the source before a new target is started.
RESPAWN_PEER = All(
    In(Life.ALIVE),
    In(Link.CLOSED),
    In(Migration.NONE, Migration.CANCELLED, Migration.FAILED),
)

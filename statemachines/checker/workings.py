"""What one action does to one state: the ground rules run, and what that asks of the channel.

Rules kept here: a state goes in, and out come the state at rest, the channel operations in their
order, and the entries taken. A process that ends, or breaks, leaves one canonical state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from statemachines.actions import Action
from statemachines.checker.index import Index, Keys, Numbers, chain
from statemachines.checker.rows import Rows
from statemachines.checker.steps import Outcome, Stepper
from statemachines.compile import Model
from statemachines.effects import Command
from statemachines.environment import Need, Side
from statemachines.events import E
from statemachines.observers import Life
from statemachines.states import Link
from statemachines.wire import Content, Op

#: How an action ends: it cannot happen, the VM comes to rest, or its process is no more.
DISABLED, MOVES, ENDS = 0, 1, 2


class Ops:
    """Every sequence of channel operations that some edge asks for, numbered."""

    def __init__(self) -> None:
        self.sequences: list[tuple[Op, ...]] = []
        self.contents: list[Content] = []
        self._numbers: dict[tuple[Op, ...], int] = {}
        self._content_numbers: dict[Content, int] = {}

    def number(self, ops: tuple[Op, ...]) -> int:
        """Return the number of a sequence."""
        if ops not in self._numbers:
            self._numbers[ops] = len(self.sequences)
            self.sequences.append(ops)
        return self._numbers[ops]

    def content_number(self, content: Content) -> int:
        """Return the number of a message with what it carries."""
        if content not in self._content_numbers:
            self._content_numbers[content] = len(self.contents)
            self.contents.append(content)
        return self._content_numbers[content]


class Cases:
    """What one action (with one message's content) does, by the touched fields' combination."""

    def __init__(self, mask: tuple[int, ...]) -> None:
        self._bits = [(word, np.uint64(bits)) for word, bits in enumerate(mask) if bits]
        self._parts = [Index() for _ in range(2 * len(self._bits) - 1)]
        self.numbers = Rows(("status", "op", "outcome"), np.int32)
        self.words = Rows(tuple(f"word{i}" for i in range(len(mask))), np.uint64)
        #: The state before, of its touched fields, where `words` has them after.
        self.before: list[tuple[int, ...]] = []

    def which(self, columns: list[Keys]) -> Numbers:
        """Return the case of each state, given by words; new ones are numbered as they come."""
        return chain(self._parts, [columns[word] & bits for word, bits in self._bits])


class Workings:
    """Runs the actions of one side."""

    def __init__(self, model: Model, side: Side, stepper: Stepper, ops: Ops) -> None:
        self.model = model
        self._side = side
        self.stepper = stepper
        self._ops = ops
        self._nothing = (0,) * len(model.fields)
        #: Outcome number -> entries taken.
        self.taken: list[tuple[int, ...]] = []
        self._taken_numbers: dict[tuple[int, ...], int] = {}

    def dead(self, life: Life) -> tuple[int, ...]:
        """Return the state of a process that is no more."""
        return dead_state(self.model, life)

    def heard(self, content: int) -> dict[int, int]:
        if content < 0:
            return {}
        carried = self._ops.contents[content]
        fields = self.model.carried[carried.message] if carried.latched else ()
        return dict(zip(fields, carried.latched, strict=True))

    def case(
        self, action: Action, state: tuple[int, ...], heard: dict[int, int]
    ) -> tuple[int, Sequence[int], int, int]:
        """Let an action happen to a state: how it ends, the state then, operations, outcome."""
        if action.clears:
            cleared = list(state)
            for field in action.clears:
                cleared[field] = 0
            state = tuple(cleared)
        outcome = self.stepper.run(action.happens, state, heard)
        if outcome is None:
            return DISABLED, self._nothing, 0, 0
        taken = self.taken_number(outcome)
        if outcome.unhandled is not None:
            op = self._ops.number((*asked_ops(action), Op("perish", self._side)))
            return ENDS, self.dead(Life.BROKEN), op, taken
        ops = (*asked_ops(action), *said_ops(self._side, outcome))
        if Command.EXIT in outcome.said:
            op = self._ops.number((*ops, Op("perish", self._side)))
            return ENDS, self.dead(Life.EXITED), op, taken
        link = tuple(Link)[outcome.state[self.model.number(Link)]]
        if link in (Link.LOST, Link.CLOSED):
            ops = (*ops, Op("deafen", self._side))
        return MOVES, outcome.state, self._ops.number(ops), taken

    def taken_number(self, outcome: Outcome) -> int:
        taken = tuple(sorted(set(outcome.taken)))
        if taken not in self._taken_numbers:
            self._taken_numbers[taken] = len(self.taken)
            self.taken.append(taken)
        return self._taken_numbers[taken]


def dead_state(model: Model, life: Life) -> tuple[int, ...]:
    """Return the state of a process that is no more."""
    state = list(model.initial())
    state[model.number(Life)] = tuple(Life).index(life)
    return tuple(state)


def asked_ops(action: Action) -> tuple[Op, ...]:
    """Return what an action asks of the channel, and does to it, before its event happens."""
    side = action.side
    ops: list[Op] = []
    if action.need is not Need.ANY:
        ops.append(Op("need", side, action.need))
    match action.happens.event:
        case E.CONNECTED | E.CONNECTED_ONE_WAY:
            ops.append(Op("make", side, action.happens.event is E.CONNECTED_ONE_WAY))
        case E.PEER_CONNECTED | E.PEER_CONNECTED_ONE_WAY:
            ops.append(Op("accept", side))
        case E.CHANNEL_CLOSED:
            ops.append(Op("let go", side))
    if action.receives is not None:
        ops.append(Op("pop", side))
    return tuple(ops)


def said_ops(side: Side, outcome: Outcome) -> tuple[Op, ...]:
    """Return what a VM says to the channel while an event is dealt with."""
    ops = []
    for said in outcome.said:
        match said:
            case Command.CLOSE_CHANNEL:
                ops.append(Op("close", side))
            case (message, latched):
                ops.append(Op("send", side, Content(message, latched)))
    return tuple(ops)

"""The channel's and the environment's states by number, and what edges do to them.

Rules kept here: what an edge asks of either is worked out once for each pair of number and request,
by `wire.apply` and `actions.charge`; -1 says that it is not possible.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from statemachines.actions import Environment, Toll, charge, forfeits_of, is_prompt, start
from statemachines.checker.workings import Ops
from statemachines.compile import Model
from statemachines.environment import Budget, Forfeit, Side, Stage
from statemachines.wire import NO_CHANNEL, Channel, apply

Array = npt.NDArray[np.int64]

_UNKNOWN, IMPOSSIBLE = -2, -1
#: What edges are sorted by within a state: what they cost, or that they are of setting up.
CLASSES = (*(budget.value for budget in Budget), "free", "setting up")


class Environments:
    """Every state of the environment, from the first; they are few."""

    def __init__(self, model: Model, tolls: Iterable[Toll]) -> None:
        #: Toll -> its number.
        self.tolls = {toll: place for place, toll in enumerate(sorted(set(tolls), key=repr))}
        #: The states, by number.
        self.states: list[Environment] = [start(model)]
        numbers = {self.states[0]: 0}
        forfeits = forfeits_of(model)
        after: list[list[int]] = []
        kept: list[list[int]] = []

        def number(state: Environment) -> int:
            if state not in numbers:
                numbers[state] = len(self.states)
                self.states.append(state)
            return numbers[state]

        for here in self.states:
            there = [charge(here, toll) for toll in self.tolls]
            after.append([IMPOSSIBLE if state is None else number(state) for state in there])
            kept.append([number(state) for state in _kept(here, [f for _, f in forfeits])])
        #: By toll, then state: the state after.
        self.after = np.array(after, np.int64).T.copy()
        #: Where something is let go at the source; their places, as bits, are a row of `kept`.
        self.lets_go = tuple(ground for ground, _ in forfeits)
        #: By what is let go, then state: what is left.
        self.kept = np.array(kept, np.int64).T.copy()
        #: By class of edges: in which states something is left for them.
        self.affords = [
            np.array([affords(environment, name) for environment in self.states])
            for name in CLASSES
        ]


def _kept(environment: Environment, forfeits: list[Forfeit]) -> list[Environment]:
    """Return what is left for each subset of what may be let go."""
    found = [environment]
    for forfeit in forfeits:
        found += [state.without(forfeit) for state in found]
    return found


def affords(environment: Environment, name: str) -> bool:
    """Return whether an environment has something left for a class of edges."""
    if name == "setting up" or environment.stage is not Stage.LIVE:
        return name == "setting up" and environment.stage is not Stage.LIVE
    return name == "free" or environment.left[[b.value for b in Budget].index(name)] > 0


class Channels:
    """The states of the channel that were met so far."""

    def __init__(self, ops: Ops) -> None:
        self._ops = ops
        #: The states, by number.
        self.states: list[Channel] = []
        self._numbers: dict[Channel, int] = {}
        #: By side, then state: the number of the message that can be received, or -1.
        self.heads = {side: np.empty(0, np.int64) for side in Side}
        #: By state: a target has something to do at once.
        self.prompt = np.empty(0, np.bool_)
        self._after = np.full((1, 1), _UNKNOWN, np.int32)
        self._number(NO_CHANNEL)

    def _number(self, channel: Channel) -> int:
        if channel not in self._numbers:
            self._numbers[channel] = len(self.states)
            self.states.append(channel)
            for side, inbox in (
                (Side.SOURCE, channel.to_source),
                (Side.TARGET, channel.to_target),
            ):
                ready = inbox and not channel.stalled
                head = self._ops.content_number(inbox[0]) if ready else -1
                self.heads[side] = np.append(self.heads[side], head)
            self.prompt = np.append(self.prompt, is_prompt(channel))
        return self._numbers[channel]

    def after(self, ops: Array, channels: Array) -> Array:
        """Return the states after some sequences of operations; -1 where that is not possible."""
        rows, columns = self._after.shape
        if rows < len(self._ops.sequences) or columns < len(self.states):
            grown = np.full(
                (2 * len(self._ops.sequences), 2 * len(self.states)), _UNKNOWN, np.int32
            )
            grown[:rows, :columns] = self._after
            self._after = grown
        after = self._after[ops, channels]
        unknown = np.flatnonzero(after == _UNKNOWN)
        if len(unknown):
            pairs = np.unique(ops[unknown] << 32 | channels[unknown])
            for pair in pairs.tolist():
                op, channel = pair >> 32, pair & 0xFFFF_FFFF
                there = apply(self.states[channel], self._ops.sequences[op])
                number = IMPOSSIBLE if there is None else self._number(there)
                self._after[op, channel] = number
            after = self._after[ops, channels]
        return after.astype(np.int64)

"""What a step of one VM's machines is, once it has been taken, and why one could not be.

What may live here: the records that `runtime` hands out and the errors that it raises; no logic.
They are tuples because a VM makes a dozen of them in each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from statemachines.effects import Effect
from statemachines.events import E
from statemachines.guards import Scope
from statemachines.spec import Refused
from statemachines.states import State

#: States as a message carries them: by lifecycle, then instance.
Latched: TypeAlias = Mapping[type[State], Mapping[int, State]]


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


class Happening(NamedTuple):
    """One effect, and the instance whose row has it."""

    #: What is to happen.
    effect: Effect
    #: Whose row it is.
    scope: Scope
    #: For `Send`: the latched states.
    latched: Latched


class Move(NamedTuple):
    """One instance's part in a step."""

    #: The table's name.
    machine: str
    #: Whose instance.
    scope: Scope
    #: Before.
    before: State
    #: After; the same where it stayed.
    after: State


class Step(NamedTuple):
    """One joint step of one VM."""

    #: What happened.
    event: E
    #: To whom.
    scope: Scope
    #: Every instance that has a row or a reason for it.
    moves: tuple[Move, ...]
    #: Effects in order; `Raise` is shown although it is dealt with inside.
    effects: tuple[Happening, ...]

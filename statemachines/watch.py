"""How an observer is written: what it remembers, and what makes it remember something else.

Rules kept here: a watch is data, as a row is; which observers there are stands in `observers.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from statemachines.effects import Command, Message
from statemachines.events import E
from statemachines.guards import ALWAYS, Guard, Per
from statemachines.states import State

Trigger = E | Command | Message


@dataclass(frozen=True)
class Watch:
    """In `state`, on `trigger`, if `when` holds: go to `next`."""

    #: The observer's states in which it watches.
    state: tuple[State, ...]
    #: What it watches for.
    trigger: Trigger
    #: The next state.
    next: State
    #: Guard, read before the step.
    when: Guard = ALWAYS


@dataclass(frozen=True, eq=False)
class Observer:
    """One thing to remember."""

    #: Name in traces.
    name: str
    #: Its Enum of states; the first is the initial one.
    states: type[State]
    #: What it has instances of.
    per: Per
    #: Its moves.
    watches: tuple[Watch, ...]

    @property
    def initial(self) -> State:
        """The state of a new instance."""
        return next(iter(self.states))

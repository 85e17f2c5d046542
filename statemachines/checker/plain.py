"""What happens, in words that ask for no knowledge of the tables.

Rules kept here: the words of an event are its meaning in the vocabulary; who makes it happen
follows from its origin. Text, sequence diagram and page say the same of a step.
"""

from __future__ import annotations

from statemachines.actions import Action
from statemachines.environment import Disturbance, Side
from statemachines.events import Origin
from statemachines.guards import Per

#: Origin -> who makes it happen.
_ACTORS = {
    Origin.OPERATOR: "operator",
    Origin.GUEST: "guest",
    Origin.HOST: "host",
    Origin.TIME: "time",
    Origin.PEER: "message",
    Origin.ANSWER: "answer",
    Origin.RAISED: "table",
}
_PROCESS = {
    Disturbance.KILL_SOURCE: Side.SOURCE,
    Disturbance.KILL_TARGET: Side.TARGET,
    Disturbance.RESPAWN_TARGET: Side.TARGET,
}


def actor(what: Action | Disturbance) -> str:
    """Return who makes it happen: a word for a column or a badge."""
    if isinstance(what, Disturbance):
        return "operator" if what is Disturbance.RESPAWN_TARGET else "fault"
    return _ACTORS[what.happens.event.info.origin]


def side_of(what: Action | Disturbance) -> Side | None:
    """Return whose VM it happens to; None for the channel."""
    return what.side if isinstance(what, Action) else _PROCESS.get(what)


def act_words(what: Action | Disturbance) -> str:
    """Return what happens, with whom it is about and what it answers."""
    if isinstance(what, Disturbance):
        return what.value
    info, index = what.happens.event.info, what.happens.index
    about = f" ({info.per.value} {index})" if info.per is not Per.VM else ""
    return f"{info.meaning}{about}"

"""A trace as a Mermaid `sequenceDiagram`: who did what to whom, and what moved.

Rules kept here: a message is drawn where it is read, or where it is lost; a note tells where it is
sent. Notes show moves of machines, not what the checker remembers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from textwrap import wrap

from statemachines.actions import Action
from statemachines.checker.plain import act_words, actor, side_of
from statemachines.checker.trace import Moves, TraceStep, moved_texts
from statemachines.diagram.mermaid import escaped
from statemachines.environment import Side
from statemachines.events import Origin
from statemachines.observers import OBSERVERS

#: Mermaid id -> what a person reads; in the order of the columns.
_PARTIES = {
    "operator": "operator",
    "guest": "guest",
    "source": "source",
    "target": "target",
    "world": "the world",
}
_ACTOR_PARTY = {"operator": "operator", "guest": "guest"}
_LETTERS_MAX = 44


def as_mermaid(steps: Sequence[TraceStep], title: str) -> str:
    """Return a trace as the text of a sequence diagram."""
    lines: list[str] = []
    for before, step in pairwise(steps):
        lines += _drawn(before, step)
    used = [party for party in _PARTIES if any(party in line.split(":")[0] for line in lines)]
    head = [f"title {_text(title)}", "autonumber"]
    head += (f"participant {party} as {_PARTIES[party]}" for party in used)
    return "\n".join(("sequenceDiagram", *(f"    {line}" for line in (*head, *lines)))) + "\n"


def _drawn(before: TraceStep, step: TraceStep) -> Iterable[str]:
    what = step.what
    assert what is not None
    side = side_of(what)
    words = act_words(what)
    if side is None:
        yield f"Note over source,target: {_wrapped(words)}"
    elif isinstance(what, Action) and what.happens.event.info.origin is Origin.PEER:
        yield f"{_other(side)}->>{side.value}: {_wrapped(words)}"
    elif isinstance(what, Action):
        yield f"{_ACTOR_PARTY.get(actor(what), 'world')}->>{side.value}: {_wrapped(words)}"
    else:
        yield f"world-x{side.value}: {_wrapped(words)}"
    for mine in Side:
        sent, lost = _on_the_way(before, step, mine)
        yield from (f"{mine.value}-x{_other(mine)}: {name} is lost" for name in lost)
        moved = [*_noted(step.changed[mine]), *(f"sends {name}" for name in sent)]
        if moved:
            text = "<br/>".join(_wrapped(line) for line in moved)
            yield f"Note over {mine.value}: {text}"


def _on_the_way(before: TraceStep, step: TraceStep, sender: Side) -> tuple[list[str], list[str]]:
    """Return the names of what one side has sent in a step, and of what of its was lost."""
    place = 0 if sender is Side.SOURCE else 1
    earlier, later = (
        [name for name in of.on_the_way[place].split(", ") if name] for of in (before, step)
    )
    what = step.what
    if isinstance(what, Action) and what.receives and what.side is not sender:
        earlier = earlier[1:]
    kept = len(earlier) if later[: len(earlier)] == earlier else 0
    return later[kept:], earlier[kept:]


def _noted(changed: Moves) -> list[str]:
    observed = {observer.name for observer in OBSERVERS}
    return moved_texts(
        {
            name: moved
            for name, moved in changed.items()
            if name.partition(".")[0] not in observed | {"owes"}
        }
    )


def _other(side: Side) -> str:
    return str((Side.TARGET if side is Side.SOURCE else Side.SOURCE).value)


def _wrapped(text: str) -> str:
    parts = wrap(text, _LETTERS_MAX, break_long_words=False, break_on_hyphens=False)
    return "<br/>".join(_text(part) for part in parts)


def _text(text: str) -> str:
    return escaped(text).replace("#58;", ":")  # here a colon ends nothing

"""From a joint state back to the beginning: the shortest trace, as steps that can be shown.

Rules kept here: a trace is the list of label codes and states along the parents; what each step
moved is read from the two states it lies between. A trace is told in words (`as_text`) or as events
(`as_events`); `sequence.py` draws it, `page/` steps through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from statemachines.actions import Action
from statemachines.checker.explore import CHANNEL_CODE, SIDE_CODE, Explorer
from statemachines.checker.plain import act_words, actor, side_of
from statemachines.effects import Command
from statemachines.environment import Disturbance, Side
from statemachines.observers import OBSERVERS
from statemachines.wire import Channel, Content, End

#: Field that moved -> (before, after).
Moves = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class TraceStep:
    """One step of a trace."""

    #: What happened, as the explorer names it; None for the initial state.
    label: str | None
    #: Label code; -1 for the initial state.
    code: int
    #: Fields that it changed, per VM: field name -> (before, after).
    changed: dict[Side, Moves]
    #: The joint state after it: numbers of its parts.
    state: tuple[int, int, int, int]
    #: Messages on the way after it, to the target and to the source.
    on_the_way: tuple[str, str]
    #: The action or disturbance itself; None for the initial state.
    what: Action | Disturbance | None = None


def trace_to(explorer: Explorer, number: int) -> list[TraceStep]:
    """Return the shortest trace to a state, the initial state first."""
    numbers = [number]
    while (parent := int(explorer.parents["parent"][numbers[-1]])) >= 0:
        numbers.append(parent)
    numbers.reverse()
    keys = explorer.visited.keys[np.array(numbers)]
    steps = [_step(explorer, None, -1, keys[:1], keys[:1])]
    for place in range(1, len(numbers)):
        before, after = keys[place - 1 : place], keys[place : place + 1]
        code = code_between(explorer, before, after)
        steps.append(_step(explorer, explorer.label(code), code, before, after))
    return steps


def code_between(explorer: Explorer, before: np.ndarray, after: np.ndarray) -> int:
    """Return the label code of an edge between two states.

    :raise LookupError: if there is none.
    """
    for found in explorer.successors(explorer.unpack(before)):
        hit = np.flatnonzero(found.keys == after[0])
        if len(hit):
            return int(found.codes[hit[0]])
    raise LookupError("the states are not neighbours")


def _step(
    explorer: Explorer, label: str | None, code: int, before: np.ndarray, after: np.ndarray
) -> TraceStep:
    earlier, later = explorer.unpack(before), explorer.unpack(after)
    changed = {}
    for side, was, now in (
        (Side.SOURCE, earlier.source, later.source),
        (Side.TARGET, earlier.target, later.target),
    ):
        space = explorer.spaces[side]
        changed[side] = {
            field.name: (worded(field.values[a]), worded(field.values[b]))
            for field, a, b in zip(
                explorer.model.fields,
                space.state(int(was[0])),
                space.state(int(now[0])),
                strict=True,
            )
            if a != b
        }
    channel = explorer.channels[int(later.channel[0])]
    parts = tuple(int(part[0]) for part in later)
    return TraceStep(
        label,
        code,
        changed,
        (parts[0], parts[1], parts[2], parts[3]),
        (_messages(channel.to_target), _messages(channel.to_source)),
        None if label is None else what_of(explorer, code),
    )


def what_of(explorer: Explorer, code: int) -> Action | Disturbance:
    """Return the action or disturbance that a label code stands for."""
    if code >= CHANNEL_CODE:
        return Disturbance(explorer.label(code))
    side = Side.TARGET if code >= SIDE_CODE[Side.TARGET] else Side.SOURCE
    return explorer.spaces[side].labels[code - SIDE_CODE[side]].what


def worded(value: object) -> str:
    """Return a field's value as a person reads it."""
    return str(getattr(value, "value", value)).lower()


def _messages(inbox: tuple[Content, ...]) -> str:
    return ", ".join(content.message.name for content in inbox)


def channel_text(channel: Channel) -> str:
    """Return the channel's state in a few words."""
    words = [f"source {channel.source.name.lower()}", f"target {channel.target.name.lower()}"]
    words += [word for word in ("one_way", "cut", "stalled") if getattr(channel, word)]
    return ", ".join(words) if channel.source is not End.NONE else "no channel"


def as_text(steps: Sequence[TraceStep]) -> str:
    """Return a trace as numbered lines: what happened, and what moved because of it."""
    lines = []
    for place, step in enumerate(steps):
        if step.what is None:
            continue
        side = side_of(step.what)
        where = side.value if side else "channel"
        lines.append(f"{place:3}. {where:7} {actor(step.what)}: {act_words(step.what)}")
        answered = None
        if isinstance(step.what, Action):
            answered = step.what.answers
            name = step.what.name.partition(": ")[2]
            lines[-1] += f"  [{name}]"
        for mine in Side:
            moved = moved_texts(step.changed[mine], answered if mine is side else None)
            lines += (f"       {mine.value}: {text}" for text in moved)
        to_target, to_source = step.on_the_way
        if to_target:
            lines.append(f"       on the way to the target: {to_target}")
        if to_source:
            lines.append(f"       on the way to the source: {to_source}")
    return "\n".join(lines)


def moved_texts(changed: Moves, answered: Command | None = None) -> list[str]:
    """Return what moved at one VM, a line for each kind: machines, what is owed, what is noted.

    Of a process that has ended nothing else is said: all that it had is gone. That the world owes
    no answer any more to the command that was answered goes without saying.
    """
    if "life" in changed:
        was, now = changed["life"]
        return [f"its process: {was} → {now}"]
    observed = {observer.name for observer in OBSERVERS}
    owed = {_command(name): now for name, (_, now) in changed.items() if _is_owed(name)}
    groups: dict[str, list[str]] = {
        "": [],
        "now waits for: ": [c.value for c, now in owed.items() if now == "true"],
        "waits no more for: ": [
            c.value for c, now in owed.items() if now == "false" and c is not answered
        ],
        "the checker notes: ": [],
    }
    for name, (was, now) in changed.items():
        if not _is_owed(name):
            head = "the checker notes: " if name.partition(".")[0] in observed else ""
            groups[head].append(f"{name} {was} → {now}")
    return [head + ", ".join(texts) for head, texts in groups.items() if texts]


def _is_owed(name: str) -> bool:
    return name.startswith("owes.")


def _command(name: str) -> Command:
    """Return the command that a field remembers, whoever's it is."""
    return Command[name.split(".")[1]]


def as_events(steps: Sequence[TraceStep]) -> list[dict[str, str | int | None]]:
    """Return a trace as events that can be replayed: whose, what, about whom, answering what.

    A disturbance has its name as event; the channel's have no side.
    """
    events: list[dict[str, str | int | None]] = []
    for step in steps:
        if step.what is None:
            continue
        side = side_of(step.what)
        event = {"side": side.value if side else None, **event_of(step.what)}
        events.append(event)
    return events


def event_of(what: Action | Disturbance) -> dict[str, str | int | None]:
    """Return what names an event beside its side."""
    if isinstance(what, Disturbance):
        return {"event": what.name, "instance": None, "answers": None}
    return {
        "event": what.happens.event.name,
        "instance": what.happens.index,
        "answers": what.answers.name if what.answers else None,
    }

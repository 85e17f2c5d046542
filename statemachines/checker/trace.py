"""From a joint state back to the beginning: the shortest trace, as steps that can be shown.

Rules kept here: a trace is the list of label codes and states along the parents; what each step
moved is read from the two states it lies between.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from statemachines.actions import Action
from statemachines.checker.explore import CHANNEL_CODE, SIDE_CODE, Explorer
from statemachines.environment import Disturbance, Side
from statemachines.wire import Channel, Content, End


@dataclass(frozen=True)
class TraceStep:
    """One step of a trace."""

    #: What happened, as the explorer names it; None for the initial state.
    label: str | None
    #: Label code; -1 for the initial state.
    code: int
    #: Fields that it changed, per VM: field name -> (before, after).
    changed: dict[Side, dict[str, tuple[str, str]]]
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
                explorer.model.fields, space.state(int(was[0])), space.state(int(now[0])), strict=True
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


def as_text(steps: list[TraceStep]) -> str:
    """Return a trace as numbered lines: what happened, and what moved because of it."""
    lines = []
    for place, step in enumerate(steps):
        if step.label is None:
            continue
        lines.append(f"{place:3}. {step.label}")
        for side in Side:
            moved = ", ".join(
                f"{name} {was} → {now}" for name, (was, now) in step.changed[side].items()
            )
            if moved:
                lines.append(f"       {side.value}: {moved}")
        to_target, to_source = step.on_the_way
        if to_target or to_source:
            lines.append(f"       on the way: → {to_target or '–'}   ← {to_source or '–'}")
    return "\n".join(lines)

"""A counterexample as a list of events, and the system that it happens in.

What may live here: the trace as data, read from what `replug check --trace-out FILE.json` wrote.
Rules: it is somebody's input: every value is checked before it is believed. Whether the tables let
it happen is for others to say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from statemachines.effects import Command
from statemachines.events import E

#: What happens to processes and to the channel.
DISTURBANCES = (
    "KILL_SOURCE", "KILL_TARGET", "RESPAWN_TARGET", "CUT", "CUT_TO_TARGET", "CUT_TO_SOURCE",
    "CUT_BOTH", "STALL", "UNSTALL",
)  # fmt: skip
SIDES = ("source", "target")
#: The longest trace.
EVENTS_MAX = 10_000
_KEYS = ("side", "event", "instance", "answers")


class TraceError(ValueError):
    """A file that holds no traces."""


@dataclass(frozen=True)
class TraceEvent:
    """One event of a trace."""

    #: Whose VM; None for the channel.
    side: str | None
    #: An event of the tables, or one of DISTURBANCES.
    event: str
    #: Rank of the standby or primary that it is about; None for the VM.
    instance: int | None
    #: The command that it answers.
    answers: str | None

    def __str__(self) -> str:
        about = "" if self.instance is None else f" {self.instance}"
        return f"{self.side or 'channel'}: {self.event}{about}"


@dataclass(frozen=True)
class Trace:
    """A counterexample."""

    #: What it is a counterexample of.
    name: str
    #: The named system that it was found in.
    topology: str
    #: The profile of both VMs.
    profile: str
    #: What happens, in order.
    events: tuple[TraceEvent, ...]


@dataclass(frozen=True)
class System:
    """What the VMs of a topology have."""

    #: How many primaries each standby has, or could have.
    primaries: tuple[int, ...]
    #: Whether the target can answer.
    reply_path: bool = True
    #: Policies that are a choice of the machine's owner.
    policies: Mapping[str, str] = field(default_factory=dict)

    @property
    def standby_of(self) -> Mapping[int, int]:
        """Rank of each primary -> its standby's; a standby's primaries follow it."""
        found: dict[int, int] = {}
        rank = 0
        for count in self.primaries:
            found |= {rank + 1 + place: rank for place in range(count)}
            rank += 1 + count
        return found


def traces_from_json(text: str) -> list[Trace]:
    """Read traces.

    :raise TraceError: if the text holds none.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"these are no traces: {error}") from error
    if not isinstance(given, dict) or not given:
        raise TraceError("expected an object of traces, as replug check --trace-out writes it")
    return [_trace(name, one) for name, one in given.items()]


def _trace(name: str, given: Any) -> Trace:
    if not isinstance(given, dict) or given.keys() != {"topology", "profile", "events"}:
        raise TraceError(f"{name}: expected topology, profile and events")
    topology, profile, events = given["topology"], given["profile"], given["events"]
    if not isinstance(topology, str) or not isinstance(profile, str):
        raise TraceError(f"{name}: expected topology and profile by their names")
    if not isinstance(events, list) or len(events) > EVENTS_MAX:
        raise TraceError(f"{name}: expected a list of at most {EVENTS_MAX} events")
    return Trace(name, topology, profile, tuple(_event(name, event) for event in events))


def _event(name: str, given: Any) -> TraceEvent:
    if not isinstance(given, dict) or given.keys() != set(_KEYS):
        raise TraceError(f"{name}: an event has {', '.join(_KEYS)}, got {given!r:.200}")
    side, what, instance, answers = (given[key] for key in _KEYS)
    disturbs = what in DISTURBANCES
    good = (
        (disturbs or (isinstance(what, str) and what in E.__members__))
        and (side in SIDES or (disturbs and side is None))
        and (instance is None or (type(instance) is int and instance >= 0))
        and (answers is None or (isinstance(answers, str) and answers in Command.__members__))
    )
    if not good:
        raise TraceError(f"{name}: no event is like {given!r:.200}")
    return TraceEvent(side, what, instance, answers)

"""The ground rules of two VMs as JSON: what the page's stepper executes and its view words.

Rules kept here:
1. Everything is written from the explorer's model and labels; nothing is decided anew. A label has
   the code under which the explorer knows it.
2. What is only read by people (words, meanings, cites) stands under keys of its own, so that the
   stepper never depends on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from statemachines import environment as environment_module
from statemachines import observers as observers_module
from statemachines import states as states_module
from statemachines.actions import (
    TOLL_OF,
    Action,
    Environment,
    Toll,
    alive,
    checks_hello,
    forfeits_of,
    reads,
    start,
)
from statemachines.checker.explore import CHANNEL_CODE, SIDE_CODE, Explorer
from statemachines.checker.local import Label
from statemachines.checker.plain import act_words, actor
from statemachines.checker.workings import dead_state
from statemachines.compile import Model
from statemachines.diagram.doc_comments import comments_of, meaning_of
from statemachines.diagram.folding import fold
from statemachines.diagram.wording import (
    NAMED,
    brief,
    condition,
    meaning_of_condition,
    meaning_of_effect,
    names_in,
)
from statemachines.effects import Command, Message
from statemachines.environment import Budget, Disturbance, Need, Stage
from statemachines.events import E
from statemachines.ground import (
    Asks,
    Both,
    Choice,
    Either,
    Field,
    Ground,
    GroundEffect,
    Happens,
    Heard,
    Kind,
    Negation,
    Says,
    Test,
    negated,
)
from statemachines.guards import VM_SCOPE, In
from statemachines.observers import Life
from statemachines.spec import Entry, Ignored, Refused, Row
from statemachines.states import Incoming, Link, State
from statemachines.wire import IN_FLIGHT_MAX

Json = Any


def rules_of(explorer: Explorer) -> dict[str, Json]:
    """Return everything that executes and words one system."""
    environment = start(explorer.model)
    labels = [*_labels(explorer), *_channel_labels(explorer)]
    return model_rules(explorer.model, environment, labels)


def model_rules(model: Model, begin: Environment, labels: Sequence[Json]) -> dict[str, Json]:
    """Return the same of a model, with what may happen to its VMs given as labels."""
    entries = _Entries(model)
    return {
        "initial": model.initial(),
        "absent": [],
        "lingers": False,
        "devices": [],
        "dead": {life.name: dead_state(model, life) for life in _ENDS},
        "start": {
            "left": begin.left,
            "stage": begin.stage.name,
            "promise": begin.promise.name,
        },
        "in_flight_max": IN_FLIGHT_MAX,
        "deaf": {
            "field": model.number(Link),
            "values": [tuple(Link).index(link) for link in (Link.LOST, Link.CLOSED)],
        },
        "carried": {message.name: fields for message, fields in model.carried.items()},
        "checks_hello": guard_json(checks_hello(model)),
        "reads": guard_json(reads(model)),
        "forfeits": [
            {
                "guard": guard_json(ground),
                "budgets": [_place(budget) for budget in forfeit.budgets],
                "spent": _place(forfeit.spent),
            }
            for ground, forfeit in forfeits_of(model)
        ],
        "forgotten": [[owed, field, sorted(values)] for owed, field, values in model.forgotten],
        "events": {
            str(happens): {
                "listeners": [
                    {
                        "field": listener.field,
                        "cells": {
                            value: [_choice(choice, entries) for choice in choices]
                            for value, choices in listener.cells.items()
                        },
                    }
                    for listener in event.listeners
                ],
                "meaning": happens.event.info.meaning,
            }
            for happens, event in model.events.items()
        },
        "glances": _glances(model),
        "labels": labels,
        "entries": entries.words,
        "names": entries.names,
        "fields": [_field(model, field) for field in model.fields],
        "system": _system(model),
    }


_ENDS = (Life.EXITED, Life.DIED, Life.DIED_WITH_VM, Life.BROKEN)


def guard_json(guard: Ground) -> Json:
    """Return a ground guard as nested lists."""
    match guard:
        case bool():
            return guard
        case Test(field=number, values=values):
            return ["test", number, sorted(values)]
        case Heard(field=number, values=values):
            return ["heard", number, sorted(values)]
        case Negation(part=part):
            return ["not", guard_json(part)]
        case Both(parts=parts):
            return ["all", [guard_json(part) for part in parts]]
        case Either(parts=parts):
            return ["any", [guard_json(part) for part in parts]]


# -- what rows do


class _Entries:
    """Every entry that survived folding, in words."""

    def __init__(self, model: Model) -> None:
        self.words: list[dict[str, Json]] = []
        #: Named conditions that the words mention: name -> what it means.
        self.names: dict[str, str] = {}
        self._numbers: dict[int, int] = {}
        self._policies = (model.policies,)

    def number(self, entry: Entry) -> int:
        """Return an entry's place in `words`."""
        if id(entry) not in self._numbers:
            self._numbers[id(entry)] = len(self.words)
            self.words.append(self._worded(entry))
        return self._numbers[id(entry)]

    def _worded(self, entry: Entry) -> dict[str, Json]:
        left = fold(entry.when, self._policies, NAMED)
        when = "" if isinstance(left, bool) else condition(left)
        if not isinstance(left, bool):
            for name in names_in([left]):
                self.names[name] = meaning_of_condition(name)
        match entry:
            case Row(then=then, cite=cite):
                return {"when": when, "then": brief(then), "cite": cite}
            case Ignored(reason=reason):
                return {"when": when, "ignored": reason}
            case Refused(text=text):
                return {"when": when, "refused": text}


def _choice(choice: Choice, entries: _Entries) -> dict[str, Json]:
    return {
        "guard": guard_json(choice.guard),
        "refused": choice.kind is Kind.REFUSED,
        "next": choice.next,
        "effects": [_effect(effect) for effect in choice.effects],
        "entry": entries.number(choice.entry),
    }


def _effect(effect: GroundEffect) -> dict[str, Json]:
    match effect:
        case Happens():
            return {"raise": str(effect)}
        case Says(message=message, fields=fields):
            return {"send": message.name, "fields": fields}
        case Asks(command=command, index=index, owed=owed):
            return {"ask": command.name, "index": index, "owed": owed}


def _glances(model: Model) -> dict[str, list[Json]]:
    found: dict[str, list[Json]] = {}
    for glance in model.glances:
        match glance.trigger:
            case Happens():
                trigger = f"event {glance.trigger}"
            case Says(message=message):
                trigger = f"send {message.name}"
            case Asks(command=command, index=index):
                trigger = f"ask {command.name} {index}"
        watch = {
            "field": glance.field,
            "values": sorted(glance.values),
            "guard": guard_json(glance.guard),
            "next": glance.next,
        }
        found.setdefault(trigger, []).append(watch)
    return found


# -- labels


def _labels(explorer: Explorer) -> Iterable[dict[str, Json]]:
    for side, space in explorer.spaces.items():
        met: set[Disturbance] = set()
        for place, label in enumerate(space.labels):
            common = label_head(SIDE_CODE[side] + place, label.name, label.toll, label.what) | {
                "side": side.value,
                "peer": guard_json(label.peer),
                "fair": label.fair,
            }
            if isinstance(label.what, Action):
                yield common | label_of_action(label.what)
            else:
                yield common | _end(explorer, label, again=label.what in met)
                met.add(label.what)


def label_head(code: int, name: str, toll: Toll, what: Action | Disturbance) -> dict[str, Json]:
    """Return what every label has: its code, its words, and what it asks of the environment."""
    return {
        "code": code,
        "name": name,
        "words": act_words(what),
        "actor": actor(what),
        "cost": toll.cost.value if toll.cost else None,
        "toll": toll_json(toll),
    }


def toll_json(toll: Toll) -> Json:
    """Return what is asked of the environment."""
    return {
        "cost": _place(toll.cost),
        "stage": toll.stage.name,
        "then": toll.then.name if toll.then else None,
        "promise": toll.promise.name,
        "forgets": toll.forgets,
        "spares": _place(toll.spares),
    }


def _place(budget: Budget | None) -> int | None:
    return None if budget is None else tuple(Budget).index(budget)


def label_of_action(action: Action) -> dict[str, Json]:
    """Return what an action does, and needs of its own VM and the channel."""
    return {
        "disturbs": False,
        "event": str(action.happens),
        "answers": action.answers.name if action.answers else None,
        "guard": guard_json(action.guard),
        "waits": action.waits,
        "receives": action.receives.name if action.receives else None,
        "clears": action.clears,
        "ops": list(_asked(action)),
    }


def _asked(action: Action) -> Iterable[Json]:
    side = action.side.value
    if action.need is not Need.ANY:
        yield ["need", side, action.need.name]
    match action.happens.event:
        case E.CONNECTED | E.CONNECTED_ONE_WAY:
            yield ["make", side, action.happens.event is E.CONNECTED_ONE_WAY]
        case E.PEER_CONNECTED | E.PEER_CONNECTED_ONE_WAY:
            yield ["accept", side, None]
        case E.CHANNEL_CLOSED:
            yield ["let go", side, None]
    if action.receives is not None:
        yield ["pop", side, None]


def _end(explorer: Explorer, label: Label, *, again: bool) -> dict[str, Json]:
    """A process that dies, or is replaced; a target dies without the VM first, then with it."""
    model = explorer.model
    living, owner = alive(model), model.ground(In(Incoming.COMPLETED), VM_SCOPE)
    life: Life | None = Life.DIED
    guard: Ground = living
    match label.what:
        case Disturbance.KILL_TARGET:
            life = Life.DIED_WITH_VM if again else Life.DIED
            guard = Both((living, owner if again else negated(owner)))
        case Disturbance.RESPAWN_TARGET:
            life, guard = None, negated(living)
    return {
        "disturbs": True,
        "guard": guard_json(guard),
        "waits": False,
        "dies": dead_state(model, life) if life else None,
    }


def _channel_labels(explorer: Explorer) -> Iterable[dict[str, Json]]:
    on_channel = (disturbance for disturbance in Disturbance if disturbance not in _ON_PROCESS)
    for code, what in enumerate(on_channel, CHANNEL_CODE):
        yield label_head(code, explorer.label(code), TOLL_OF[what], what) | {
            "side": None,
            "ops": [["disturb", None, what.name]],
            "fair": False,
        }


_ON_PROCESS = (Disturbance.KILL_SOURCE, Disturbance.KILL_TARGET, Disturbance.RESPAWN_TARGET)

# -- what is read by people


def _field(model: Model, field: Field) -> dict[str, Json]:
    name, _, index = field.name.removeprefix("owes.").partition(".")
    if field.name.startswith("owes."):
        command = Command[name]
        return {
            "kind": "owed",
            "name": command.value,
            "index": index,
            "summary": meaning_of_effect(command),
            "values": ["no", "yes"],
            "meanings": ["", ""],
        }
    spec = next((spec for spec in model.machines if spec.name == name), None)
    observed = next((observer for observer in model.observers if observer.name == name), None)
    kind = "machine" if spec else "remembered" if observed else "process"
    module = states_module if spec else observers_module
    values = [value for value in field.values if isinstance(value, State)]
    summary = spec.summary if spec else (type(values[0]).__doc__ or "")
    return {
        "kind": kind,
        "name": name,
        "index": index,
        "summary": summary,
        "values": [str(value.value) for value in values],
        "meanings": [meaning_of(value, module).replace("`", "") for value in values],
    }


def _system(model: Model) -> dict[str, Json]:
    comments = comments_of(environment_module)
    return {
        "name": model.topology.name,
        "summary": model.topology.summary,
        "policies": model.policies,
        "budgets": [budget.value for budget in Budget],
        "messages": {message.name: meaning_of_effect(message) for message in Message},
        "stages": {stage.name: comments.get(f"Stage.{stage.name}", "") for stage in Stage},
    }

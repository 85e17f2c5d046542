"""Ground rules as Python functions: what one event, and all it raises, does to one VM.

Rules kept here: the source is printed from the ground rules, one function per event, and says
what they say: guards read the state before the step; every listener must take the event; effects
follow in order. `Stepper` is the only caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from statemachines.compile import Model
from statemachines.effects import Command, Message
from statemachines.ground import (
    Asks,
    Both,
    Choice,
    Either,
    Ground,
    GroundEffect,
    GroundEvent,
    Happens,
    Heard,
    Kind,
    Listener,
    Negation,
    Says,
    Test,
    fields_read,
    trigger_of,
)
from statemachines.spec import Entry

State = tuple[int, ...]
#: A field that could not take an event, and the event.
Unhandled = tuple[str, Happens]


@dataclass
class Outcome:
    """What one event and all it raises have done."""

    #: The state at rest.
    state: list[int]
    #: Messages sent and channel commands, in order: (Message, latched values) or a Command.
    said: list[tuple[Message, tuple[int, ...]] | Command] = field(default_factory=list)
    #: Entries taken, by number in `Stepper.entries`.
    taken: list[int] = field(default_factory=list)
    #: What was raised and could not be taken; None where all was.
    unhandled: Unhandled | None = None


@dataclass(frozen=True)
class Step:
    """What one event alone has done, before anything that it raises."""

    #: The state after it.
    state: State
    #: Fields that listen, in order, each with the entry that it took.
    taken: tuple[tuple[int, Choice], ...]
    #: Messages sent and channel commands, as in an `Outcome`.
    said: tuple[tuple[Message, tuple[int, ...]] | Command, ...]
    #: What it raises, in order.
    raised: tuple[Happens, ...]

    @property
    def effects(self) -> tuple[GroundEffect, ...]:
        """Every effect, in order."""
        return tuple(effect for _, choice in self.taken for effect in choice.effects)


class Stepper:
    """Runs the ground events of one model on single states."""

    def __init__(self, model: Model) -> None:
        self.model = model
        #: Every row and ignored entry that survived folding; its place is its number.
        self.entries: list[Entry] = []
        self._numbers: dict[int, int] = {}
        self._events = list(model.events)
        self._place = {happens: place for place, happens in enumerate(self._events)}
        self._forgotten = model.forgotten
        #: Per event, the source of its function; kept for whoever wants to read it.
        self.sources = [self._source(event) for event in model.events.values()]
        self._functions = [self._compiled(source) for source in self.sources]

    def run(self, happens: Happens, state: State, heard: dict[int, int]) -> Outcome | None:
        """Let an event happen to a state, with what its message carries.

        :return: None where the owner does not allow it.
        """
        outcome = Outcome(list(state))
        inbox = [self._place[happens]]
        for place in inbox:
            wrong = self._functions[place](outcome, heard, inbox)
            if wrong is not None:
                event = self._events[place]
                owner = self.model.events[event].listeners[0].field
                if wrong == owner and len(inbox) == 1:
                    return None
                outcome.unhandled = (self.model.fields[wrong].name, event)
                return outcome
        for owed, place, values in self._forgotten:
            if outcome.state[place] not in values:
                outcome.state[owed] = 0
        return outcome

    def step(self, happens: Happens, state: State, heard: dict[int, int]) -> Step | int:
        """Let an event alone happen to a state, with what its message carries.

        :return: the field that cannot take it, where one cannot: the event does not happen.
        """
        outcome = Outcome(list(state))
        place = self._place[happens]
        inbox: list[int] = []
        wrong = self._functions[place](outcome, heard, inbox)
        if wrong is not None:
            return wrong
        taken = tuple(
            (listener.field, self._choice(listener.cells[state[listener.field]], number))
            for listener, number in zip(
                self.model.events[happens].listeners, outcome.taken, strict=True
            )
        )
        raised = tuple(self._events[place] for place in inbox)
        return Step(tuple(outcome.state), taken, tuple(outcome.said), raised)

    def _choice(self, choices: tuple[Choice, ...], number: int) -> Choice:
        return next(choice for choice in choices if choice.entry is self.entries[number])

    # -- what an event may read and write

    def touched(self, happens: Happens) -> frozenset[int]:
        """Return every field that an event, or anything it can raise, reads or writes."""
        seen: set[Happens] = set()
        fields: set[int] = set()
        waiting = [happens]
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            fields |= {listener.field for listener in self.model.events[here].listeners}
            for choice in self.model.events[here].choices:
                fields |= fields_read(choice.guard)
                for effect in choice.effects:
                    match effect:
                        case Happens():
                            waiting.append(effect)
                        case Says(fields=latched):
                            fields |= set(latched)
                        case Asks(owed=owed) if owed is not None:
                            fields.add(owed)
        for owed, place, _ in self._forgotten:
            if place in fields:
                fields.add(owed)
        return frozenset(fields | self._glanced(seen))

    def _glanced(self, happening: set[Happens]) -> set[int]:
        fields: set[int] = set()
        triggers: set[object] = set(happening)
        for happens in happening:
            for choice in self.model.events[happens].choices:
                triggers |= {trigger_of(effect) for effect in choice.effects}
        for glance in self.model.glances:
            if trigger_of(glance.trigger) in triggers:
                fields |= {glance.field} | fields_read(glance.guard)
        return fields

    # -- printing

    def _number(self, entry: Entry) -> int:
        if id(entry) not in self._numbers:
            self._numbers[id(entry)] = len(self.entries)
            self.entries.append(entry)
        return self._numbers[id(entry)]

    def _source(self, event: GroundEvent) -> str:
        lines = ["def step(outcome, h, inbox):", "    s = outcome.state", "    t = s.copy()"]
        lines.append("    said, taken = outcome.said, outcome.taken")
        for listener in event.listeners:
            lines += self._listener(listener)
        lines += self._glances(event)
        lines += ["    outcome.state = t", "    return None"]
        return "\n".join(lines)

    def _listener(self, listener: Listener) -> Iterable[str]:
        word = "if"
        yield f"    v = s[{listener.field}]"
        for value, choices in listener.cells.items():
            yield f"    {word} v == {value}:"
            word = "elif"
            yield from self._cell(listener.field, choices)
        if listener.cells:
            yield f"    else: return {listener.field}"
        else:
            yield f"    return {listener.field}"

    def _cell(self, number: int, choices: tuple[Choice, ...]) -> Iterable[str]:
        word = "if"
        for choice in choices:
            yield f"        {word} {condition(choice.guard)}:"
            word = "elif"
            if choice.kind is Kind.REFUSED:
                yield f"            return {number}"
                continue
            yield f"            taken.append({self._number(choice.entry)})"
            if choice.next is not None:
                yield f"            t[{number}] = {choice.next}"
            for effect in choice.effects:
                yield from (f"            {line}" for line in self._effect(effect))
        yield f"        else: return {number}"

    def _effect(self, effect: Happens | Says | Asks) -> Iterable[str]:
        match effect:
            case Happens():
                yield f"inbox.append({self._place[effect]})"
            case Says(message=message, fields=fields):
                values = "".join(f"s[{number}]," for number in fields)
                yield f"said.append((Message.{message.name}, ({values})))"
                yield from self._noticed(effect)
            case Asks(command=command, owed=owed):
                if owed is not None:
                    yield f"t[{owed}] = 1"
                if command in (Command.CLOSE_CHANNEL, Command.EXIT):
                    yield f"said.append(Command.{command.name})"
                yield from self._noticed(effect)

    def _noticed(self, effect: Says | Asks) -> Iterable[str]:
        """What observers make of an effect."""
        for glance in self.model.glances:
            if trigger_of(glance.trigger) == trigger_of(effect):
                yield from _glance(glance.field, glance.values, glance.guard, glance.next)

    def _glances(self, event: GroundEvent) -> Iterable[str]:
        for glance in self.model.glances:
            if glance.trigger == event.happens:
                for line in _glance(glance.field, glance.values, glance.guard, glance.next):
                    yield f"    {line}"

    def _compiled(self, source: str) -> Callable[..., int | None]:
        space: dict[str, Any] = {"Message": Message, "Command": Command}
        exec(compile(source, "<ground rules>", "exec"), space)
        step: Callable[..., int | None] = space["step"]
        return step


def _glance(field: int, values: frozenset[int], guard: Ground, after: int) -> Iterable[str]:
    watched = condition(Test(field, values))
    yield f"if t[{field}] == s[{field}] and {watched} and {condition(guard)}: t[{field}] = {after}"


def condition(guard: Ground) -> str:
    """Return a ground guard as a Python expression over `s` (the state) and `h` (the message)."""
    match guard:
        case bool():
            return str(guard)
        case Test(field=number, values=values):
            return _among(f"s[{number}]", values)
        case Heard(field=number, values=values):
            return _among(f"h.get({number}, -1)", values)
        case Negation(part=part):
            return f"not {condition(part)}"
        case Both(parts=parts):
            return "(" + " and ".join(condition(part) for part in parts) + ")"
        case Either(parts=parts):
            return "(" + " or ".join(condition(part) for part in parts) + ")"


def _among(subject: str, values: frozenset[int]) -> str:
    if len(values) == 1:
        return f"({subject} == {min(values)})"
    return f"({subject} in {tuple(sorted(values))})"

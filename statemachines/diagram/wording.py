"""How guards and effects are worded in pictures and pages.

Rules kept here:
1. A guard to which `tables/conditions.py` or `tables/primary.py` gives a name is written by that
   name, in capitals, so that it can be looked up; pages list the names they use in full.
2. Wording never drops a condition. What folding has dropped is said by the mark of the profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from types import MappingProxyType

from statemachines import effects as effects_module
from statemachines.diagram.doc_comments import comments_of, meaning_of
from statemachines.effects import Command, Do, Effect, Message, Raise, Send
from statemachines.guards import (
    ALWAYS,
    All,
    AnyOf,
    Guard,
    In,
    Latched,
    Mine,
    Not,
    Older,
    Policy,
    Sibling,
    Some,
)
from statemachines.tables import conditions, primary

#: Modules in which guards have names for all to see.
_NAMING = (conditions, primary)
#: guard -> its name; of two names for one guard the first.
NAMED: Mapping[Guard, str] = MappingProxyType(
    {
        guard: name
        for module in reversed(_NAMING)
        for name, guard in reversed(vars(module).items())
        if isinstance(guard, Guard) and name.isupper() and not name.startswith("_")
    }
)
_QUANTIFIERS: Mapping[type[Guard], str] = MappingProxyType(
    {
        Some: "some primary",
        Mine: "a primary of this standby",
        Sibling: "another primary of this standby",
        Older: "an older primary of this standby",
    }
)


def condition(guard: Guard, *, by_name: bool = True) -> str:
    """Word a guard; with `by_name=False` its own name is spelled out, those inside it are not."""
    if by_name and guard in NAMED:
        return NAMED[guard]
    match guard:
        case In():
            return _membership(guard, "is")
        case Policy(name=name, value=value):
            return f"policy {name}={value}"
        case Not(guard=In() as inner) if inner not in NAMED and len(inner.states) == 1:
            return _membership(inner, "is not")
        case Not(guard=inner):
            return f"not {_grouped(inner)}"
        case Some() | Mine() | Sibling() | Older():
            if guard.guard == ALWAYS:
                return f"there is {_QUANTIFIERS[type(guard)]}"
            return f"{_QUANTIFIERS[type(guard)]} ({condition(guard.guard)})"
        case All(guards=parts):
            return " and ".join(_grouped(part, AnyOf) for part in parts)
        case AnyOf(guards=parts):
            return " or ".join(_grouped(part, All) for part in parts)
        case _:
            return str(guard)


def _membership(guard: In, verb: str) -> str:
    names = " or ".join(state.value for state in guard.lifecycle if state in guard.states)
    received = "received " if isinstance(guard, Latched) else ""
    return f"{received}{guard.lifecycle.__name__} {verb} {names}"


def _grouped(guard: Guard, *kinds: type[Guard]) -> str:
    text = condition(guard)
    is_one_word = " " not in text
    return text if is_one_word or (kinds and not isinstance(guard, kinds)) else f"({text})"


def names_in(guards: Iterable[Guard]) -> dict[str, Guard]:
    """Return the named conditions that these guards mention, also inside one another, by name."""
    found: dict[str, Guard] = {}
    frontier = list(guards)
    while frontier:
        guard = frontier.pop()
        if guard in NAMED:
            found[NAMED[guard]] = guard
        match guard:
            case All(guards=parts) | AnyOf(guards=parts):
                frontier += parts
            case Not() | Some() | Mine() | Sibling() | Older():
                frontier.append(guard.guard)
    return dict(sorted(found.items()))


def meaning_of_condition(name: str) -> str:
    """Return what is written above a named condition; empty if nothing is."""
    return next((found[name] for m in _NAMING if name in (found := comments_of(m))), "")


def meaning_of_effect(member: Message | Command) -> str:
    """Return what is written above a message or a command."""
    return meaning_of(member, effects_module)


def brief(effects: tuple[Effect, ...]) -> str:
    """Word effects for a picture: in order, neighbours of one kind together."""
    return "; ".join(_brief_groups(effects))


def _brief_groups(effects: tuple[Effect, ...]) -> Iterator[str]:
    for kind, group in groupby(effects, key=type):
        words = ", ".join(_word(effect) for effect in group)
        verb = {Send: "send ", Raise: "raise "}.get(kind, "")
        yield f"{verb}{words}"


def _word(effect: Effect) -> str:
    match effect:
        case Send(message=message):
            return message.name
        case Raise(event=event):
            return event.name
        case Do(command=command):
            return command.value


def in_full(effect: Effect) -> str:
    """Word one effect with what it carries or how it may be answered."""
    match effect:
        case Send(latch=latch) if latch:
            return f"{effect} carrying {', '.join(lifecycle.__name__ for lifecycle in latch)}"
        case Do(answers=answers) if answers:
            return f"{effect} (answered by {', '.join(sorted(e.name for e in answers))})"
        case _:
            return str(effect)

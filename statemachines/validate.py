"""The laws that hold across tables, checked when the system is put together.

Rules kept here: every event has its owner's table to allow it; everything raised, answered or
received is in its owner's alphabet; everything latched is read by somebody; a guard reads only what
its scope has; whatever the operator commands, whenever, has an answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from statemachines.effects import RECEIVED_AS, Do, Message, Raise, Send
from statemachines.events import E, Origin
from statemachines.guards import (
    ALWAYS,
    Per,
    Scope,
    latches_read,
    misread,
    narrower,
    policies_read,
    states_read,
)
from statemachines.policies import POLICIES
from statemachines.spec import Entry, MachineSpec, SpecError
from statemachines.states import State


def check_system(machines: Iterable[MachineSpec]) -> None:
    """Check the laws that hold across tables.

    :raise SpecError: naming the table, the row and the law that is broken.
    """
    specs = {spec.states: spec for spec in machines}
    for spec in specs.values():
        _check_alphabet(spec, specs)
        _check_guards(spec, specs)
        _check_effects(spec, specs)
    _check_latches(specs)
    for spec in specs.values():
        _check_commands(spec)


def _entries(spec: MachineSpec) -> tuple[Entry, ...]:
    return (*spec.rows, *spec.ignored, *spec.refused)


def _check_alphabet(spec: MachineSpec, specs: dict[type[State], MachineSpec]) -> None:
    for event in spec.alphabet:
        owner = specs.get(event.info.owner)
        if owner is None or event not in owner.alphabet:
            raise SpecError(f"{spec.name} listens to {event.name}, which nobody allows")
        if event.info.owner is spec.states and event.info.per not in _NARROWER[spec.per]:
            raise SpecError(f"{spec.name} is per {spec.per.value}: {event.name} has no one owner")


def _check_guards(spec: MachineSpec, specs: dict[type[State], MachineSpec]) -> None:
    for entry in _entries(spec):
        unknown = [other.__name__ for other in states_read(entry.when) if other not in specs]
        if unknown:
            raise SpecError(f"{spec.name}: '{entry.when}' reads {', '.join(unknown)}")
        for event in entry.events:
            per = narrower(Scope(event.info.per), Scope(spec.per)).per
            wrong = misread(entry.when, per, lambda other: specs[other].per)
            if wrong:
                raise SpecError(f"{spec.name}: '{wrong}' at {event.name}: of which instance?")
        for policy, value in policies_read(entry.when):
            if policy not in POLICIES or value not in POLICIES[policy][1]:
                raise SpecError(f"{spec.name}: no policy {policy}={value}")


def _check_effects(spec: MachineSpec, specs: dict[type[State], MachineSpec]) -> None:
    for row in spec.rows:
        for effect in row.then:
            for event in _caused(effect):
                owner = specs.get(event.info.owner)
                if owner is None or event not in owner.alphabet:
                    raise SpecError(f"{spec.name}: {effect} causes {event.name}, owned by nobody")
            if isinstance(effect, Raise):
                _check_raise(spec, effect)
            if isinstance(effect, Do):
                wrong = [e.name for e in effect.answers if not _may_answer(e)]
                if wrong:
                    raise SpecError(f"{spec.name}: {', '.join(wrong)} cannot answer {effect}")


def _check_commands(spec: MachineSpec) -> None:
    for event in spec.alphabet - _IN_THEIR_TURN:
        if event.info.origin is not Origin.OPERATOR or event.info.owner is not spec.states:
            continue
        for state in spec.states:
            if all(entry.when != ALWAYS for entry in spec.entries(state, event)):
                raise SpecError(
                    f"{spec.name}: {event.name} in {state.name} may have no answer: "
                    "add a row, or what is ignored or refused, without a condition"
                )


def _check_latches(specs: dict[type[State], MachineSpec]) -> None:
    carried = {
        (event, lifecycle)
        for spec in specs.values()
        for row in spec.rows
        for effect in row.then
        if isinstance(effect, Send)
        for event in _caused(effect)
        for lifecycle in effect.latch
    }
    read = {
        (event, lifecycle)
        for spec in specs.values()
        for entry in _entries(spec)
        for event in entry.events
        for lifecycle in latches_read(entry.when)
    }
    for event, lifecycle in read - carried:
        raise SpecError(
            f"a guard at {event.name} reads {lifecycle.__name__}: no message carries it"
        )
    unread = {lifecycle for _, lifecycle in carried} - {lifecycle for _, lifecycle in read}
    for lifecycle in unread:
        raise SpecError(f"{lifecycle.__name__} is carried by a message, and nobody reads it")


#: No commands that come at any time: who starts a VM or plugs a device gives them in their turn.
_IN_THEIR_TURN = frozenset(
    {
        *(E.BOOT, E.BOOT_HELD, E.BOOT_INCOMING, E.BOOT_INCOMING_HELD),
        *(E.ADOPT, E.BLOCK, E.UNBLOCK),
    }
)
#: Events of these reach exactly one instance of a lifecycle that exists per the key.
_NARROWER = {
    Per.VM: (Per.VM, Per.STANDBY, Per.PRIMARY),
    Per.STANDBY: (Per.STANDBY, Per.PRIMARY),
    Per.PRIMARY: (Per.PRIMARY,),
}


def _caused(effect: Send | Raise | Do) -> tuple[E, ...]:
    match effect:
        case Send(message=Message.STATE):
            return (E.RECV_STATE, E.RECV_BAD_STATE)
        case Send(message=message):
            return (RECEIVED_AS[message],)
        case Raise(event=event):
            return (event,)
        case Do(answers=answers):
            return tuple(answers)


def _check_raise(spec: MachineSpec, effect: Raise) -> None:
    info = effect.event.info
    if info.origin is not Origin.RAISED:
        raise SpecError(f"{spec.name}: {effect.event.name} cannot be raised")
    if info.per is not Per.VM and info.per is not spec.per:
        raise SpecError(f"{spec.name} per {spec.per.value} raises {effect.event.name}")


def _may_answer(event: E) -> bool:
    return event.info.origin in (Origin.ANSWER, Origin.TIME)

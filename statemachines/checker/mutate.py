"""Tables with one deliberate fault each: the properties must be able to tell them apart.

Rules kept here:
1. A mutant is a whole set of machines with one row changed, that the validators let pass. One that
   they refuse is no mutant, and counted: it could never have been built.
2. A row *stays* (as `Ignored` would), is *removed* (its cell falls through, or is illegal), goes
   to *another state*, has its guard *weakened* (a conjunct dropped, a negation removed, or no
   guard), an effect *dropped*, or two effects *swapped*. The enumeration is in the tables' order.
3. Not generated is what no checker of states could see:
   - a command that only tells a person (the `EMIT_…` and `WARN_…` that no observer listens to) or
     that only a real guest would notice (RESET_GUEST): its name is in `UNSEEN`;
   - the order of effects of which one is a command to the world: raised events, messages and
     commands leave by different doors, and only raised events among themselves, or messages
     and the closing of their channel, have an order that anybody reads.
4. Equivalent is a mutant whose rules, made ground and folded (`ground_rules`), are the original's:
   it dropped a conjunct that the profile or the row's own state decides, or what another repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from statemachines.compile import Model
from statemachines.effects import Command, Do, Effect, Raise, Send
from statemachines.ground import (
    Both,
    Choice,
    Either,
    Ground,
    Kind,
    Negation,
    Test,
    both,
    either,
    negated,
)
from statemachines.guards import ALWAYS, All, AnyOf, Guard, Not
from statemachines.observers import OBSERVERS
from statemachines.spec import MachineSpec, Row, SpecError
from statemachines.states import State
from statemachines.system import VM_MACHINES
from statemachines.validate import check_system


class Mutation(Enum):
    """What is done to a row."""

    #: It changes nothing and does nothing, as if it were ignored.
    STAYS = "stays"
    #: It is not there.
    REMOVED = "removed"
    #: It leads elsewhere.
    ELSEWHERE = "elsewhere"
    #: Its guard asks for less.
    WEAKENED = "weakened"
    #: One of its effects is missing.
    DROPPED = "dropped"
    #: Two of its effects change places.
    SWAPPED = "swapped"


@dataclass(frozen=True, eq=False)
class Mutant:
    """Machines with one row changed; built on demand, for most of the work is in validating."""

    #: Machine, place of the row, its cell, and what was done; unique.
    name: str
    #: What was done.
    mutation: Mutation
    #: The row as it was.
    row: Row
    #: Place of the machine.
    at: int
    #: Place of the row among its machine's.
    place: int
    #: What stands there instead.
    instead: tuple[Row, ...]

    def built(
        self, machines: tuple[MachineSpec, ...] = VM_MACHINES
    ) -> tuple[MachineSpec, ...] | None:
        """Return the changed machines, or None where a validator refuses them."""
        spec = machines[self.at]
        rows = (*spec.rows[: self.place], *self.instead, *spec.rows[self.place + 1 :])
        try:
            every = (*machines[: self.at], replace(spec, rows=rows), *machines[self.at + 1 :])
            check_system(every)
        except SpecError:
            return None
        return every


_WATCHED = {watch.trigger for observer in OBSERVERS for watch in observer.watches}
_ACTS_ON_CHANNEL = (Command.CLOSE_CHANNEL, Command.EXIT)


def _is_unseen(command: Command) -> bool:
    return (
        command.name.startswith(("EMIT_", "WARN_")) or command is Command.RESET_GUEST
    ) and command not in _WATCHED


#: Commands whose absence nothing but a person or a real guest would notice.
UNSEEN = frozenset(command for command in Command if _is_unseen(command))


def mutants(machines: tuple[MachineSpec, ...] = VM_MACHINES) -> tuple[Mutant, ...]:
    """Return every mutant of some machines, those included that a validator will refuse."""
    return tuple(
        Mutant(f"{spec.name} {place}: {cell_text(row)}: {what}", mutation, row, at, place, instead)
        for at, spec in enumerate(machines)
        for place, row in enumerate(spec.rows)
        for mutation, what, instead in _variants(spec, row)
    )


def cell_text(row: Row) -> str:
    """Return where a row is in its table, for a list."""
    states = "|".join(state.name for state in row.states)
    return f"({states}, {row.event.name})"


def _variants(spec: MachineSpec, row: Row) -> Iterator[tuple[Mutation, str, tuple[Row, ...]]]:
    moves = row.next is not None and row.states != (row.next,)
    if moves or any(not _tells_only(effect) for effect in row.then):
        yield Mutation.STAYS, "stays", (replace(row, next=None, then=()),)
    yield Mutation.REMOVED, "removed", ()
    yield from (
        (Mutation.ELSEWHERE, f"to {'itself' if other is None else other.name}", (changed,))
        for other in _elsewhere(spec, row)
        for changed in (replace(row, next=other),)
    )
    for guard in weaker(row.when):
        yield Mutation.WEAKENED, f"if {guard}", (replace(row, when=guard),)
    for place, effect in enumerate(row.then):
        rest = (*row.then[:place], *row.then[place + 1 :])
        if not _tells_only(effect):
            yield Mutation.DROPPED, f"without {effect} ({place})", (replace(row, then=rest),)
    for place, (first, second) in enumerate(zip(row.then, row.then[1:], strict=False)):
        if _has_order(first, second):
            swapped = (*row.then[:place], second, first, *row.then[place + 2 :])
            what = f"{second} before {first}"
            yield Mutation.SWAPPED, what, (replace(row, then=swapped),)


def _elsewhere(spec: MachineSpec, row: Row) -> Iterator[State | None]:
    """Yield the state after the row's own in the lifecycle; where there are effects, none too."""
    states = tuple(spec.states)
    here = row.next if row.next is not None else row.states[0]
    yield states[(states.index(here) + 1) % len(states)]
    if row.next is not None and row.then:
        yield None


def weaker(guard: Guard) -> Iterator[Guard]:
    """Yield the guards that ask for less, or for the opposite of one thing, each once."""
    found: list[Guard] = []
    for candidate in _weaker(guard):
        if candidate != guard and candidate not in found:
            found.append(candidate)
            yield candidate


def _weaker(guard: Guard) -> Iterator[Guard]:
    if guard == ALWAYS:
        return
    if isinstance(guard, All):
        for place in range(len(guard.guards)):
            rest = (*guard.guards[:place], *guard.guards[place + 1 :])
            yield rest[0] if len(rest) == 1 else All(*rest)
    yield from _affirmed(guard)
    yield ALWAYS


def _affirmed(guard: Guard) -> Iterator[Guard]:
    """Yield the guard with one of its negations removed."""
    match guard:
        case Not(guard=inner):
            yield inner
        case All(guards=parts) | AnyOf(guards=parts):
            for place, part in enumerate(parts):
                for affirmed in _affirmed(part):
                    yield type(guard)(*parts[:place], affirmed, *parts[place + 1 :])
        case _:
            return


def _tells_only(effect: Effect) -> bool:
    return isinstance(effect, Do) and effect.command in UNSEEN


def _has_order(first: Effect, second: Effect) -> bool:
    if first == second:
        return False
    if isinstance(first, Raise) and isinstance(second, Raise):
        return True
    return _is_for_peer(first) and _is_for_peer(second)


def _is_for_peer(effect: Effect) -> bool:
    return isinstance(effect, Send) or (
        isinstance(effect, Do) and effect.command in _ACTS_ON_CHANNEL
    )


# -- equivalence


def ground_rules(model: Model) -> dict[object, object]:
    """Return what a model does, without the entries that it comes from."""
    return {
        (happens, listener.field): {
            value: tuple(_bare(listener.field, value, choices))
            for value, choices in listener.cells.items()
        }
        for happens, event in model.events.items()
        for listener in event.listeners
    }


def _bare(field: int, value: int, choices: tuple[Choice, ...]) -> Iterator[tuple[object, ...]]:
    for choice in choices:
        guard = _read_at(choice.guard, field, value)
        if guard is False:
            continue
        after = None if choice.next == value else choice.next
        idle = after is None and not choice.effects and choice.kind is not Kind.REFUSED
        yield guard, Kind.IGNORED if idle else choice.kind, after, choice.effects
        if guard is True:
            return


def _read_at(guard: Ground, field: int, value: int) -> Ground:
    """Return a guard as it reads where one field is known."""
    match guard:
        case Test(field=read, values=values) if read == field:
            return value in values
        case Negation(part=part):
            return negated(_read_at(part, field, value))
        case Both(parts=parts):
            return both(_read_at(part, field, value) for part in parts)
        case Either(parts=parts):
            return either(_read_at(part, field, value) for part in parts)
        case _:
            return guard

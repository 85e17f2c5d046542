"""The runtime that runs and the ground rules that are checked say the same of every step.

Rules kept here: states come from an exhaustive exploration. For each event, every combination that
reachable states have in the fields that its rows read is compared, messages with all they can
carry, raised events in the states in which they are raised; then whole states, drawn from a seed.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from statemachines.actions import MESSAGE_OF
from statemachines.checker.explore import Explorer
from statemachines.checker.local import LocalSpace
from statemachines.checker.steps import State, Stepper
from statemachines.compile import Model
from statemachines.environment import Budget
from statemachines.events import E, Origin
from statemachines.ground import Happens, Says, fields_read
from statemachines.guards import ALWAYS, Latched, Not
from statemachines.policies import VALUATIONS
from statemachines.spec import MachineSpec, Row
from statemachines.states import Feature, Link
from statemachines.system import VM_MACHINES
from statemachines.topology import TOPOLOGIES, Topology, topology_named
from tests.model.twin import Twin

Budgets = Mapping[Budget, int]
MIGRATION = {budget: int(budget is Budget.MIGRATIONS) for budget in Budget}
ONE_FAULT = {**MIGRATION, Budget.FAULTS: 1}
ONE_OF_ALL = dict.fromkeys(Budget, 1)
COMMANDS = {**ONE_OF_ALL, Budget.FAULTS: 0, Budget.GUEST: 0}
#: How many whole states are drawn of each system, beside the exhaustive comparison.
DRAWN = 300
#: The same slowly, by topology: 100,000 of all.
DRAWN_SLOWLY = {
    "pair": 4_000,
    "slow-world": 3_000,
    "no-reply-path": 6_500,
    "native-slots": 9_000,
    "again": 9_000,
    "two-ids": 9_000,
    "two-pairs": 9_500,
}

#: What the fast tests look at; the slow one looks at every system.
FAST = [("pair", "native"), ("native-slots", "qemu-7.2"), ("two-ids", "native")]
SYSTEMS = [
    pytest.param(topology, profile, id=f"{topology.name}-{profile}")
    for topology in TOPOLOGIES
    for profile in VALUATIONS
]


def explored(topology: Topology, profile: str, budgets: Budgets) -> Explorer:
    explorer = Explorer(replace(topology, budgets=budgets), VALUATIONS[profile])
    explorer.explore()
    return explorer


# -- which states there are


def reached(space: LocalSpace) -> npt.NDArray[np.uint64]:
    """Return the reached states as rows of words."""
    numbers = np.flatnonzero(space.reached())
    return np.stack([space.words[name][numbers] for name in space.words.names], axis=1)


def distinct(
    space: LocalSpace, states: npt.NDArray[np.uint64], fields: frozenset[int]
) -> Iterator[State]:
    """Return one state for each combination that the states have in some fields."""
    mask = np.array(space.layout.mask_of(fields), np.uint64)
    _, first = np.unique(states & mask, axis=0, return_index=True)
    for place in first:
        yield space.layout.unpack([int(word) for word in states[place]])


def fields_of(stepper: Stepper, happens: Happens) -> frozenset[int]:
    """Return the fields that an event's rows read: whose rows, their guards, what they send."""
    fields: set[int] = set()
    for listener in stepper.model.events[happens].listeners:
        fields.add(listener.field)
        for choices in listener.cells.values():
            for choice in choices:
                fields |= fields_read(choice.guard)
                for effect in choice.effects:
                    if isinstance(effect, Says):
                        fields |= set(effect.fields)
    return frozenset(fields)


def contents(explorer: Explorer, twin: Twin, happens: Happens) -> list[dict[int, int]]:
    """Return all that the message of an event can carry; nothing for another event."""
    message = MESSAGE_OF.get(happens.event)
    found = [twin.heard(*one) for one in explorer.ops.contents if one.message is message]
    return found or [{}]


def raised_from(
    stepper: Stepper, happens: Happens, state: State, heard: dict[int, int]
) -> Iterator[tuple[Happens, State]]:
    """Return what an event raises, each with the state in which it happens."""
    inbox = deque([happens])
    while inbox:
        here = inbox.popleft()
        if here is not happens:
            yield here, state
        step = stepper.step(here, state, heard)
        if isinstance(step, int):
            return
        state, heard = step.state, {}
        inbox.extend(step.raised)


# -- the comparisons


def compare_projections(explorer: Explorer, twin: Twin) -> None:
    """Compare every event in every combination of what its rows read."""
    stepper = twin.stepper
    read = {happens: fields_of(stepper, happens) for happens in stepper.model.events}
    seen: dict[Happens, set[tuple[int, ...]]] = defaultdict(set)

    def is_new(happens: Happens, state: State) -> bool:
        key = tuple(state[number] for number in sorted(read[happens]))
        fresh = key not in seen[happens]
        seen[happens].add(key)
        return fresh

    for space in explorer.spaces.values():
        states = reached(space)
        for happens in read:
            heard = contents(explorer, twin, happens)
            for state in distinct(space, states, read[happens]):
                if is_new(happens, state):
                    for carried in heard:
                        twin.compare(happens, state, carried)
            if happens.event.info.origin is Origin.RAISED:
                continue
            for state in distinct(space, states, stepper.touched(happens)):
                for carried in heard:
                    for raised, within in raised_from(stepper, happens, state, carried):
                        if is_new(raised, within):
                            twin.compare(raised, within, {})


def compare_whole_states(explorer: Explorer, twin: Twin, count: int) -> int:
    """Compare states drawn at random, each in an event that is taken there and in any other."""
    drawn = random.Random(len(explorer.visited))
    states = [
        (space, words) for space in explorer.spaces.values() for words in reached(space).tolist()
    ]
    chosen = drawn.sample(states, min(count, len(states)))
    events = list(explorer.model.events)
    carried = {happens: contents(explorer, twin, happens) for happens in events}
    for space, words in chosen:
        state = space.layout.unpack(words)
        happens = drawn.choice(events)
        twin.compare(happens, state, drawn.choice(carried[happens]))
        drawn.shuffle(events)
        for happens in events:
            heard = drawn.choice(carried[happens])
            if not isinstance(explorer.stepper.step(happens, state, heard), int):
                twin.compare(happens, state, heard)
                break
    return len(chosen)


@pytest.mark.parametrize(("name", "profile"), FAST)
def test_the_runtime_and_the_rules_agree(name: str, profile: str) -> None:
    topology = topology_named(name)
    budgets = ONE_FAULT if len(topology.standby_of) == 1 else MIGRATION
    explorer = explored(topology, profile, budgets)
    twin = Twin(explorer.stepper)
    compare_projections(explorer, twin)
    assert twin.compared > 5 * len(explorer.model.events)
    assert 0 < twin.taken < twin.compared
    assert compare_whole_states(explorer, twin, DRAWN) == DRAWN


@pytest.mark.slow
@pytest.mark.parametrize(("topology", "profile"), SYSTEMS)
def test_they_agree_on_100_000_states(topology: Topology, profile: str) -> None:
    assert sum(DRAWN_SLOWLY.values()) * len(VALUATIONS) == 100_000
    budgets = ONE_OF_ALL if len(topology.standby_of) == 1 else COMMANDS
    explorer = explored(topology, profile, budgets)
    twin = Twin(explorer.stepper)
    compare_projections(explorer, twin)
    count = DRAWN_SLOWLY[topology.name]
    assert compare_whole_states(explorer, twin, count) == count


# -- that a difference would be seen


@cache
def one_pair() -> Explorer:
    return explored(topology_named("pair"), "native", ONE_FAULT)


def mutated(name: str, event: E, change: Callable[[Row], Row]) -> tuple[MachineSpec, ...]:
    """Return the tables with the last row of one for an event changed."""
    machines = []
    for spec in VM_MACHINES:
        if spec.name == name:
            place = max(n for n, row in enumerate(spec.rows) if row.event is event)
            rows = (*spec.rows[:place], change(spec.rows[place]), *spec.rows[place + 1 :])
            spec = replace(spec, rows=rows)
        machines.append(spec)
    return tuple(machines)


@pytest.mark.parametrize(
    ("name", "event", "change"),
    [
        ("link", E.LINK_BROKEN, lambda row: replace(row, next=Link.CLOSED)),
        ("link", E.MIGRATED, lambda row: replace(row, then=())),
        ("migration", E.SETUP_DONE, lambda row: replace(row, then=row.then[::-1])),
        ("handover", E.FINAL_SENT, lambda row: replace(row, then=row.then[::-1])),
        ("handover", E.FINAL_SENT, lambda row: replace(row, when=Not(row.when))),
        ("primary", E.DEVICE_DEL, lambda row: replace(row, when=Not(ALWAYS))),
        ("feature", E.RECV_STATE, lambda row: replace(row, when=Latched(Feature.NOT_ACKED))),
        ("net_failover", E.GUEST_LINK_UP, lambda row: replace(row, event=E.GUEST_LINK_DOWN)),
    ],
)
def test_rules_that_are_others_are_told_apart(
    name: str, event: E, change: Callable[[Row], Row]
) -> None:
    explorer = one_pair()
    stepper = Stepper(Model(explorer.topology, VALUATIONS["native"], mutated(name, event, change)))
    with pytest.raises(AssertionError, match="the runtime says that"):
        compare_projections(explorer, Twin(stepper))

"""The mutation campaign: does some named property tell each mutant of the tables from the tables?

Here lives what runs mutants (`statemachines.checker.mutate`) against the properties, in profile
`native`: `python -m tests.model.mutation --all`, or `--sample N`. What it keeps to:
1. Only named properties kill: an *always* or *resolves* that holds of the tables fails, or a
   *sometimes* that the tables show is seen nowhere any more. Beside them only `wire.Overflow`
   counts, the explorer's own law that nobody talks without being answered.
2. A mutant counts if the validators let it pass, its row fires, and it is neither equivalent by
   construction nor *unreached*: the search finds as many states on every level and as many edges,
   in every system, for what it changes cannot come about (a guard that is defence in depth).
3. Small systems come first, and the first kill ends it; whoever survives them meets every topology
   as it is. Where it answers like the tables whatever they were asked there (`sameness.py`), it is
   not searched again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from statemachines.checker.explore import Progress
from statemachines.checker.local import LocalSpace
from statemachines.checker.mutate import Mutant, Mutation, ground_rules, mutants
from statemachines.checker.verdict import Judged, judge
from statemachines.claims import Kind
from statemachines.compile import Model
from statemachines.environment import Budget
from statemachines.policies import NATIVE
from statemachines.spec import MachineSpec
from statemachines.system import VM_MACHINES
from statemachines.topology import TOPOLOGIES, Topology, topology_named
from statemachines.wire import Overflow
from tests.model.sameness import answers_alike


def reduced(name: str, **budgets: int) -> Topology:
    """Return a topology with less to go wrong: one migration, and these budgets."""
    left = dict.fromkeys(Budget, 0) | {Budget.MIGRATIONS: 1}
    left |= {Budget(word): amount for word, amount in budgets.items()}
    words = " ".join(f"{word}={amount}" for word, amount in budgets.items())
    return replace(topology_named(name), name=f"{name} ({words})", budgets=left)


#: Systems of a second each, in the order in which they are tried.
SMALL: tuple[Topology, ...] = (
    reduced("pair", faults=1),
    reduced("pair", operator=1),
    reduced("pair", guest=1),
    reduced("pair", hotplug=1),
    reduced("native-slots", guest=1, hotplug=1),
    reduced("no-reply-path", faults=1),
    reduced("no-reply-path", operator=1),
    reduced("two-ids", hotplug=1),
    reduced("two-pairs", operator=1),
    reduced("again", migrations=2, operator=1),
    reduced("again", faults=1, operator=1),
    reduced("again", guest=1, hotplug=1),
    reduced("pair", guest=1, faults=1, hotplug=1),
)
#: What is enough to tell whether two sets of machines have the same ground rules.
_GROUND = tuple(topology_named(name) for name in ("two-ids", "native-slots"))
#: A mutant may find more than the tables do; beyond this it is only asked for what it has broken.
_GROWTH_MAX = 4


@dataclass(frozen=True)
class Baseline:
    """What the tables themselves show in one system."""

    #: Names of the properties that hold, or are seen.
    good: frozenset[str]
    #: Names of the *sometimes* among them.
    seen: frozenset[str]
    #: Identities of the rows that fire.
    fired: frozenset[int]
    #: How many states there are.
    states: int
    #: How the search went: states, edges, and states after each level.
    shape: tuple[int, ...]
    #: What was asked of the tables, side by side.
    spaces: tuple[LocalSpace, ...]


@dataclass(frozen=True)
class Fate:
    """What became of a mutant."""

    #: Its name.
    name: str
    #: What was done.
    mutation: Mutation
    #: "refused", "silent" (its row does not fire), "equivalent", "unreached", "killed", "survived".
    outcome: str
    #: Who killed it.
    killer: str = ""
    #: In which system.
    topology: str = ""
    #: How many steps lie before the state that shows it.
    steps: int = 0


_KNOWN: dict[str, Baseline] = {}


def baseline(topology: Topology) -> Baseline:
    """Judge the tables in one system, once."""
    if topology.name not in _KNOWN:
        _KNOWN[topology.name] = _baseline(judge(topology, NATIVE))
    return _KNOWN[topology.name]


def rules_of(topology: Topology, machines: tuple[MachineSpec, ...]) -> dict[object, object]:
    """Return the ground rules of some machines in one system."""
    return ground_rules(Model(topology, NATIVE, machines))


_RULES: dict[str, dict[object, object]] = {}


def _rules(topology: Topology) -> dict[object, object]:
    if topology.name not in _RULES:
        _RULES[topology.name] = rules_of(topology, VM_MACHINES)
    return _RULES[topology.name]


def _baseline(judged: Judged) -> Baseline:
    return Baseline(
        frozenset(v.property.name for v in judged.verdicts if v.holds),
        frozenset(
            v.property.name
            for v in judged.verdicts
            if v.holds and v.property.kind is Kind.SOMETIMES
        ),
        judged.fired,
        len(judged.explorer.visited),
        shape_of(judged),
        tuple(judged.explorer.spaces.values()),
    )


def shape_of(judged: Judged) -> tuple[int, ...]:
    """Return what two searches have in common that found the same states by the same edges."""
    explorer = judged.explorer
    return (len(explorer.visited), explorer.transitions, *explorer.levels)


def fate(mutant: Mutant, topologies: Iterable[Topology] = (*SMALL, *TOPOLOGIES)) -> Fate:
    """Try a mutant in one system after the other, until something kills it."""
    tried = list(topologies)
    if not any(id(mutant.row) in baseline(topology).fired for topology in tried):
        return Fate(mutant.name, mutant.mutation, "silent")
    machines = mutant.built()
    if machines is None:
        return Fate(mutant.name, mutant.mutation, "refused")
    if all(rules_of(topology, machines) == _rules(topology) for topology in _GROUND):
        return Fate(mutant.name, mutant.mutation, "equivalent")
    seen: set[str] = set()
    differs = False
    for topology in tried:
        known = baseline(topology)
        if answers_alike(known.spaces, machines):
            seen |= known.seen
            continue
        grown = False

        def goes_on(progress: Progress, most: int = _GROWTH_MAX * known.states + 10_000) -> bool:
            nonlocal grown
            grown = progress.states > most
            return not grown

        try:
            judged = judge(topology, NATIVE, machines=machines, on_level=goes_on)
        except Overflow:
            return Fate(mutant.name, mutant.mutation, "killed", "wire.Overflow", topology.name)
        for killer, steps in broken(judged, known, whole=not grown):
            return Fate(mutant.name, mutant.mutation, "killed", killer, topology.name, steps)
        seen |= {v.property.name for v in judged.verdicts if v.holds}
        differs |= shape_of(judged) != known.shape
    unseen = frozenset[str]().union(*(baseline(topology).seen for topology in tried)) - seen
    if unseen:
        return Fate(mutant.name, mutant.mutation, "killed", min(unseen), "every topology")
    return Fate(mutant.name, mutant.mutation, "survived" if differs else "unreached")


def broken(judged: Judged, known: Baseline, *, whole: bool) -> Iterator[tuple[str, int]]:
    """Yield what holds of the tables and not here, with the length of its trace."""
    for verdict in judged.verdicts:
        kind, name = verdict.property.kind, verdict.property.name
        counts = kind is Kind.ALWAYS or (kind is Kind.RESOLVES and whole)
        if counts and not verdict.holds and name in known.good:
            yield name, len(judged.trace(verdict)) - 1


def sample(count: int) -> tuple[Mutant, ...]:
    """Return about this many mutants, spread evenly over each kind of mutation."""
    every = mutants()
    found: list[Mutant] = []
    for mutation in Mutation:
        stratum = [mutant for mutant in every if mutant.mutation is mutation]
        take = max(1, round(count * len(stratum) / len(every)))
        found += [stratum[len(stratum) * place // take] for place in range(take)]
    return tuple(found)


#: Survivors that no property can be asked to kill, by how their names begin, and why.
EXPLAINED: dict[str, str] = {
    "migration 22: ": "COMMITTED is reached in a two-phase hand-over alone",
    "migration 26: (SETUP, STREAM_FAILED): removed": "the owner does not let the fault happen",
    "migration 29: ": "a target that has answered LOADED never says LOAD_FAILED: defence in depth",
    "migration 32: (DEVICE, KEEP_THERE): without raise MIGRATED": "the doubt has done what it does",
    "migration 34: ": "a second cancel changes nothing (tests/unit/engine/commands)",
    "resume 3: ": "RAM converges after a cancel only where closing a channel takes time",
    "handover 4: (GREETED, RECV_REFUSE): ": "ABANDON, raised in the same step, does the same",
    "takeover 3: ": "it tells a source that cannot hear it, and ends in the same step",
    "takeover 5: (GREETED, HELLO_BAD): removed": "as migration 26",
    "takeover 7: ": "the same",
    "takeover 8: (RECEIVING, RECV_BAD_STATE): removed": "as migration 26",
    "takeover 10: ": "the loss of its peer ends it in the same step",
    "takeover 13: (STATE_LOADED, LOAD_FAILED): if": "as takeover 7",
    "takeover 13: (STATE_LOADED, LOAD_FAILED): removed": "as takeover 8",
    "takeover 15: (GREETED|RECEIVING|STATE_LOADED, STREAM_BAD): if": "as takeover 3",
    "takeover 15: (GREETED|RECEIVING|STATE_LOADED, STREAM_BAD): removed": "as takeover 17",
    "takeover 15: (GREETED|RECEIVING|STATE_LOADED, STREAM_BAD): without": "as takeover 17",
    "takeover 16: (GREETED|RECEIVING|STATE_LOADED, STREAM_BAD): removed": "as migration 26",
    "takeover 17: ": "a source that is not told loses its peer in the same step, and gives up",
    "link 9: (OPEN|ONE_WAY, LINK_BROKEN): stays": "the channel is closed in the same step",
    "resume 1: (RUN, STOP): if always": "it is set anew before anybody reads it",
    "handover 11: (DELIVERED, DIGEST_MISMATCH): removed": "as migration 26",
    "resume 2: (HOLD, CONT): if always": "as resume 1",
    "run_state 9: (PRELAUNCH|RUNNING|PAUSED|INMIGRATE|FINISH_MIGRATE|POSTMIGRATE, SYSTEM_RESET): "
    "removed": "it is refused then, as on its way (tests/unit/engine/commands)",
    "run_state 19: (POSTMIGRATE, KEEP_HERE): if always": "nothing is in doubt: it changes nothing",
    "run_state 20: (POSTMIGRATE, KEEP_THERE): if always": "the same",
    "incoming 6: (ACTIVE, PEER_LOST): to itself": "the process ends in the same step",
    "pause_capability 0: ": "capabilities are set before a migration (tests/unit/engine/commands)",
    "net_failover 4: (PRIMARY_DOWN|PRIMARY, GUEST_RELEASES): removed": "it is ejected without",
    "primary 1: (ABSENT, DEVICE_ADD): removed": "refused, it loses nothing (tests/unit/engine)",
    "primary 2: ": "it is refused either way, in other words (tests/unit/engine/commands)",
    "request 1: ": "the primary, whose event it is, refuses it where the slot cannot take it",
    "pending 1: ": "the same",
    "request 6: ": "a rebooted guest's own eject counts as a late one: it gets its primary back",
    "slot 7: (INSERTED|OCCUPIED|REQUESTED, GUEST_EJECTS): if always": "it is gone either way",
    "slot 4: ": "a request that a reset made the slot forget is made again: it leaves either way",
}


def reason(name: str) -> str | None:
    """Return why a mutant survives, if that is explained."""
    return next((why for begin, why in EXPLAINED.items() if name.startswith(begin)), None)


#: Outcomes that do not count.
NOT_COUNTED = ("refused", "silent", "equivalent", "unreached")


# -- by hand

_CAMPAIGN: list[Mutant] = []
_SYSTEMS: list[Topology] = []


def _numbered(number: int) -> Fate:
    return fate(_CAMPAIGN[number], _SYSTEMS)


def main() -> None:
    """Run a campaign and print what became of every mutant."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.mutation", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="every mutant (most of an hour)")
    which.add_argument("--sample", type=int, metavar="N", help="about N, spread over all kinds")
    which.add_argument("--only", metavar="TEXT", help="those whose name contains this")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="in the small systems alone")
    asked = parser.parse_args()
    _SYSTEMS[:] = SMALL if asked.small else (*SMALL, *TOPOLOGIES)
    _CAMPAIGN[:] = sample(asked.sample) if asked.sample else mutants()
    if asked.only:
        _CAMPAIGN[:] = [mutant for mutant in _CAMPAIGN if asked.only in mutant.name]
    begun = time.monotonic()
    for topology in _SYSTEMS:
        baseline(topology)
    context = multiprocessing.get_context("fork")
    fates: list[Fate] = []
    with ProcessPoolExecutor(asked.processes, mp_context=context) as pool:
        for found in pool.map(_numbered, range(len(_CAMPAIGN))):
            fates.append(found)
            told = f"{found.outcome:10} {found.name}"
            if found.killer:
                told += f"  <- {found.killer}, {found.topology}, {found.steps} steps"
            print(told, flush=True)
    _summarise(fates, time.monotonic() - begun)


def _summarise(fates: list[Fate], seconds: float) -> None:
    outcomes = Counter(found.outcome for found in fates)
    killed, survived = outcomes["killed"], outcomes["survived"]
    share = killed / max(1, killed + survived)
    print(f"\n{killed + survived} mutants, {seconds:.0f} s: {killed} killed ({share:.1%})")
    uncounted = (f"{outcomes[word]} {word}" for word in NOT_COUNTED)
    print("not counted: " + ", ".join(uncounted))
    killers = Counter(found.killer for found in fates if found.killer)
    print("killers: " + ", ".join(f"{name} {count}" for name, count in killers.most_common()))
    for found in fates:
        if found.outcome == "survived":
            print(f"survived: {found.name}: {reason(found.name) or 'not explained'}")


if __name__ == "__main__":
    main()

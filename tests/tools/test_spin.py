"""Spin and the explorer see the same system: as many states, and the same of every property.

The Promela export is printed from the ground rules and knows none of the explorer's states, tables
or caches, so that an edge that one of them has too many or too few shows as a different number.
Nothing here is a recorded figure: both sides are asked. Spin counts its way into the first state
as a transition, and each property that it names as one more.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.spin import Verified, make_verifier, missing_programs, verify
from statemachines.checker.promela import promela_of, switch_of
from statemachines.checker.verdict import Judged, judge
from statemachines.claims import Kind, Property
from statemachines.environment import Budget
from statemachines.policies import NATIVE, VALUATIONS
from statemachines.properties import PROPERTIES
from statemachines.spec import MachineSpec
from statemachines.system import VM_MACHINES
from statemachines.topology import Topology, topology_named

pytestmark = pytest.mark.tools

ASKED = tuple(p for p in PROPERTIES if p.kind is not Kind.RESOLVES)
EVERYTHING = ("ALL_ALWAYS", "ALL_SOMETIMES")
#: Systems in which much of what `pair` has not can happen, within small budgets.
SMALL = (
    ("two-ids", "qemu-7.2", {Budget.MIGRATIONS: 1, Budget.OPERATOR: 1, Budget.HOTPLUG: 1}),
    ("no-reply-path", "native", {Budget.MIGRATIONS: 1, Budget.GUEST: 1, Budget.FAULTS: 1}),
    ("again", "native", {Budget.MIGRATIONS: 2, Budget.FAULTS: 1}),
)


@pytest.fixture(autouse=True, scope="module")
def _spin_is_here() -> None:
    if missing := missing_programs():
        pytest.fail(f"{' and '.join(missing)} not installed: run `make test-tools`")


@dataclass(frozen=True)
class Both:
    """One system, seen by the explorer and by Spin."""

    #: What the explorer found and judged.
    ours: Judged
    #: What Spin found.
    theirs: Verified

    def agree_on_size(self) -> bool:
        """Return whether both have the same states, and as many edges."""
        explorer, theirs = self.ours.explorer, self.theirs
        edges = theirs.transitions - 1 - len(theirs.named)
        return (len(explorer.visited), explorer.transitions) == (theirs.states, edges)

    def our_word(self, asked: Property) -> bool:
        """Return whether the explorer has seen an *always* broken, or a *sometimes* so."""
        (verdict,) = [v for v in self.ours.verdicts if v.property is asked]
        return verdict.holds is (asked.kind is Kind.SOMETIMES)

    def our_words(self) -> frozenset[str]:
        """Return the names that Spin should name."""
        return frozenset(
            switch_of(v.property) for v in self.ours.verdicts if self.our_word(v.property)
        )


def verified(folder: Path, text: str, optimise: str = "-O2") -> Verified:
    """Let Spin see a system with every property switched on."""
    return verify(make_verifier(folder, text, EVERYTHING, optimise))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Both]]:
    """Both profiles' `pair`, whole; Spin works on both while the explorer does."""
    pair = topology_named("pair")
    with ThreadPoolExecutor() as pool:
        futures: dict[str, Future[Verified]] = {
            name: pool.submit(verified, tmp_path_factory.mktemp("spin"), promela_of(pair, profile))
            for name, profile in VALUATIONS.items()
        }
        yield {
            name: Both(judge(pair, profile, ASKED), futures[name].result())
            for name, profile in VALUATIONS.items()
        }


@pytest.mark.parametrize("profile", VALUATIONS)
def test_spin_stores_as_many_states_of_a_pair(pairs: dict[str, Both], profile: str) -> None:
    both = pairs[profile]
    assert both.theirs.states == len(both.ours.explorer.visited)
    assert both.agree_on_size()


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
@pytest.mark.parametrize("profile", VALUATIONS)
def test_spin_says_the_same_of_a_property(
    pairs: dict[str, Both], profile: str, asked: Property
) -> None:
    both = pairs[profile]
    if not asked.applies(both.ours.explorer.model):
        assert switch_of(asked) not in both.theirs.named
        return
    assert (switch_of(asked) in both.theirs.named) is both.our_word(asked)


@pytest.mark.parametrize(("name", "profile", "budgets"), SMALL, ids=[case[0] for case in SMALL])
def test_spin_agrees_on_other_topologies(
    tmp_path: Path, name: str, profile: str, budgets: dict[Budget, int]
) -> None:
    topology = replace(topology_named(name), budgets=budgets)
    policies = VALUATIONS[profile]
    text = promela_of(topology, policies)
    both = Both(judge(topology, policies, ASKED), verified(tmp_path, text, "-O0"))
    assert both.agree_on_size()
    assert both.theirs.named == both.our_words()


def without_what_is_ignored() -> tuple[MachineSpec, ...]:
    """Return tables that ignore nothing: many an event that is raised finds no row."""
    return tuple(replace(spec, ignored=()) for spec in VM_MACHINES)


def test_spin_agrees_on_machines_that_break(tmp_path: Path) -> None:
    topology: Topology = replace(
        topology_named("pair"), budgets={Budget.MIGRATIONS: 1, Budget.OPERATOR: 1, Budget.GUEST: 1}
    )
    machines = without_what_is_ignored()
    text = promela_of(topology, NATIVE, machines=machines)
    both = Both(judge(topology, NATIVE, ASKED, machines), verified(tmp_path, text, "-O0"))
    assert "ALWAYS_every_event_has_an_answer" in both.theirs.named
    assert both.agree_on_size()
    assert both.theirs.named == both.our_words()

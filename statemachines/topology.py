"""The named systems that are checked: what the VMs have, and how much may go wrong.

Rules kept here: a topology is data. Its budgets bound what the environment may do beside what is
expected of it; they are printed with every result, for a result means nothing without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from statemachines.environment import Budget, Option
from statemachines.guards import Per, Scope


@dataclass(frozen=True)
class Topology:
    """One system to check."""

    #: Its name on the command line.
    name: str
    #: One sentence.
    summary: str
    #: How many primaries each standby has, or could have.
    primaries: tuple[int, ...]
    #: How much of each disturbance there may be.
    budgets: Mapping[Budget, int]
    #: Whether the target can answer.
    reply_path: bool = True
    #: Ways of setting up that it has beside the usual one.
    options: frozenset[Option] = frozenset()
    #: Policies that are a choice of the machine's owner, not of a profile.
    policies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def standbys(self) -> tuple[int, ...]:
        """Index of each standby; numbered as a `Runtime` numbers them when it is built in order."""
        return tuple(i + sum(self.primaries[:i]) for i in range(len(self.primaries)))

    @property
    def standby_of(self) -> Mapping[int, int]:
        """Primary -> its standby."""
        return {
            standby + 1 + i: standby
            for standby, count in zip(self.standbys, self.primaries, strict=True)
            for i in range(count)
        }

    def scopes(self, per: Per) -> tuple[Scope, ...]:
        """Return the scopes of a kind, oldest first."""
        match per:
            case Per.VM:
                return (Scope(),)
            case Per.STANDBY:
                return tuple(Scope(per, index) for index in self.standbys)
            case Per.PRIMARY:
                return tuple(Scope(per, index) for index in self.standby_of)


def _budgets(
    migrations: int = 1, operator: int = 0, guest: int = 0, faults: int = 0, hotplug: int = 0
) -> Mapping[Budget, int]:
    return MappingProxyType(
        {
            Budget.MIGRATIONS: migrations,
            Budget.OPERATOR: operator,
            Budget.GUEST: guest,
            Budget.FAULTS: faults,
            Budget.HOTPLUG: hotplug,
        }
    )


TOPOLOGIES: tuple[Topology, ...] = (
    Topology(
        name="pair",
        summary="one standby and its primary",
        primaries=(1,),
        budgets=_budgets(operator=2, guest=2, faults=1, hotplug=1),
    ),
    Topology(
        name="two-ids",
        summary="one standby and two primaries that name it, plugged in either order",
        primaries=(2,),
        budgets=_budgets(operator=1, guest=1, faults=0, hotplug=2),
        options=frozenset({Option.ADOPTED, Option.MISPLACED}),
    ),
    Topology(
        name="two-pairs",
        summary="two standbys with a primary each",
        primaries=(1, 1),
        budgets=_budgets(operator=1, guest=1, faults=0),
    ),
    Topology(
        name="no-reply-path",
        summary="one pair, to something that cannot answer",
        primaries=(1,),
        budgets=_budgets(operator=1, guest=1, faults=1, hotplug=1),
        options=frozenset({Option.HELD_SOURCE, Option.HELD_TARGET, Option.BARE_TARGET}),
        reply_path=False,
    ),
    Topology(
        name="native-slots",
        summary="one pair, hotplugged by its slots and not by ACPI",
        primaries=(1,),
        budgets=_budgets(operator=1, guest=2, faults=0, hotplug=1),
        options=frozenset({Option.AFTERMATH}),
        policies=MappingProxyType({"hotplug": "native"}),
    ),
    Topology(
        name="again",
        summary="one pair, migrated a second time after a first attempt",
        primaries=(1,),
        budgets=_budgets(migrations=2, operator=1, guest=1, faults=1, hotplug=1),
        options=frozenset(
            {
                Option.AFTERMATH,
                Option.BLOCKER,
                Option.FLAKY_GUEST,
                Option.HELD_SOURCE,
                Option.HELD_TARGET,
            }
        ),
    ),
    Topology(
        name="slow-world",
        summary="one pair, while plugging a device and closing a channel take time",
        primaries=(1,),
        budgets=_budgets(operator=2, guest=1, faults=1),
        options=frozenset({Option.SLOW_WORLD}),
    ),
)


def topology_named(name: str) -> Topology:
    """Return a topology.

    :raise KeyError: if there is none of that name; the message lists them.
    """
    for topology in TOPOLOGIES:
        if topology.name == name:
            return topology
    known = ", ".join(topology.name for topology in TOPOLOGIES)
    raise KeyError(f"no topology {name!r}: it is one of {known}")

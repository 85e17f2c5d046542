"""What a property is made of: claims about two VMs, and what is claimed of them.

Rules kept here: a claim is data, built of guards that are read at one VM, of *not* and of *and*.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from statemachines.compile import Model
from statemachines.environment import Budget, Option, Side
from statemachines.ground import Ground, both
from statemachines.guards import ALWAYS as ALWAYS_SO
from statemachines.guards import VM_SCOPE, All, Guard, In, Not, Per, Some
from statemachines.observers import Life


@dataclass(frozen=True)
class At:
    """Something is so at one VM."""

    #: Which VM.
    side: Side
    #: What is so; read in the scope of the VM, or of each of its standbys.
    guard: Guard
    #: VM, or STANDBY: it is so of every one.
    each: Per = Per.VM


@dataclass(frozen=True)
class Neither:
    """The claim does not hold."""

    #: What does not hold.
    claim: Claim


@dataclass(frozen=True)
class Every:
    """All of the claims hold."""

    #: At least one.
    claims: tuple[Claim, ...]


Claim = At | Neither | Every


def never(*claims: Claim) -> Claim:
    """Return that the claims do not hold together."""
    return Neither(Every(claims))


def ground_leaf(model: Model, leaf: At) -> Ground:
    """Return what a leaf of a claim says, over the fields of its VM."""
    if leaf.each is Per.VM:
        return model.ground(leaf.guard, VM_SCOPE)
    return both(model.ground(leaf.guard, scope) for scope in model.topology.scopes(leaf.each))


class Kind(Enum):
    """What is claimed of the reachable states."""

    #: Every one is so.
    ALWAYS = "always"
    #: Some one is so.
    SOMETIMES = "sometimes"
    #: Every course ends where it is so.
    RESOLVES = "resolves"


@dataclass(frozen=True)
class Property:
    """One thing that must hold."""

    #: Its name on the command line and in reports.
    name: str
    #: What kind of claim it is.
    kind: Kind
    #: One sentence, true when it holds.
    sentence: str
    #: The claim.
    claim: Claim
    #: Where the rule comes from.
    cite: str
    #: Numbers of the situations that it covers.
    covers: tuple[int, ...] = ()
    #: It is promised only where the target can answer.
    needs_reply_path: bool = False
    #: It is promised only where no host, process, disk or network fails.
    needs_peace: bool = False
    #: It is promised only under these policies.
    where: Guard = ALWAYS_SO

    #: It can be seen only in topologies that have this.
    option: Option | None = None

    def applies(self, model: Model) -> bool:
        """Return whether it is promised of a system."""
        asked = self.needs_reply_path and not model.topology.reply_path
        faults = self.needs_peace and model.topology.budgets.get(Budget.FAULTS, 0) > 0
        lacks = self.option is not None and self.option not in model.topology.options
        if asked or faults or lacks:
            return False
        return model.ground(self.where, VM_SCOPE) is True


def at_source(*parts: Guard) -> At:
    """Return that all of these are so at the source."""
    return At(Side.SOURCE, parts[0] if len(parts) == 1 else All(*parts))


def at_target(*parts: Guard) -> At:
    """Return that all of these are so at the target."""
    return At(Side.TARGET, parts[0] if len(parts) == 1 else All(*parts))


def never_some(*parts: Guard) -> Guard:
    """Return that no primary of a living VM is all of these at once."""
    return Not(All(In(Life.ALIVE), Some(parts[0] if len(parts) == 1 else All(*parts))))


def on_both(guard: Guard) -> Claim:
    """Return that it is so at either VM."""
    return Every(tuple(At(side, guard) for side in Side))

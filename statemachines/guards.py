"""Guards: the closed algebra of conditions that a row may carry.

Rules kept here:
1. A guard is data. It can be evaluated (`holds`), printed (`str`) and, because the algebra is
   closed, compiled. No callable hides in one.
2. A guard reads one VM's joint state as it was before the step, the policies of the profile, and
   the fields latched into the message being received. It reads nothing else.
3. A guard is read in a scope: the whole VM, one standby, or one primary: the narrower of what
   the event is about and whose row it is. A state of a lifecycle that exists per primary is that
   primary's own; per standby, the standby of the scope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from statemachines.states import State


class Per(Enum):
    """What a lifecycle has instances of."""

    #: One per VM.
    VM = "vm"
    #: One per failover standby.
    STANDBY = "standby"
    #: One per failover primary.
    PRIMARY = "primary"


@dataclass(frozen=True)
class Scope:
    """Whose eyes a guard is read with."""

    #: The whole VM, one standby, or one primary.
    per: Per = Per.VM
    #: Which standby or primary; 0 for the VM.
    index: int = 0


VM_SCOPE = Scope()


class View(Protocol):
    """What a guard may read: one VM before a step."""

    def state_of(self, lifecycle: type[State], scope: Scope) -> State:
        """Return the state of the lifecycle's instance that `scope` means."""

    def latched_of(self, lifecycle: type[State], scope: Scope) -> State | None:
        """Return that instance's state at the sender, or None when the message carries none."""

    def policy(self, name: str) -> str:
        """Return the profile's value of a policy."""

    def primaries(self, scope: Scope) -> tuple[int, ...]:
        """Return the primaries of the scope: all, those of a standby, or those of my standby."""


class Guard:
    """Base of every guard."""

    def holds(self, view: View, scope: Scope) -> bool:
        """Evaluate the guard on a view in a scope."""
        raise TypeError(f"{type(self).__name__} is no guard of the algebra")


@dataclass(frozen=True)
class Always(Guard):
    """True."""

    def holds(self, view: View, scope: Scope) -> bool:
        return True

    def __str__(self) -> str:
        return "always"


ALWAYS = Always()


class In(Guard):
    """The lifecycle of the named states is in one of them."""

    def __init__(self, *states: State) -> None:
        if not states or len({type(state) for state in states}) != 1:
            raise ValueError(f"In() takes states of one lifecycle, got {states!r}")
        self.lifecycle = type(states[0])
        self.states = frozenset(states)

    def _key(self) -> tuple[object, ...]:
        return (type(self), self.states)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, In) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def holds(self, view: View, scope: Scope) -> bool:
        return view.state_of(self.lifecycle, scope) in self.states

    def _names(self) -> str:
        return " or ".join(s.value for s in self.lifecycle if s in self.states)

    def __str__(self) -> str:
        return f"{self.lifecycle.__name__} is {self._names()}"


class Latched(In):
    """The message being received carries one of the states for this instance."""

    def holds(self, view: View, scope: Scope) -> bool:
        return view.latched_of(self.lifecycle, scope) in self.states

    def __str__(self) -> str:
        return f"received {self.lifecycle.__name__} is {self._names()}"


@dataclass(frozen=True)
class Policy(Guard):
    """The profile's policy has this value."""

    #: Name of the policy, see `policies.py`.
    name: str
    #: The value that makes the guard true.
    value: str

    def holds(self, view: View, scope: Scope) -> bool:
        return view.policy(self.name) == self.value

    def __str__(self) -> str:
        return f"policy {self.name}={self.value}"


@dataclass(frozen=True)
class Not(Guard):
    """The guard does not hold."""

    #: The guard that is negated.
    guard: Guard

    def holds(self, view: View, scope: Scope) -> bool:
        return not self.guard.holds(view, scope)

    def __str__(self) -> str:
        return f"not ({self.guard})"


class _Several(Guard):
    """All or some of several guards."""

    word = ""

    def __init__(self, *guards: Guard) -> None:
        if len(guards) < 2:
            raise ValueError(f"{type(self).__name__}() takes at least two guards")
        self.guards = guards

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Several)
            and type(self) is type(other)
            and self.guards == other.guards
        )

    def __hash__(self) -> int:
        return hash((type(self), self.guards))

    def __str__(self) -> str:
        texts = (f"({g})" if isinstance(g, _Several) else str(g) for g in self.guards)
        return f" {self.word} ".join(texts)


class All(_Several):
    """Every guard holds."""

    word = "and"

    def holds(self, view: View, scope: Scope) -> bool:
        for guard in self.guards:  # noqa: SIM110 - a generator costs more than most guards
            if not guard.holds(view, scope):
                return False
        return True


class AnyOf(_Several):
    """At least one guard holds."""

    word = "or"

    def holds(self, view: View, scope: Scope) -> bool:
        for guard in self.guards:  # noqa: SIM110 - a generator costs more than most guards
            if guard.holds(view, scope):
                return True
        return False


@dataclass(frozen=True)
class Some(Guard):
    """At least one primary of the VM satisfies the guard."""

    #: Read in the scope of each primary.
    guard: Guard

    def holds(self, view: View, scope: Scope) -> bool:
        return any(
            self.guard.holds(view, Scope(Per.PRIMARY, index)) for index in view.primaries(VM_SCOPE)
        )

    def __str__(self) -> str:
        return f"some primary: ({self.guard})"


@dataclass(frozen=True)
class Mine(Guard):
    """At least one primary of this standby satisfies the guard."""

    #: Read in the scope of each of its primaries.
    guard: Guard

    def holds(self, view: View, scope: Scope) -> bool:
        return any(
            self.guard.holds(view, Scope(Per.PRIMARY, index)) for index in view.primaries(scope)
        )

    def __str__(self) -> str:
        return f"some primary of this standby: ({self.guard})"


@dataclass(frozen=True)
class Sibling(Guard):
    """Another primary of the same standby satisfies the guard."""

    #: Read in the scope of each other primary.
    guard: Guard

    def holds(self, view: View, scope: Scope) -> bool:
        return any(
            self.guard.holds(view, Scope(Per.PRIMARY, index))
            for index in view.primaries(scope)
            if index != scope.index
        )

    def __str__(self) -> str:
        return f"another primary of this standby: ({self.guard})"


@dataclass(frozen=True)
class Older(Guard):
    """A sibling that was added before this primary satisfies the guard."""

    #: Read in the scope of each older sibling.
    guard: Guard

    def holds(self, view: View, scope: Scope) -> bool:
        return any(
            self.guard.holds(view, Scope(Per.PRIMARY, index))
            for index in view.primaries(scope)
            if index < scope.index
        )

    def __str__(self) -> str:
        return f"an older primary of this standby: ({self.guard})"


def narrower(event: Scope, instance: Scope) -> Scope:
    """Return the scope in which an instance's row is read when an event is about `event`."""
    if event.per is Per.VM or instance.per is Per.PRIMARY:
        return instance
    return event if instance.per is Per.VM or event.per is Per.PRIMARY else instance


def misread(guard: Guard, per: Per, per_of: Callable[[type[State]], Per]) -> str | None:
    """Return what a guard cannot mean in scopes of this kind, or None when it is meaningful."""
    match guard:
        case In():
            if per_of(guard.lifecycle) in (Per.VM, per) or (
                per is Per.PRIMARY and per_of(guard.lifecycle) is Per.STANDBY
            ):
                return None
            return str(guard)
        case Some():
            return misread(guard.guard, Per.PRIMARY, per_of)
        case Mine() | Sibling() | Older():
            if per is Per.VM or (per is Per.STANDBY and not isinstance(guard, Mine)):
                return str(guard)
            return misread(guard.guard, Per.PRIMARY, per_of)
        case Not():
            return misread(guard.guard, per, per_of)
        case _Several():
            found = (misread(part, per, per_of) for part in guard.guards)
            return next((text for text in found if text), None)
        case _:
            return None


def states_read(guard: Guard) -> frozenset[type[State]]:
    """Return the lifecycles that a guard reads (for validation and compilation)."""
    match guard:
        case In():
            return frozenset({guard.lifecycle})
        case Not() | Some() | Mine() | Sibling() | Older():
            return states_read(guard.guard)
        case _Several():
            return frozenset().union(*(states_read(part) for part in guard.guards))
        case _:
            return frozenset()


def latches_read(guard: Guard) -> frozenset[type[State]]:
    """Return the lifecycles that a guard expects in the message being received."""
    match guard:
        case Latched():
            return frozenset({guard.lifecycle})
        case Not() | Some() | Mine() | Sibling() | Older():
            return latches_read(guard.guard)
        case _Several():
            return frozenset().union(*(latches_read(part) for part in guard.guards))
        case _:
            return frozenset()


def policies_read(guard: Guard) -> frozenset[tuple[str, str]]:
    """Return the (policy, value) pairs that a guard names."""
    match guard:
        case Policy():
            return frozenset({(guard.name, guard.value)})
        case Not() | Some() | Mine() | Sibling() | Older():
            return policies_read(guard.guard)
        case _Several():
            return frozenset().union(*(policies_read(part) for part in guard.guards))
        case _:
            return frozenset()

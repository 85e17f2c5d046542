"""Which field of the ground rules belongs to which device of a VM that grows.

Rules kept here: devices are named as the journal names them and ranked by their age, which is the
order in which the runtime keeps them. A layout never changes; a VM that grows takes another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from statemachines.checker.journal_lines import Device
from statemachines.checker.steps import State, Stepper
from statemachines.compile import Model
from statemachines.guards import Per
from statemachines.spec import MachineSpec
from statemachines.system import VM_MACHINES
from statemachines.topology import Topology

#: Machine -> its state, or -> {device id: state}; as journals have it.
States = Mapping[str, str | Mapping[str, str]]
SPECS: Mapping[str, MachineSpec] = {spec.name: spec for spec in VM_MACHINES}


@dataclass(frozen=True)
class Place:
    """Whose a field is."""

    #: The machine's table.
    spec: MachineSpec
    #: The device's id; None for the VM.
    name: str | None

    @property
    def text(self) -> str:
        """Machine and device, for a person."""
        return self.spec.name + (f" of {self.name}" if self.name is not None else "")


@dataclass(frozen=True)
class GrownTopology(Topology):
    """The failover devices of a running VM, by rank."""

    #: Rank -> its standby's rank; None for a standby.
    ranks: tuple[int | None, ...] = ()

    @property
    def standbys(self) -> tuple[int, ...]:
        return tuple(rank for rank, standby in enumerate(self.ranks) if standby is None)

    @property
    def standby_of(self) -> Mapping[int, int]:
        return {rank: standby for rank, standby in enumerate(self.ranks) if standby is not None}


def grown_topology(ranks: tuple[int | None, ...]) -> GrownTopology:
    """Return the topology of these devices: of each rank its standby's, None for a standby."""
    return GrownTopology("grown", "the devices of a running VM", (), {}, ranks=ranks)


@lru_cache(maxsize=64)
def _stepper(ranks: tuple[int | None, ...], policies: tuple[tuple[str, str], ...]) -> Stepper:
    topology = grown_topology(ranks)
    return Stepper(Model(topology, dict(policies), observers=()))


class Layout:
    """The ground rules of a VM with these devices, and where its machines stand in them."""

    def __init__(self, devices: tuple[Device, ...], policies: Mapping[str, str]) -> None:
        ranks = {device.id: rank for rank, device in enumerate(devices) if device.standby is None}
        shape = tuple(None if d.standby is None else ranks[d.standby] for d in devices)
        self.devices = devices
        self.policies = policies
        self.stepper = _stepper(shape, tuple(sorted(policies.items())))
        self.model = self.stepper.model
        #: Number of a field -> whose it is.
        self.places = {
            self.model.number(spec.states, scope.index): Place(
                spec, None if spec.per is Per.VM else devices[scope.index].id
            )
            for spec in VM_MACHINES
            for scope in self.model.topology.scopes(spec.per)
        }

    def rank(self, per: Per, name: str | None) -> int | None:
        """Return a device's rank; None for the VM.

        :raise KeyError: if there is no such device.
        """
        if per is Per.VM:
            if name is None:
                return None
            raise KeyError(name)
        for rank, device in enumerate(self.devices):
            if device.id == name and (device.standby is None) is (per is Per.STANDBY):
                return rank
        raise KeyError(name)

    def value(self, state: State, number: int) -> str:
        """Return the value of a machine's field, as journals have it."""
        return str(tuple(self.places[number].spec.states)[state[number]].value)

    def states(self, state: State, numbers: tuple[int, ...] | None = None) -> States:
        """Return the states of some fields, or of all machines, as journals have them."""
        found: dict[str, str | dict[str, str]] = {}
        if numbers is None:
            found.update({spec.name: {} for spec in VM_MACHINES if spec.per is not Per.VM})
        for number in self.places if numbers is None else numbers:
            place = self.places[number]
            value = self.value(state, number)
            if place.name is None:
                found[place.spec.name] = value
            else:
                inner = found.setdefault(place.spec.name, {})
                assert isinstance(inner, dict)
                inner[place.name] = value
        return found

    def moved(self, state: State, earlier: Layout) -> State:
        """Return the joint state of a VM that had other devices: what is new begins."""
        kept = {
            (device.standby is None, device.id)
            for device in self.devices
            if device in earlier.devices
        }
        before = {place: state[number] for number, place in earlier.places.items()}
        after = list(self.model.initial())
        for number, place in self.places.items():
            if place.name is None or (place.spec.per is Per.STANDBY, place.name) in kept:
                after[number] = before[place]
        return tuple(after)

"""The devices of one VM, and which machine instance belongs to which of them.

What may live here: the PCI topology with the guest-visible state of each device, and the registry
of failover pairs (ids, MACs, options, indexes). Rules: nothing here decides whether a primary is
hidden, plugged or leaving; that is asked of the tables by `engine.hotplug`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from devices.catalogue import VIRTIO_NET_MODELS
from devices.e1000e import E1000e
from devices.frames import mac_bytes
from devices.inventory import Inventory, VirtualFunction
from devices.netdev import NetdevTable
from devices.options import Options
from devices.pci import MachineType, PciDevice, PciTopology
from devices.pcie_port import PcieRootPort
from devices.sections import Streamed
from devices.vfio_pci import VfioPci
from devices.virtio_net import VirtioNet

#: The first MAC that QEMU gives to a NIC without one; the last byte counts up.
_DEFAULT_MAC = "52:54:00:12:34:%02x"

NicState = VirtioNet | VfioPci | E1000e | PcieRootPort


@dataclass(eq=False)
class StandbyEntry:
    """One failover standby."""

    #: Index of its machines.
    index: int
    #: Its device id; what a primary's failover_pair_id names. "" without one: it has no primary.
    id: str
    #: Its permanent MAC.
    mac: str
    #: Its place.
    device: PciDevice
    #: What the guest sees of it.
    state: VirtioNet

    @property
    def name(self) -> str:
        """What its states go by: its id or, without one, its place, on both sides the same."""
        return self.id or self.state.device_path


@dataclass(eq=False)
class PrimaryEntry:
    """One failover primary, plugged or not."""

    #: Index of its machines.
    index: int
    #: Its device id.
    id: str
    #: Index of its standby.
    standby: int
    #: The options it is created from.
    options: Options
    #: Its place while it is realized.
    device: PciDevice | None = None
    #: Its permanent MAC while it is realized.
    mac: str | None = None


class Board:
    """All devices of one VM."""

    def __init__(self, machine: MachineType, inventory: Inventory, *, newer_checks: bool) -> None:
        self.machine = machine
        self.topology = PciTopology(machine, checks_occupied_port=newer_checks)
        self.netdevs = NetdevTable()
        self.inventory = inventory
        self.standbys: dict[int, StandbyEntry] = {}
        self.primaries: dict[int, PrimaryEntry] = {}
        self.states: dict[PciDevice, NicState] = {}
        self._mac_count = 0

    # -- finding

    def standby_named(self, name: object) -> StandbyEntry | None:
        """Return the failover standby with this id."""
        return next((s for s in self.standbys.values() if s.id and s.id == name), None)

    def standby_called(self, name: str) -> StandbyEntry | None:
        """Return the failover standby whose states go by this name."""
        return next((s for s in self.standbys.values() if s.name == name), None)

    def primary_named(self, name: object) -> PrimaryEntry | None:
        """Return the primary with this id, hidden ones too."""
        return next((p for p in self.primaries.values() if p.id == name), None)

    def primaries_of(self, standby: int) -> list[PrimaryEntry]:
        """Return a standby's primaries, oldest first."""
        return [p for p in self.primaries.values() if p.standby == standby]

    def path_of(self, device: PciDevice) -> str:
        """Return the PCI path that a device's section is named after (qdev pcibus_get_dev_path)."""
        bus = next(bus for bus in self.topology.buses if bus.name == device.bus)
        own = f"{device.slot:02x}.{device.function:x}"
        if not bus.behind_port:
            return f"0000:00:{own}"
        port = next(port for port in self.topology.devices if self.topology.child_bus(port) is bus)
        return f"{self.path_of(port)}:{own}"

    # -- state of devices

    def build_state(
        self, device: PciDevice, function: VirtualFunction | None, *, keep_features: bool
    ) -> NicState | None:
        """Create what the guest sees of a realized device; None for models without any."""
        path = self.path_of(device)
        match device.model.name:
            case name if name in VIRTIO_NET_MODELS:
                state: NicState = VirtioNet(
                    mac_bytes(self.mac_of(device, function)),
                    failover=bool(device.properties.get("failover")),
                    keep_features_on_reset=keep_features,
                    device_path=path,
                )
            case "e1000e":
                state = E1000e(mac_bytes(self.mac_of(device, function)), device_path=path)
            case "pcie-root-port":
                state = PcieRootPort(device_path=path)
            case "vfio-pci" if function is not None:
                pair = device.properties.get("failover_pair_id")
                state = VfioPci(
                    function.address,
                    mac_bytes(function.mac),
                    failover_pair_id=str(pair) if pair else None,
                    device_path=path,
                )
            case _:
                return None
        self.states[device] = state
        return state

    def mac_of(self, device: PciDevice, function: VirtualFunction | None = None) -> str:
        """Return a NIC's permanent MAC: the host's, its option's, or the next default."""
        if function is not None:
            return function.mac
        given = device.properties.get("mac")
        if isinstance(given, str) and given:
            return given
        self._mac_count += 1
        return _DEFAULT_MAC % (0x55 + self._mac_count)

    def streamed(self, leave_out: Callable[[PciDevice], bool]) -> list[tuple[int, Streamed]]:
        """Return the devices whose state travels, in the order they were created."""
        return [
            (0, state)
            for device in self.topology.devices
            if (state := self.states.get(device)) is not None and not leave_out(device)
        ]

    def remove(self, device: PciDevice) -> Iterator[PciDevice]:
        """Take a device, and what sits behind it, off the board; yields what went."""
        for gone in self.topology.remove(device):
            self.states.pop(gone, None)
            netdev = gone.properties.get("netdev")
            if isinstance(netdev, str) and netdev:
                self.netdevs.detach(netdev)
            host = gone.properties.get("host")
            if isinstance(host, str) and host:
                self.inventory.release(host)
            yield gone

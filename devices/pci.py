"""PCI placement: buses, who sits where, and what may be put or plugged there.

What may live here: the topology of one VM and the checks QEMU makes when a device is realized.
What query-pci shows of it is in `pci_query`. Nothing here knows of hidden, pending or unplugged:
a device is in the topology from `realize` to `remove`.

Rules kept:
- a check that fails has changed nothing;
- every bus but the machine's root bus belongs to a bridge and is named by the bridge's id;
- `freeze` marks machine start: from then on q35's root bus takes no devices.
Sources: hw/pci/pci.c do_pci_register_device, pci_qdev_realize; softmmu/qdev-monitor.c qbus_find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from devices import texts
from devices.board_functions import BOARD_FUNCTIONS
from devices.catalogue import DeviceModel, Identity
from devices.errors import DeviceError
from devices.options import Options
from devices.pci_query import QueryDevice, describe_function
from devices.properties import ADDRESS_AUTO, FUNCTIONS, SLOTS, PropertyValue

#: Machine types, by the names of QEMU's -M.
MachineType = Literal["q35", "pc"]

#: Largest acpi-index (hw/acpi/pcihp.c ONBOARD_INDEX_MAX).
ACPI_INDEX_MAX = 16 * 1024 - 1
#: Buses of a machine that are no PCI bus, and their types.
_OTHER_BUSES = {"main-system-bus": "System", "isa.0": "ISA"}
#: Most buses that can be numbered.
BUSES_MAX = 256


@dataclass(frozen=True, slots=True, eq=False)
class PciDevice:
    """One realized PCI function; two are the same only if they are one object."""

    #: Name given by its user; None if there is none.
    id: str | None
    #: What it is.
    model: DeviceModel
    #: Its typed properties, as parse_properties returned them.
    properties: Mapping[str, PropertyValue]
    #: Name of the bus it sits on.
    bus: str
    #: Slot on that bus, 0 to 31.
    slot: int
    #: Function in that slot, 0 to 7.
    function: int
    #: True if it came after machine start.
    hotplugged: bool


@dataclass(slots=True, eq=False)
class PciBus:
    """One PCI bus and the functions on it, by (slot, function)."""

    #: Name that the `bus` option uses.
    name: str
    #: PCI Express rather than conventional PCI.
    express: bool
    #: The bridge it hangs on; None for the machine's root bus.
    bridge: PciDevice | None = None
    #: Changed by PciTopology alone.
    functions: dict[tuple[int, int], PciDevice] = field(default_factory=dict)

    @property
    def type_name(self) -> str:
        """Return the type as QEMU's errors call it."""
        return "PCIE" if self.express else "PCI"

    @property
    def devices(self) -> tuple[PciDevice, ...]:
        """Return the functions in the order of their addresses."""
        return tuple(self.functions[address] for address in sorted(self.functions))

    @property
    def behind_port(self) -> bool:
        """Say whether it is the link below a PCI Express port, where only slot 0 is seen."""
        return self.express and self.bridge is not None


class PciTopology:
    """The PCI buses and devices of one VM."""

    def __init__(self, machine: MachineType = "q35", *, checks_occupied_port: bool = True) -> None:
        """Build the machine's root bus with its built-in functions.

        `checks_occupied_port=False` is QEMU 7.2: a hotplugged device without `addr` is accepted
        on an occupied port, in a slot no guest sees. Newer QEMU refuses it, and so does native.
        """
        self._machine = machine
        self._checks_occupied_port = checks_occupied_port
        self._frozen = False
        name = "pcie.0" if machine == "q35" else "pci.0"
        #: The machine's root bus, where a device without a `bus` option goes.
        self.default_bus = PciBus(name, express=machine == "q35")
        self._buses: dict[str, PciBus] = {name: self.default_bus}
        self._child_buses: dict[PciDevice, PciBus] = {}
        #: Devices that came by realize, oldest first.
        self._devices: list[PciDevice] = []
        for slot, function, model in BOARD_FUNCTIONS[machine]:
            built_in = PciDevice(None, model, {}, name, slot, function, hotplugged=False)
            self.default_bus.functions[(slot, function)] = built_in

    @property
    def frozen(self) -> bool:
        """Say whether the machine has started."""
        return self._frozen

    @property
    def devices(self) -> tuple[PciDevice, ...]:
        """Return the devices that were realized, oldest first; built-in functions are not."""
        return tuple(self._devices)

    @property
    def buses(self) -> tuple[PciBus, ...]:
        """Return all buses, the root bus first."""
        return tuple(self._buses.values())

    def freeze(self) -> None:
        """Mark machine start; q35's root bus takes no more devices."""
        self._frozen = True

    def device(self, device_id: str) -> PciDevice | None:
        """Return the device of that id, or None."""
        return next((device for device in self._devices if device.id == device_id), None)

    def paired_with(self, standby_id: str) -> tuple[PciDevice, ...]:
        """Return the devices whose failover_pair_id is `standby_id`, oldest first."""
        return tuple(
            device
            for device in self._devices
            if device.properties.get("failover_pair_id") == standby_id
        )

    def bus_of(self, device: PciDevice) -> PciBus:
        """Return the bus a device sits on."""
        return self._buses[device.bus]

    def child_bus(self, bridge: PciDevice) -> PciBus | None:
        """Return the bus behind a bridge; None if the device is no bridge."""
        return self._child_buses.get(bridge)

    def find_bus(self, model: DeviceModel, options: Options) -> PciBus:
        """Return the bus that the option `bus` names, or the default bus.

        Raises DeviceError if there is no such bus or the model cannot go on it. A full bus is
        not noticed here but by realize: QEMU's PCI buses have no limit but their slots.
        """
        wanted = options.get("bus")
        if wanted is None:
            if model.bus_type != "PCI":
                raise DeviceError(texts.BUS_TYPE_ABSENT % (model.bus_type, model.name))
            return self.default_bus
        name = str(wanted)
        if name in _OTHER_BUSES:
            raise DeviceError(texts.BUS_OF_OTHER_TYPE % (model.name, _OTHER_BUSES[name]))
        bus = self._buses.get(name)
        if bus is None:
            raise DeviceError(texts.BUS_NOT_FOUND % name)
        if model.bus_type != "PCI":
            raise DeviceError(texts.BUS_OF_OTHER_TYPE % (model.name, bus.type_name))
        return bus

    def hotpluggable(self, bus: PciBus) -> bool:
        """Say whether a device could be plugged into the bus of a running machine.

        q35's root bus still counts as hotpluggable until machine start. Also asked, before any
        start, of a hidden primary's bus (softmmu/qdev-monitor.c, the hide test).
        """
        if bus.bridge is None:
            return not (bus.express and self._frozen)
        return bool(bus.bridge.properties.get("hotplug", True))

    def check_hotplug(self, bus: PciBus) -> None:
        """Raise DeviceError if the machine has started and the bus takes no devices."""
        if self._frozen and not self.hotpluggable(bus):
            raise DeviceError(texts.BUS_NOT_HOTPLUGGABLE % bus.name)

    def check_id(self, device_id: str | None) -> None:
        """Raise DeviceError if a realized device has that id, or a bus has that name.

        QEMU lets a bridge take the root bus's name, after which one of the two cannot be reached.
        """
        if device_id is None:
            return
        if self.device(device_id) is not None or device_id in self._buses:
            raise DeviceError(texts.DEVICE_ID_DUPLICATE % device_id)

    def realize(
        self,
        model: DeviceModel,
        properties: Mapping[str, PropertyValue],
        bus: PciBus,
        *,
        hotplugged: bool,
    ) -> PciDevice:
        """Put a device on a bus and return it; a bridge brings its child bus.

        `properties` come from parse_properties. Raises DeviceError, and changes nothing, in this
        order: id taken, acpi-index, address, the model's own demands, restrictions of a failover
        primary (which QEMU checks with or without a standby).
        """
        device_id = properties["id"]
        name = device_id if isinstance(device_id, str) else None
        self.check_id(name)
        self._check_acpi_index(properties)
        slot, function = self._allocate(model, properties, bus, hotplugged)
        self._check_model(model, properties)
        if properties.get("failover_pair_id") is not None:
            _check_primary(model, properties, bus, function)
        device = PciDevice(name, model, dict(properties), bus.name, slot, function, hotplugged)
        if model.child_bus_type is not None:
            child = PciBus(self._child_name(name), model.child_bus_type == "PCIE", device)
            self._buses[child.name] = child
            self._child_buses[device] = child
        bus.functions[(slot, function)] = device
        self._devices.append(device)
        return device

    def remove(self, device: PciDevice) -> tuple[PciDevice, ...]:
        """Take a device off its bus, and first all that sits behind it if it is a bridge.

        Returns what was removed, children before their bridge. Raises ValueError if the device is
        not, or no longer, one that `realize` put here.
        """
        if device not in self._devices:
            raise ValueError(f"Expected a device of this topology, got {device.id or device.bus}")
        removed: list[PciDevice] = []
        child = self._child_buses.get(device)
        if child is not None:
            for behind in child.devices:
                removed.extend(self.remove(behind))
            del self._child_buses[device]
            del self._buses[child.name]
        del self._buses[device.bus].functions[(device.slot, device.function)]
        self._devices.remove(device)
        return (*removed, device)

    def query_pci(
        self, hidden_from_guest: Callable[[PciDevice], bool] = lambda _device: False
    ) -> list[dict[str, object]]:
        """Return the answer to QMP query-pci, with buses numbered as firmware does.

        A device for which `hidden_from_guest` is true is left out with all behind it. BARs show
        as unmapped (address -1) and bridge windows as closed: no firmware has run here.
        """
        numbers = iter(range(1, BUSES_MAX))
        devices, _last = self._query_bus(self.default_bus, 0, numbers, hidden_from_guest)
        return [{"bus": 0, "devices": devices}]

    def _query_bus(
        self,
        bus: PciBus,
        number: int,
        numbers: Iterator[int],
        hidden_from_guest: Callable[[PciDevice], bool],
    ) -> tuple[list[QueryDevice], int]:
        """Return the shown functions of one bus and the highest bus number at or below it."""
        shown: list[QueryDevice] = []
        highest = number
        for device in bus.devices:
            entry = describe_function(
                device.model,
                device.properties,
                self._identity(device),
                address=(number, device.slot, device.function),
            )
            child = self._child_buses.get(device)
            if child is not None:
                secondary = next(numbers)
                behind, highest = self._query_bus(child, secondary, numbers, hidden_from_guest)
                numbering = {"number": number, "secondary": secondary, "subordinate": highest}
                bridge = entry["pci_bridge"]
                bridge["bus"].update(numbering)
                bridge["devices"] = behind
            if not hidden_from_guest(device):
                shown.append(entry)
        return shown, highest

    def _identity(self, device: PciDevice) -> Identity:
        """Return what the device shows: legacy virtio is offered only off a port's bus."""
        model = device.model
        identity = model.identity
        if model.legacy_identity is not None:
            mode = device.properties.get("disable-legacy")
            behind_port = self._buses[device.bus].behind_port
            if mode == "off" or (mode == "auto" and not behind_port):
                identity = model.legacy_identity
        assert identity is not None  # only models with one are accepted by find_bus
        return identity

    def _child_name(self, bridge_id: str | None) -> str:
        """Return the bridge's id, or the first free pcie.N for a bridge without one."""
        if bridge_id is not None:
            return bridge_id
        number = 1
        while f"pcie.{number}" in self._buses:
            number += 1
        return f"pcie.{number}"

    def _check_acpi_index(self, properties: Mapping[str, PropertyValue]) -> None:
        index = properties.get("acpi-index", 0)
        if not isinstance(index, int) or index == 0:
            return
        if index > ACPI_INDEX_MAX:
            raise DeviceError(texts.ACPI_INDEX_TOO_LARGE)
        if any(device.properties.get("acpi-index") == index for device in self._devices):
            raise DeviceError(texts.ACPI_INDEX_TAKEN % index)

    def _allocate(
        self,
        model: DeviceModel,
        properties: Mapping[str, PropertyValue],
        bus: PciBus,
        hotplugged: bool,
    ) -> tuple[int, int]:
        """Return the slot and function the device gets, or raise DeviceError."""
        wanted = properties.get("addr", ADDRESS_AUTO)
        automatic = not isinstance(wanted, int) or wanted == ADDRESS_AUTO
        if not isinstance(wanted, int) or wanted == ADDRESS_AUTO:
            free = (slot for slot in range(SLOTS) if (slot, 0) not in bus.functions)
            slot, function = next(free, SLOTS), 0
            if slot == SLOTS:
                raise DeviceError(texts.SLOTS_EXHAUSTED % model.name)
        else:
            slot, function = divmod(wanted, FUNCTIONS)
        there = bus.functions.get((slot, function))
        if there is not None:
            raise DeviceError(
                texts.SLOT_IN_USE
                % (slot, function, model.name, there.model.name, there.id or texts.NO_ID)
            )
        if hotplugged and (self._checks_occupied_port or not automatic):
            first = bus.functions.get((0 if bus.behind_port else slot, 0))
            if first is not None:
                raise DeviceError(
                    texts.FUNCTION_0_OCCUPIED % (first.slot, first.model.name, model.name)
                )
        _check_multifunction(properties, bus, slot, function)
        return slot, function

    def _check_model(self, model: DeviceModel, properties: Mapping[str, PropertyValue]) -> None:
        """Check what the model itself demands of its surroundings."""
        if model.needs_host and properties["host"] is None and properties["sysfsdev"] is None:
            raise DeviceError(texts.VFIO_NO_HOST, hint=texts.HINT_VFIO_NO_HOST)
        if model.child_bus_type is None:
            return
        if "chassis" in properties:
            place = (properties["chassis"], properties["slot"])
            for device in self._devices:
                other = device.properties
                if "chassis" in other and (other["chassis"], other["slot"]) == place:
                    raise DeviceError(texts.CHASSIS_SLOT_TAKEN)
        if len(self._buses) >= BUSES_MAX:
            raise DeviceError(f"Expected at most {BUSES_MAX} PCI buses, got one more")


def _check_multifunction(
    properties: Mapping[str, PropertyValue], bus: PciBus, slot: int, function: int
) -> None:
    """Check that the functions of one slot agree (hw/pci/pci.c pci_init_multifunction)."""
    if function != 0:
        first = bus.functions.get((slot, 0))
        # Built-in functions of the board share their slots, whatever they say of themselves.
        if first is not None and not first.properties.get("multifunction", True):
            raise DeviceError(texts.FUNCTION_0_SINGLE % (slot, function))
    elif not properties.get("multifunction"):
        for other in range(1, FUNCTIONS):
            if (slot, other) in bus.functions:
                raise DeviceError(texts.FUNCTION_0_NOT_MULTI % (slot, slot, other))


def _check_primary(
    model: DeviceModel, properties: Mapping[str, PropertyValue], bus: PciBus, function: int
) -> None:
    """Check what a failover primary must be (hw/pci/pci.c pci_qdev_realize), in QEMU's order.

    It is the bus that must be PCI Express, not the device: e1000 on a root port passes.
    """
    if not bus.express:
        raise DeviceError(texts.PRIMARY_NOT_EXPRESS)
    if not model.is_ethernet:
        raise DeviceError(texts.PRIMARY_NOT_ETHERNET)
    if properties.get("multifunction") or function != 0:
        raise DeviceError(texts.PRIMARY_NOT_ALONE)

"""The device models replug knows, and the checks on a device's options that need only the model.

What may live here: what a model is (names, PCI identity, BARs, properties) and the steps of a
device_add that do not look at a bus. Where a device goes is `pci`; whether it is hidden, or may be
added right now, is asked by the engine between these steps, in QEMU's order:

    check_driver -> PciTopology.find_bus -> (hide test) -> PciTopology.check_hotplug
    -> (migration idle?) -> check_id -> parse_properties -> PciTopology.realize

Source of that order: softmmu/qdev-monitor.c qdev_device_add_from_qdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from devices import property_tables as tables
from devices import texts
from devices.errors import DeviceError
from devices.guest_memory import IDENTIFIER_BYTES_MAX
from devices.netdev import NetdevTable
from devices.options import OptionError, Options, check_identifier
from devices.properties import Kind, Property, PropertyValue, describe, read_value

#: PCI class of an Ethernet controller; the failover check asks for exactly this one.
CLASS_ETHERNET = 0x0200
#: PCI class of a PCI-to-PCI bridge.
CLASS_BRIDGE = 0x0604
#: Size of the option ROM of a network card, in bytes.
_ROM_BYTES = 256 * 1024
_VIRTIO_BAR = 16 * 1024

#: The longest id of a device, in bytes: what a source can tell the target of it.
DEVICE_ID_BYTES_MAX = 255

#: Options that place or name a device and are not properties.
_NOT_PROPERTIES = frozenset({"driver", "bus", "id"})


@dataclass(frozen=True, slots=True)
class Region:
    """One BAR."""

    #: Number of the BAR; 6 is the option ROM.
    bar: int
    #: Size in bytes.
    size_bytes: int
    #: I/O ports rather than memory.
    io: bool = False
    #: Prefetchable memory.
    prefetch: bool = False
    #: 64-bit memory.
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device's configuration space says it is."""

    #: PCI vendor id.
    vendor: int
    #: PCI device id.
    device: int
    #: PCI class and subclass.
    class_id: int
    #: Subsystem vendor id; None where there is none (bridges).
    subsystem_vendor: int | None = 0x1AF4
    #: Subsystem id; None where there is none.
    subsystem: int | None = 0x1100
    #: Its BARs, less an option ROM.
    regions: tuple[Region, ...] = ()
    #: Interrupt pin, 1 for INTA; 0 if the device raises no interrupt.
    interrupt_pin: int = 1


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """One driver name that `-device` and device_add accept."""

    #: Driver name.
    name: str
    #: What it is, for people.
    description: str
    #: What it looks like to a guest; None for a model that is no PCI device.
    identity: Identity | None
    #: Its properties by name.
    properties: Mapping[str, Property]
    #: Type of bus it goes on.
    bus_type: str = "PCI"
    #: What it looks like on a bus that is not behind a port, where legacy virtio is offered.
    legacy_identity: Identity | None = None
    #: Type of its child bus: "PCIE", "PCI", or None if it is no bridge.
    child_bus_type: str | None = None
    #: Size of its default option ROM in bytes; 0 for none.
    rom_bytes: int = 0

    @property
    def is_ethernet(self) -> bool:
        """Say whether its PCI class is Ethernet controller."""
        return self.identity is not None and self.identity.class_id == CLASS_ETHERNET

    @property
    def needs_netdev(self) -> bool:
        """Say whether it takes a network backend."""
        return "netdev" in self.properties

    @property
    def needs_host(self) -> bool:
        """Say whether it passes a host device through."""
        return "host" in self.properties


def _virtio_bars(*, legacy: bool) -> tuple[Region, ...]:
    io = (Region(0, 32, io=True),) if legacy else ()
    return (*io, Region(1, 4096), Region(4, _VIRTIO_BAR, prefetch=True, wide=True))


def _model(
    name: str, description: str, identity: Identity, table: tuple[Property, ...], **others: object
) -> DeviceModel:
    properties = MappingProxyType({declared.name: declared for declared in table})
    return DeviceModel(name, description, identity, properties, **others)  # type: ignore[arg-type]


_VIRTIO_NET = Identity(0x1AF4, 0x1041, CLASS_ETHERNET, regions=_virtio_bars(legacy=False))
_VIRTIO_NET_LEGACY = Identity(
    0x1AF4, 0x1000, CLASS_ETHERNET, subsystem=1, regions=_virtio_bars(legacy=True)
)
_VIRTIO_RNG = Identity(0x1AF4, 0x1044, 0x00FF, regions=_virtio_bars(legacy=False))
_VIRTIO_RNG_LEGACY = Identity(
    0x1AF4, 0x1005, 0x00FF, subsystem=4, regions=_virtio_bars(legacy=True)
)
# A passed-through function looks to the guest as it does to the host. There is no host card here,
# so every one is an Intel adaptive virtual function.
_VIRTUAL_FUNCTION = Identity(
    0x8086,
    0x1889,
    CLASS_ETHERNET,
    0x8086,
    0,
    (
        Region(0, 64 * 1024, prefetch=True, wide=True),
        Region(3, _VIRTIO_BAR, prefetch=True, wide=True),
    ),
)
_E1000E = Identity(
    0x8086,
    0x10D3,
    CLASS_ETHERNET,
    0x8086,
    0,
    (
        Region(0, 128 * 1024),
        Region(1, 128 * 1024),
        Region(2, 32, io=True),
        Region(3, 16 * 1024),
    ),
)
_E1000 = Identity(
    0x8086,
    0x100E,
    CLASS_ETHERNET,
    regions=(Region(0, 128 * 1024), Region(1, 64, io=True)),
)
_ROOT_PORT = Identity(0x1B36, 0x000C, CLASS_BRIDGE, None, None, (Region(0, 4096),))
_CONVENTIONAL_BRIDGE = Identity(
    0x1B36, 0x000E, CLASS_BRIDGE, None, None, (Region(0, 256, wide=True),)
)

#: Every model by driver name.
MODELS: Mapping[str, DeviceModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            _model(
                "virtio-net-pci",
                "paravirtual network card; with failover=on a standby",
                _VIRTIO_NET,
                tables.VIRTIO_NET,
                legacy_identity=_VIRTIO_NET_LEGACY,
                rom_bytes=_ROM_BYTES,
            ),
            _model(
                "virtio-net-pci-non-transitional",
                "paravirtual network card without the legacy interface",
                _VIRTIO_NET,
                tables.VIRTIO_NET_MODERN,
                rom_bytes=_ROM_BYTES,
            ),
            _model(
                "vfio-pci",
                "host PCI function passed through",
                _VIRTUAL_FUNCTION,
                tables.VFIO_PCI,
            ),
            _model(
                "e1000e",
                "Intel 82574L network card (PCI Express)",
                _E1000E,
                tables.E1000E,
                rom_bytes=_ROM_BYTES,
            ),
            _model(
                "e1000",
                "Intel 82540EM network card (conventional PCI)",
                _E1000,
                tables.E1000,
                rom_bytes=_ROM_BYTES,
            ),
            _model(
                "virtio-rng-pci",
                "paravirtual source of random numbers",
                _VIRTIO_RNG,
                tables.VIRTIO_RNG,
                legacy_identity=_VIRTIO_RNG_LEGACY,
            ),
            _model(
                "pcie-root-port",
                "PCI Express root port with one slot",
                _ROOT_PORT,
                tables.PCIE_ROOT_PORT,
                child_bus_type="PCIE",
            ),
            _model(
                "pcie-pci-bridge",
                "bridge from PCI Express to conventional PCI",
                _CONVENTIONAL_BRIDGE,
                tables.PCIE_PCI_BRIDGE,
                child_bus_type="PCI",
            ),
            DeviceModel(
                "usb-net",
                "USB network card; known by name, there is no USB bus for it",
                None,
                MappingProxyType({}),
                bus_type="usb-bus",
            ),
        )
    }
)

#: The models that are a virtio network card: with failover=on each of them is a standby. They
#: differ in what older drivers find, and not in what is streamed.
VIRTIO_NET_MODELS = frozenset({"virtio-net-pci", "virtio-net-pci-non-transitional"})

#: Other names for a model. An alias is accepted as driver, but is no type of its own.
ALIASES: Mapping[str, str] = MappingProxyType({"virtio-net": "virtio-net-pci"})


def check_driver(options: Options) -> DeviceModel:
    """Return the model that the option `driver` names, by name or alias.

    Raises OptionError if there is no such option, DeviceError if there is no such model.
    """
    name = options.get("driver")
    if name is None:
        raise OptionError(texts.PARAMETER_MISSING % "driver")
    model = MODELS.get(ALIASES.get(name, name)) if isinstance(name, str) else None
    if model is None:
        raise DeviceError(texts.DRIVER_INVALID % (name,))
    return model


def check_id(options: Options) -> str | None:
    """Return the option `id`, None if there is none.

    Raises OptionError unless it is an identifier, and short enough to be told to a target or, of a
    failover primary, to be noted by the guest. QEMU lets any text pass in the JSON form of
    -device, and drops an id that is a number; both are refused here, since such a device could
    never be named again. That the id is free is checked by `PciTopology.check_id`.
    """
    device_id = options.get("id")
    if device_id is None:
        return None
    if not isinstance(device_id, str):
        raise OptionError(texts.TYPE_INVALID % ("id", "string"))
    check_identifier("id", device_id)
    # One that could be a primary: it is one as soon as its standby is there.
    is_primary = options.get("failover_pair_id") is not None
    bytes_max = IDENTIFIER_BYTES_MAX if is_primary else DEVICE_ID_BYTES_MAX
    if len(device_id) > bytes_max:
        expected = texts.EXPECTED_SHORTER_IDENTIFIER % bytes_max
        raise OptionError(texts.PARAMETER_EXPECTS % ("id", expected))
    return device_id


def parse_properties(
    model: DeviceModel,
    options: Options,
    *,
    strict: bool,
    netdevs: NetdevTable | None = None,
) -> dict[str, PropertyValue]:
    """Return every property of the model, typed, with defaults, plus "id".

    `strict` demands JSON types of options that came from JSON (see `properties`); `netdevs`, where
    given, must have the backend named and have it free. Properties are read in the order they were
    written and the first error counts. Raises OptionError or DeviceError with QEMU's text.
    """
    values: dict[str, PropertyValue] = {
        name: declared.default for name, declared in model.properties.items()
    }
    values["id"] = check_id(options)
    for name, value in options.items():
        if name in _NOT_PROPERTIES:
            continue
        declared = model.properties.get(name)
        if declared is None:
            raise OptionError(texts.PROPERTY_NOT_FOUND % (model.name, name))
        parsed = read_value(
            declared, value, device_type=model.name, strict=strict and options.from_json
        )
        if declared.kind is Kind.NETDEV and netdevs is not None:
            _check_netdev(declared, str(parsed), model, netdevs)
        values[name] = parsed
    return values


def _check_netdev(
    declared: Property, netdev_id: str, model: DeviceModel, netdevs: NetdevTable
) -> None:
    owner = declared.owner or model.name
    if netdev_id not in netdevs:
        raise DeviceError(texts.PROPERTY_VALUE_UNKNOWN % (owner, declared.name, netdev_id))
    if netdevs.in_use(netdev_id):
        raise DeviceError(texts.PROPERTY_VALUE_IN_USE % (owner, declared.name, netdev_id))


def device_list_properties(driver: str) -> list[dict[str, PropertyValue]]:
    """Return the answer to QMP device-list-properties for a type name (aliases are none).

    Each entry has name and type, and description and default-value where there is one. Raises
    DeviceError of class DeviceNotFound for an unknown name.
    """
    if driver not in MODELS:
        raise DeviceError(texts.DEVICE_NOT_FOUND % driver, error_class="DeviceNotFound")
    return [describe(declared) for declared in MODELS[driver].properties.values()]

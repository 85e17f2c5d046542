"""Placement on PCI buses, failover primary restrictions and query-pci."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from devices.catalogue import check_driver, parse_properties
from devices.errors import DeviceError
from devices.options import parse_options
from devices.pci import BUSES_MAX, MachineType, PciDevice, PciTopology

PORTS = (
    "pcie-root-port,id=root0,addr=0x1,bus=pcie.0,chassis=1",
    "pcie-root-port,id=root1,addr=0x2,bus=pcie.0,chassis=2",
)
STANDBY = "virtio-net-pci,id=net1,bus=root0,failover=on,romfile="


def place(topology: PciTopology, text: str, *, hotplugged: bool = False) -> PciDevice:
    """Put one -device text into the topology, through the steps of a device_add."""
    options = parse_options(text, implied="driver")
    model = check_driver(options)
    bus = topology.find_bus(model, options)
    topology.check_hotplug(bus)
    properties = parse_properties(model, options, strict=True)
    return topology.realize(model, properties, bus, hotplugged=hotplugged)


def build(texts: Sequence[str], machine: MachineType = "q35") -> PciTopology:
    """Return a machine with these devices, not started."""
    topology = PciTopology(machine)
    for text in texts:
        place(topology, text)
    return topology


def contents(topology: PciTopology) -> object:
    """Return all that a refused device must leave as it was."""
    buses = {bus.name: dict(bus.functions) for bus in topology.buses}
    return topology.devices, buses, topology.query_pci()


def refusal(topology: PciTopology, text: str, *, hotplugged: bool = False) -> str:
    """Return the error of placing `text`, after checking that nothing changed."""
    before = contents(topology)
    with pytest.raises(DeviceError) as refused:
        place(topology, text, hotplugged=hotplugged)
    assert contents(topology) == before
    return refused.value.description


def shown(topology: PciTopology) -> list[tuple[int, int, int, str]]:
    """Return (bus, slot, function, id) of everything in query-pci, bridges before children."""
    found: list[tuple[int, int, int, str]] = []

    def walk(devices: list[dict[str, Any]]) -> None:
        for device in devices:
            found.append((device["bus"], device["slot"], device["function"], device["qdev_id"]))
            walk(device.get("pci_bridge", {}).get("devices", []))

    for bus in topology.query_pci():
        devices = bus["devices"]
        assert isinstance(devices, list)
        walk(devices)
    return found


def test_default_bus_and_automatic_addresses() -> None:
    topology = build(["e1000e,id=a", "e1000e,id=b,addr=4.1", "e1000e,id=c"])
    assert [(device.bus, device.slot, device.function) for device in topology.devices] == [
        ("pcie.0", 1, 0),
        ("pcie.0", 4, 1),
        ("pcie.0", 2, 0),
    ]


def test_slots_run_out() -> None:
    topology = build(["e1000e"] * 30)
    assert refusal(topology, "e1000e,id=x") == (
        "PCI: no slot/function available for e1000e, all in use or reserved"
    )


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("e1000e,bus=nobus", "Bus 'nobus' not found"),
        ("e1000e,bus=", "Bus '' not found"),
        ("e1000e,bus=isa.0", "Device 'e1000e' can't go on ISA bus"),
        ("e1000e,bus=main-system-bus", "Device 'e1000e' can't go on System bus"),
        ("usb-net", "No 'usb-bus' bus found for device 'usb-net'"),
        ("usb-net,bus=pcie.0", "Device 'usb-net' can't go on PCIE bus"),
        (
            "e1000e,addr=1f",
            "PCI: slot 31 function 0 not available for e1000e, in use by ICH9-LPC,id=(null)",
        ),
        (
            "e1000e,addr=1",
            "PCI: slot 1 function 0 not available for e1000e, in use by pcie-root-port,id=root0",
        ),
        ("e1000e,id=net1", "Duplicate device ID 'net1'"),
        ("e1000e,id=root1", "Duplicate device ID 'root1'"),
        ("pcie-root-port,id=p,chassis=1", "Can't add chassis slot, error -16"),
        ("vfio-pci,id=h", "No provided host device"),
        ("e1000e,acpi-index=16384", "acpi-index should be less or equal to 16383"),
        ("e1000e,acpi-index=5", "a PCI device with acpi-index = 5 already exist"),
        (
            "e1000e,bus=root0,addr=0.1",
            "PCI: single function device can't be populated in function 0.1",
        ),
    ],
)
def test_refused_placement(text: str, description: str) -> None:
    topology = build([*PORTS, STANDBY, "e1000e,acpi-index=5"])
    assert refusal(topology, text) == description


def test_functions_of_one_slot() -> None:
    topology = build([*PORTS, "e1000e,bus=root0,addr=0.1"])
    assert refusal(topology, "e1000e,bus=root0,addr=0.0") == (
        "PCI: 0.0 indicates single function, but 0.1 is already populated."
    )
    place(topology, "e1000e,bus=root0,addr=0.0,multifunction=on")
    place(topology, "e1000e,bus=root0,addr=0.2")
    assert refusal(topology, "e1000e,bus=root0,addr=0.3", hotplugged=True) == (
        "PCI: slot 0 function 0 already occupied by e1000e, "
        "new func e1000e cannot be exposed to guest."
    )


def test_hotplug_on_an_occupied_port() -> None:
    text = "e1000e,bus=root0,id=x"
    assert refusal(build([*PORTS, STANDBY]), text, hotplugged=True) == (
        "PCI: slot 0 function 0 already occupied by virtio-net-pci, "
        "new func e1000e cannot be exposed to guest."
    )
    older = PciTopology(checks_occupied_port=False)
    for cold in (*PORTS, STANDBY):
        place(older, cold)
    assert place(older, text, hotplugged=True).slot == 1
    assert "already occupied" in refusal(older, "e1000e,bus=root0,addr=2", hotplugged=True)


def test_hotplug_after_machine_start() -> None:
    no_hotplug = "pcie-root-port,id=root2,chassis=3,hotplug=off"
    topology = build([*PORTS, no_hotplug])
    buses = {bus.name: bus for bus in topology.buses}
    assert topology.hotpluggable(buses["pcie.0"])
    assert not topology.hotpluggable(buses["root2"])
    place(topology, "e1000e,id=cold,bus=root2")
    topology.freeze()
    assert not topology.hotpluggable(buses["pcie.0"])
    assert refusal(topology, "e1000e") == "Bus 'pcie.0' does not support hotplugging"
    assert refusal(topology, "e1000e,bus=root2") == "Bus 'root2' does not support hotplugging"
    assert place(topology, "e1000e,bus=root1", hotplugged=True).hotplugged


def test_conventional_root_bus_takes_devices_at_run_time() -> None:
    topology = PciTopology("pc")
    topology.freeze()
    assert place(topology, "e1000e,id=a", hotplugged=True).bus == "pci.0"
    assert refusal(topology, "e1000e,addr=1.1", hotplugged=True).endswith(
        "in use by piix3-ide,id=(null)"
    )


PRIMARY_REFUSALS = [
    (
        "e1000,bus=pcib,addr=1,multifunction=on",
        "failover primary device must be on PCIExpress bus",
    ),
    (
        "virtio-rng-pci,bus=root0,multifunction=on",
        "failover primary device is not an Ethernet device",
    ),
    ("e1000e,bus=root0,multifunction=on", "failover: primary device must be in its own PCI slot"),
    ("e1000e,bus=root0,addr=0.1", "failover: primary device must be in its own PCI slot"),
]


@pytest.mark.parametrize(("text", "description"), PRIMARY_REFUSALS)
def test_primary_refused(text: str, description: str) -> None:
    topology = build([*PORTS, "pcie-pci-bridge,id=pcib,bus=root1"])
    # Which standby it names, or whether there is one, does not matter.
    assert refusal(topology, f"{text},id=p,failover_pair_id=nosuch") == description
    place(topology, f"{text},id=p")


def test_primary_is_refused_on_pc_and_accepted_behind_its_root_port() -> None:
    topology = build(["pcie-root-port,id=rp,chassis=1"], "pc")
    assert refusal(topology, "e1000e,id=p,failover_pair_id=") == (
        "failover primary device must be on PCIExpress bus"
    )
    assert place(topology, "e1000e,id=p,bus=rp,failover_pair_id=net1").bus == "rp"


@pytest.mark.parametrize("text", ["e1000,bus=root1", "vfio-pci,host=5e:00.2,bus=root1", "e1000e"])
def test_primary_accepted(text: str) -> None:
    topology = build([*PORTS, STANDBY])
    primary = place(topology, f"{text},id=p,failover_pair_id=net1")
    assert topology.paired_with("net1") == (primary,)
    assert topology.paired_with("other") == ()


def test_address_is_checked_before_primary_restrictions() -> None:
    topology = build([*PORTS, STANDBY])
    text = "virtio-rng-pci,id=p,bus=root0,addr=0,failover_pair_id=net1"
    assert refusal(topology, text).startswith("PCI: slot 0 function 0 not available")


def test_lookups() -> None:
    topology = build([*PORTS, STANDBY])
    standby = topology.device("net1")
    assert standby is not None
    assert topology.bus_of(standby).name == "root0"
    port = topology.device("root0")
    assert port is not None
    assert topology.child_bus(port) is topology.bus_of(standby)
    assert topology.child_bus(standby) is None
    assert topology.device("nosuch") is None


def test_remove_frees_address_and_id() -> None:
    topology = build([*PORTS, STANDBY])
    before = contents(topology)
    primary = place(topology, "e1000e,id=p,bus=root1", hotplugged=True)
    assert topology.remove(primary) == (primary,)
    assert contents(topology) == before
    with pytest.raises(ValueError, match="Expected a device of this topology"):
        topology.remove(primary)
    assert place(topology, "e1000e,id=p,bus=root1", hotplugged=True).slot == 0


def test_removing_a_bridge_removes_what_is_behind_it() -> None:
    topology = build(
        [*PORTS, "pcie-root-port,id=inner,bus=root1,chassis=3", "e1000e,id=e,bus=inner"]
    )
    port = topology.device("root1")
    assert port is not None
    assert [device.id for device in topology.remove(port)] == ["e", "inner", "root1"]
    assert [bus.name for bus in topology.buses] == ["pcie.0", "root0"]
    assert place(topology, PORTS[1]).id == "root1"


def test_port_without_id_names_its_bus_itself() -> None:
    topology = build(["pcie-root-port,chassis=1", "pcie-root-port,chassis=2", "e1000e,bus=pcie.2"])
    assert [bus.name for bus in topology.buses] == ["pcie.0", "pcie.1", "pcie.2"]


def test_query_pci_numbers_buses_depth_first() -> None:
    topology = build(
        [
            *PORTS,
            "pcie-root-port,id=root2,addr=3,chassis=3",
            "pcie-root-port,id=inner,bus=root1,chassis=4",
            "e1000e,id=deep,bus=inner",
            STANDBY,
            "e1000e,id=last,bus=root2",
        ]
    )
    assert shown(topology) == [
        (0, 0, 0, ""),
        (0, 1, 0, "root0"),
        (1, 0, 0, "net1"),
        (0, 2, 0, "root1"),
        (2, 0, 0, "inner"),
        (3, 0, 0, "deep"),
        (0, 3, 0, "root2"),
        (4, 0, 0, "last"),
        (0, 31, 0, ""),
        (0, 31, 2, ""),
        (0, 31, 3, ""),
    ]
    (bus,) = topology.query_pci()
    devices: Any = bus["devices"]
    assert bus["bus"] == 0
    numbering = {
        device["qdev_id"]: device["pci_bridge"]["bus"] for device in devices if device["qdev_id"]
    }
    chosen = ("number", "secondary", "subordinate")
    assert [numbering["root1"][key] for key in chosen] == [0, 2, 3]
    assert [numbering["root2"][key] for key in chosen] == [0, 4, 4]


#: What query-pci says of a modern virtio-net-pci without ROM behind the first port.
STANDBY_ENTRY = {
    "bus": 1,
    "slot": 0,
    "function": 0,
    "class_info": {"class": 512, "desc": "Ethernet controller"},
    "id": {
        "device": 0x1041,
        "vendor": 0x1AF4,
        "subsystem": 0x1100,
        "subsystem-vendor": 0x1AF4,
    },
    "irq": 0,
    "irq_pin": 1,
    "qdev_id": "net1",
    "regions": [
        {
            "bar": 1,
            "type": "memory",
            "address": -1,
            "size": 4096,
            "prefetch": False,
            "mem_type_64": False,
        },
        {
            "bar": 4,
            "type": "memory",
            "address": -1,
            "size": 16384,
            "prefetch": True,
            "mem_type_64": True,
        },
    ],
}


def test_query_pci_entries() -> None:
    topology = build([*PORTS, STANDBY, "virtio-net-pci,id=flat"])
    (bus,) = topology.query_pci()
    devices: Any = bus["devices"]
    by_id = {device["qdev_id"]: device for device in devices if device["qdev_id"]}
    port = by_id["root0"]
    window = {"base": 0xFFF00000, "limit": 0xFFFFF}
    assert port["pci_bridge"] == {
        "bus": {
            "number": 0,
            "secondary": 1,
            "subordinate": 1,
            "io_range": {"base": 0xF000, "limit": 0xFFF},
            "memory_range": window,
            "prefetchable_range": window,
        },
        "devices": [STANDBY_ENTRY],
    }
    assert port["id"] == {"device": 0x000C, "vendor": 0x1B36}
    assert port["class_info"] == {"class": 1540, "desc": "PCI bridge"}
    # On the root bus virtio also speaks its legacy interface, and this one kept its ROM.
    assert by_id["flat"]["id"]["device"] == 0x1000
    assert [region["bar"] for region in by_id["flat"]["regions"]] == [0, 1, 4, 6]
    assert "prefetch" not in by_id["flat"]["regions"][0]
    host_bridge = devices[0]
    assert "irq" not in host_bridge
    assert host_bridge["irq_pin"] == 0


@pytest.mark.parametrize("rom", ["romfile=", "rombar=0"])
def test_option_rom_can_be_taken_away(rom: str) -> None:
    topology = build([f"e1000,id=a,addr=5,{rom}", "e1000,id=b,addr=6"])
    (bus,) = topology.query_pci()
    devices: Any = bus["devices"]
    bars = {d["qdev_id"]: [region["bar"] for region in d["regions"]] for d in devices}
    assert (bars["a"], bars["b"]) == ([0, 1], [0, 1, 6])


def test_number_of_buses_is_bounded() -> None:
    topology = build(["pcie-root-port,id=p0,chassis=0"])
    for number in range(1, BUSES_MAX - 1):
        address = f"0x{number % 32:x}.{number // 32}"
        port = f"pcie-root-port,id=p{number},bus=p0,slot={number},addr={address}"
        place(topology, f"{port},multifunction=on")
    assert len(topology.buses) == BUSES_MAX
    last: Any = topology.query_pci()[0]["devices"]
    assert last[1]["pci_bridge"]["bus"]["subordinate"] == BUSES_MAX - 1
    with pytest.raises(DeviceError, match="at most 256 PCI buses"):
        place(topology, "pcie-root-port,id=more,chassis=9")


def test_hidden_devices_are_left_out_of_query_pci() -> None:
    topology = build([*PORTS, STANDBY, "e1000e,id=p,bus=root1"])
    (bus,) = topology.query_pci(lambda device: device.id in ("p", "root0"))
    devices: Any = bus["devices"]
    by_id = {device["qdev_id"]: device for device in devices if device["qdev_id"]}
    assert set(by_id) == {"root1"}
    assert by_id["root1"]["pci_bridge"]["devices"] == []
    # Being left out does not renumber what stays.
    assert by_id["root1"]["pci_bridge"]["bus"]["secondary"] == 2

"""What one PCI function looks like in the answer to QMP query-pci.

What may live here: the shape of one entry and nothing of where it goes. Shape and key presence are
those of QEMU (hw/pci/pci.c qmp_query_pci_device): no `irq` without an interrupt pin, no subsystem
for a bridge, no `desc` for a class without a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from devices.catalogue import DeviceModel, Identity, Region
from devices.properties import PropertyValue

#: One entry of a query-pci device list: JSON members of several types, nested for a bridge.
QueryDevice: TypeAlias = dict[str, Any]

#: Address of a BAR that nothing has mapped.
UNMAPPED = -1
#: Names of classes, for `class_info`; a class that is not here has no description.
_CLASS_NAMES = {
    0x0101: "IDE controller",
    0x0106: "SATA controller",
    0x0200: "Ethernet controller",
    0x0600: "Host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0680: "Bridge",
    0x0C05: "SMBus",
}
_ROM_BAR = 6


def describe_function(
    model: DeviceModel,
    properties: Mapping[str, PropertyValue],
    identity: Identity,
    *,
    address: tuple[int, int, int],
) -> QueryDevice:
    """Return the entry of one function at `address` (bus number, slot, function).

    A bridge has `pci_bridge` with closed windows; whoever numbers the buses fills in the numbers
    and the devices behind it.
    """
    bus, slot, function = address
    class_info: QueryDevice = {"class": identity.class_id}
    if identity.class_id in _CLASS_NAMES:
        class_info["desc"] = _CLASS_NAMES[identity.class_id]
    ids = {"device": identity.device, "vendor": identity.vendor}
    if identity.subsystem is not None and identity.subsystem_vendor is not None:
        ids |= {"subsystem": identity.subsystem, "subsystem-vendor": identity.subsystem_vendor}
    entry: QueryDevice = {
        "bus": bus,
        "slot": slot,
        "function": function,
        "class_info": class_info,
        "id": ids,
        "irq_pin": identity.interrupt_pin,
        "qdev_id": properties.get("id") or "",
        "regions": [_region(region) for region in _regions(model, properties, identity)],
    }
    if identity.interrupt_pin != 0:
        entry["irq"] = 0
    if model.child_bus_type is not None:
        entry["pci_bridge"] = {"bus": _closed_windows()}
    return entry


def _regions(
    model: DeviceModel, properties: Mapping[str, PropertyValue], identity: Identity
) -> tuple[Region, ...]:
    # romfile= (empty) and rombar=0 each take the ROM away.
    if model.rom_bytes == 0 or properties.get("romfile") == "" or properties.get("rombar") == 0:
        return identity.regions
    return (*identity.regions, Region(_ROM_BAR, model.rom_bytes))


def _region(region: Region) -> QueryDevice:
    shown: QueryDevice = {
        "bar": region.bar,
        "type": "io" if region.io else "memory",
        "address": UNMAPPED,
        "size": region.size_bytes,
    }
    if not region.io:
        shown |= {"prefetch": region.prefetch, "mem_type_64": region.wide}
    return shown


def _closed_windows() -> QueryDevice:
    # What the window registers decode to when base lies above limit: nothing is forwarded.
    return {
        "io_range": {"base": 0xF000, "limit": 0x0FFF},
        "memory_range": {"base": 0xFFF00000, "limit": 0xFFFFF},
        "prefetchable_range": {"base": 0xFFF00000, "limit": 0xFFFFF},
    }

"""The PCI functions that come with a machine type and are no `-device`.

Data only. They take up addresses, are named in "slot in use" errors and appear in query-pci, and
nothing else of them is modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from devices.catalogue import DeviceModel, Identity, Region


def _function(
    name: str,
    description: str,
    device: int,
    class_id: int,
    regions: tuple[Region, ...] = (),
    interrupt_pin: int = 0,
) -> DeviceModel:
    identity = Identity(0x8086, device, class_id, regions=regions, interrupt_pin=interrupt_pin)
    return DeviceModel(name, description, identity, MappingProxyType({}))


#: Built-in functions by machine type, as (slot, function, model).
BOARD_FUNCTIONS: Mapping[str, tuple[tuple[int, int, DeviceModel], ...]] = MappingProxyType(
    {
        "q35": (
            (0x00, 0, _function("mch", "host bridge", 0x29C0, 0x0600)),
            (0x1F, 0, _function("ICH9-LPC", "ISA bridge", 0x2918, 0x0601)),
            (
                0x1F,
                2,
                _function(
                    "ich9-ahci",
                    "SATA controller",
                    0x2922,
                    0x0106,
                    (Region(4, 32, io=True), Region(5, 4096)),
                    interrupt_pin=1,
                ),
            ),
            (
                0x1F,
                3,
                _function(
                    "ICH9-SMB",
                    "SMBus",
                    0x2930,
                    0x0C05,
                    (Region(4, 64, io=True),),
                    interrupt_pin=1,
                ),
            ),
        ),
        "pc": (
            (0x00, 0, _function("i440FX", "host bridge", 0x1237, 0x0600)),
            (0x01, 0, _function("PIIX3", "ISA bridge", 0x7000, 0x0601)),
            (
                0x01,
                1,
                _function("piix3-ide", "IDE controller", 0x7010, 0x0101, (Region(4, 16, io=True),)),
            ),
            (0x01, 3, _function("PIIX4_PM", "ACPI", 0x7113, 0x0680, interrupt_pin=1)),
        ),
    }
)

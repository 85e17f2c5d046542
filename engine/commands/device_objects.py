"""A device as an object: its model's properties, with the values it was realized with.

Rules kept here: a property that was given nothing shows what QEMU shows: an empty text, -1 for a
number; `mac` and `addr` show what the device got. Devices cannot be changed once realized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from devices.e1000e import E1000e
from devices.frames import mac_text
from devices.pci import PciDevice
from devices.properties import FUNCTIONS, Kind, Property, describe
from devices.virtio_net import VirtioNet
from engine.board import Board
from engine.commands import texts
from engine.commands.qom import Attribute, constant
from engine.qmp.errors import generic_error

_NUMBERS = (Kind.UINT8, Kind.UINT16, Kind.UINT32, Kind.UINT64, Kind.INT32, Kind.SIZE)


def device_attributes(board: Board, device: PciDevice) -> dict[str, Attribute]:
    """Return the properties of a realized device."""
    attributes = {
        "hotplugged": constant("bool", device.hotplugged),
        "realized": constant("bool", True),
    }
    for name, declared in device.model.properties.items():
        attributes[name] = Attribute(
            str(describe(declared)["type"]),
            _reader(board, device, declared),
            _refuser(device, name),
        )
    return attributes


def _reader(board: Board, device: PciDevice, declared: Property) -> Callable[[], Any]:
    return lambda: _value(board, device, declared)


def _value(board: Board, device: PciDevice, declared: Property) -> Any:
    if declared.kind is Kind.PCI_ADDRESS:
        return device.slot * FUNCTIONS + device.function
    state = board.states.get(device)
    if declared.kind is Kind.MAC and isinstance(state, VirtioNet | E1000e):
        return mac_text(state.permanent_mac)
    value = device.properties.get(declared.name)
    if value is None:
        return -1 if declared.kind in _NUMBERS else ""
    return value


def _refuser(device: PciDevice, name: str) -> Callable[[Any], None]:
    def refuse(_value: Any) -> None:
        text = texts.SET_AFTER_REALIZE % (name, device.id, device.model.name)
        raise generic_error(text)

    return refuse

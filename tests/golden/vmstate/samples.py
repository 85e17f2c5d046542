"""The devices whose streams are kept as golden files, and the form they are kept in.

A file is JSON: `section` to be read and reviewed (bytes as {"hex": …}), and `msgpack`, the exact
bytes of the same section on the wire, in hexadecimal. A change of either is a change of the stream:
older versions of this program must be able to load it, or must be made to refuse it by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgpack

from devices.e1000e import E1000E, E1000e, ReceiveControl
from devices.pcie_port import (
    PCIE_ROOT_PORT,
    PcieRootPort,
    PowerIndicator,
    slot_control,
)
from devices.virtio import DeviceStatus
from devices.virtio_net import VirtioNet
from devices.virtio_net_vmstate import VIRTIO_NET, VIRTIO_NET_DEVICE, virtio_net_vmstate
from devices.vmstate import VmStateDescription, save

FOLDER = Path(__file__).parent

MAC = bytes.fromhex("5254006f55cc")

#: What a Linux guest acknowledges of a standby's features, STANDBY among them.
LINUX_FEATURES = 0x4000_0101_30AF_8024

#: The section as it was before the remaining rounds of announcement were streamed.
VIRTIO_NET_BEFORE_ANNOUNCE = virtio_net_vmstate(replace(VIRTIO_NET_DEVICE, subsections=()))


@dataclass(frozen=True)
class Sample:
    """A device in a state worth keeping, and the description it is written with."""

    #: Makes the device in that state.
    build: Callable[[], Any]
    #: Makes a device that the section can be loaded into.
    fresh: Callable[[], Any]
    #: Writes the section.
    description: VmStateDescription[Any]
    #: Reads it in this version.
    reader: VmStateDescription[Any]


def fresh_standby() -> VirtioNet:
    """A standby no guest has touched; it owes no announcements after a load."""
    return VirtioNet(MAC, failover=True, announce_rounds_after_load=0)


def negotiated_standby() -> VirtioNet:
    """A standby in use by a Linux guest that has set a filter and sent some frames."""
    device = fresh_standby()
    device.status = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER
    device.write_guest_features(0, LINUX_FEATURES & 0xFFFF_FFFF)
    device.guest_feature_select = 1
    device.write_guest_features(1, LINUX_FEATURES >> 32)
    device.status |= DeviceStatus.FEATURES_OK
    for index, queue in enumerate(device.queues):
        base = 0x7000_0000 + 0x1_0000 * index
        queue.desc, queue.avail, queue.used = base, base + 0x1000, base + 0x2000
        queue.vector = index + 1
        queue.enabled = True
    device.status |= DeviceStatus.DRIVER_OK
    device.started = True
    device.promiscuous = False
    device.set_mac_table([bytes.fromhex("525400000001")], [bytes.fromhex("333300000001")])
    device.set_vlan(0, True)
    device.set_vlan(100, True)
    device.transmit(70_000)
    device.receive(3)
    return device


def announcing_standby() -> VirtioNet:
    """The same, with the guest still owed three rounds of announcement."""
    device = negotiated_standby()
    device.announce_rounds = 4
    device.announce()
    return device


def fresh_multiqueue() -> VirtioNet:
    """A card with two pairs of queues that no guest has touched."""
    return VirtioNet(MAC, queue_pairs=2, announce_rounds_after_load=0)


def multiqueue() -> VirtioNet:
    """The same with both pairs in use and the link down."""
    device = fresh_multiqueue()
    device.write_guest_features(0, device.offered_features & 0xFFFF_FFFF)
    device.current_queue_pairs = 2
    device.transmit_waiting = [False, True]
    device.set_link(False)
    return device


def blinking_port() -> PcieRootPort:
    """A populated slot whose button was pressed and whose guest is about to power it off."""
    port = PcieRootPort()
    port.show(present=True, event=True)
    port.slot_control = slot_control(powered=True, indicator=PowerIndicator.BLINKING)
    return port


def fresh_e1000e() -> E1000e:
    """An emulated card no guest has touched."""
    return E1000e(MAC)


def receiving_e1000e() -> E1000e:
    """The same with a driver that has added an address."""
    device = fresh_e1000e()
    device.receive_control = ReceiveControl.ENABLE | ReceiveControl.BROADCAST_ACCEPT
    device.set_receive_address(1, bytes.fromhex("525400000001"))
    return device


#: By the name of the golden file, without its suffix.
SAMPLES = {
    "virtio_net_fresh": Sample(fresh_standby, fresh_standby, VIRTIO_NET, VIRTIO_NET),
    "virtio_net_negotiated": Sample(negotiated_standby, fresh_standby, VIRTIO_NET, VIRTIO_NET),
    "virtio_net_announcing": Sample(announcing_standby, fresh_standby, VIRTIO_NET, VIRTIO_NET),
    "virtio_net_before_announce": Sample(
        negotiated_standby, fresh_standby, VIRTIO_NET_BEFORE_ANNOUNCE, VIRTIO_NET
    ),
    "virtio_net_multiqueue": Sample(multiqueue, fresh_multiqueue, VIRTIO_NET, VIRTIO_NET),
    "pcie_root_port_blinking": Sample(blinking_port, PcieRootPort, PCIE_ROOT_PORT, PCIE_ROOT_PORT),
    "e1000e_receiving": Sample(receiving_e1000e, fresh_e1000e, E1000E, E1000E),
}


def reviewable(value: Any) -> Any:
    """The same value for JSON, with bytes as {"hex": …}."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list):
        return [reviewable(item) for item in value]
    if isinstance(value, dict):
        return {key: reviewable(item) for key, item in value.items()}
    return value


def golden_text(sample: Sample) -> str:
    """The content of the golden file of `sample`, as the current code writes it."""
    section = save(sample.description, sample.build())
    packed = msgpack.packb(section).hex()
    lines = [packed[start : start + 96] for start in range(0, len(packed), 96)]
    return json.dumps({"section": reviewable(section), "msgpack": lines}, indent=1) + "\n"


def golden_section(name: str) -> Any:
    """The section in the committed golden file, unpacked from its exact bytes."""
    content = json.loads((FOLDER / f"{name}.json").read_text())
    return msgpack.unpackb(bytes.fromhex("".join(content["msgpack"])))

"""An emulated network card, Intel 82574L, in the few registers that failover needs.

What may live here: `E1000e` and its vmstate. A card of this kind that is not a primary travels in
the stream like any emulated device, so it shows what a primary does not do.

The registers are those that say who the card is and whether it has a link. Descriptor rings,
interrupt timers and the PHY are not modelled. Source: hw/net/e1000e.c, e1000e_core.c; Intel 82574L
datasheet §10.
"""

from __future__ import annotations

from enum import IntFlag
from typing import ClassVar

from devices.frames import BROADCAST, MAC_BYTES, is_group
from devices.vmstate import VmStateDescription, VmStateField
from devices.vmstate_kinds import U32, ListOf, fixed_bytes


class Control(IntFlag):
    """Bits of CTRL that are set after a reset."""

    #: Full duplex.
    FULL_DUPLEX = 0x0000_0001
    #: Set link up.
    SET_LINK_UP = 0x0000_0040
    #: 1000 Mb/s.
    SPEED_1000 = 0x0000_0200


class Status(IntFlag):
    """Bits of STATUS."""

    #: The link is up.
    LINK_UP = 0x0000_0002
    #: The detected speed is 1000 Mb/s: both of two bits.
    DETECTED_SPEED_1000 = 0x0000_0300


class ReceiveControl(IntFlag):
    """Bits of RCTL that decide which frames get in."""

    #: The receiver is on.
    ENABLE = 0x0000_0002
    #: Every unicast frame.
    UNICAST_PROMISCUOUS = 0x0000_0008
    #: Every multicast frame.
    MULTICAST_PROMISCUOUS = 0x0000_0010
    #: Broadcast frames.
    BROADCAST_ACCEPT = 0x0000_8000


#: Receive address registers, each a low and a high word.
RECEIVE_ADDRESSES = 16

#: High word of a receive address: the entry is in use.
ADDRESS_VALID = 0x8000_0000


def _address_words(mac: bytes) -> tuple[int, int]:
    low = int.from_bytes(mac[:4], "little")
    return low, int.from_bytes(mac[4:], "little") | ADDRESS_VALID


class E1000e:
    """The guest-visible registers of one e1000e.

    `mac` is the address from its options and `device_path` the PCI path that its section is named
    after. Raises ValueError for a MAC of other than six bytes.
    """

    #: Name of the device model in options and in `devices.sections`.
    driver: ClassVar[str] = "e1000e"

    def __init__(self, mac: bytes, *, device_path: str = "") -> None:
        if len(mac) != MAC_BYTES:
            raise ValueError(f"expected a MAC address of {MAC_BYTES} bytes, got {len(mac)}")
        #: PCI path of the device, which names its section; "" if it has none.
        self.device_path = device_path
        #: Address from the options, as in the card's EEPROM.
        self.permanent_mac = mac
        #: STATUS (`Status` bits).
        self.status = int(Status.DETECTED_SPEED_1000 | Status.LINK_UP)
        self._reset_registers()

    def _reset_registers(self) -> None:
        #: CTRL (`Control` bits).
        self.control = int(Control.FULL_DUPLEX | Control.SET_LINK_UP | Control.SPEED_1000)
        #: RCTL (`ReceiveControl` bits).
        self.receive_control = 0
        #: RAL0, RAH0, RAL1, RAH1, …: the addresses received, the first being the card's own.
        self.receive_addresses = [0] * (2 * RECEIVE_ADDRESSES)
        self.set_receive_address(0, self.permanent_mac)

    def set_receive_address(self, index: int, mac: bytes | None) -> None:
        """The guest fills or, with None, clears one receive address; ValueError for a bad one."""
        if not 0 <= index < RECEIVE_ADDRESSES:
            raise ValueError(f"expected an index below {RECEIVE_ADDRESSES}, got {index}")
        if mac is not None and len(mac) != MAC_BYTES:
            raise ValueError(f"expected a MAC address of {MAC_BYTES} bytes, got {len(mac)}")
        self.receive_addresses[2 * index : 2 * index + 2] = _address_words(mac) if mac else (0, 0)

    def addresses(self) -> list[bytes]:
        """The receive addresses in use, the card's own first."""
        words = self.receive_addresses
        return [
            low.to_bytes(4, "little") + (high & 0xFFFF).to_bytes(2, "little")
            for low, high in zip(words[::2], words[1::2], strict=True)
            if high & ADDRESS_VALID
        ]

    @property
    def link_up(self) -> bool:
        """Whether the guest sees the link up."""
        return bool(self.status & Status.LINK_UP)

    def set_link(self, up: bool) -> bool:
        """Set the link as the guest sees it; True if that changed."""
        changed = up != self.link_up
        self.status = (self.status & ~Status.LINK_UP) | (Status.LINK_UP if up else 0)
        return changed

    def receives(self, destination: bytes) -> bool:
        """Whether the card takes in a frame for `destination` (e1000e_receive_filter)."""
        if not self.receive_control & ReceiveControl.ENABLE:
            return False
        if destination == BROADCAST and self.receive_control & ReceiveControl.BROADCAST_ACCEPT:
            return True
        promiscuous = (
            ReceiveControl.MULTICAST_PROMISCUOUS
            if is_group(destination)
            else ReceiveControl.UNICAST_PROMISCUOUS
        )
        return bool(self.receive_control & promiscuous) or destination in self.addresses()

    def reset(self) -> None:
        """Back to the state before any driver; the link stays as it is."""
        self._reset_registers()


#: The section of an e1000e.
E1000E = VmStateDescription[E1000e](
    name="e1000e",
    version=1,
    minimum_version=1,
    fields=(
        VmStateField("control", U32),
        VmStateField("status", U32),
        VmStateField("receive_control", U32),
        VmStateField(
            "receive_addresses",
            ListOf(U32, count_max=2 * RECEIVE_ADDRESSES, count_min=2 * RECEIVE_ADDRESSES),
        ),
        VmStateField("permanent_mac", fixed_bytes(MAC_BYTES)),
    ),
)

"""The standby: a virtio network card as its guest sees it.

What may live here: `VirtioNet`, its receive filter, link and announcement registers, and what the
guest's control commands do to them. How it is streamed is in `devices.virtio_net_vmstate`.

Rules kept here:

* Whether the primary is hidden, plugged or pending is not an attribute here: the state machines
  hold it, and none of it is in the stream. A target reckons it from its own command line and from
  the acknowledged features it loads.
* The link is one bit of the status register that the guest reads, nowhere else.
* Frame counters are the host's statistics. They start at zero in every process and are not
  streamed; what the guest knows of its traffic is in the queue indices and in its own memory.

Source of the behaviour: hw/net/virtio-net.c of QEMU 7.2; of the registers: virtio 1.2 §5.1.
"""

from __future__ import annotations

from enum import IntFlag
from typing import ClassVar

from devices.frames import BROADCAST, MAC_BYTES, is_group, mac_text
from devices.virtio import Feature, VirtioDevice, allowed_features, offered_features

#: Most addresses in the receive filter (MAC_TABLE_ENTRIES).
MAC_TABLE_ENTRIES_MAX = 64

#: Bytes of the VLAN filter: one bit for each of 4096 identifiers.
VLAN_MAP_BYTES = 512

#: Most pairs of queues: all queues of a virtio device but the control queue.
QUEUE_PAIRS_MAX = 511

#: Rounds of announcement after a migration, unless set otherwise (`announce-rounds`).
ANNOUNCE_ROUNDS_DEFAULT = 5


class NetStatus(IntFlag):
    """Bits of the status register in the configuration space (virtio 1.2 §5.1.4)."""

    #: The link is up.
    LINK_UP = 1
    #: The driver is asked to announce itself on the network.
    ANNOUNCE = 2


class VirtioNet(VirtioDevice):
    """The guest-visible state of one virtio-net-pci, with or without legacy interface.

    `mac` is the address from its options, `failover` whether STANDBY is offered, `queue_pairs`
    (1 to 511) the pairs of queues, and `device_path` the PCI path that its section in a stream is
    named after, such as "0000:00:01.0:00.0". Raises ValueError for a MAC of other than six bytes
    and for queue pairs out of range.
    """

    #: Name in `devices.sections` of the device model, for all models of this kind.
    driver: ClassVar[str] = "virtio-net-pci"

    def __init__(
        self,
        mac: bytes,
        *,
        failover: bool = False,
        queue_pairs: int = 1,
        keep_features_on_reset: bool = False,
        announce_rounds_after_load: int = ANNOUNCE_ROUNDS_DEFAULT,
        device_path: str = "",
    ) -> None:
        if len(mac) != MAC_BYTES:
            raise ValueError(f"expected a MAC address of {MAC_BYTES} bytes, got {len(mac)}")
        if not 1 <= queue_pairs <= QUEUE_PAIRS_MAX:
            raise ValueError(f"expected 1 to {QUEUE_PAIRS_MAX} queue pairs, got {queue_pairs}")
        multiqueue = queue_pairs > 1
        super().__init__(
            allowed=allowed_features(failover, multiqueue),
            offered=offered_features(failover, multiqueue),
            queues=2 * queue_pairs + 1,
            keep_features_on_reset=keep_features_on_reset,
        )
        #: PCI path of the device, which names its section; "" if it has none.
        self.device_path = device_path
        #: Address from the options; a reset returns to it.
        self.permanent_mac = mac
        #: Announcement rounds this host asks of a guest that arrives.
        self.announce_rounds_after_load = announce_rounds_after_load
        #: Pairs of queues the device has.
        self.max_queue_pairs = queue_pairs
        #: Status register of the configuration space (`NetStatus` bits).
        self.net_status = int(NetStatus.LINK_UP)
        #: Frames sent by the guest through this device, in this process.
        self.transmitted_frames = 0
        #: Frames delivered to the guest through this device, in this process.
        self.received_frames = 0
        #: Whether the netdev prepends a virtio header; a user or stream netdev does not.
        self.has_vnet_header = False
        #: Whether the netdev can fragment UDP for the guest.
        self.has_ufo = False
        #: Per pair: whether packets wait in its transmit queue.
        self.transmit_waiting = [False] * queue_pairs
        #: Whether packets may span receive buffers.
        self.mergeable_receive_buffers = False
        #: Receive offloads the driver has turned on, as feature bits.
        self.guest_offloads = 0
        self._reset_filters()

    def _reset_filters(self) -> None:
        #: Address the guest uses.
        self.mac = self.permanent_mac
        #: Receive everything.
        self.promiscuous = True
        #: Receive every multicast frame.
        self.all_multicast = False
        #: Receive every unicast frame.
        self.all_unicast = False
        #: Receive no multicast frame.
        self.no_multicast = False
        #: Receive no unicast frame.
        self.no_unicast = False
        #: Receive no broadcast frame.
        self.no_broadcast = False
        #: Further addresses received: the unicast ones first, then the multicast ones.
        self.mac_table: list[bytes] = []
        #: Whether the guest gave more unicast addresses than the table has room for.
        self.unicast_overflow = False
        #: Whether the guest gave more multicast addresses than the table has room for.
        self.multicast_overflow = False
        #: VLAN filter, bit n % 8 of byte n // 8 for identifier n.
        self.vlans = bytes(VLAN_MAP_BYTES)
        #: Pairs of queues the driver uses.
        self.current_queue_pairs = 1
        #: Rounds of announcement still to be asked of the guest.
        self.announce_rounds = 0

    @property
    def link_up(self) -> bool:
        """Whether the guest sees the link up."""
        return bool(self.net_status & NetStatus.LINK_UP)

    def set_link(self, up: bool) -> bool:
        """Set the link as the guest sees it; True if that changed (virtio_net_set_link_status)."""
        changed = up != self.link_up
        self.net_status = (self.net_status & ~NetStatus.LINK_UP) | (NetStatus.LINK_UP if up else 0)
        return changed

    def config_space(self) -> bytes:
        """The configuration space the guest reads: MAC, status, and the pairs if there are several.

        Little-endian (virtio 1.2 §5.1.4); as long as the offered features make it.
        """
        config = self.mac + self.net_status.to_bytes(2, "little")
        if self.max_queue_pairs > 1:
            config += self.max_queue_pairs.to_bytes(2, "little")
        return config

    def set_features(self, features: int) -> None:
        """Take features and set up what depends on them (virtio_net_set_features)."""
        super().set_features(features)
        self.mergeable_receive_buffers = self.has_feature(Feature.MRG_RXBUF)
        # Without the command to choose VLANs, the driver relies on getting all of them.
        filtered = self.has_feature(Feature.CTRL_VLAN)
        self.vlans = (b"\0" if filtered else b"\xff") * VLAN_MAP_BYTES

    def reset(self) -> None:
        """Back to the state before any driver; link and options stay (virtio_net_reset)."""
        super().reset()
        self._reset_filters()
        self.net_status &= ~NetStatus.ANNOUNCE
        self.mergeable_receive_buffers = False
        self.guest_offloads = 0
        self.transmit_waiting = [False] * self.max_queue_pairs

    # --- receive filter ---

    def set_mac_table(self, unicast: list[bytes], multicast: list[bytes]) -> None:
        """The guest replaces its address table (VIRTIO_NET_CTRL_MAC_TABLE_SET).

        A list that does not fit is dropped whole and its overflow flag set, which makes the device
        receive everything of that kind. Raises ValueError for an address of other than six bytes.
        """
        for mac in (*unicast, *multicast):
            if len(mac) != MAC_BYTES:
                raise ValueError(f"expected a MAC address of {MAC_BYTES} bytes, got {len(mac)}")
        table: list[bytes] = []
        self.unicast_overflow = len(unicast) > MAC_TABLE_ENTRIES_MAX
        if not self.unicast_overflow:
            table += unicast
        self.multicast_overflow = len(table) + len(multicast) > MAC_TABLE_ENTRIES_MAX
        if not self.multicast_overflow:
            table += multicast
        self.mac_table = table

    def set_vlan(self, identifier: int, received: bool) -> None:
        """The guest adds or removes a VLAN (VIRTIO_NET_CTRL_VLAN); ValueError outside 0..4095."""
        if not 0 <= identifier < VLAN_MAP_BYTES * 8:
            raise ValueError(f"expected a VLAN from 0 to 4095, got {identifier}")
        vlans = bytearray(self.vlans)
        bit = 1 << identifier % 8
        vlans[identifier // 8] = vlans[identifier // 8] & ~bit | (bit if received else 0)
        self.vlans = bytes(vlans)

    def vlan_identifiers(self) -> list[int]:
        """The VLANs received, in ascending order."""
        return [n for n in range(VLAN_MAP_BYTES * 8) if self.vlans[n // 8] >> n % 8 & 1]

    def receives(self, destination: bytes) -> bool:
        """Whether the filter lets an untagged frame for `destination` in (receive_filter)."""
        if self.promiscuous:
            return True
        if destination == BROADCAST:
            return not self.no_broadcast
        if is_group(destination):
            if self.no_multicast:
                return False
            everything = self.all_multicast or self.multicast_overflow
        else:
            if self.no_unicast:
                return False
            everything = self.all_unicast or self.unicast_overflow or destination == self.mac
        return everything or destination in self.mac_table

    def rx_filter(self, name: str) -> dict[str, object]:
        """One element of what query-rx-filter returns, for the device called `name`.

        The shape is RxFilterInfo of qapi/net.json. `broadcast-allowed` says what the schema says;
        QEMU's virtio-net fills in the opposite.
        """
        vlans = self.vlan_identifiers()
        unfiltered = not self.has_feature(Feature.CTRL_VLAN)
        return {
            "name": name,
            "promiscuous": self.promiscuous,
            "multicast": _filter_mode(self.no_multicast, self.all_multicast),
            "unicast": _filter_mode(self.no_unicast, self.all_unicast),
            "vlan": _filter_mode(not unfiltered and not vlans, unfiltered),
            "broadcast-allowed": not self.no_broadcast,
            "multicast-overflow": self.multicast_overflow,
            "unicast-overflow": self.unicast_overflow,
            "main-mac": mac_text(self.mac),
            "vlan-table": list(vlans),
            "unicast-table": [mac_text(mac) for mac in self.mac_table if not is_group(mac)],
            "multicast-table": [mac_text(mac) for mac in self.mac_table if is_group(mac)],
        }

    # --- traffic and announcements ---

    def transmit(self, frames: int = 1) -> None:
        """The guest sends `frames` through the first transmit queue."""
        self.queues[1].advance(frames)
        self.transmitted_frames += frames

    def receive(self, frames: int = 1) -> None:
        """The guest is given `frames` through the first receive queue."""
        self.queues[0].advance(frames)
        self.received_frames += frames

    def announce(self) -> bool:
        """Ask the guest for one round of announcement, if any is left; True if it was asked.

        The guest is told by the ANNOUNCE bit (virtio_net_announce_timer).
        """
        if self.announce_rounds == 0:
            return False
        self.announce_rounds -= 1
        self.net_status |= NetStatus.ANNOUNCE
        return True

    def acknowledge_announce(self) -> bool:
        """The guest has announced itself (VIRTIO_NET_CTRL_ANNOUNCE_ACK); False if not asked to."""
        asked = bool(self.net_status & NetStatus.ANNOUNCE)
        self.net_status &= ~NetStatus.ANNOUNCE
        return asked


def _filter_mode(nothing: bool, everything: bool) -> str:
    if nothing:
        return "none"
    return "all" if everything else "normal"

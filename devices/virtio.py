"""What every virtio device is to its guest: status, features, queues.

What may live here: the constants of virtio 1.2 that a virtio-net on PCI needs, the offered and the
allowed feature sets, and `VirtioDevice` with the registers of the modern PCI transport. How those
are streamed is in `devices.virtio_vmstate`, what is particular to a network card in
`devices.virtio_net`.

Rules kept here:

* A device holds what the guest can see. Nothing here decides a transition of a lifecycle: callers
  write registers, look at the answer, and tell the state machines.
* Feature words are accepted one at a time, each write giving a new set, as modern virtio-pci does:
  the caller of `write_guest_features` learns at once whether STANDBY is acknowledged.
* PCI configuration space and MSI-X tables are not modelled, nor are the rings in guest memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


class DeviceStatus(IntFlag):
    """Bits of the status byte a driver writes (virtio 1.2 §2.1)."""

    #: The guest has found the device.
    ACKNOWLEDGE = 0x01
    #: The guest has a driver for it.
    DRIVER = 0x02
    #: The driver is set up and drives the device.
    DRIVER_OK = 0x04
    #: Feature negotiation is over; the device refuses further feature writes.
    FEATURES_OK = 0x08
    #: The device has met an error it cannot recover from without a reset.
    DEVICE_NEEDS_RESET = 0x40
    #: The driver has given up.
    FAILED = 0x80


class Feature(IntEnum):
    """Bit numbers of the features a virtio-net can negotiate (virtio 1.2 §5.1.3 and §6)."""

    #: The driver may turn receive offloads on and off at run time.
    CTRL_GUEST_OFFLOADS = 2
    #: The device has a MAC address in its configuration space.
    MAC = 5
    #: Legacy: any of the segmentation offloads.
    GSO = 6
    #: One packet may span several receive buffers.
    MRG_RXBUF = 15
    #: The configuration space has a status field, with the link state in it.
    STATUS = 16
    #: There is a control queue.
    CTRL_VQ = 17
    #: Promiscuous and all-multicast mode can be set.
    CTRL_RX = 18
    #: VLAN filtering can be set.
    CTRL_VLAN = 19
    #: All-unicast, no-multicast, no-unicast and no-broadcast can be set.
    CTRL_RX_EXTRA = 20
    #: The device can ask the driver to announce itself on the network after a migration.
    GUEST_ANNOUNCE = 21
    #: Several pairs of queues.
    MQ = 22
    #: The driver can set the MAC address through the control queue.
    CTRL_MAC_ADDR = 23
    #: Legacy: interrupt when the available ring runs empty.
    NOTIFY_ON_EMPTY = 24
    #: Legacy: no fixed layout of descriptors.
    ANY_LAYOUT = 27
    #: Descriptors may refer to a table of descriptors.
    RING_INDIRECT_DESC = 28
    #: Interrupts and kicks are asked for by index.
    RING_EVENT_IDX = 29
    #: Legacy: offered to find drivers that acknowledge whatever they see.
    BAD_FEATURE = 30
    #: The driver speaks virtio 1.0 or later.
    VERSION_1 = 32
    #: Single queues can be reset.
    RING_RESET = 40
    #: The device stands by for a primary with its MAC address: failover can be used.
    STANDBY = 62


#: Features only a legacy driver is shown; accepted at load, but not offered to a modern driver.
LEGACY_FEATURES = (Feature.GSO, Feature.NOTIFY_ON_EMPTY, Feature.ANY_LAYOUT, Feature.BAD_FEATURE)

#: Everything else that a virtio-net without offloads has on a user-mode or stream netdev.
MODERN_FEATURES = (
    Feature.CTRL_GUEST_OFFLOADS,
    Feature.MAC,
    Feature.MRG_RXBUF,
    Feature.STATUS,
    Feature.CTRL_VQ,
    Feature.CTRL_RX,
    Feature.CTRL_VLAN,
    Feature.CTRL_RX_EXTRA,
    Feature.GUEST_ANNOUNCE,
    Feature.CTRL_MAC_ADDR,
    Feature.RING_INDIRECT_DESC,
    Feature.RING_EVENT_IDX,
    Feature.VERSION_1,
    Feature.RING_RESET,
)

#: The low 32 bits of a feature set: what a section without 64-bit features carries.
LOW_WORD_MASK = 0xFFFF_FFFF

#: MSI-X vector of a queue that has none (VIRTIO_NO_VECTOR).
NO_VECTOR = 0xFFFF

#: Entries of a queue unless the driver chooses fewer.
QUEUE_SIZE_DEFAULT = 256

#: Most queues of a virtio device (VIRTIO_QUEUE_MAX).
QUEUES_MAX = 1024


def feature_mask(*features: Feature) -> int:
    """The feature set that holds exactly these bits."""
    return sum(1 << feature for feature in set(features))


def allowed_features(failover: bool, multiqueue: bool = False) -> int:
    """The device's whole feature set: what a section may have acknowledged.

    It holds the legacy features too, unlike `offered_features`. Without failover it is the
    0x10179bf8064 of QEMU 7.2's refusal text. Rule: hw/virtio/virtio.c host_features.
    """
    features = feature_mask(*MODERN_FEATURES, *LEGACY_FEATURES)
    if multiqueue:
        features |= feature_mask(Feature.MQ)
    if failover:
        features |= feature_mask(Feature.STANDBY)
    return features


def offered_features(failover: bool, multiqueue: bool = False) -> int:
    """The feature set a modern driver reads from the device.

    With failover it is the 0x4000010130bf8024 that QEMU 7.2 offers on a user netdev.
    Rule: hw/virtio/virtio-pci.c virtio_pci_common_read hides the legacy features.
    """
    return allowed_features(failover, multiqueue) & ~feature_mask(*LEGACY_FEATURES)


@dataclass
class VirtQueue:
    """The registers of one queue; its rings are in guest memory."""

    #: Entries, as chosen by the driver.
    size: int = QUEUE_SIZE_DEFAULT
    #: Guest-physical address of the descriptor table.
    desc: int = 0
    #: Guest-physical address of the available ring.
    avail: int = 0
    #: Guest-physical address of the used ring.
    used: int = 0
    #: Next entry of the available ring that the device takes, modulo 2**16.
    last_avail_index: int = 0
    #: MSI-X vector, or `NO_VECTOR`.
    vector: int = NO_VECTOR
    #: Whether the driver has enabled the queue.
    enabled: bool = False

    def advance(self, count: int) -> None:
        """Take `count` entries from the available ring."""
        self.last_avail_index = (self.last_avail_index + count) % 2**16

    def reset(self) -> None:
        """Back to what it is before a driver touches it (virtio_queue_reset)."""
        self.size = QUEUE_SIZE_DEFAULT
        self.desc = self.avail = self.used = 0
        self.last_avail_index = 0
        self.vector = NO_VECTOR
        self.enabled = False


class VirtioDevice:
    """The guest-visible registers of a virtio device on a modern PCI transport."""

    def __init__(
        self, *, allowed: int, offered: int, queues: int, keep_features_on_reset: bool
    ) -> None:
        #: Feature set the device supports; from its options, not streamed.
        self.allowed_features = allowed
        #: Feature set shown to a modern driver; from its options, not streamed.
        self.offered_features = offered
        #: Whether the feature words a driver wrote outlive a reset of the device, as in QEMU 7.2:
        #: a later write of one word then acknowledges the other word's old bits again.
        self.keep_features_on_reset = keep_features_on_reset
        #: Status byte (`DeviceStatus` bits), as last decided for the guest.
        self.status = 0
        #: Interrupt status byte: bit 0 a queue, bit 1 the configuration.
        self.isr = 0
        #: Queue that the queue registers refer to.
        self.queue_select = 0
        #: Word of the offered features that the driver reads.
        self.device_feature_select = 0
        #: Word of its features that the driver writes.
        self.guest_feature_select = 0
        #: The two 32-bit words as the driver last wrote them, low first.
        self.guest_feature_words = [0, 0]
        #: Features acknowledged by the driver.
        self.guest_features = 0
        #: Configuration space, as the guest reads it.
        self.config = b""
        #: The queues, in the device's order.
        self.queues = [VirtQueue() for _ in range(queues)]
        #: Whether the device serves its queues.
        self.started = False
        #: Whether the device stopped serving because of an error by the driver.
        self.broken = False
        #: Whether the device was disabled by the host.
        self.disabled = False

    @property
    def guest_features_low(self) -> int:
        """The low word of the acknowledged features; setting it clears the high word."""
        return self.guest_features & LOW_WORD_MASK

    @guest_features_low.setter
    def guest_features_low(self, value: int) -> None:
        self.guest_features = value

    def has_feature(self, feature: Feature) -> bool:
        """Whether the driver has acknowledged `feature`."""
        return bool(self.guest_features >> feature & 1)

    @property
    def standby_acknowledged(self) -> bool:
        """Whether the guest has negotiated VIRTIO_NET_F_STANDBY."""
        return self.has_feature(Feature.STANDBY)

    def write_guest_features(self, word_index: int, value: int) -> bool:
        """The driver writes one 32-bit word of its features; True if STANDBY is now acknowledged.

        Every accepted write sets the features anew from both words, bits the device does not
        support being dropped; so a negotiation that has STANDBY in it may answer True twice. After
        FEATURES_OK the word is remembered but the features stay, and the answer is False, as it is
        for a word that does not exist. `value` outside 32 bits is a ValueError.
        Rule: hw/virtio/virtio-pci.c virtio_pci_common_write, virtio.c virtio_set_features.
        """
        if not 0 <= value <= LOW_WORD_MASK:
            raise ValueError(
                f"expected a 32-bit feature word, got {value}; write one word at a time"
            )
        if word_index not in (0, 1):
            return False
        self.guest_feature_words[word_index] = value
        if self.status & DeviceStatus.FEATURES_OK:
            return False
        low, high = self.guest_feature_words
        self.set_features((high << 32 | low) & self.allowed_features)
        return self.standby_acknowledged

    def set_features(self, features: int) -> None:
        """Take `features` as acknowledged; a device that derives state from them extends this."""
        self.guest_features = features

    def reset(self) -> None:
        """Back to the state before any driver, as by writing status 0 (virtio_pci_reset)."""
        self.status = self.isr = self.queue_select = 0
        self.device_feature_select = self.guest_feature_select = 0
        self.guest_features = 0
        if not self.keep_features_on_reset:
            self.guest_feature_words = [0, 0]
        for queue in self.queues:
            queue.reset()
        self.started = self.broken = self.disabled = False

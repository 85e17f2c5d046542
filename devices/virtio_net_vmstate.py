"""How a virtio-net is streamed: the section "virtio-net" and the device part in it.

What may live here: the descriptions "virtio-net" and "virtio-net-device" with the
fields of hw/net/virtio-net.c, version 11, and what a target derives or refuses when it loads them.

The section grows by subsections only. "virtio-net-device/announce" shows how: the rounds of
announcement that a guest was still owed were not streamed at first. They came as a subsection that
is written only while some are left, so that

* a stream from before it loads here, and the device keeps the rounds it has;
* a stream from here loads on code from before it, whenever none are left;
* and when some are left, such code refuses the subsection by name instead of losing them.

Not streamed: whether the primary is hidden, its options, and the time of the next announcement.
"""

from __future__ import annotations

from devices import vmstate_texts as texts
from devices.frames import MAC_BYTES, is_group
from devices.virtio import Feature
from devices.virtio_net import (
    MAC_TABLE_ENTRIES_MAX,
    QUEUE_PAIRS_MAX,
    VLAN_MAP_BYTES,
    VirtioNet,
)
from devices.virtio_vmstate import virtio_vmstate
from devices.vmstate import Values, VmStateDescription, VmStateField
from devices.vmstate_kinds import (
    BOOL,
    CORRUPT_ADVICE,
    U16,
    U64,
    ListOf,
    Part,
    Place,
    Quoted,
    fixed_bytes,
)

#: Version of the section since QEMU 0.11, and the oldest that is read (VIRTIO_NET_VM_VERSION).
VIRTIO_NET_VERSION = 11


def _has_several_pairs(earlier: Values) -> bool:
    """Whether the device has more queues than one pair and the control queue."""
    return len(earlier["queues"]) > 3


def _controls_offloads(earlier: Values) -> bool:
    low: int = earlier["guest_features_low"]
    return bool(low >> Feature.CTRL_GUEST_OFFLOADS & 1)


def _owes_announcements(device: VirtioNet) -> bool:
    return device.announce_rounds > 0


def _check(device: VirtioNet, values: Values, place: Place) -> None:
    """Refuse what the target's netdev and queues cannot carry on (virtio_net_post_load_device)."""
    if values["has_vnet_header"] and not device.has_vnet_header:
        raise place.at("has_vnet_header").error(
            "no header, as on this netdev",
            values["has_vnet_header"],
            "give the target a netdev like the source's",
            text=texts.VNET_HEADER_REQUIRED,
        )
    if values["has_ufo"] and not device.has_ufo:
        raise place.at("has_ufo").error(
            "no UDP fragmentation, as on this netdev",
            values["has_ufo"],
            "give the target a netdev like the source's",
            text=texts.UFO_REQUIRED,
        )
    most: int = values.get("max_queue_pairs", 1)
    if most != device.max_queue_pairs:
        raise place.at("max_queue_pairs").error(
            f"{device.max_queue_pairs}", most, "give the target as many queues as the source"
        )
    current: int = values.get("current_queue_pairs", 1)
    if not 1 <= current <= most:
        too_many = texts.QUEUE_PAIRS_EXCEEDED % (current, most) if current > most else None
        raise place.at("current_queue_pairs").error(
            f"1 to {most}", current, CORRUPT_ADVICE, text=too_many
        )
    if len(values["transmit_waiting"]) != most:
        raise place.at("transmit_waiting").error(
            f"one value for each of {most} pairs", values["transmit_waiting"], CORRUPT_ADVICE
        )
    _check_table_order(values, place)


def _check_table_order(values: Values, place: Place) -> None:
    groups = [is_group(mac) for mac in values["mac_table"]]
    if groups != sorted(groups):
        raise place.at("mac_table").error(
            "the unicast addresses before the multicast ones",
            Quoted("a unicast address after a multicast one"),
            CORRUPT_ADVICE,
        )


def _refresh_config(device: VirtioNet) -> None:
    device.config = device.config_space()


def _arrive(device: VirtioNet) -> None:
    """Owe the guest this host's announcements: its address has moved to another switch port.

    Rounds that the guest was still owed where it came from count if they are more.
    """
    if device.has_feature(Feature.GUEST_ANNOUNCE) and device.has_feature(Feature.CTRL_VQ):
        device.announce_rounds = max(device.announce_rounds, device.announce_rounds_after_load)
    _refresh_config(device)


#: Remaining rounds of announcement, added to the section after its first release.
ANNOUNCE = VmStateDescription[VirtioNet](
    name="virtio-net-device/announce",
    version=1,
    minimum_version=1,
    fields=(VmStateField("announce_rounds", U16),),
    needed=_owes_announcements,
)

#: The network card's own share, nested in the "virtio" part.
VIRTIO_NET_DEVICE = VmStateDescription[VirtioNet](
    name="virtio-net-device",
    version=VIRTIO_NET_VERSION,
    minimum_version=VIRTIO_NET_VERSION,
    fields=(
        VmStateField("mac", fixed_bytes(MAC_BYTES)),
        VmStateField("transmit_waiting", ListOf(BOOL, count_max=QUEUE_PAIRS_MAX, count_min=1)),
        VmStateField("mergeable_receive_buffers", BOOL),
        VmStateField("net_status", U16),
        VmStateField("promiscuous", BOOL),
        VmStateField("all_multicast", BOOL),
        VmStateField("mac_table", ListOf(fixed_bytes(MAC_BYTES), MAC_TABLE_ENTRIES_MAX)),
        VmStateField("vlans", fixed_bytes(VLAN_MAP_BYTES)),
        VmStateField("has_vnet_header", BOOL),
        VmStateField("multicast_overflow", BOOL),
        VmStateField("unicast_overflow", BOOL),
        VmStateField("all_unicast", BOOL),
        VmStateField("no_multicast", BOOL),
        VmStateField("no_unicast", BOOL),
        VmStateField("no_broadcast", BOOL),
        VmStateField("has_ufo", BOOL),
        VmStateField("max_queue_pairs", U16, exists=_has_several_pairs),
        VmStateField("current_queue_pairs", U16, exists=_has_several_pairs),
        VmStateField("guest_offloads", U64, exists=_controls_offloads),
    ),
    subsections=(ANNOUNCE,),
    check=_check,
)


def virtio_net_vmstate(device: VmStateDescription[VirtioNet]) -> VmStateDescription[VirtioNet]:
    """The whole section of a virtio-net whose own share is laid out by `device`."""
    return VmStateDescription[VirtioNet](
        name="virtio-net",
        version=VIRTIO_NET_VERSION,
        minimum_version=VIRTIO_NET_VERSION,
        fields=(VmStateField("virtio", Part(virtio_vmstate(device))),),
        pre_save=_refresh_config,
        post_load=_arrive,
    )


#: The section as this code writes it.
VIRTIO_NET = virtio_net_vmstate(VIRTIO_NET_DEVICE)

"""The standby as its guest sees it: features, registers, filter, link, reset."""

from __future__ import annotations

from typing import Any

import pytest

from devices.virtio import (
    DeviceStatus,
    Feature,
    allowed_features,
    feature_mask,
    offered_features,
)
from devices.virtio_net import NetStatus, VirtioNet

MAC = bytes.fromhex("5254006f55cc")
OTHER = bytes.fromhex("525400000001")
GROUP = bytes.fromhex("333300000001")

#: What the Linux guest of the recorded migrations acknowledged.
LINUX_FEATURES = 0x4000_0101_30AF_8024
LOW, HIGH = LINUX_FEATURES & 0xFFFF_FFFF, LINUX_FEATURES >> 32


def standby(**options: Any) -> VirtioNet:
    return VirtioNet(MAC, failover=True, **options)


def negotiated(**options: Any) -> VirtioNet:
    device = standby(**options)
    device.write_guest_features(0, LOW)
    device.write_guest_features(1, HIGH)
    device.status = DeviceStatus.FEATURES_OK | DeviceStatus.DRIVER | DeviceStatus.ACKNOWLEDGE
    return device


# --- features ---


def test_the_feature_sets_are_those_observed_on_qemu() -> None:
    assert offered_features(failover=True) == 0x4000010130BF8024
    assert allowed_features(failover=False) == 0x10179BF8064
    assert offered_features(failover=False) == 0x4000010130BF8024 & ~(1 << 62)
    assert offered_features(True, multiqueue=True) == 0x4000010130BF8024 | 1 << 22


def test_standby_is_acknowledged_by_the_write_that_completes_it() -> None:
    device = standby()
    assert device.write_guest_features(0, LOW) is False
    assert device.write_guest_features(1, HIGH) is True
    assert device.guest_features == LINUX_FEATURES
    assert device.standby_acknowledged


def test_high_word_first_acknowledges_standby_at_both_writes() -> None:
    device = standby()
    assert device.write_guest_features(1, HIGH) is True
    assert device.write_guest_features(0, LOW) is True


def test_features_the_device_lacks_are_dropped_silently() -> None:
    device = VirtioNet(MAC, failover=False)
    device.write_guest_features(0, LOW)
    assert device.write_guest_features(1, HIGH) is False
    assert device.guest_features == LINUX_FEATURES & ~feature_mask(Feature.STANDBY)


def test_writes_after_features_ok_are_ignored() -> None:
    device = negotiated()
    assert device.write_guest_features(1, 0) is False
    assert device.write_guest_features(1, HIGH) is False
    assert device.guest_features == LINUX_FEATURES


def test_a_word_that_does_not_exist_is_ignored_and_one_too_wide_is_an_error() -> None:
    device = standby()
    assert device.write_guest_features(2, HIGH) is False
    assert device.guest_features == 0
    with pytest.raises(ValueError, match="32-bit"):
        device.write_guest_features(0, 1 << 32)


@pytest.mark.parametrize("keep", [True, False])
def test_the_high_word_survives_a_reset_only_where_asked_for(keep: bool) -> None:
    device = negotiated(keep_features_on_reset=keep)
    device.reset()
    assert device.guest_features == 0
    # The driver starts again with the low word: a remembered high word is acknowledged with it.
    assert device.write_guest_features(0, LOW) is keep


def test_vlans_are_all_received_until_the_driver_can_choose() -> None:
    device = standby()
    device.write_guest_features(0, 0)
    assert device.vlan_identifiers() == list(range(4096))
    device.write_guest_features(0, feature_mask(Feature.CTRL_VLAN))
    assert device.vlan_identifiers() == []


# --- registers ---


def test_the_configuration_space_has_mac_status_and_pairs() -> None:
    assert standby().config_space() == MAC + b"\x01\x00"
    assert VirtioNet(MAC, queue_pairs=3).config_space() == MAC + b"\x01\x00\x03\x00"


@pytest.mark.parametrize(("mac", "pairs"), [(b"12345", 1), (MAC, 0), (MAC, 512)])
def test_an_impossible_card_cannot_be_made(mac: bytes, pairs: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        VirtioNet(mac, queue_pairs=pairs)


def test_the_link_is_a_bit_of_the_status_register() -> None:
    device = standby()
    assert device.set_link(False) is True
    assert device.set_link(False) is False
    assert (device.link_up, device.config_space()[6]) == (False, 0)
    assert device.set_link(True) is True
    assert device.link_up


def test_reset_clears_what_a_driver_set_and_keeps_the_link() -> None:
    device = negotiated()
    device.set_link(False)
    device.mac = OTHER
    device.promiscuous = False
    device.set_mac_table([OTHER], [GROUP])
    device.set_vlan(7, True)
    device.announce_rounds = 2
    device.announce()
    device.transmit(5)
    device.started = device.broken = True
    device.reset()
    untouched = standby()
    untouched.set_link(False)
    untouched.transmitted_frames = 5
    assert vars(device) == vars(untouched)


def test_queue_indices_wrap_and_count_with_the_frames() -> None:
    device = standby()
    device.transmit(65_535)
    device.transmit(2)
    device.receive()
    assert [queue.last_avail_index for queue in device.queues] == [1, 1, 0]
    assert (device.transmitted_frames, device.received_frames) == (65_537, 1)


def test_announcements_are_asked_for_round_by_round() -> None:
    device = standby()
    assert device.announce() is False
    device.announce_rounds = 1
    assert device.announce() is True
    assert device.net_status == NetStatus.LINK_UP | NetStatus.ANNOUNCE
    assert device.acknowledge_announce() is True
    assert device.acknowledge_announce() is False
    assert device.announce() is False


# --- receive filter ---


def test_the_filter_lets_in_what_it_says() -> None:
    device = standby()
    assert device.receives(OTHER)
    device.promiscuous = False
    broadcast = b"\xff" * 6
    assert [device.receives(m) for m in (MAC, OTHER, GROUP, broadcast)] == [
        True,
        False,
        False,
        True,
    ]
    device.set_mac_table([OTHER], [GROUP])
    assert device.receives(OTHER)
    assert device.receives(GROUP)
    device.no_broadcast = device.no_unicast = device.no_multicast = True
    assert not any(device.receives(m) for m in (MAC, OTHER, GROUP, broadcast))


def test_a_list_that_does_not_fit_is_dropped_and_everything_of_its_kind_received() -> None:
    device = standby()
    device.promiscuous = False
    addresses = [bytes([2, 0, 0, 0, 0, n]) for n in range(65)]
    device.set_mac_table(addresses, [GROUP])
    assert (device.mac_table, device.unicast_overflow, device.multicast_overflow) == (
        [GROUP],
        True,
        False,
    )
    assert device.receives(OTHER)
    device.set_mac_table(addresses[:64], [GROUP])
    assert (len(device.mac_table), device.multicast_overflow) == (64, True)
    assert device.receives(bytes.fromhex("333300000002"))
    with pytest.raises(ValueError, match="6 bytes"):
        device.set_mac_table([b"short"], [])


def test_query_rx_filter_has_the_shape_of_qmp() -> None:
    device = negotiated()
    device.promiscuous = False
    device.all_multicast = device.no_unicast = True
    device.set_mac_table([OTHER], [GROUP])
    device.set_vlan(5, True)
    device.set_vlan(4095, True)
    device.set_vlan(5, False)
    assert device.rx_filter("net1") == {
        "name": "net1",
        "promiscuous": False,
        "multicast": "all",
        "unicast": "none",
        "vlan": "normal",
        "broadcast-allowed": True,
        "multicast-overflow": False,
        "unicast-overflow": False,
        "main-mac": "52:54:00:6f:55:cc",
        "vlan-table": [4095],
        "unicast-table": ["52:54:00:00:00:01"],
        "multicast-table": ["33:33:00:00:00:01"],
    }
    with pytest.raises(ValueError, match="4095"):
        device.set_vlan(4096, True)


def test_the_vlan_mode_follows_the_feature_and_the_table() -> None:
    assert standby().rx_filter("net1")["vlan"] == "all"
    assert negotiated().rx_filter("net1")["vlan"] == "none"

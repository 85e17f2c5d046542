"""The standby's way through a stream, and how its section grew without breaking older versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from devices.virtio import Feature, feature_mask
from devices.virtio_net import VirtioNet
from devices.virtio_net_vmstate import VIRTIO_NET, VIRTIO_NET_DEVICE, virtio_net_vmstate
from devices.vmstate import VmStateError, load, save

MAC = bytes.fromhex("5254006f55cc")
OTHER = bytes.fromhex("525400000001")
GROUP = bytes.fromhex("333300000001")

#: What the Linux guest of the recorded migrations acknowledged.
LINUX_FEATURES = 0x4000_0101_30AF_8024

#: The section as it was before it had the announce subsection.
BEFORE_ANNOUNCE = virtio_net_vmstate(replace(VIRTIO_NET_DEVICE, subsections=()))


def standby(**options: Any) -> VirtioNet:
    return VirtioNet(MAC, failover=True, **options)


def negotiated(**options: Any) -> VirtioNet:
    device = standby(**options)
    device.write_guest_features(0, LINUX_FEATURES & 0xFFFF_FFFF)
    device.write_guest_features(1, LINUX_FEATURES >> 32)
    return device


def test_standby_travels_in_the_64_bit_subsection() -> None:
    section = save(VIRTIO_NET, negotiated())
    virtio = section["fields"]["virtio"]
    assert (section["name"], section["version"]) == ("virtio-net", 11)
    assert virtio["fields"]["guest_features_low"] == 0x30AF8024
    names = [subsection["name"] for subsection in virtio["subsections"]]
    assert names == ["virtio/64bit_features", "virtio/virtqueues", "virtio/extra_state"]
    target = standby()
    load(VIRTIO_NET, target, section)
    assert target.guest_features == LINUX_FEATURES
    assert target.standby_acknowledged


def test_a_legacy_guest_needs_no_64_bit_subsection() -> None:
    source = VirtioNet(MAC)
    source.write_guest_features(0, feature_mask(Feature.MAC, Feature.GSO))
    section = save(VIRTIO_NET, source)
    names = [s["name"] for s in section["fields"]["virtio"]["subsections"]]
    assert names == ["virtio/extra_state"]
    target = VirtioNet(MAC)
    target.guest_features = LINUX_FEATURES
    load(VIRTIO_NET, target, section)
    assert target.guest_features == feature_mask(Feature.MAC, Feature.GSO)


def test_flags_of_the_device_are_subsections_of_their_own() -> None:
    source = standby()
    source.started = source.broken = source.disabled = True
    section = save(VIRTIO_NET, source)
    names = {s["name"] for s in section["fields"]["virtio"]["subsections"]}
    assert names >= {"virtio/started", "virtio/broken", "virtio/disabled"}
    target = standby()
    load(VIRTIO_NET, target, section)
    assert (target.started, target.broken, target.disabled) == (True, True, True)


def test_a_target_without_failover_refuses_in_the_words_of_qemu() -> None:
    target = VirtioNet(MAC, failover=False)
    with pytest.raises(VmStateError) as caught:
        load(VIRTIO_NET, target, save(VIRTIO_NET, negotiated()))
    assert caught.value.lines() == [
        "Features 0x4000010130af8024 unsupported. Allowed features: 0x10179bf8064",
        "Failed to load virtio-net:virtio",
    ]
    assert "failover=on" in caught.value.advice
    assert vars(target) == vars(VirtioNet(MAC, failover=False))


def test_queue_state_arrives_in_the_queues_the_target_has() -> None:
    source = negotiated()
    queue = source.queues[1]
    queue.size, queue.desc, queue.avail, queue.used = 64, 2**63, 0x1000, 0x2000
    queue.vector, queue.enabled = 2, True
    source.transmit(9)
    target = standby()
    kept = target.queues[1]
    load(VIRTIO_NET, target, save(VIRTIO_NET, source))
    assert target.queues == source.queues
    assert target.queues[1] is kept


def test_another_number_of_queues_is_refused() -> None:
    with pytest.raises(VmStateError, match="3 elements, got 5"):
        load(VIRTIO_NET, VirtioNet(MAC), save(VIRTIO_NET, VirtioNet(MAC, queue_pairs=2)))


def test_pairs_are_streamed_only_where_there_are_several() -> None:
    source = VirtioNet(MAC, queue_pairs=2)
    source.current_queue_pairs = 2
    section = save(VIRTIO_NET, source)
    fields = section["fields"]["virtio"]["fields"]["device"]["fields"]
    assert (fields["max_queue_pairs"], fields["current_queue_pairs"]) == (2, 2)
    target = VirtioNet(MAC, queue_pairs=2)
    load(VIRTIO_NET, target, section)
    assert target.current_queue_pairs == 2
    single = save(VIRTIO_NET, VirtioNet(MAC))["fields"]["virtio"]["fields"]["device"]["fields"]
    assert "max_queue_pairs" not in single


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("current_queue_pairs", 18, "virtio-net: curr_queue_pairs 12 > max_queue_pairs 2"),
        ("current_queue_pairs", 0, "expected 1 to 2, got 0"),
        ("max_queue_pairs", 3, "expected 2, got 3"),
        ("transmit_waiting", [False], "one value for each of 2 pairs"),
        ("has_vnet_header", True, "virtio-net: saved image requires vnet_hdr=on"),
        ("has_ufo", True, "virtio-net: saved image requires TUN_F_UFO support"),
        ("mac_table", [GROUP, OTHER], "unicast addresses before"),
        ("mac_table", [OTHER] * 65, "0 to 64 elements"),
    ],
)
def test_what_the_target_cannot_carry_on_is_refused(name: str, value: object, line: str) -> None:
    section = save(VIRTIO_NET, VirtioNet(MAC, queue_pairs=2))
    section["fields"]["virtio"]["fields"]["device"]["fields"][name] = value
    with pytest.raises(VmStateError) as caught:
        load(VIRTIO_NET, VirtioNet(MAC, queue_pairs=2), section)
    assert line in caught.value.lines()[0]
    assert caught.value.field == f"virtio.device.{name}"


def test_the_two_forms_of_the_features_must_agree() -> None:
    section = save(VIRTIO_NET, negotiated())
    section["fields"]["virtio"]["fields"]["guest_features_low"] = 0x30AF8020
    # Without CTRL_GUEST_OFFLOADS in the low word the offloads have no place either.
    del section["fields"]["virtio"]["fields"]["device"]["fields"]["guest_offloads"]
    with pytest.raises(VmStateError, match="0x30af8020 in the low word"):
        load(VIRTIO_NET, standby(), section)


def test_a_queue_selector_beyond_any_queue_is_refused() -> None:
    section = save(VIRTIO_NET, standby())
    section["fields"]["virtio"]["fields"]["queue_select"] = 1024
    with pytest.raises(VmStateError, match="below 1024"):
        load(VIRTIO_NET, standby(), section)


def test_the_configuration_space_is_that_of_the_loaded_registers() -> None:
    source = negotiated()
    source.mac = OTHER
    source.set_link(False)
    target = standby()
    load(VIRTIO_NET, target, save(VIRTIO_NET, source))
    assert target.config == OTHER + b"\x00\x00"
    assert not target.link_up
    assert target.permanent_mac == MAC


# --- how the section grew: the announce subsection ---


def test_a_guest_that_arrives_is_owed_the_announcements_of_its_new_host() -> None:
    target = standby(announce_rounds_after_load=5)
    load(VIRTIO_NET, target, save(VIRTIO_NET, negotiated()))
    assert target.announce_rounds == 5


def test_a_guest_that_cannot_announce_is_owed_none() -> None:
    target = standby(announce_rounds_after_load=5)
    load(VIRTIO_NET, target, save(VIRTIO_NET, standby()))
    assert target.announce_rounds == 0


def test_rounds_still_owed_at_the_source_travel_along() -> None:
    source = negotiated()
    source.announce_rounds = 9
    target = standby(announce_rounds_after_load=5)
    load(VIRTIO_NET, target, save(VIRTIO_NET, source))
    assert target.announce_rounds == 9


def test_an_old_stream_leaves_new_code_its_default() -> None:
    source = negotiated()
    source.announce_rounds = 9
    target = standby(announce_rounds_after_load=0)
    target.announce_rounds = 2
    load(VIRTIO_NET, target, save(BEFORE_ANNOUNCE, source))
    assert target.announce_rounds == 2


def test_a_new_stream_loads_in_old_code_when_nothing_is_owed() -> None:
    target = standby(announce_rounds_after_load=0)
    load(BEFORE_ANNOUNCE, target, save(VIRTIO_NET, negotiated()))
    assert target.guest_features == LINUX_FEATURES


def test_a_new_stream_with_rounds_owed_is_refused_by_old_code_by_name() -> None:
    source = negotiated()
    source.announce_rounds = 1
    target = standby()
    with pytest.raises(VmStateError, match="'virtio-net-device/announce'"):
        load(BEFORE_ANNOUNCE, target, save(VIRTIO_NET, source))
    assert vars(target) == vars(standby())

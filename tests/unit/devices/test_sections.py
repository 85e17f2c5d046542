"""All devices of a VM in one stream: found by name and number, all loaded or none."""

from __future__ import annotations

from typing import Any

import pytest

from devices.e1000e import E1000e
from devices.pcie_port import PcieRootPort
from devices.sections import (
    SECTION_DESCRIPTIONS,
    Streamed,
    load_devices,
    save_devices,
    section_name,
)
from devices.vfio_pci import VfioPci
from devices.virtio_net import VirtioNet
from devices.vmstate import VmStateError

MAC = bytes.fromhex("5254006f55cc")
OTHER = bytes.fromhex("525400000001")


def board(failover: bool = True) -> list[tuple[int, Streamed]]:
    return [
        (0, PcieRootPort(device_path="0000:00:02.0")),
        (0, VirtioNet(MAC, failover=failover, device_path="0000:00:01.0:00.0")),
        (0, E1000e(OTHER, device_path="0000:00:04.0")),
    ]


def busy_board() -> list[tuple[int, Streamed]]:
    devices = board()
    port, standby, card = (device for _, device in devices)
    assert isinstance(port, PcieRootPort)
    assert isinstance(standby, VirtioNet)
    assert isinstance(card, E1000e)
    port.show(present=True, event=False)
    standby.write_guest_features(0, 0x30AF8024)
    standby.write_guest_features(1, 0x40000101)
    card.set_link(False)
    return devices


def states(devices: list[tuple[int, Streamed]]) -> list[dict[str, Any]]:
    return [dict(vars(device)) for _, device in devices]


def test_every_model_has_the_section_of_qemu() -> None:
    names = {driver: description.name for driver, description in SECTION_DESCRIPTIONS.items()}
    assert names == {
        "e1000e": "e1000e",
        "pcie-root-port": "pcie-root-port",
        "virtio-net-pci": "virtio-net",
    }


def test_a_section_is_named_after_the_path_of_its_device() -> None:
    assert section_name(VirtioNet(MAC, device_path="0000:00:01.0:00.0")) == (
        "0000:00:01.0:00.0/virtio-net"
    )
    assert section_name(E1000e(MAC)) == "e1000e"


def test_all_devices_travel_whatever_their_order() -> None:
    target = board()
    target.reverse()
    load_devices(target, save_devices(busy_board()))
    target.reverse()
    expected = busy_board()
    # What is derived on arrival: the configuration space, and announcements on the new host.
    standby = expected[1][1]
    assert isinstance(standby, VirtioNet)
    standby.config = standby.config_space()
    standby.announce_rounds = 5
    assert states(target) == states(expected)


def test_instances_of_one_name_are_told_apart_by_number() -> None:
    sections = save_devices([(0, E1000e(MAC)), (1, E1000e(OTHER))])
    first, second = E1000e(bytes(6)), E1000e(bytes(6))
    load_devices([(1, second), (0, first)], sections)
    assert (first.permanent_mac, second.permanent_mac) == (MAC, OTHER)


def test_a_primary_leaves_no_section_and_waits_for_none() -> None:
    primary = VfioPci("0000:5e:00.2", MAC, failover_pair_id="net1")
    sections = save_devices([*busy_board(), (0, primary)])
    assert len(sections) == 3
    load_devices([*board(), (0, primary)], sections)


def test_a_passed_through_card_that_stays_cannot_be_saved() -> None:
    with pytest.raises(VmStateError) as caught:
        save_devices([(0, VfioPci("0000:5e:00.2", MAC))])
    assert caught.value.lines() == ["VFIO device doesn't support migration"]


def test_an_unknown_section_is_refused_in_the_words_of_qemu() -> None:
    target = board()[:2]
    before = states(target)
    with pytest.raises(VmStateError) as caught:
        load_devices(target, save_devices(busy_board()))
    assert caught.value.lines() == [
        "Unknown savevm section or instance '0000:00:04.0/e1000e' 0. Make sure that your current "
        "VM setup matches your saved VM setup, including any hotplugged devices"
    ]
    assert states(target) == before


def test_another_instance_number_is_unknown_too() -> None:
    with pytest.raises(VmStateError, match="Unknown savevm section or instance 'e1000e' 1"):
        load_devices([(0, E1000e(MAC))], save_devices([(1, E1000e(MAC))]))


def test_a_section_that_comes_twice_is_unknown_the_second_time() -> None:
    sections = save_devices([(0, E1000e(MAC))])
    with pytest.raises(VmStateError, match="Unknown savevm section or instance 'e1000e' 0"):
        load_devices([(0, E1000e(MAC))], sections * 2)


def test_a_device_no_section_came_for_is_named() -> None:
    target = board()
    before = states(target)
    with pytest.raises(VmStateError, match=r"'0000:00:04\.0/e1000e' 0"):
        load_devices(target, save_devices(busy_board()[:2]))
    assert states(target) == before


def test_one_bad_section_leaves_all_devices_as_they_were() -> None:
    target = board(failover=False)
    before = states(target)
    with pytest.raises(VmStateError) as caught:
        load_devices(target, save_devices(busy_board()))
    # The lines of real QEMU 7.2 for a target whose failover is off.
    assert caught.value.lines() == [
        "Features 0x4000010130af8024 unsupported. Allowed features: 0x10179bf8064",
        "Failed to load virtio-net:virtio",
        "error while loading state for instance 0x0 of device '0000:00:01.0:00.0/virtio-net'",
    ]
    assert states(target) == before


def test_two_devices_of_one_name_and_number_are_refused_on_both_sides() -> None:
    twins: list[tuple[int, Streamed]] = [(0, E1000e(MAC)), (0, E1000e(OTHER))]
    with pytest.raises(VmStateError, match="second 'e1000e' 0"):
        save_devices(twins)
    with pytest.raises(VmStateError, match="second 'e1000e' 0"):
        load_devices(twins, [])


@pytest.mark.parametrize(
    "sections",
    [
        None,
        {},
        [None],
        [{}],
        [{"section": "e1000e", "instance": 0}],
        [{"section": 1, "instance": 0, "state": {}}],
        [{"section": "e" * 256, "instance": 0, "state": {}}],
        [{"section": "e1000e", "instance": "0", "state": {}}],
        [{"section": "e1000e", "instance": True, "state": {}}],
        [{"section": "e1000e", "instance": -1, "state": {}}],
        [{"section": "e1000e", "instance": 0, "state": None}],
        [{}] * 1025,
    ],
)
def test_malformed_sections_are_refused(sections: object) -> None:
    device = E1000e(MAC)
    with pytest.raises(VmStateError):
        load_devices([(0, device)], sections)
    assert vars(device) == vars(E1000e(MAC))


def test_a_model_without_a_section_is_named() -> None:
    class Teapot:
        device_path = ""
        driver = "teapot"

    with pytest.raises(VmStateError, match="'teapot'"):
        save_devices([(0, Teapot())])

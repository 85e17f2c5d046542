"""The emulated card: its address registers, link and filter, and that it travels."""

from __future__ import annotations

import pytest

from devices.e1000e import E1000E, E1000e, ReceiveControl
from devices.vmstate import VmStateError, load, save

MAC = bytes.fromhex("5254006f55cc")
OTHER = bytes.fromhex("525400000001")


def test_the_address_is_in_the_first_receive_register() -> None:
    device = E1000e(MAC)
    # RAL0 has the first four bytes, the first of them lowest; RAH0 the rest and the valid bit.
    assert device.receive_addresses[:2] == [0x6F005452, 0x8000CC55]
    assert device.addresses() == [MAC]


def test_addresses_are_added_and_cleared() -> None:
    device = E1000e(MAC)
    device.set_receive_address(15, OTHER)
    assert device.addresses() == [MAC, OTHER]
    device.set_receive_address(0, None)
    assert device.addresses() == [OTHER]
    # An address without the valid bit, as a driver writes it half-way, is not in use.
    device.receive_addresses[2:4] = [0x6F005452, 0xCC55]
    assert device.addresses() == [OTHER]
    device.reset()
    assert device.addresses() == [MAC]
    with pytest.raises(ValueError, match="below 16"):
        device.set_receive_address(16, OTHER)
    with pytest.raises(ValueError, match="6 bytes"):
        device.set_receive_address(1, b"short")
    with pytest.raises(ValueError, match="6 bytes"):
        E1000e(b"short")


def test_the_filter_follows_the_receive_control_register() -> None:
    device = E1000e(MAC)
    broadcast, group = b"\xff" * 6, bytes.fromhex("333300000001")
    assert not device.receives(MAC)
    device.receive_control = ReceiveControl.ENABLE
    assert [device.receives(m) for m in (MAC, OTHER, group, broadcast)] == [
        True,
        False,
        False,
        False,
    ]
    device.receive_control |= ReceiveControl.BROADCAST_ACCEPT
    assert device.receives(broadcast)
    device.receive_control |= ReceiveControl.UNICAST_PROMISCUOUS
    assert (device.receives(OTHER), device.receives(group)) == (True, False)
    device.receive_control |= ReceiveControl.MULTICAST_PROMISCUOUS
    assert device.receives(group)


def test_the_link_is_a_status_bit_that_outlives_a_reset() -> None:
    device = E1000e(MAC)
    assert device.link_up
    assert device.set_link(False) is True
    assert device.set_link(False) is False
    device.reset()
    assert not device.link_up


def test_the_registers_travel() -> None:
    source = E1000e(MAC)
    source.receive_control = int(ReceiveControl.ENABLE)
    source.set_receive_address(3, OTHER)
    source.set_link(False)
    target = E1000e(bytes(6))
    load(E1000E, target, save(E1000E, source))
    assert vars(target) == vars(source)


def test_a_missing_address_register_is_refused() -> None:
    section = save(E1000E, E1000e(MAC))
    section["fields"]["receive_addresses"].pop()
    with pytest.raises(VmStateError, match="32 to 32 elements"):
        load(E1000E, E1000e(MAC), section)

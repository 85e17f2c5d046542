"""The primary: its filter, its blocker, and that it leaves nothing in the stream."""

from __future__ import annotations

import pytest

from devices.vfio_pci import VfioPci, migration_blocker

MAC = bytes.fromhex("5254006f55cc")
OTHER = bytes.fromhex("525400000001")


def test_only_a_card_without_pair_id_blocks_migration() -> None:
    assert migration_blocker({"failover_pair_id": "net1"}) is None
    for properties in ({}, {"failover_pair_id": None}, {"failover_pair_id": ""}):
        assert migration_blocker(properties) == "VFIO device doesn't support migration"
    assert VfioPci("0000:5e:00.2", MAC, failover_pair_id="net1").blocker is None
    assert VfioPci("0000:5e:00.2", MAC).blocker == "VFIO device doesn't support migration"


def test_a_primary_has_no_vmstate() -> None:
    assert VfioPci.vmstate is None


def test_the_filter_starts_with_the_permanent_address_and_returns_to_it() -> None:
    device = VfioPci("0000:5e:00.2", MAC)
    assert (device.receives(MAC), device.receives(OTHER)) == (True, False)
    device.set_mac_filter(frozenset({OTHER}))
    assert (device.receives(MAC), device.receives(OTHER)) == (False, True)
    assert device.receives(b"\xff" * 6)
    device.reset()
    assert (device.receives(MAC), device.receives(OTHER)) == (True, False)


def test_a_malformed_filter_leaves_the_old_one() -> None:
    device = VfioPci("0000:5e:00.2", MAC)
    with pytest.raises(ValueError, match="6 bytes"):
        device.set_mac_filter(frozenset({b"short"}))
    with pytest.raises(ValueError, match="at most 64"):
        device.set_mac_filter(frozenset(n.to_bytes(6, "big") for n in range(65)))
    assert device.mac_filter == {MAC}
    with pytest.raises(ValueError, match="6 bytes"):
        VfioPci("0000:5e:00.2", b"short")

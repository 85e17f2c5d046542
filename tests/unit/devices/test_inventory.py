"""Host functions: the file that lists them and the claims on them."""

from __future__ import annotations

import json

import pytest

from devices.errors import DeviceError
from devices.inventory import (
    FUNCTIONS_MAX,
    INVENTORY_BYTES_MAX,
    Inventory,
    VirtualFunction,
    parse_inventory,
)

MAC = "52:54:00:6f:55:cc"
FILE = json.dumps(
    [
        {"address": "5e:00.2", "mac": MAC.upper(), "uplink": "unix:/run/vf0", "group": 12},
        {"address": "0000:5e:00.3", "mac": "52:54:00:00:00:01"},
        {"address": "0001:5e:00.2", "mac": MAC, "uplink": None, "available": False},
    ]
)


def test_open_inventory_has_every_address() -> None:
    inventory = Inventory()
    found = inventory.virtual_function("5e:00.2", MAC.upper())
    assert found == VirtualFunction("0000:5e:00.2", MAC, None, True, 0)
    inventory.claim("5e:00.2", "hostdev0")
    assert inventory.owner("0000:5e:00.2") == "hostdev0"


def test_file_gives_address_mac_uplink_and_group() -> None:
    inventory = parse_inventory(FILE)
    assert inventory.virtual_function("0000:5e:00.2", "00:00:00:00:00:00") == VirtualFunction(
        "0000:5e:00.2", MAC, "unix:/run/vf0", True, 12
    )
    second = inventory.virtual_function("5e:00.3", MAC)
    assert (second.mac, second.uplink, second.available, second.group) == (
        "52:54:00:00:00:01",
        None,
        True,
        1,
    )


def test_missing_device() -> None:
    inventory = parse_inventory(FILE)
    expected = (
        "vfio /sys/bus/pci/devices/0000:5e:00.4: no such host device: No such file or directory"
    )
    with pytest.raises(DeviceError) as refused:
        inventory.virtual_function("5e:00.4", MAC)
    assert refused.value.description == expected
    with pytest.raises(DeviceError) as refused:
        inventory.claim("5e:00.4", "hostdev0")
    assert refused.value.description == expected
    assert inventory.owner("5e:00.4") is None


def test_device_held_elsewhere() -> None:
    inventory = parse_inventory(FILE)
    with pytest.raises(DeviceError) as refused:
        inventory.claim("0001:5e:00.2", "hostdev0")
    assert refused.value.description == (
        "vfio 0001:5e:00.2: failed to open /dev/vfio/2: Device or resource busy"
    )
    assert inventory.owner("0001:5e:00.2") is None


@pytest.mark.parametrize("inventory", [Inventory(), parse_inventory(FILE)])
def test_claim_and_release(inventory: Inventory) -> None:
    inventory.claim("5e:00.2", "hostdev0")
    inventory.claim("0000:5e:00.2", "hostdev0")
    with pytest.raises(DeviceError) as refused:
        inventory.claim("5e:00.2", "hostdev1")
    assert refused.value.description == "vfio 0000:5e:00.2: device is already attached"
    assert inventory.owner("5e:00.2") == "hostdev0"
    inventory.release("0000:5e:00.2")
    assert inventory.owner("5e:00.2") is None
    with pytest.raises(DeviceError, match="found none"):
        inventory.release("5e:00.2")
    inventory.claim("5e:00.2", "hostdev1")
    assert inventory.owner("5e:00.2") == "hostdev1"


def test_empty_inventory_has_nothing() -> None:
    with pytest.raises(DeviceError, match="no such host device"):
        parse_inventory("[]").claim("5e:00.2", "hostdev0")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"address": "5e:00.2"}, "JSON array of objects"),
        (["5e:00.2"], "device 0 .*expected an object, got str"),
        ([{"address": "5e:00.2"}], "'address' and 'mac', both text"),
        ([{"address": 5, "mac": MAC}], "'address' and 'mac', both text"),
        ([{"address": "5e:00.9", "mac": MAC}], "device 0 .*got '5e:00.9'"),
        ([{"address": "5e:00.2", "mac": "zz"}], "device 0 .*got 'zz'"),
        ([{"address": "5e:00.2", "mac": MAC, "uplink": 5}], "'uplink' to be text"),
        ([{"address": "5e:00.2", "mac": MAC, "available": 1}], "'available' to be true or false"),
        ([{"address": "5e:00.2", "mac": MAC, "group": True}], "'group' to be an IOMMU"),
        ([{"address": "5e:00.2", "mac": MAC, "group": -1}], "'group' to be an IOMMU"),
        ([{"address": "5e:00.2", "mac": MAC, "vlan": 1}], "got 'vlan'"),
        (
            [{"address": "5e:00.2", "mac": MAC}, {"address": "0000:5e:00.2", "mac": MAC}],
            "device 1 .*0000:5e:00.2 is listed twice",
        ),
        ([{"address": "5e:00.2", "mac": MAC}] * (FUNCTIONS_MAX + 1), "at most"),
    ],
)
def test_bad_file(entries: object, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        parse_inventory(json.dumps(entries))


def test_bad_json_and_too_much_of_it() -> None:
    with pytest.raises(DeviceError, match="JSON parse error"):
        parse_inventory("[{")
    with pytest.raises(DeviceError, match="at most 1048576 bytes"):
        parse_inventory(" " * (INVENTORY_BYTES_MAX + 1))
    with pytest.raises(DeviceError, match="nested at most"):
        parse_inventory("[" * 20 + "]" * 20)

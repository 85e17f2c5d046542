"""Device models, their properties, and the steps of device_add that need only the model."""

from __future__ import annotations

import pytest

from devices.catalogue import (
    ALIASES,
    MODELS,
    check_driver,
    check_id,
    device_list_properties,
    parse_properties,
)
from devices.errors import DeviceError
from devices.netdev import NetdevTable, parse_netdev
from devices.options import Options, OptionValue, parse_options
from devices.properties import PropertyValue


def properties_of(text: str, *, netdevs: NetdevTable | None = None) -> dict[str, PropertyValue]:
    """Return the properties of one -device text, read as the command line does."""
    options = parse_options(text, implied="driver")
    return parse_properties(check_driver(options), options, strict=True, netdevs=netdevs)


def from_qmp(
    driver: str, values: dict[str, OptionValue], *, strict: bool
) -> dict[str, PropertyValue]:
    """Return the properties of QMP arguments."""
    options = Options(values, from_json=True)
    return parse_properties(MODELS[driver], options, strict=strict)


def description_of(text: str, *, netdevs: NetdevTable | None = None) -> str:
    """Return the error one -device text gives."""
    with pytest.raises(DeviceError) as refused:
        properties_of(text, netdevs=netdevs)
    return refused.value.description


def test_driver_by_name_and_alias() -> None:
    assert check_driver(parse_options("e1000e,id=a", implied="driver")).name == "e1000e"
    for alias, name in ALIASES.items():
        assert check_driver(Options({"driver": alias})) is MODELS[name]


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("", "Parameter 'driver' is missing"),
        ("id=e1000e", "Parameter 'driver' is missing"),
        ("nodriver", "'nodriver' is not a valid device model name"),
        (",id=a", "'' is not a valid device model name"),
        ('{"driver":[]}', "'[]' is not a valid device model name"),
        ("virtio-net-pci,nosuch=1", "Property 'virtio-net-pci.nosuch' not found"),
        ("virtio-net,nosuch=1", "Property 'virtio-net-pci.nosuch' not found"),
        ("virtio-net-pci,failover=bogus", "Parameter 'failover' expects 'on' or 'off'"),
        ("virtio-net-pci,mac=zz", "Property 'virtio-net-device.mac' doesn't take value 'zz'"),
        ("e1000e,mac=52:54:00", "Property 'e1000e.mac' doesn't take value '52:54:00'"),
        ("vfio-pci,host=zzz", "Property 'vfio-pci.host' doesn't take value 'zzz'"),
        ("virtio-net-pci,host_mtu=12x", "Parameter 'host_mtu' expects integer"),
        ("virtio-net-pci,host_mtu=99999", "Parameter 'host_mtu' expects uint16_t"),
        ("virtio-net-pci,host_mtu=-1", "Parameter 'host_mtu' expects uint16_t"),
        ("virtio-net-pci,speed=99999999999", "Parameter 'speed' expects int32_t"),
        (
            "virtio-net-pci,virtio-backend=1",
            "Property 'virtio-net-pci.virtio-backend' is not writable",
        ),
        ("pcie-root-port,mem-reserve=zz", "Parameter 'mem-reserve' expects size"),
        ("pcie-root-port,x-speed=zz", "Parameter 'x-speed' does not accept value 'zz'"),
        ("pcie-root-port,chassis=300", "Parameter 'chassis' expects uint8_t"),
        ("pcie-root-port,slot=09", "Parameter 'slot' expects integer"),
        ("e1000e,id=1a", "Parameter 'id' expects an identifier"),
        ("e1000e,id=", "Parameter 'id' expects an identifier"),
        ('{"driver":"e1000e","id":7}', "Invalid parameter type for 'id', expected: string"),
    ],
)
def test_refused_options(text: str, description: str) -> None:
    assert description_of(text) == description


@pytest.mark.parametrize(
    ("text", "address"),
    [("0x2", 16), ("2.0", 16), ("02.1", 17), ("1f.7", 255), ("0x1f", 248), ("0", 0)],
)
def test_address(text: str, address: int) -> None:
    assert properties_of(f"e1000e,addr={text}")["addr"] == address


@pytest.mark.parametrize("text", ["20", "2.8", "zz", "", "-1", "2.", "2.0.0", "0x", "fffff"])
def test_address_refused(text: str) -> None:
    assert description_of(f"e1000e,addr={text}") == (
        f"Property 'e1000e.addr' doesn't take value '{text}'"
    )


def test_defaults_and_typed_values() -> None:
    values = properties_of(
        "virtio-net-pci,id=net1,mac=52-54-00-6F-55-CC,failover=on,host_mtu=0x578,vectors=010"
    )
    assert values["id"] == "net1"
    assert values["mac"] == "52:54:00:6f:55:cc"
    assert values["failover"] is True
    assert values["host_mtu"] == 1400
    assert values["vectors"] == 8
    assert values["addr"] == -1
    assert values["failover_pair_id"] is None
    assert values["guest_announce"] is True
    assert set(values) == {"id", *MODELS["virtio-net-pci"].properties}
    assert properties_of("pcie-root-port,mem-reserve=1M")["mem-reserve"] == 2**20
    assert properties_of("vfio-pci,host=5e:00.2")["host"] == "0000:5e:00.2"


@pytest.mark.parametrize(
    ("values", "name", "parsed"),
    [
        ({"failover": True}, "failover", True),
        ({"failover": "on"}, "failover", True),
        ({"failover": "yes"}, "failover", True),
        ({"rombar": 0}, "rombar", 0),
        ({"rombar": "0"}, "rombar", 0),
        ({"host_mtu": "1400"}, "host_mtu", 1400),
        ({"addr": "0x0"}, "addr", 0),
        ({"addr": 1}, "addr", 8),
        ({"romfile": ""}, "romfile", ""),
    ],
)
def test_lenient_values(values: dict[str, OptionValue], name: str, parsed: object) -> None:
    assert from_qmp("virtio-net-pci", values, strict=False)[name] == parsed


@pytest.mark.parametrize(
    ("values", "description"),
    [
        ({"failover": "bogus"}, "Parameter 'failover' expects 'on' or 'off'"),
        ({"failover": 1}, "Parameter 'failover' expects 'on' or 'off'"),
        ({"failover": None}, "Invalid parameter type for 'failover', expected: boolean"),
        ({"host_mtu": 1.5}, "Parameter 'host_mtu' expects integer"),
        ({"rombar": "on"}, "Parameter 'rombar' expects integer"),
    ],
)
def test_lenient_values_refused(values: dict[str, OptionValue], description: str) -> None:
    with pytest.raises(DeviceError) as refused:
        from_qmp("virtio-net-pci", values, strict=False)
    assert refused.value.description == description


@pytest.mark.parametrize(
    ("values", "name", "parsed"),
    [
        ({"failover": True}, "failover", True),
        ({"rombar": 0}, "rombar", 0),
        ({"host_mtu": 1400}, "host_mtu", 1400),
        ({"addr": "0x1"}, "addr", 8),
        ({"addr": 1}, "addr", 1),
        ({"addr": -1}, "addr", -1),
        ({"disable-legacy": "on"}, "disable-legacy", "on"),
    ],
)
def test_strict_values(values: dict[str, OptionValue], name: str, parsed: object) -> None:
    assert from_qmp("virtio-net-pci", values, strict=True)[name] == parsed


@pytest.mark.parametrize(
    ("values", "description"),
    [
        ({"failover": "on"}, "Invalid parameter type for 'failover', expected: boolean"),
        ({"failover": 1}, "Invalid parameter type for 'failover', expected: boolean"),
        ({"failover": []}, "Invalid parameter type for 'failover', expected: boolean"),
        ({"rombar": "0"}, "Invalid parameter type for 'rombar', expected: integer"),
        ({"host_mtu": "1400"}, "Parameter 'host_mtu' expects uint64"),
        ({"host_mtu": True}, "Parameter 'host_mtu' expects uint64"),
        ({"host_mtu": 99999}, "Parameter 'host_mtu' expects uint16_t"),
        ({"mac": 1}, "Invalid parameter type for 'mac', expected: string"),
        ({"netdev": 5}, "Invalid parameter type for 'netdev', expected: string"),
        ({"addr": True}, "Invalid parameter type for 'addr', expected int or str"),
        ({"addr": 1.5}, "Invalid parameter type for 'addr', expected: integer"),
        ({"addr": 999}, "Parameter 'addr' expects a value between -1 and 255"),
        ({"disable-legacy": True}, "Invalid parameter type for 'disable-legacy', expected: string"),
    ],
)
def test_strict_values_refused(values: dict[str, OptionValue], description: str) -> None:
    with pytest.raises(DeviceError) as refused:
        from_qmp("virtio-net-pci", values, strict=True)
    assert refused.value.description == description


def test_strict_does_not_touch_key_value_text() -> None:
    assert properties_of("virtio-net-pci,failover=on")["failover"] is True


def test_netdev_must_exist_and_be_free() -> None:
    netdevs = NetdevTable()
    netdevs.add(parse_netdev("user,id=hs0"))
    assert properties_of("e1000e,netdev=hs0", netdevs=netdevs)["netdev"] == "hs0"
    assert description_of("e1000e,netdev=nope", netdevs=netdevs) == (
        "Property 'e1000e.netdev' can't find value 'nope'"
    )
    netdevs.attach("hs0", None)
    assert description_of("e1000e,netdev=hs0", netdevs=netdevs) == (
        "Property 'e1000e.netdev' can't take value 'hs0', it's in use"
    )
    assert description_of("virtio-net-pci,netdev=hs0", netdevs=netdevs) == (
        "Property 'virtio-net-device.netdev' can't take value 'hs0', it's in use"
    )
    netdevs.detach("hs0")
    assert properties_of("virtio-net-pci,netdev=hs0", netdevs=netdevs)["netdev"] == "hs0"


def test_first_error_in_written_order_counts() -> None:
    assert description_of("virtio-net-pci,failover=x,mq=z") == (
        "Parameter 'failover' expects 'on' or 'off'"
    )
    assert (
        description_of("virtio-net-pci,mq=z,failover=x") == "Parameter 'mq' expects 'on' or 'off'"
    )


def test_id() -> None:
    assert check_id(Options({})) is None
    assert check_id(Options({"id": "net1"})) == "net1"


def test_what_models_are() -> None:
    ethernet = {name for name, model in MODELS.items() if model.is_ethernet}
    assert ethernet == {
        "virtio-net-pci",
        "virtio-net-pci-non-transitional",
        "vfio-pci",
        "e1000e",
        "e1000",
    }
    assert {name for name, model in MODELS.items() if model.needs_host} == {"vfio-pci"}
    assert {name for name, model in MODELS.items() if model.needs_netdev} == ethernet - {"vfio-pci"}
    assert not MODELS["virtio-rng-pci"].is_ethernet


def test_device_list_properties() -> None:
    listed = {str(entry["name"]): entry for entry in device_list_properties("virtio-net-pci")}
    assert listed["failover"] == {"name": "failover", "type": "bool", "default-value": False}
    assert listed["failover_pair_id"] == {"name": "failover_pair_id", "type": "str"}
    assert listed["addr"] == {
        "name": "addr",
        "type": "int32",
        "default-value": -1,
        "description": "Slot and optional function number, example: 06.0 or 06",
    }
    assert listed["mq"]["description"] == "on/off"
    assert listed["virtio-backend"]["type"] == "child<virtio-net-device>"
    assert listed["netdev"]["type"] == "str"
    assert "id" not in listed
    assert "disable-legacy" in listed
    modern = {entry["name"] for entry in device_list_properties("virtio-net-pci-non-transitional")}
    assert set(listed) - modern == {"disable-legacy", "disable-modern"}


@pytest.mark.parametrize("name", ["nosuch", "virtio-net"])
def test_device_list_properties_of_no_type(name: str) -> None:
    with pytest.raises(DeviceError) as refused:
        device_list_properties(name)
    assert refused.value.error_class == "DeviceNotFound"
    assert refused.value.description == f"Device '{name}' not found"

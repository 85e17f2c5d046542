"""engine.commands.objects, device_objects, qom: the tree and what its objects show."""

from __future__ import annotations

import pytest

from engine.journal import joint_state
from tests.unit.engine.commands.commanded_vm import MAC, PAIR, STANDBY, CommandedVm


def listed(machine: CommandedVm, path: str) -> dict[str, str]:
    return {each["name"]: each["type"] for each in machine.execute("qom-list", path=path)}


def test_the_tree() -> None:
    machine = CommandedVm(*PAIR)
    assert listed(machine, "/") == {
        "type": "string",
        "machine": "child<pc-q35-7.2-machine>",
    }
    assert listed(machine, "/machine") == {
        "type": "string",
        "peripheral": "child<container>",
        "guest": "child<replug-guest>",
        "replug": "child<replug>",
    }
    devices = listed(machine, "/machine/peripheral/")
    assert devices["net1"] == "child<virtio-net-pci>"
    assert devices["pri0"] == "child<e1000e>"
    assert devices["root0"] == "child<pcie-root-port>"
    assert machine.get("/machine/peripheral", "pri0") == "/machine/peripheral/pri0"


def test_the_machines_type() -> None:
    assert CommandedVm().get("/machine", "type") == "pc-q35-7.2-machine"


@pytest.mark.parametrize("path", ["/machine/peripheral/net1", "peripheral/net1", "net1"])
def test_the_properties_of_a_device(path: str) -> None:
    machine = CommandedVm(*PAIR)
    found = listed(machine, path)
    assert (found["mac"], found["failover"], found["type"]) == ("str", "bool", "string")
    assert machine.get(path, "mac") == MAC
    assert machine.get(path, "failover") is True
    assert machine.get(path, "hotplugged") is False
    assert machine.get(path, "realized") is True
    assert machine.get(path, "type") == "virtio-net-pci"
    assert machine.get(path, "netdev") == "hs0"
    assert machine.get(path, "addr") == 0


def test_every_property_that_is_listed_can_be_read() -> None:
    card = "vfio-pci,host=5e:00.2,id=hostdev0,bus=root2,failover_pair_id=net1"
    machine = CommandedVm(*STANDBY, "-device", card)
    for device in ("net1", "hostdev0", "root3"):
        path = f"/machine/peripheral/{device}"
        for name in listed(machine, path):
            machine.get(path, name)
    assert machine.get("hostdev0", "host") == "0000:5e:00.2"
    assert machine.get("hostdev0", "failover_pair_id") == "net1"


def test_what_was_not_given() -> None:
    machine = CommandedVm("-device", "e1000e,id=nic,netdev=hs3,addr=5")
    assert machine.get("nic", "mac") == "52:54:00:12:34:56"
    assert machine.get("nic", "addr") == 40
    assert machine.get("nic", "romfile") == ""
    assert machine.get("nic", "bootindex") == -1


def test_a_hidden_primary_is_no_object() -> None:
    machine = CommandedVm("-guest", "standby=off", *PAIR)
    path = "/machine/peripheral/pri0"
    assert machine.refusal("qom-get", path=path, property="mac") == (
        "DeviceNotFound",
        f"Device '{path}' not found",
    )


@pytest.mark.parametrize("path", ["/machine/nope", "nope", "", "/peripheral"])
def test_an_unknown_path(path: str) -> None:
    expected = ("DeviceNotFound", f"Device '{path}' not found")
    machine = CommandedVm()
    if path:
        assert machine.refusal("qom-list", path=path) == expected
    assert machine.refusal("qom-get", path=f"{path}x", property="type")[0] == "DeviceNotFound"


def test_a_partial_path_that_fits_two() -> None:
    machine = CommandedVm("-device", "pcie-root-port,id=guest,chassis=9,slot=9")
    assert machine.refusal("qom-list", path="guest")[0] == "DeviceNotFound"
    assert machine.get("peripheral/guest", "type") == "pcie-root-port"


@pytest.mark.parametrize("command", ["qom-get", "qom-set"])
def test_an_unknown_property(command: str) -> None:
    value = {"value": 1} if command == "qom-set" else {}
    machine = CommandedVm(*PAIR)
    assert machine.refusal(command, path="net1", property="nope", **value) == (
        "GenericError",
        "Property 'virtio-net-pci.nope' not found",
    )


def test_devices_do_not_change() -> None:
    machine = CommandedVm(*PAIR)
    assert machine.refusal("qom-set", path="net1", property="failover", value=False) == (
        "GenericError",
        "Attempt to set property 'failover' on device 'net1' (type 'virtio-net-pci') "
        "after it was realized",
    )
    assert machine.refusal("qom-set", path="net1", property="hotplugged", value=True) == (
        "GenericError",
        "Property 'virtio-net-pci.hotplugged' is not writable",
    )


@pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
def test_replug_itself(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    path = "/machine/replug"
    state = machine.get(path, "state")
    assert state == joint_state(machine.vm.runtime, machine.vm.board)
    assert (state["migration"], state["primary"]) == ("none", {"pri0": "plugged"})
    assert machine.get(path, "profile") == profile
    assert machine.get(path, "policies") == dict(machine.vm.profile.policies)
    assert machine.get(path, "timings")["poll_ms"] == 250
    assert machine.get(path, "dirty-tracking") == "bitmap"
    assert set(listed(machine, path)) == {
        "type",
        "state",
        "migration",
        "profile",
        "policies",
        "timings",
        "dirty-tracking",
    }

"""engine.commands.devices: plugging, its bounds, and what is shown of devices."""

from __future__ import annotations

from typing import Any

import pytest

from devices.errors import DeviceError
from devices.guest_memory import IDENTIFIER_BYTES_MAX, STANDBYS_MAX
from engine.journal import joint_state
from engine.message_shape import NAME
from statemachines.events import E
from statemachines.states import NetFailover, Primary, Standby
from tests.unit.engine.commands.commanded_vm import MAC, PAIR, STANDBY, CommandedVm

BOTH = pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
HOTPLUGGED: dict[str, Any] = {
    "driver": "e1000e",
    "bus": "root1",
    "id": "pri0",
    "netdev": "hs1",
    "mac": MAC,
    "failover_pair_id": "net1",
}


def primary(machine: CommandedVm) -> int:
    entry = machine.vm.board.primary_named("pri0")
    assert entry is not None
    return entry.index


def path(machine: CommandedVm) -> object:
    (standby,) = machine.vm.board.standbys
    return machine.vm.state(NetFailover, standby)


def shown(machine: CommandedVm) -> set[str]:
    """Return the ids of the devices behind ports that query-pci shows."""
    (bus,) = machine.execute("query-pci")
    return {
        behind["qdev_id"]
        for device in bus["devices"]
        for behind in device.get("pci_bridge", {}).get("devices", [])
    }


# -- device_add, device_del


@BOTH
def test_a_primary_comes_and_goes(profile: str) -> None:
    machine = CommandedVm(*STANDBY, profile=profile)
    machine.take_events()
    assert machine.execute("device_add", **HOTPLUGGED) == {}
    machine.live()
    assert path(machine) is NetFailover.PRIMARY
    assert shown(machine) == {"net1", "pri0"}
    assert machine.execute("device_del", id="/machine/peripheral/pri0") == {}
    assert machine.take_events() == []
    machine.live()
    gone = {"device": "pri0", "path": "/machine/peripheral/pri0"}
    assert machine.take_events() == [("DEVICE_DELETED", gone)]
    assert shown(machine) == {"net1"}
    assert path(machine) is NetFailover.STANDBY


@pytest.mark.parametrize("driver", ["virtio-net-pci", "virtio-net-pci-non-transitional"])
def test_the_guest_is_told_of_a_standby_that_is_added(driver: str) -> None:
    machine = CommandedVm()
    assert machine.vm.guest.due_ms() is None
    given = {"driver": driver, "bus": "root0", "id": "net1", "netdev": "hs0"}
    count = machine.settled_count
    machine.execute("device_add", **given, failover=True)
    assert machine.settled_count > count
    machine.live()
    (standby,) = machine.vm.board.standbys
    assert machine.vm.state(Standby, standby) is Standby.DRIVER_OK


@BOTH
def test_a_hidden_primary_is_no_device_yet(profile: str) -> None:
    machine = CommandedVm("-guest", "standby=off", *STANDBY, profile=profile)
    assert machine.execute("device_add", **HOTPLUGGED) == {}
    assert machine.vm.state(Primary, primary(machine)) is Primary.HIDDEN
    assert shown(machine) == {"net1"}
    for name in ("pri0", "/machine/peripheral/pri0", "nosuch"):
        expected = ("DeviceNotFound", f"Device '{name}' not found")
        assert machine.refusal("device_del", id=name) == expected
    assert machine.execute("device_add", **HOTPLUGGED) == {}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"id": None}, "Device with failover_pair_id needs to have id"),
        ({"driver": "nodriver"}, "'nodriver' is not a valid device model name"),
        ({"bus": "nobus"}, "Bus 'nobus' not found"),
        ({"bus": "pcie.0"}, "Bus 'pcie.0' does not support hotplugging"),
        ({"nosuchprop": 1}, "Property 'e1000e.nosuchprop' not found"),
        ({"multifunction": True}, "failover: primary device must be in its own PCI slot"),
        ({"netdev": "hs0"}, "Property 'e1000e.netdev' can't take value 'hs0', it's in use"),
    ],
)
@BOTH
def test_a_primary_that_cannot_be(profile: str, changed: dict[str, Any], text: str) -> None:
    machine = CommandedVm(*STANDBY, profile=profile)
    given = {k: v for k, v in {**HOTPLUGGED, **changed}.items() if v is not None}
    assert machine.error("device_add", **given) == ("GenericError", text)
    assert machine.vm.board.topology.device("pri0") is None


@BOTH
def test_a_bus_that_takes_nothing_comes_before_an_id_that_is_taken(profile: str) -> None:
    """softmmu/qdev-monitor.c qdev_device_add_from_qdict looks at the bus first, and names it."""
    machine = CommandedVm(*STANDBY, profile=profile)
    machine.execute("device_add", **HOTPLUGGED)
    assert machine.error("device_add", **{**HOTPLUGGED, "bus": "pcie.0"}) == (
        "GenericError",
        "Bus 'pcie.0' does not support hotplugging",
    )


def test_a_hidden_primary_needs_a_name_that_can_be_used() -> None:
    machine = CommandedVm(*STANDBY, "-guest", "standby=off", profile="qemu-7.2")
    refusal = machine.refusal("device_add", **{**HOTPLUGGED, "id": "1st"})
    assert refusal == ("GenericError", "Parameter 'id' expects an identifier")
    assert machine.execute("device_add", **HOTPLUGGED) == {}
    # A name that is taken is told before a netdev that is.
    again = {**HOTPLUGGED, "id": "net1", "netdev": "hs0", "failover_pair_id": "nosuch"}
    assert machine.refusal("device_add", **again) == ("GenericError", "Duplicate device ID 'net1'")


def test_a_virtio_device_that_is_no_primary_takes_its_backend_with_it() -> None:
    machine = CommandedVm(*STANDBY)
    machine.take_events()
    given = {"driver": "virtio-rng-pci", "bus": "root1", "id": "rng", "failover_pair_id": "nosuch"}
    refusal = machine.error("device_add", **given)
    assert refusal == ("GenericError", "failover primary device is not an Ethernet device")
    gone = {"path": "/machine/peripheral/rng/virtio-backend"}
    assert machine.take_events() == [("DEVICE_DELETED", gone)]


def test_a_second_primary() -> None:
    machine = CommandedVm(*PAIR)
    given = {**HOTPLUGGED, "id": "pri1", "bus": "root2", "netdev": "hs2"}
    assert machine.refusal("device_add", **given) == (
        "GenericError",
        "Cannot attach more than one primary device to 'net1': 'pri0' and 'pri1'",
    )


@BOTH
def test_while_a_migration_runs(profile: str) -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR, profile=profile)
    machine.migrate_to_wait_unplug()
    given = {"driver": "e1000e", "bus": "root2", "id": "nic2", "netdev": "hs2"}
    assert machine.refusal("device_add", **given) == (
        "GenericError",
        "device_add not allowed while migrating",
    )
    assert machine.refusal("device_del", id="net1") == (
        "GenericError",
        "device_del not allowed while migrating",
    )


def test_in_qemu_a_device_del_repeats_the_request_of_a_migration() -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR, profile="qemu-7.2")
    machine.migrate_to_wait_unplug()
    assert machine.execute("device_del", id="pri0") == {}


# -- what is shown


@pytest.mark.parametrize(("profile", "seen"), [("native", False), ("qemu-7.2", True)])
def test_an_ejected_primary_in_query_pci(profile: str, seen: bool) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    assert shown(machine) == {"net1", "pri0"}
    machine.migrate_to_wait_unplug()
    machine.live()
    assert machine.vm.state(Primary, primary(machine)) is Primary.UNPLUGGED
    assert ("pri0" in shown(machine)) is seen
    machine.execute("migrate_cancel")
    machine.fire(E.CHANNEL_CLOSED)
    assert shown(machine) == {"net1", "pri0"}


def test_rx_filter() -> None:
    machine = CommandedVm(*PAIR)
    (one,) = machine.execute("query-rx-filter")
    assert (one["name"], one["main-mac"], one["promiscuous"]) == ("net1", MAC, True)
    assert machine.execute("query-rx-filter", name="net1") == [one]
    for name, text in [
        ("hs0", "net client(hs0) isn't a NIC"),
        ("pri0", "net client(pri0) doesn't support rx-filter querying"),
        ("root0", "invalid net client name: root0"),
        ("nosuch", "invalid net client name: nosuch"),
    ]:
        assert machine.refusal("query-rx-filter", name=name) == ("GenericError", text)


def test_device_list_properties() -> None:
    machine = CommandedVm()
    answer = machine.execute("device-list-properties", typename="virtio-net-pci")
    assert {"failover", "mac", "netdev"} <= {each["name"] for each in answer}
    assert machine.refusal("device-list-properties", typename="nosuch") == (
        "DeviceNotFound",
        "Device 'nosuch' not found",
    )


# -- netdevs


def test_netdevs() -> None:
    machine = CommandedVm()
    assert machine.execute("netdev_add", type="user", id="new") == {}
    assert "new" in machine.vm.board.netdevs
    assert machine.refusal("netdev_add", type="user", id="new") == (
        "GenericError",
        "Duplicate ID 'new'",
    )
    address = {"type": "unix", "path": "/run/switch"}
    machine.execute("netdev_add", type="stream", id="wire", addr=address)
    assert machine.vm.board.netdevs["wire"].options["addr.path"] == "/run/switch"
    assert machine.execute("netdev_del", id="new") == {}
    assert machine.refusal("netdev_del", id="new") == (
        "DeviceNotFound",
        "Device 'new' not found",
    )


@BOTH
def test_a_standby_that_is_deleted_leaves_its_primary_an_ordinary_nic(profile: str) -> None:
    """As hw/net/virtio-net.c does; the standby that comes again finds it."""
    machine = CommandedVm(*PAIR, profile=profile)
    machine.take_events()
    machine.execute("device_del", id="net1")
    assert [data.get("device") for _, data in machine.take_events()] == [None, "net1"]
    assert shown(machine) == {"pri0"}
    assert machine.vm.board.primaries == {}
    given = {"driver": "virtio-net-pci", "bus": "root0", "id": "net1", "netdev": "hs0", "mac": MAC}
    machine.execute("device_add", **given, failover=True)
    machine.live()
    assert path(machine) is NetFailover.PRIMARY


@BOTH
def test_a_standby_that_is_deleted_takes_its_hidden_primary_along(profile: str) -> None:
    """QEMU keeps a hidden primary's options with the standby, and so loses them with it."""
    machine = CommandedVm("-guest", "standby=off", *PAIR, profile=profile)
    assert shown(machine) == {"net1"}
    machine.execute("device_del", id="net1")
    assert (shown(machine), machine.vm.board.primaries) == (set(), {})
    machine.execute("device_add", **HOTPLUGGED)
    assert shown(machine) == {"pri0"}


# -- bounds


def too_long(bytes_max: int) -> tuple[str, str]:
    return "GenericError", f"Parameter 'id' expects an identifier of at most {bytes_max} bytes"


@BOTH
def test_an_id_is_one_that_a_target_can_be_told(profile: str) -> None:
    machine = CommandedVm(profile=profile)
    plain = {"driver": "virtio-rng-pci", "bus": "root0"}
    longest = "x" * NAME.bytes_max
    assert machine.refusal("device_add", **plain, id=longest + "x") == too_long(255)
    assert shown(machine) == set()
    assert machine.execute("device_add", **plain, id=longest) == {}


@BOTH
@pytest.mark.parametrize("before", [(), STANDBY])
def test_an_id_of_a_primary_is_one_that_the_guest_can_note(
    profile: str, before: tuple[str, ...]
) -> None:
    machine = CommandedVm(*before, profile=profile)
    longest = "x" * IDENTIFIER_BYTES_MAX
    given = {**HOTPLUGGED, "id": longest + "x"}
    assert machine.refusal("device_add", **given) == too_long(63)
    assert machine.vm.board.primaries == {}
    assert machine.execute("device_add", **{**HOTPLUGGED, "id": longest}) == {}
    machine.live()
    if not before:
        standby = {"driver": "virtio-net-pci", "bus": "root0", "id": "net1", "mac": MAC}
        machine.execute("device_add", **standby, netdev="hs0", failover=True)
        machine.live()
    assert path(machine) is NetFailover.PRIMARY


@BOTH
def test_a_guest_is_given_no_more_standbys_than_it_drives(profile: str) -> None:
    many = [
        word
        for number in range(STANDBYS_MAX)
        for word in ("-device", f"virtio-net-pci,id=s{number},failover=on")
    ]
    machine = CommandedVm(*many, profile=profile)
    before = joint_state(machine.vm.runtime, machine.vm.board)
    given = {"driver": "virtio-net-pci", "bus": "root1", "id": "more"}
    text = "Cannot attach more than 16 failover standbys: one guest drives no more"
    assert machine.refusal("device_add", **given, failover=True) == ("GenericError", text)
    assert shown(machine) == set()
    assert joint_state(machine.vm.runtime, machine.vm.board) == before
    assert machine.execute("device_add", **given, failover=False) == {}
    with pytest.raises(DeviceError, match="more than 16"):
        CommandedVm(*many, "-device", "virtio-net-pci,failover=on", profile=profile)


def test_a_refused_primary_is_no_loss_and_changes_nothing() -> None:
    held = ("-device", "vfio-pci,host=5e:00.2,id=held,bus=root2")
    commanded = CommandedVm(*STANDBY, *held)
    before = joint_state(commanded.vm.runtime, commanded.vm.board)
    commanded.take_events()
    commanded.warnings.clear()
    _, text = commanded.refusal(
        "device_add",
        **{"driver": "vfio-pci", "host": "5e:00.2", "id": "pri0", "bus": "root1"},
        **{"failover_pair_id": "net1"},
    )
    assert "already attached" in text
    assert commanded.take_events() == []
    assert commanded.warnings == []
    assert joint_state(commanded.vm.runtime, commanded.vm.board) == before


def test_a_standby_for_which_two_primaries_wait_is_refused() -> None:
    waiting = (
        *("-device", "vfio-pci,host=5e:00.2,id=one,bus=root1,failover_pair_id=net1"),
        *("-device", "vfio-pci,host=5e:00.3,id=two,bus=root2,failover_pair_id=net1"),
    )
    with pytest.raises(DeviceError, match="more than one primary device to 'net1': 'one' and"):
        CommandedVm(*waiting, *STANDBY)
    assert len(CommandedVm(*waiting, *STANDBY, profile="qemu-7.2").vm.board.primaries) == 2
    device, standby = STANDBY
    CommandedVm(*waiting, device, standby.replace("failover=on", "failover=off"))


def test_primaries_without_id_are_told_apart_once_a_standby_takes_them() -> None:
    waiting = (
        *("-device", "vfio-pci,host=5e:00.2,bus=root1,failover_pair_id=net1"),
        *("-device", "vfio-pci,host=5e:00.3,bus=root2,failover_pair_id=net1"),
    )
    machine = CommandedVm(*waiting, *STANDBY, profile="qemu-7.2")
    names = [entry.id for entry in machine.vm.board.primaries.values()]
    assert len(set(names)) == 2
    assert "None" not in names

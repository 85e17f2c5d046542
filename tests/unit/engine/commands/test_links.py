"""engine.commands.devices: links and announcements."""

from __future__ import annotations

from typing import Any

import pytest

from devices.e1000e import E1000e
from devices.virtio_net import VirtioNet
from statemachines.states import NetFailover
from tests.unit.engine.commands.commanded_vm import PAIR, PRIMARY, STANDBY, CommandedVm


def path(machine: CommandedVm) -> object:
    (standby,) = machine.vm.board.standbys
    return machine.vm.state(NetFailover, standby)


# -- links


@pytest.mark.parametrize("name", ["net1", "hs0"])
def test_the_link_of_a_standby(name: str) -> None:
    machine = CommandedVm(*STANDBY)
    (standby,) = machine.vm.board.standbys.values()
    assert machine.execute("set_link", name=name, up=False) == {}
    assert not standby.state.link_up
    assert machine.execute("set_link", name=name, up=True) == {}
    assert standby.state.link_up


@pytest.mark.parametrize("name", ["pri0", "hs1"])
def test_the_link_of_an_enslaved_primary(name: str) -> None:
    machine = CommandedVm(*PAIR)
    assert path(machine) is NetFailover.PRIMARY
    machine.execute("set_link", name=name, up=False)
    machine.live()
    assert path(machine) is NetFailover.PRIMARY_DOWN
    machine.execute("set_link", name=name, up=False)
    machine.execute("set_link", name=name, up=True)
    assert path(machine) is NetFailover.PRIMARY


def test_a_primary_that_has_no_link_yet_is_enslaved_without_carrier() -> None:
    machine = CommandedVm("-S", *PAIR)
    machine.execute("cont")
    # Up to its plugging, not to its probing.
    machine.live(for_ms=0)
    machine.execute("set_link", name="pri0", up=False)
    machine.live()
    assert path(machine) is NetFailover.PRIMARY_DOWN
    machine.execute("set_link", name="pri0", up=True)
    assert path(machine) is NetFailover.PRIMARY


def test_a_link_that_is_nobodys_business_moves_nothing() -> None:
    machine = CommandedVm("-device", "e1000e,bus=root2,id=nic2,netdev=hs2", "-device", "e1000,id=a")
    count = len(machine.entries)
    for name in ("nic2", "a", "hs3"):
        assert machine.execute("set_link", name=name, up=False) == {}
    assert len(machine.entries) == count
    states = machine.vm.board.states.values()
    assert [s.link_up for s in states if isinstance(s, E1000e | VirtioNet)] == [False]


def test_a_passed_through_card_is_no_net_client() -> None:
    card = "vfio-pci,host=5e:00.2,id=hostdev0,bus=root1,failover_pair_id=net1"
    machine = CommandedVm(*STANDBY, "-device", card)
    for name in ("hostdev0", "root0", "nosuch"):
        expected = ("DeviceNotFound", f"Device '{name}' not found")
        assert machine.refusal("set_link", name=name, up=False) == expected


# -- announcements


ANNOUNCE = {"initial": 50, "max": 550, "rounds": 5, "step": 100}


@pytest.mark.parametrize(
    ("interfaces", "rounds"),
    [({}, 5), ({"interfaces": ["net1"]}, 5), ({"interfaces": ["other"]}, 0)],
)
def test_announce_self(interfaces: dict[str, Any], rounds: int) -> None:
    machine = CommandedVm(*PAIR)
    count = machine.settled_count
    assert machine.execute("announce-self", **ANNOUNCE, **interfaces) == {}
    assert machine.vm.guest.memory.announce_rounds_left == rounds
    assert (machine.settled_count > count) is (rounds > 0)
    assert machine.vm.guest.announcements_due(machine.clock_ms) == (1 if rounds else 0)


@pytest.mark.parametrize(
    ("named", "announced"),
    [(["net2"], ["net2"]), (["pri0"], ["net1"]), (["net2", "net1"], ["net1", "net2"])],
)
def test_announce_self_is_about_those_it_names(named: list[str], announced: list[str]) -> None:
    machine = CommandedVm(*PAIR, "-device", "virtio-net-pci,id=net2,netdev=hs2,failover=on")
    machine.execute("announce-self", **ANNOUNCE, interfaces=named)
    standbys = machine.vm.board.standbys.values()
    assert [s.id for s in standbys if machine.vm.guest.announces(s.index)] == announced
    machine.execute("announce-self", **ANNOUNCE)
    assert all(machine.vm.guest.announces(s.index) for s in standbys)


def test_a_guest_that_is_handed_over_announces_nothing() -> None:
    """Its RAM has been sent: what is written now would be lost, or found to differ."""
    machine = CommandedVm(*PAIR)
    machine.migrate_until_handed_over()
    assert machine.execute("announce-self", **ANNOUNCE) == {}
    assert machine.vm.guest.memory.announce_rounds_left == 0


def test_a_guest_that_is_not_here_yet_announces_nothing() -> None:
    machine = CommandedVm("-incoming", "defer", *PRIMARY)
    assert machine.execute("announce-self", **ANNOUNCE) == {}
    assert machine.vm.guest.memory.announce_rounds_left == 0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("rounds", -1, "0 and 1000"), ("rounds", 1001, "0 and 1000"), ("step", 0, "1 and 10000")],
)
def test_announce_self_out_of_bounds(name: str, value: int, expected: str) -> None:
    assert CommandedVm(*PAIR).refusal("announce-self", **{**ANNOUNCE, name: value}) == (
        "GenericError",
        f"Parameter '{name}' expects a value between {expected}",
    )

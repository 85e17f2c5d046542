"""engine.guest_deeds: registers written, and the events that follow from them."""

from __future__ import annotations

import pytest

from devices.e1000e import E1000e
from devices.virtio import DeviceStatus
from devices.virtio_net import NetStatus
from engine.board import StandbyEntry
from engine.guest_deeds import perform
from statemachines.events import E
from statemachines.states import Feature, NetFailover
from tests.unit.engine.commands.commanded_vm import PAIR, CommandedVm

BOTH = pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
NEGOTIATED = ("FAILOVER_NEGOTIATED", {"device-id": "net1"})
FEATURES = (E.FEATURES_WITH_STANDBY, E.FEATURES_WITHOUT_STANDBY)
UP = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.FEATURES_OK
UP |= DeviceStatus.DRIVER_OK


def standby(machine: CommandedVm) -> StandbyEntry:
    (entry,) = machine.vm.board.standbys.values()
    return entry


def at_features(profile: str, *, before: str = "") -> CommandedVm:
    """Return a VM whose driver is about to write features; `before` is what it wrote earlier."""
    machine = CommandedVm("-S", *PAIR, profile=profile)
    index = standby(machine).index
    rounds = [E.FEATURES_WITH_STANDBY] if before == "with" else []
    for event in (E.GUEST_ACKNOWLEDGE, E.GUEST_DRIVER, *rounds):
        assert perform(machine.vm, event, index)
    if before:
        for event in (E.DRIVER_RESET, E.GUEST_ACKNOWLEDGE, E.GUEST_DRIVER):
            assert perform(machine.vm, event, index)
    machine.take_events()
    machine.entries.clear()
    return machine


def fired(machine: CommandedVm) -> list[str]:
    return [e["event"] for e in machine.entries if e["event"] in {each.name for each in FEATURES}]


@BOTH
def test_features_with_standby(profile: str) -> None:
    machine = at_features(profile)
    assert perform(machine.vm, E.FEATURES_WITH_STANDBY, standby(machine).index)
    assert fired(machine) == ["FEATURES_WITH_STANDBY"]
    state = standby(machine).state
    assert state.guest_features == state.offered_features
    assert machine.take_events()[0] == NEGOTIATED


@BOTH
def test_features_without_standby(profile: str) -> None:
    machine = at_features(profile)
    assert perform(machine.vm, E.FEATURES_WITHOUT_STANDBY, standby(machine).index)
    assert fired(machine) == ["FEATURES_WITHOUT_STANDBY"]
    assert standby(machine).state.guest_features == 0x10130BF8024
    assert machine.take_events() == []


@pytest.mark.parametrize(("profile", "times"), [("native", 1), ("qemu-7.2", 2)])
def test_after_a_reset_that_keeps_the_words_standby_is_negotiated_twice(
    profile: str, times: int
) -> None:
    machine = at_features(profile, before="with")
    perform(machine.vm, E.FEATURES_WITH_STANDBY, standby(machine).index)
    assert fired(machine) == ["FEATURES_WITH_STANDBY"] * times
    assert machine.take_events() == [NEGOTIATED] * times


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("native", ["FEATURES_WITHOUT_STANDBY"]),
        ("qemu-7.2", ["FEATURES_WITH_STANDBY", "FEATURES_WITHOUT_STANDBY"]),
    ],
)
def test_a_driver_that_changes_its_mind_ends_without_standby(
    profile: str, expected: list[str]
) -> None:
    machine = at_features(profile, before="with")
    index = standby(machine).index
    perform(machine.vm, E.FEATURES_WITHOUT_STANDBY, index)
    assert fired(machine) == expected
    assert machine.vm.state(Feature, index) is Feature.NOT_ACKED
    assert not standby(machine).state.standby_acknowledged


def test_features_after_they_are_agreed_change_nothing() -> None:
    machine = CommandedVm(*PAIR)
    index, state = standby(machine).index, standby(machine).state
    before = (state.guest_features, list(state.guest_feature_words))
    assert perform(machine.vm, E.FEATURES_WITHOUT_STANDBY, index)
    assert (state.guest_features, state.guest_feature_words) == before
    assert machine.vm.state(Feature, index) is Feature.ACKED


def test_features_too_early_are_dropped() -> None:
    machine = CommandedVm("-S", *PAIR)
    index = standby(machine).index
    assert not perform(machine.vm, E.FEATURES_WITH_STANDBY, index)
    assert standby(machine).state.guest_features == 0


def test_registers_show_what_the_machines_say() -> None:
    machine = CommandedVm("-S", *PAIR)
    index, state = standby(machine).index, standby(machine).state
    seen = [state.status]
    for event in (
        E.GUEST_ACKNOWLEDGE,
        E.GUEST_DRIVER,
        E.FEATURES_WITH_STANDBY,
        E.GUEST_FEATURES_OK,
        E.GUEST_DRIVER_OK,
    ):
        perform(machine.vm, event, index)
        seen.append(state.status)
    assert seen == [0, 1, 3, 3, 11, 15]


@BOTH
def test_a_driver_reset_resets_the_registers(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    state = standby(machine).state
    state.promiscuous = False
    state.transmit(3)
    assert state.status == UP
    assert perform(machine.vm, E.DRIVER_RESET, standby(machine).index)
    assert (state.status, state.guest_features, state.promiscuous) == (0, 0, True)
    assert state.queues[1].last_avail_index == 0


@BOTH
def test_a_system_reset_resets_every_device_and_the_guest(profile: str) -> None:
    machine = CommandedVm("-guest", "frames=1ms", *PAIR, profile=profile)
    state = standby(machine).state
    card = next(s for s in machine.vm.board.states.values() if isinstance(s, E1000e))
    card.receive_control = 2
    machine.vm.guest.frame_sent(machine.clock_ms)
    machine.execute("set_link", name="net1", up=False)
    assert perform(machine.vm, E.SYSTEM_RESET, None)
    assert (state.status, state.guest_features, card.receive_control) == (0, 0, 0)
    assert not state.net_status & NetStatus.LINK_UP
    assert machine.vm.guest.statistics()["sent"] == 0
    machine.live()
    assert state.status == UP


def test_a_deed_whose_time_has_passed_is_dropped() -> None:
    machine = CommandedVm(*PAIR)
    (primary,) = machine.vm.board.primaries
    assert not perform(machine.vm, E.GUEST_ENSLAVES, primary)
    assert not perform(machine.vm, E.GUEST_DRIVER, standby(machine).index)


def test_a_deed_on_a_device_that_is_gone_is_dropped() -> None:
    machine = CommandedVm(*PAIR)
    index = standby(machine).index
    machine.execute("device_del", id="pri0")
    machine.live()
    machine.execute("device_del", id="net1")
    assert not perform(machine.vm, E.DRIVER_RESET, index)


@pytest.mark.parametrize("delay", ["0s", "5ms"])
def test_a_driver_learns_of_carrier_and_does_not_look_for_it(delay: str) -> None:
    machine = CommandedVm("-guest", f"link-delay={delay}", *PAIR)
    index = standby(machine).index
    machine.execute("set_link", name="pri0", up=False)
    machine.live()
    assert machine.vm.state(NetFailover, index) is NetFailover.PRIMARY_DOWN
    assert machine.vm.guest.due_ms(uplink_ready=False) is None
    machine.execute("set_link", name="pri0", up=True)
    machine.live()
    assert machine.vm.state(NetFailover, index) is NetFailover.PRIMARY

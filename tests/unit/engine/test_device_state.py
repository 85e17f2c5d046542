"""engine.device_state: registers follow the machines, and STATE is loaded whole or not at all."""

from __future__ import annotations

import pytest

from devices.pcie_port import PcieRootPort, is_powered
from devices.virtio import DeviceStatus
from engine.device_state import (
    LoadError,
    load_state,
    mirror,
    save_state,
    state_of_status,
    status_of,
)
from engine.journal import joint_state
from engine.uri import parse_uri
from statemachines.events import E
from statemachines.runtime import Runtime
from statemachines.states import Feature, Lower, NetFailover, Resume, Slot, Standby
from tests.unit.engine.commands.commanded_vm import PAIR, CommandedVm


def port_of(commanded: CommandedVm, name: str) -> PcieRootPort:
    device = commanded.vm.board.topology.device(name)
    assert device is not None
    port = commanded.vm.board.states[device]
    assert isinstance(port, PcieRootPort)
    return port


def latched(runtime: Runtime) -> dict[type, dict[int, object]]:
    return {
        lifecycle: dict(states)
        for lifecycle, states in runtime.joint().items()
        if lifecycle in (Standby, Feature, NetFailover, Lower, Resume)
    }


def test_a_port_shows_its_device_until_the_guest_has_ejected_it() -> None:
    commanded = CommandedVm(*PAIR)
    vm = commanded.vm
    (primary,) = vm.board.primaries.values()
    assert vm.state(Slot, primary.index) is Slot.OCCUPIED
    mirror(vm)
    assert port_of(commanded, "root1").present
    assert is_powered(port_of(commanded, "root1").slot_control)
    assert not port_of(commanded, "root2").present
    vm.outgoing_uri = parse_uri("unix:/somewhere", incoming=False)
    vm.fire(E.MIGRATE)
    vm.fire(E.CONNECTED)
    vm.fire(E.RECV_ACCEPT)
    vm.fire(E.GUEST_EJECTS, primary.index)
    mirror(vm)
    assert not port_of(commanded, "root1").present
    assert not is_powered(port_of(commanded, "root1").slot_control)


@pytest.mark.parametrize("state", Standby)
def test_a_status_register_and_its_state_mean_each_other(state: Standby) -> None:
    assert state_of_status(status_of(state)) is state


def test_the_order_of_status_bits_is_that_of_the_specification() -> None:
    assert status_of(Standby.DRIVER_OK) == (
        DeviceStatus.ACKNOWLEDGE
        | DeviceStatus.DRIVER
        | DeviceStatus.FEATURES_OK
        | DeviceStatus.DRIVER_OK
    )


def test_what_is_saved_is_what_the_machines_of_the_target_start_from() -> None:
    source = CommandedVm(*PAIR)
    message = save_state(source.vm, latched(source.vm.runtime))  # type: ignore[arg-type]
    target = CommandedVm(*PAIR, "-incoming", "defer")
    target.vm.ram.write(0, source.vm.ram.read(0, source.vm.ram.size_bytes))
    (standby,) = target.vm.board.standbys
    message.sections[:] = [
        section for section in message.sections if "e1000e" not in section["section"]
    ]
    found = load_state(target.vm, message)
    assert found[Standby] == {standby: Standby.DRIVER_OK}
    assert found[Feature] == {standby: Feature.ACKED}
    assert found[NetFailover] == {standby: NetFailover.PRIMARY}
    assert found[Resume] == {0: Resume.RUN}


def test_standbys_without_id_are_told_apart() -> None:
    # They sit in the slots after the four ports, which are 1 to 4: what tells them apart.
    nameless = [
        word for n in (0, 1) for word in ("-device", f"virtio-net-pci,netdev=hs{n},failover=on")
    ]
    source = CommandedVm(*nameless)
    assert set(joint_state(source.vm.runtime, source.vm.board)["standby"]) == {
        "0000:00:05.0",
        "0000:00:06.0",
    }
    first, second = source.vm.board.standbys
    source.vm.fire(E.DRIVER_RESET, first)
    message = save_state(source.vm, latched(source.vm.runtime))  # type: ignore[arg-type]
    target = CommandedVm(*nameless, "-incoming", "defer")
    target.vm.ram.write(0, source.vm.ram.read(0, source.vm.ram.size_bytes))
    found = load_state(target.vm, message)
    assert found[NetFailover] == {first: NetFailover.ABSENT, second: NetFailover.STANDBY}


def test_a_state_that_does_not_load_changes_nothing() -> None:
    source = CommandedVm(*PAIR)
    message = save_state(source.vm, latched(source.vm.runtime))  # type: ignore[arg-type]
    target = CommandedVm(*PAIR, "-incoming", "defer")
    (entry,) = target.vm.board.standbys.values()
    message.sections.append({"section": "nobody/knows", "instance": 0, "state": {}})
    with pytest.raises(LoadError, match="Unknown savevm section"):
        load_state(target.vm, message)
    assert entry.state.guest_features == 0
    message.globals["resume"] = "perhaps"
    with pytest.raises(LoadError, match="run state"):
        load_state(target.vm, message)

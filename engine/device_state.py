"""STATE: the devices' state as it travels, and the machine states that follow from it.

Rules kept here:
1. What the target's machines start from is read back from what was loaded: virtio status and
   features from the standby's section, the guest driver's state from the guest's own RAM. Nothing
   else carries it.
2. Loading changes nothing unless everything loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from devices.pci import PciDevice
from devices.pcie_port import PcieRootPort, PowerIndicator, slot_control
from devices.sections import prepare_devices, save_devices
from devices.virtio import DeviceStatus
from devices.vmstate import VmStateError
from engine import texts
from engine.messages import State as StateMessage
from engine.vm import Vm
from statemachines.guards import Per
from statemachines.runtime import Latched
from statemachines.states import (
    Feature,
    Lower,
    NetFailover,
    Resume,
    Slot,
    Standby,
    State,
)
from statemachines.system import spec_of

_STATUS_BITS: tuple[tuple[DeviceStatus, Standby], ...] = (
    (DeviceStatus.FAILED, Standby.FAILED),
    (DeviceStatus.DRIVER_OK, Standby.DRIVER_OK),
    (DeviceStatus.FEATURES_OK, Standby.FEATURES_OK),
    (DeviceStatus.DRIVER, Standby.DRIVER),
    (DeviceStatus.ACKNOWLEDGE, Standby.ACKNOWLEDGE),
)
_ORDER = (Standby.ACKNOWLEDGE, Standby.DRIVER, Standby.FEATURES_OK, Standby.DRIVER_OK)


class LoadError(Exception):
    """The devices' state cannot be loaded; `lines` is what is printed."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(lines[0] if lines else "the state cannot be loaded")
        self.lines = lines


@cache
def status_of(state: Standby) -> DeviceStatus:
    """Return the status register that a standby's state shows (virtio 1.2 §2.1)."""
    bits = DeviceStatus(0)
    if state is Standby.FAILED:
        return DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.FAILED
    for step in _ORDER[: _ORDER.index(state) + 1] if state in _ORDER else ():
        bits |= DeviceStatus[step.name]
    return bits


def state_of_status(status: int) -> Standby:
    """Return the standby's state that a status register means."""
    for bit, state in _STATUS_BITS:
        if status & bit:
            return state
    return Standby.RESET


def mirror(vm: Vm) -> None:
    """Show in the registers of standbys and ports what the machines say."""
    for entry in vm.board.standbys.values():
        status = vm.state(Standby, entry.index)
        assert isinstance(status, Standby)
        entry.state.status = status_of(status)
    for device in vm.board.topology.devices:
        port = vm.board.states.get(device)
        child = vm.board.topology.child_bus(device)
        if isinstance(port, PcieRootPort) and child is not None:
            _show_slot(vm, port, list(child.devices))


def _show_slot(vm: Vm, port: PcieRootPort, devices: list[PciDevice]) -> None:
    """Set a port's slot registers: presence, power, indicator (hw/pci/pcie.c)."""
    present = any(not vm.is_ejected(device) for device in devices)
    slots = [
        vm.state(Slot, entry.index)
        for entry in vm.board.primaries.values()
        if entry.device in devices
    ]
    indicator = PowerIndicator.ON if present else PowerIndicator.OFF
    if Slot.BLINKING in slots:
        indicator = PowerIndicator.BLINKING
    powered = present and Slot.POWERED_OFF not in slots
    port.slot_control = slot_control(powered=powered, indicator=indicator)
    port.show(present=present, event=False)


def save_state(vm: Vm, latched: Latched) -> StateMessage:
    """Return STATE for the machine states that were latched when it was sent.

    :raise VmStateError: if a device cannot be saved.
    """
    mirror(vm)
    for entry in vm.board.standbys.values():
        status = latched[Standby][entry.index]
        assert isinstance(status, Standby)
        entry.state.status = status_of(status)
    vm.guest.record_driver_states()
    return StateMessage(
        sections=list(save_devices(vm.board.streamed(vm.is_ejected))),
        globals={"resume": latched[Resume][0].value},
    )


def load_state(vm: Vm, message: StateMessage) -> dict[type[State], dict[int, State]]:
    """Load STATE and return the machine states that follow from it.

    :raise LoadError: with the lines QEMU would print; nothing has changed.
    """
    resume = message.globals.get("resume")
    if resume not in (Resume.RUN.value, Resume.HOLD.value):
        raise LoadError([f"expected the run state to be run or hold, got {resume!r}"])
    primaries = [entry.device for entry in vm.board.primaries.values()]
    devices = vm.board.streamed(lambda device: device in primaries)
    try:
        prepared = prepare_devices(devices, message.sections)
    except VmStateError as error:
        # QEMU's last line is the error number's. hw/virtio/virtio.c virtio_load answers -1, which
        # is EPERM, to features it lacks; what else is wrong is EINVAL, as with a damaged stream.
        lacks_features = error.field.endswith("guest_features")
        last = texts.LOAD_REFUSED if lacks_features else texts.LOAD_INVALID
        raise LoadError([*error.lines(), last]) from error
    for load in prepared:
        load.apply()
    found: dict[type[State], dict[int, State]] = {Resume: {0: Resume(resume)}}
    for entry in vm.board.standbys.values():
        _add(found, Standby, entry.index, state_of_status(entry.state.status))
        acknowledged = entry.state.standby_acknowledged
        _add(found, Feature, entry.index, Feature.ACKED if acknowledged else Feature.NOT_ACKED)
    _add_driver_states(vm, found)
    return found


def _add_driver_states(vm: Vm, found: dict[type[State], dict[int, State]]) -> None:
    named: Mapping[tuple[type[State], str], State] = vm.guest.latched_states()
    for (lifecycle, name), state in named.items():
        is_standby = spec_of(lifecycle).per is Per.STANDBY
        entry = vm.board.standby_called(name) if is_standby else vm.board.primary_named(name)
        if entry is not None and lifecycle in (NetFailover, Lower):
            _add(found, lifecycle, entry.index, state)


def _add(
    found: dict[type[State], dict[int, State]], lifecycle: type[State], index: int, state: State
) -> None:
    found.setdefault(lifecycle, {})[index] = state

"""What the guest does to its devices: registers written, then the events that follow from it.

What may live here: carrying out the guest's deeds. Rules:

1. Registers decide what a deed means to the tables: a driver writes feature words, and only what
   the device then has acknowledged says whether STANDBY is negotiated.
2. A deed that its tables cannot take now is dropped: its time has passed.
3. Before a register is written, and after an event, the status registers show what the machines
   say.
"""

from __future__ import annotations

from devices.virtio import LOW_WORD_MASK, Feature, feature_mask
from engine.device_state import mirror
from engine.vm import Vm
from statemachines.effects import Command
from statemachines.events import E
from statemachines.states import Standby

_STANDBY = feature_mask(Feature.STANDBY)
_FEATURE_EVENTS = (E.FEATURES_WITH_STANDBY, E.FEATURES_WITHOUT_STANDBY)


def take_charge(vm: Vm) -> None:
    """Register what carries out the tables' RESET_GUEST."""
    vm.handle(Command.RESET_GUEST, lambda _: _reset_guest(vm))


def perform(vm: Vm, event: E, index: int | None) -> bool:
    """Carry out a deed of the guest's on a standby, a primary or the VM; say whether it was done.

    FEATURES_WITH_STANDBY and FEATURES_WITHOUT_STANDBY are what the driver means to acknowledge;
    which of the two events happen, and how often, follows from each write of a feature word.
    """
    if index is not None and not _is_there(vm, index):
        return False
    if event in _FEATURE_EVENTS and index is not None:
        return _write_features(vm, event, index)
    done = vm.offer(event, index)
    if done and event is E.DRIVER_RESET and index is not None:
        vm.board.standbys[index].state.reset()
    mirror(vm)
    return done


def _is_there(vm: Vm, index: int) -> bool:
    return index in vm.board.standbys or index in vm.board.primaries


def _write_features(vm: Vm, event: E, index: int) -> bool:
    """Write both feature words, low first; each write sets the features anew.

    So after a reset that keeps the words, as QEMU 7.2's does, STANDBY is acknowledged by the low
    word already, and a second time by the high one (hw/virtio/virtio-pci.c
    virtio_pci_common_write).
    """
    if vm.state(Standby, index) is not Standby.DRIVER:
        return vm.offer(event, index)
    mirror(vm)
    device = vm.board.standbys[index].state
    wanted = device.offered_features
    if event is E.FEATURES_WITHOUT_STANDBY:
        wanted &= ~_STANDBY
    for word in (0, 1):
        if device.write_guest_features(word, wanted >> 32 * word & LOW_WORD_MASK):
            vm.fire(E.FEATURES_WITH_STANDBY, index)
    if not device.standby_acknowledged:
        vm.fire(E.FEATURES_WITHOUT_STANDBY, index)
    return True


def _reset_guest(vm: Vm) -> None:
    """RESET_GUEST: every device as before any driver, and the guest from its start."""
    for state in vm.board.states.values():
        state.reset()
    mirror(vm)
    vm.guest.reset(vm.world.now_ms())

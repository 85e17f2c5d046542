"""Adding, removing and looking at devices, their host side and their links.

Rules kept here: what a device_add or device_del does is `engine.hotplug`'s; a net client is a NIC
by its device id, or the netdev behind it by its own (net/net.c). A vfio-pci is none, as in QEMU.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from devices.catalogue import device_list_properties
from devices.e1000e import E1000e
from devices.netdev import parse_netdev
from devices.options import Options
from devices.pci import PciDevice
from devices.virtio_net import VirtioNet
from engine.commands import texts as command_texts
from engine.commands.call import Call, Handler
from engine.hotplug import Hotplug
from engine.parameters import PARAMETERS
from engine.qmp import texts
from engine.qmp.errors import device_not_found, generic_error
from engine.vm import Vm
from statemachines.events import E
from statemachines.states import RunState

#: Where QOM keeps devices that have an id.
PERIPHERAL = "/machine/peripheral/"

_ANNOUNCE_BOUNDS = {
    spec.name.removeprefix("announce-"): (spec.low, spec.high)
    for spec in PARAMETERS
    if spec.name.startswith("announce-") and spec.high is not None
}


#: Run states in which the guest is this side's, and no other's.
_HERE = (RunState.RUNNING, RunState.PAUSED, RunState.PRELAUNCH)


class DeviceCommands:
    """The commands about devices."""

    def __init__(self, vm: Vm, hotplug: Hotplug) -> None:
        self._vm = vm
        self._hotplug = hotplug

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each command."""
        return {
            "device_add": self._add,
            "device_del": self._delete,
            "device-list-properties": lambda call: device_list_properties(
                call.arguments["typename"]
            ),
            "netdev_add": self._add_netdev,
            "netdev_del": self._delete_netdev,
            "query-pci": self._query_pci,
            "set_link": self._set_link,
            "announce-self": self._announce,
            "query-rx-filter": self._query_rx_filter,
        }

    # -- plugging

    def _add(self, call: Call) -> dict[str, Any]:
        self._hotplug.add(Options(call.arguments, from_json=True))
        self._vm.settle()
        return {}

    def _delete(self, call: Call) -> dict[str, Any]:
        given = call.arguments["id"]
        name = given.removeprefix(PERIPHERAL)
        # A hidden primary is no device yet (softmmu/qdev-monitor.c find_device_state).
        if self._vm.board.topology.device(name) is None:
            raise device_not_found(given)
        self._hotplug.delete(name)
        self._vm.settle()
        return {}

    def _add_netdev(self, call: Call) -> dict[str, Any]:
        netdev = parse_netdev(Options(call.arguments, from_json=True))
        self._vm.board.netdevs.add(netdev, from_json=True)
        return {}

    def _delete_netdev(self, call: Call) -> dict[str, Any]:
        self._vm.board.netdevs.remove(call.arguments["id"])
        return {}

    # -- looking

    def _query_pci(self, _call: Call) -> list[dict[str, object]]:
        board = self._vm.board
        if self._vm.profile.lists_ejected:
            return board.topology.query_pci()
        return board.topology.query_pci(self._vm.is_ejected)

    def _query_rx_filter(self, call: Call) -> list[dict[str, object]]:
        wanted: str | None = call.arguments.get("name")
        board = self._vm.board
        if wanted is None:
            return [self._rx_filter(d) for d in board.topology.devices if self._filters(d)]
        if wanted in board.netdevs:
            raise generic_error(command_texts.NOT_A_NIC % wanted)
        device = board.topology.device(wanted)
        if device is None or not device.model.needs_netdev:
            raise generic_error(texts.unknown_net_client(wanted))
        if not self._filters(device):
            raise generic_error(command_texts.NO_RX_FILTER % wanted)
        return [self._rx_filter(device)]

    def _filters(self, device: PciDevice) -> bool:
        return isinstance(self._vm.board.states.get(device), VirtioNet)

    def _rx_filter(self, device: PciDevice) -> dict[str, object]:
        state = self._vm.board.states[device]
        assert isinstance(state, VirtioNet)
        return state.rx_filter(device.id or device.model.name)

    # -- links and announcements

    def _set_link(self, call: Call) -> dict[str, Any]:
        name, up = call.arguments["name"], call.arguments["up"]
        board = self._vm.board
        nics = [
            device
            for device in board.topology.devices
            if device.model.needs_netdev and name in (device.id, device.properties.get("netdev"))
        ]
        if not nics and name not in board.netdevs:
            raise device_not_found(name)
        for device in nics:
            state = board.states.get(device)
            if isinstance(state, VirtioNet | E1000e) and state.set_link(up):
                self._carrier_changed(device, up)
        # Frames that waited for the link of a standby, which has no machine of its own.
        self._vm.settle()
        return {}

    def _carrier_changed(self, device: PciDevice, up: bool) -> None:
        """Tell the guest's driver, if the device is a primary that it has enslaved."""
        event = E.GUEST_LINK_UP if up else E.GUEST_LINK_DOWN
        for entry in self._vm.board.primaries.values():
            if entry.device is device:
                self._vm.offer(event, entry.index)

    def _announce(self, call: Call) -> dict[str, Any]:
        given = call.arguments
        for name, (low, high) in _ANNOUNCE_BOUNDS.items():
            if not low <= given[name] <= high:
                expected = texts.value_between(low, high)
                raise generic_error(texts.parameter_expects(name, expected))
        vm = self._vm
        named: list[str] | None = given.get("interfaces")
        standbys = None if named is None else self._standbys_of(named)
        wanted = standbys is None or bool(standbys)
        # The RAM of a guest that is leaving or arriving is what was sent, and stays it.
        if wanted and vm.guest.memory.is_booted and vm.run_state in _HERE:
            vm.guest.announce(
                given["rounds"],
                given["initial"],
                given["max"],
                given["step"],
                vm.world.now_ms(),
                standbys,
            )
            vm.settle()
        return {}

    def _standbys_of(self, names: Collection[str]) -> frozenset[int]:
        """Return the standbys among these net clients, and those of the primaries among them."""
        board = self._vm.board
        pairs = [(entry.device, entry.index) for entry in board.standbys.values()]
        pairs += [(e.device, e.standby) for e in board.primaries.values() if e.device is not None]
        return frozenset(
            index for nic, index in pairs if nic.model.needs_netdev and nic.id in names
        )

"""Adding and removing devices: QEMU's order of checks, the hide test asked of the tables.

What may live here: device_add, device_del and the plug commands of the tables. Rules: a check
comes before anything changes; whether a primary is hidden, plugged or refused is the answer of
its table, never decided here (qdev-monitor.c qdev_device_add_from_qdict, virtio-net.c
failover_hide_primary_device).
"""

from __future__ import annotations

from collections.abc import Mapping

from devices import texts
from devices.catalogue import (
    VIRTIO_NET_MODELS,
    DeviceModel,
    check_driver,
    check_id,
    parse_properties,
)
from devices.e1000e import E1000e
from devices.errors import DeviceError
from devices.frames import mac_text
from devices.guest_memory import STANDBYS_MAX
from devices.inventory import VirtualFunction
from devices.options import Options, parse_bool
from devices.pci import PciBus, PciDevice
from devices.properties import PropertyValue
from devices.vfio_pci import VfioPci, migration_blocker
from devices.virtio_net import VirtioNet
from engine.board import PrimaryEntry, StandbyEntry
from engine.qmp import texts as qmp_texts
from engine.qmp.errors import ErrorClass, QmpError, generic_error
from engine.vm import Vm
from statemachines.effects import Command
from statemachines.events import E
from statemachines.guards import Per
from statemachines.refusals import Field
from statemachines.states import Blocker, Primary
from statemachines.tables.conditions import IDLE_STATUSES

_LATE_REFUSALS = (texts.PRIMARY_NOT_EXPRESS, texts.PRIMARY_NOT_ETHERNET, texts.PRIMARY_NOT_ALONE)


class Hotplug:
    """The devices of one VM as they come and go."""

    def __init__(self, vm: Vm) -> None:
        """Take charge of the tables' device commands."""
        self._vm = vm
        self._board = vm.board
        vm.handle(Command.PLUG_PRIMARY, self._plug_primary)
        vm.handle(Command.REPLUG_PRIMARY, self._replug_primary)
        vm.handle(Command.HIDE_PRIMARY, self._hide_primary)
        vm.handle(Command.DELETE_PRIMARY, self._delete_primary)
        #: Why the last plug of a primary failed, by index.
        self.plug_errors: dict[int, str] = {}

    # -- adding

    def add(self, options: Options) -> None:
        """Add a device, from the command line before machine start or by device_add after.

        :raise DeviceError: with QEMU's text; nothing has changed.
        :raise QmpError: with the text of the table that refuses; nothing has changed.
        """
        # First of all, as in QEMU (softmmu/qdev-monitor.c qmp_device_add): a hidden primary would
        # go by a name that nobody can use.
        check_id(options)
        model = check_driver(options)
        bus = self._board.topology.find_bus(model, options)
        standby = self._standby_for(options)
        if standby is not None:
            self._add_primary(model, bus, standby, options)
            return
        if self._board.topology.frozen:
            self._board.topology.check_hotplug(bus)
            self._refuse_while_migrating()
        self._check_adoption(options)
        self._adopt(self._realize(model, bus, options))

    def _check_adoption(self, options: Options) -> None:
        """Refuse a standby for which two primaries wait already: it can have one."""
        waiting = self._board.topology.paired_with(str(options.get("id")))
        if len(waiting) < 2 or not self._vm.profile.checks_early:
            return
        given = options.get("failover")
        if parse_bool("failover", given) if isinstance(given, str) else given:
            first, second = (str(device.id) for device in waiting[:2])
            raise DeviceError(texts.PRIMARY_SECOND % (options["id"], first, second))

    def _standby_for(self, options: Options) -> StandbyEntry | None:
        """Return the failover standby that the options name (the first part of the hide test)."""
        pair = options.get("failover_pair_id")
        if pair is None or not self._board.standbys:
            return None
        if options.get("id") is None:
            raise DeviceError(texts.PRIMARY_WITHOUT_ID)
        return self._board.standby_named(pair)

    def _refuse_while_migrating(self) -> None:
        if self._vm.migration not in IDLE_STATUSES:
            raise generic_error(qmp_texts.DEVICE_ADD_WHILE_MIGRATING)

    def _add_primary(
        self, model: DeviceModel, bus: PciBus, standby: StandbyEntry, options: Options
    ) -> None:
        name = str(options["id"])
        entry = self._board.primary_named(name)
        is_new = entry is None
        if entry is None:
            entry = self._register(name, standby.index, options)
        frozen = self._board.topology.frozen
        misplaced = frozen and not self._board.topology.hotpluggable(bus)
        event = E.DEVICE_ADD_MISPLACED if misplaced else E.DEVICE_ADD
        absent = self._vm.state(Primary, entry.index) is Primary.ABSENT
        previous, entry.options = entry.options, options if absent else entry.options
        try:
            self._vm.check(event, entry.index, self._named_in_refusals(entry, standby, bus))
            if not misplaced and absent:
                self._rehearse(model, bus, options)
        except (QmpError, DeviceError):
            entry.options = previous
            if is_new:
                self._forget(entry)
            raise
        self._vm.fire(event, entry.index)
        if misplaced:
            kept = self._vm.profile.policies["refused_primary"] == "poisons"
            if is_new and not kept:
                self._forget(entry)
            raise DeviceError(texts.BUS_NOT_HOTPLUGGABLE % bus.name)
        reason = self.plug_errors.pop(entry.index, None)
        if reason is not None:
            raise DeviceError(reason)

    def _named_in_refusals(
        self, entry: PrimaryEntry, standby: StandbyEntry, bus: PciBus
    ) -> dict[Field, str]:
        named = {Field.DEVICE: entry.id, Field.STANDBY: standby.id, Field.BUS: bus.name}
        others = [mine.id for mine in self._board.primaries_of(standby.index) if mine is not entry]
        if others:
            named[Field.OTHER_PRIMARY] = others[0]
        return named

    def _rehearse(self, model: DeviceModel, bus: PciBus, options: Options) -> None:
        """Check even a hidden primary now, not when the guest negotiates."""
        if not self._vm.profile.checks_early:
            return
        topology = self._board.topology
        properties = parse_properties(
            model, options, strict=self._vm.profile.strict_types, netdevs=self._board.netdevs
        )
        topology.remove(topology.realize(model, properties, bus, hotplugged=topology.frozen))
        host = properties.get("host")
        if isinstance(host, str) and host:
            # Whether another program holds it can change until it is plugged.
            self._board.inventory.check(host, str(options["id"]))

    def _register(self, name: str, standby: int, options: Options) -> PrimaryEntry:
        entry = PrimaryEntry(self._vm.runtime.add_primary(standby), name, standby, options)
        self._board.primaries[entry.index] = entry
        return entry

    def _forget(self, entry: PrimaryEntry) -> None:
        del self._board.primaries[entry.index]
        self._vm.runtime.remove(Per.PRIMARY, entry.index)

    # -- realizing

    def _realize(self, model: DeviceModel, bus: PciBus, options: Options) -> PciDevice:
        board = self._board
        strict = self._vm.profile.strict_types or not board.topology.frozen
        # The id comes before the properties (softmmu/qdev-monitor.c qdev_set_id).
        board.topology.check_id(check_id(options))
        properties = parse_properties(model, options, strict=strict, netdevs=board.netdevs)
        if _is_standby(model, properties) and len(board.standbys) >= STANDBYS_MAX:
            raise DeviceError(texts.STANDBYS_EXHAUSTED % STANDBYS_MAX)
        try:
            device = board.topology.realize(
                model, properties, bus, hotplugged=board.topology.frozen
            )
        except DeviceError as error:
            self._tell_of_lost_backend(model, options, error)
            raise
        try:
            function = self._claim(device)
        except DeviceError:
            board.topology.remove(device)
            raise
        netdev = properties.get("netdev")
        if isinstance(netdev, str) and netdev:
            board.netdevs.attach(netdev, device.id)
        keep = self._vm.profile.keeps_feature_words
        board.build_state(device, function, keep_features=keep)
        return device

    def _tell_of_lost_backend(
        self, model: DeviceModel, options: Options, error: DeviceError
    ) -> None:
        """Say what QEMU says of a virtio device that was whole until it was found no primary.

        Those checks come last (hw/pci/pci.c pci_qdev_realize), when its backend exists already.
        """
        if model.name.startswith("virtio-") and error.description in _LATE_REFUSALS:
            path = f"/machine/peripheral/{options.get('id')}/virtio-backend"
            self._vm.emit("DEVICE_DELETED", {"path": path})

    def _claim(self, device: PciDevice) -> VirtualFunction | None:
        host = device.properties.get("host")
        if not isinstance(host, str) or not host:
            return None
        standby = self._board.standby_named(device.properties.get("failover_pair_id"))
        mac = standby.mac if standby else self._board.mac_of(device)
        function = self._board.inventory.virtual_function(host, mac)
        self._board.inventory.claim(host, device.id or host)
        return function

    def _adopt(self, device: PciDevice) -> None:
        """Give a new device that is no primary its machines, if it is to have any."""
        state = self._board.states.get(device)
        vm, board = self._vm, self._board
        if _is_standby(device.model, device.properties):
            assert isinstance(state, VirtioNet)
            index = vm.runtime.add_standby()
            entry = StandbyEntry(
                index, device.id or "", mac_text(state.permanent_mac), device, state
            )
            board.standbys[index] = entry
            for earlier in board.topology.paired_with(entry.id) if entry.id else ():
                # One that was there before any standby needs no id (as in QEMU), but a name.
                name = earlier.id or board.path_of(earlier)
                primary = self._register(name, index, Options({}))
                primary.device, primary.mac = earlier, self._nic_mac(earlier)
                vm.fire(E.ADOPT, primary.index)
        if device.model.name == "vfio-pci" and migration_blocker(device.properties):
            if vm.state(Blocker) is Blocker.CLEAR:
                vm.fire(E.BLOCK)

    def _nic_mac(self, device: PciDevice) -> str:
        state = self._board.states.get(device)
        permanent = getattr(state, "permanent_mac", b"")
        return mac_text(permanent) if permanent else ""

    # -- the tables' commands

    def _plug_primary(self, index: int | None) -> None:
        entry = self._entry(index)
        try:
            model = check_driver(entry.options)
            bus = self._board.topology.find_bus(model, entry.options)
            if self._board.topology.frozen:
                self._board.topology.check_hotplug(bus)
            device = self._realize(model, bus, entry.options)
        except DeviceError as error:
            self.plug_errors[entry.index] = error.description
            self._vm.fire(E.PLUG_FAILED, entry.index)
            return
        entry.device = device
        entry.mac = self._nic_mac(device)
        self._vm.fire(E.PRIMARY_PLUGGED, entry.index)

    def _replug_primary(self, index: int | None) -> None:
        entry = self._entry(index)
        if entry.device is None:
            self._plug_primary(index)
            return
        self._vm.fire(E.PRIMARY_PLUGGED, entry.index)

    def _hide_primary(self, index: int | None) -> None:
        """The host keeps the function and gives it back its addresses (pci_set_power: reset)."""
        device = self._entry(index).device
        state = None if device is None else self._board.states.get(device)
        if isinstance(state, VfioPci | E1000e):
            state.reset()

    def _delete_primary(self, index: int | None) -> None:
        entry = self._entry(index)
        if entry.device is not None:
            self._remove(entry.device)
        entry.device, entry.mac = None, None

    def _entry(self, index: int | None) -> PrimaryEntry:
        if index is None:
            raise ValueError("a primary's command came without its index")
        return self._board.primaries[index]

    # -- removing

    def delete(self, name: str) -> None:
        """Ask for a device's removal (device_del).

        A primary leaves when its guest ejects it; anything else leaves at once.

        :raise QmpError: with QEMU's text; nothing has changed.
        """
        primary = self._board.primary_named(name)
        if primary is not None:
            self._vm.ask(E.DEVICE_DEL, primary.index, {Field.DEVICE: name})
            return
        device = self._board.topology.device(name)
        if device is None:
            raise QmpError(ErrorClass.DEVICE_NOT_FOUND, texts.DEVICE_NOT_FOUND % name)
        bus = self._board.topology.bus_of(device)
        if not self._board.topology.hotpluggable(bus):
            raise generic_error(texts.BUS_NOT_HOTPLUGGABLE % bus.name)
        if self._vm.migration not in IDLE_STATUSES:
            raise generic_error(qmp_texts.DEVICE_DEL_WHILE_MIGRATING)
        standby = self._board.standby_named(name)
        if standby is not None:
            for mine in self._board.primaries_of(standby.index):
                self._forget(mine)
            del self._board.standbys[standby.index]
            self._vm.runtime.remove(Per.STANDBY, standby.index)
        self._remove(device)

    def _remove(self, device: PciDevice) -> None:
        for gone in self._board.remove(device):
            path = f"/machine/peripheral/{gone.id}"
            if gone.model.name in VIRTIO_NET_MODELS:
                self._vm.emit("DEVICE_DELETED", {"path": f"{path}/virtio-backend"})
            self._vm.emit("DEVICE_DELETED", {"device": gone.id or "", "path": path})
        blocked = any(
            migration_blocker(other.properties)
            for other in self._board.topology.devices
            if other.model.name == "vfio-pci"
        )
        if self._vm.state(Blocker) is Blocker.BLOCKED and not blocked:
            self._vm.fire(E.UNBLOCK)


def _is_standby(model: DeviceModel, properties: Mapping[str, PropertyValue]) -> bool:
    return model.name in VIRTIO_NET_MODELS and bool(properties.get("failover"))

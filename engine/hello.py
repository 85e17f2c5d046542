"""HELLO: what a source says of itself, and whether a target can take it.

Rules kept here: everything that can be known before anything is unplugged is compared here; the
answer is the first difference, in words for an operator. Profile qemu-7.2 asks nothing of the
target, so there only what makes the stream itself meaningless is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from devices.catalogue import VIRTIO_NET_MODELS
from devices.errors import DeviceError
from devices.pci import PciDevice
from devices.ram import PAGE_BYTES
from engine.board import PrimaryEntry
from engine.messages import DeviceEntry, Hello, PairEntry
from engine.parameters import Capability
from engine.vm import Vm
from statemachines.states import Primary

#: The version of the hand-over: which messages there are and in which order they come.
PROTOCOL = 2


def build_hello(vm: Vm, migration: bytes, channels: int) -> Hello:
    """Describe this VM to its target, and how the migration of that name will come."""
    configuration = vm.configuration
    board = vm.board
    return Hello(
        protocol=PROTOCOL,
        profile=vm.profile.name,
        machine=configuration.machine,
        name=configuration.name,
        uuid=configuration.uuid,
        ram_bytes=vm.ram.size_bytes,
        page_bytes=PAGE_BYTES,
        devices=_lasting_devices(vm),
        pairs=[
            PairEntry(board.standbys[entry.standby].id, entry.id, entry.mac or "")
            for entry in board.primaries.values()
            if vm.state(Primary, entry.index) is not Primary.ABSENT
        ],
        features={s.name: s.state.guest_features for s in board.standbys.values()},
        capabilities=[c.value for c in Capability if vm.capabilities.on(c)],
        migration=migration,
        channels=channels,
    )


def _lasting_devices(vm: Vm) -> list[DeviceEntry]:
    """Return every device but the primaries, which each side has of its own."""
    primaries = [entry.device for entry in vm.board.primaries.values()]
    return [
        _device_entry(device) for device in vm.board.topology.devices if device not in primaries
    ]


def _device_entry(device: PciDevice) -> DeviceEntry:
    properties = {}
    if device.model.name in VIRTIO_NET_MODELS:
        properties["failover"] = bool(device.properties.get("failover"))
    return DeviceEntry(
        id=device.id or "",
        driver=device.model.name,
        bus=device.bus,
        addr=f"{device.slot:02x}.{device.function:x}",
        properties=properties,
    )


def check_hello(vm: Vm, hello: Hello) -> str | None:
    """Return why this VM cannot take the source's, or None when it can.

    The text says what the source has, what is here and, where it helps, what to do.
    """
    checks: tuple[Callable[[Vm, Hello], Iterator[str]], ...] = (_check_stream,)
    if vm.profile.policies["greeting"] == "asked":
        checks += (_check_identity, _check_devices, _check_pairs, _check_features)
    for check in checks:
        for difference in check(vm, hello):
            return difference
    return None


def _check_stream(vm: Vm, hello: Hello) -> Iterator[str]:
    if hello.protocol != PROTOCOL:
        yield f"the source speaks hand-over version {hello.protocol}, this target {PROTOCOL}"
    if hello.profile != vm.profile.name:
        yield (
            f"the source uses profile {hello.profile}, this target {vm.profile.name}: "
            "give both the same -profile"
        )
    if hello.page_bytes != PAGE_BYTES:
        yield f"the source has pages of {hello.page_bytes} bytes, this target of {PAGE_BYTES}"
    if hello.ram_bytes != vm.ram.size_bytes:
        yield (
            f"Length mismatch: pc.ram: {hello.ram_bytes:#x} in != {vm.ram.size_bytes:#x}: "
            "give both the same -m"
        )


def _check_identity(vm: Vm, hello: Hello) -> Iterator[str]:
    if hello.machine != vm.configuration.machine:
        yield (
            f"the source is a {hello.machine}, this target a {vm.configuration.machine}: "
            "give both the same -M"
        )
    asked = Capability.VALIDATE_UUID.value in hello.capabilities
    if asked and hello.uuid != vm.configuration.uuid:
        yield f"UUID received is {hello.uuid} and local is {vm.configuration.uuid}"


def _check_devices(vm: Vm, hello: Hello) -> Iterator[str]:
    here = {(entry.bus, entry.addr): entry for entry in _lasting_devices(vm)}
    for theirs in hello.devices:
        ours = here.pop((theirs.bus, theirs.addr), None)
        where = f"at {theirs.bus} {theirs.addr}"
        if ours is None:
            yield f"the source has {theirs.driver} '{theirs.id}' {where}, this target has nothing"
        elif (ours.driver, ours.id) != (theirs.driver, theirs.id):
            yield (
                f"the source has {theirs.driver} '{theirs.id}' {where}, "
                f"this target {ours.driver} '{ours.id}'"
            )
        elif ours.properties != theirs.properties:
            yield (
                f"'{theirs.id}' has {theirs.properties} on the source and {ours.properties} here"
            )
    for ours in here.values():
        yield (
            f"this target has {ours.driver} '{ours.id}' at {ours.bus} {ours.addr}, "
            "the source has nothing there"
        )


def _check_pairs(vm: Vm, hello: Hello) -> Iterator[str]:
    for pair in hello.pairs:
        standby = vm.board.standby_named(pair.standby)
        if standby is None:
            yield f"standby '{pair.standby}' has failover=on on the source and not here"
            continue
        candidates = [
            entry
            for entry in vm.board.primaries_of(standby.index)
            if vm.state(Primary, entry.index) is not Primary.ABSENT
        ]
        if not candidates:
            yield (
                f"there is no primary for standby '{pair.standby}' here: add one with "
                f"failover_pair_id={pair.standby}"
            )
        for entry in candidates:
            yield from _check_host(vm, entry, standby.mac)


def _check_host(vm: Vm, entry: PrimaryEntry, standby_mac: str) -> Iterator[str]:
    host = entry.options.get("host")
    if entry.device is not None or not isinstance(host, str):
        return
    try:
        function = vm.board.inventory.virtual_function(host, standby_mac)
    except DeviceError as error:
        yield f"primary '{entry.id}' cannot be plugged here: {error.description}"
        return
    owner = vm.board.inventory.owner(host)
    if not function.available or owner not in (None, entry.id):
        yield f"primary '{entry.id}' cannot be plugged here: {host} is in use"


def _check_features(vm: Vm, hello: Hello) -> Iterator[str]:
    for name, features in hello.features.items():
        standby = vm.board.standby_called(name)
        if standby is not None and features & ~standby.state.allowed_features:
            yield (
                f"standby '{name}': Features {features:#x} unsupported. "
                f"Allowed features: {standby.state.allowed_features:#x}"
            )

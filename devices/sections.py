"""The device sections of a stream: which description is whose, and all devices saved or loaded.

What may live here: the registry by device model, `save_devices`, `prepare_devices` and
`load_devices`. Which devices take part (a primary does not) is the caller's to say, by what it
passes in.

Rules kept here:

* A section is found by its name and instance number. The name is the device's PCI path and its
  description's name, as QEMU has it, "0000:00:01.0:00.0/virtio-net"; without a path the latter.
* Everything is checked before any device changes: `load_devices` loads all of them or none.
* A section nobody waits for is refused in QEMU's words; so is, which QEMU lets pass, a device that
  no section came for: it would go on in a state of its own making.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from devices import vmstate_texts as texts
from devices.e1000e import E1000E
from devices.pcie_port import PCIE_ROOT_PORT
from devices.vfio_pci import VfioPci
from devices.virtio_net_vmstate import VIRTIO_NET
from devices.vmstate import (
    PreparedLoad,
    Section,
    VmStateDescription,
    VmStateError,
    prepare,
    save,
)
from devices.vmstate_kinds import CORRUPT_ADVICE, Place, Quoted

#: How each device model is streamed. A vfio-pci is not.
SECTION_DESCRIPTIONS: dict[str, VmStateDescription[Any]] = {
    "e1000e": E1000E,
    "pcie-root-port": PCIE_ROOT_PORT,
    "virtio-net-pci": VIRTIO_NET,
}

#: Most device sections in one stream.
SECTIONS_MAX = 1024

_KEYS = frozenset({"section", "instance", "state"})


class Streamed(Protocol):
    """What a device needs to have for its section to be found."""

    #: Its PCI path; "" if it has none.
    device_path: str

    @property
    def driver(self) -> str:
        """Name of its device model."""
        ...


def section_name(device: Streamed) -> str:
    """Name of the device's section; KeyError for a model that has none."""
    name = SECTION_DESCRIPTIONS[device.driver].name
    return f"{device.device_path}/{name}" if device.device_path else name


def save_devices(devices: Sequence[tuple[int, Streamed]]) -> list[Section]:
    """Write the devices, each with its instance number, as sections in the order given.

    A primary (vfio-pci with a pair id) leaves no section. A section is {"section": name,
    "instance": number, "state": {…}}. Raises VmStateError if a device cannot be migrated, if its
    state does not fit its description, or if two devices have one name and number.
    """
    sections: list[Section] = []
    seen: set[tuple[str, int]] = set()
    for instance, device in devices:
        if isinstance(device, VfioPci):
            _refuse_blocker(device)
            continue
        name = _known_name(device)
        if (name, instance) in seen:
            raise _ambiguous(name, instance)
        seen.add((name, instance))
        state = save(SECTION_DESCRIPTIONS[device.driver], device, name)
        sections.append({"section": name, "instance": instance, "state": state})
    return sections


def load_devices(devices: Sequence[tuple[int, Streamed]], sections: object) -> None:
    """Load all sections into the devices with their names and instance numbers, or none.

    `devices` are those that the source saved too; `sections` may be anything, as it came. Raises
    VmStateError as `prepare_devices` does, and then no device has changed.
    """
    for prepared in prepare_devices(devices, sections):
        prepared.apply()


def prepare_devices(
    devices: Sequence[tuple[int, Streamed]], sections: object
) -> list[PreparedLoad]:
    """Check all sections against the devices without changing any.

    Returns the loads to apply, in stream order. Raises VmStateError for a section that is
    malformed, comes twice or belongs to no device, for a device that no section came for, and for
    whatever does not fit its device; `lines()` of the error is what QEMU would print.
    """
    missing: dict[tuple[str, int], Streamed] = {}
    for instance, device in devices:
        if isinstance(device, VfioPci):
            continue
        key = (_known_name(device), instance)
        if key in missing:
            raise _ambiguous(*key)
        missing[key] = device
    if not isinstance(sections, list) or len(sections) > SECTIONS_MAX:
        raise Place("devices").error(
            f"a list of at most {SECTIONS_MAX} sections", sections, CORRUPT_ADVICE
        )
    loads: list[PreparedLoad] = []
    for index, section in enumerate(sections):
        name, instance, state = _opened(section, Place("devices").item(index))
        found = missing.pop((name, instance), None)
        if found is None:
            raise _unknown(name, instance, [*missing])
        try:
            loads.append(prepare(SECTION_DESCRIPTIONS[found.driver], found, state, name))
        except VmStateError as error:
            error.trail.append(texts.DEVICE_FAILED % (instance, name))
            raise
    if missing:
        name, instance = next(iter(missing))
        raise Place(name).error(
            f"a section for each of the target's devices, among them '{name}' {instance}",
            Quoted(f"{len(sections)} sections without it"),
            "give the target exactly the devices of the source",
        )
    return loads


def _known_name(device: Streamed) -> str:
    if device.driver not in SECTION_DESCRIPTIONS:
        raise Place(device.device_path or device.driver[:64]).error(
            f"one of {', '.join(sorted(SECTION_DESCRIPTIONS))}",
            device.driver,
            "leave the device out: it has nothing to stream",
        )
    return section_name(device)


def _refuse_blocker(device: VfioPci) -> None:
    if device.blocker is not None:
        raise Place(device.device_path or device.host).error(
            "a device that can be migrated",
            Quoted("a vfio-pci without failover_pair_id"),
            "unplug it, or pair it with a standby that has failover=on",
            text=device.blocker,
        )


def _ambiguous(name: str, instance: int) -> VmStateError:
    return Place(name).error(
        "one device of a name and instance number",
        Quoted(f"a second '{name}' {instance}"),
        "number the instances, or give the devices their PCI paths",
    )


def _opened(section: object, place: Place) -> tuple[str, int, object]:
    if (
        not isinstance(section, dict)
        or len(section) != len(_KEYS)
        or any(key not in section for key in _KEYS)
    ):
        raise place.error("a map with section, instance and state", section, CORRUPT_ADVICE)
    name, instance = section["section"], section["instance"]
    if not isinstance(name, str) or len(name) > 255:
        raise place.at("section").error("a name of at most 255 characters", name, CORRUPT_ADVICE)
    if not isinstance(instance, int) or isinstance(instance, bool) or not 0 <= instance < 2**32:
        raise place.at("instance").error("a 32-bit number", instance, CORRUPT_ADVICE)
    return name, instance, section["state"]


def _unknown(name: str, instance: int, waiting: list[tuple[str, int]]) -> VmStateError:
    waited = ", ".join(f"'{name}' {number}" for name, number in waiting[:8]) or "nothing more"
    return Place("devices").error(
        f"a section of a device of the target ({waited})",
        Quoted(f"{name!r} {instance}"),
        "give the target exactly the devices of the source",
        text=texts.UNKNOWN_SECTION % (name, instance),
    )

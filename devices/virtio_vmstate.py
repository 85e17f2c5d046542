"""How the state of a virtio device is streamed: the part "virtio" and its subsections.

What may live here: the descriptions, the predicates that say when a subsection is needed, and the
check of a loaded feature set against the target's device. Source of the layout: hw/virtio/virtio.c
virtio_save and virtio_load.

Rules kept here:

* The main part has the low feature word only; the whole set, with STANDBY in it, is the subsection
  64bit_features, written when the high word is not zero.
* Features that the target's device does not have are refused in QEMU's words. That is what becomes
  of a guest with STANDBY on a target whose failover is off.
* Not streamed because never offered: packed rings, another endianness than the host's. Not
  modelled: PCI configuration space, MSI-X tables.
"""

from __future__ import annotations

from typing import Any

from devices import vmstate_texts as texts
from devices.virtio import LOW_WORD_MASK, QUEUES_MAX, Feature, VirtioDevice, VirtQueue
from devices.vmstate import Values, VmStateDescription, VmStateField
from devices.vmstate_kinds import (
    BOOL,
    CORRUPT_ADVICE,
    U8,
    U16,
    U32,
    U64,
    Bytes,
    ListOf,
    Part,
    Place,
    Quoted,
    StructureList,
)

#: Longest configuration space streamed, in bytes.
CONFIG_LENGTH_MAX = 256


def _has_high_features(device: VirtioDevice) -> bool:
    return device.guest_features > LOW_WORD_MASK


def _is_modern(device: VirtioDevice) -> bool:
    return device.has_feature(Feature.VERSION_1)


def _is_started(device: VirtioDevice) -> bool:
    return device.started


def _is_broken(device: VirtioDevice) -> bool:
    return device.broken


def _is_disabled(device: VirtioDevice) -> bool:
    return device.disabled


def _check(device: VirtioDevice, values: Values, place: Place) -> None:
    """Refuse features the device lacks, and a queue selector beyond any queue (virtio_load)."""
    low: int = values["guest_features_low"]
    features: int = values.get("guest_features", low)
    if features & LOW_WORD_MASK != low:
        raise place.at("guest_features").error(
            f"0x{low:x} in the low word, as in guest_features_low",
            Quoted(f"0x{features:x}"),
            CORRUPT_ADVICE,
        )
    if features & ~device.allowed_features:
        raise place.at("guest_features").error(
            f"a subset of 0x{device.allowed_features:x}",
            Quoted(f"0x{features:x}"),
            "give the target's device the options of the source's, failover=on among them",
            text=texts.FEATURES_UNSUPPORTED % (features, device.allowed_features),
        )
    if values["queue_select"] >= QUEUES_MAX:
        raise place.at("queue_select").error(
            f"a queue below {QUEUES_MAX}",
            values["queue_select"],
            CORRUPT_ADVICE,
        )


_QUEUE = VmStateDescription[VirtQueue](
    name="virtio-queue",
    version=1,
    minimum_version=1,
    fields=(
        VmStateField("size", U32),
        VmStateField("desc", U64),
        VmStateField("last_avail_index", U16),
        VmStateField("vector", U16),
    ),
)

_QUEUE_RINGS = VmStateDescription[VirtQueue](
    name="virtio-queue-rings",
    version=1,
    minimum_version=1,
    fields=(VmStateField("avail", U64), VmStateField("used", U64)),
)

_QUEUE_MODERN = VmStateDescription[VirtQueue](
    name="virtio-queue-modern",
    version=1,
    minimum_version=1,
    fields=(VmStateField("enabled", BOOL),),
)

#: Optional state of any virtio device, under the names QEMU has for it.
_SUBSECTIONS: tuple[VmStateDescription[Any], ...] = (
    VmStateDescription[VirtioDevice](
        name="virtio/64bit_features",
        version=1,
        minimum_version=1,
        fields=(VmStateField("guest_features", U64),),
        needed=_has_high_features,
    ),
    VmStateDescription[VirtioDevice](
        name="virtio/virtqueues",
        version=1,
        minimum_version=1,
        fields=(
            VmStateField("rings", StructureList(_QUEUE_RINGS, QUEUES_MAX), attribute="queues"),
        ),
        needed=_is_modern,
    ),
    VmStateDescription[VirtioDevice](
        name="virtio/broken",
        version=1,
        minimum_version=1,
        fields=(VmStateField("broken", BOOL),),
        needed=_is_broken,
    ),
    VmStateDescription[VirtioDevice](
        name="virtio/extra_state",
        version=1,
        minimum_version=1,
        fields=(
            VmStateField("device_feature_select", U32),
            VmStateField("guest_feature_select", U32),
            VmStateField("guest_feature_words", ListOf(U32, count_max=2, count_min=2)),
            VmStateField("modern", StructureList(_QUEUE_MODERN, QUEUES_MAX), attribute="queues"),
        ),
    ),
    VmStateDescription[VirtioDevice](
        name="virtio/started",
        version=1,
        minimum_version=1,
        fields=(VmStateField("started", BOOL),),
        needed=_is_started,
    ),
    VmStateDescription[VirtioDevice](
        name="virtio/disabled",
        version=1,
        minimum_version=1,
        fields=(VmStateField("disabled", BOOL),),
        needed=_is_disabled,
    ),
)


def virtio_vmstate(device: VmStateDescription[Any]) -> VmStateDescription[Any]:
    """The "virtio" part of a device whose own state is laid out by `device`.

    The device's part comes after the low feature word and the queues, so that its fields may depend
    on both; the features as a whole are checked against what the target's device supports.
    """
    return VmStateDescription[Any](
        name="virtio",
        version=1,
        minimum_version=1,
        fields=(
            VmStateField("status", U8),
            VmStateField("isr", U8),
            VmStateField("queue_select", U16),
            VmStateField("guest_features_low", U32),
            VmStateField("config", Bytes(CONFIG_LENGTH_MAX)),
            VmStateField("queues", StructureList(_QUEUE, QUEUES_MAX)),
            VmStateField("device", Part(device)),
        ),
        subsections=_SUBSECTIONS,
        check=_check,
    )

"""What QEMU prints when a device's state cannot be saved or loaded, letter for letter.

What may live here: templates, filled with `%`; the comment above each says with what. Users and
tests of migration match on them. Sources: migration/vmstate.c, migration/savevm.c,
hw/virtio/virtio.c, hw/net/virtio-net.c, hw/vfio/migration.c.
"""

from __future__ import annotations

#: Section.
UNMIGRATABLE = "State blocked by non-migratable device '%s'"
#: Description, version that came, version here.
TOO_NEW = "%s: incoming version_id %d is too new for local version_id %d"
#: Description, version that came, oldest version read here. The double space is QEMU's.
TOO_OLD = "%s: incoming version_id %d is too old for local minimum version_id  %d"
#: Description, field.
FIELD_FAILED = "Failed to load %s:%s"
#: Instance number, section.
DEVICE_FAILED = "error while loading state for instance 0x%x of device '%s'"
#: Section, instance number.
UNKNOWN_SECTION = (
    "Unknown savevm section or instance '%s' %d. Make sure that your current VM setup "
    "matches your saved VM setup, including any hotplugged devices"
)
#: Features that came, features the device has.
FEATURES_UNSUPPORTED = "Features 0x%x unsupported. Allowed features: 0x%x"
#: Nothing.
VNET_HEADER_REQUIRED = "virtio-net: saved image requires vnet_hdr=on"
#: Nothing.
UFO_REQUIRED = "virtio-net: saved image requires TUN_F_UFO support"
#: Pairs in use that came, pairs the device has.
QUEUE_PAIRS_EXCEEDED = "virtio-net: curr_queue_pairs %x > max_queue_pairs %x"
#: Nothing. The reason of the blocker that a passed-through device adds.
VFIO_UNMIGRATABLE = "VFIO device doesn't support migration"

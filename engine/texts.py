"""Texts of the migration itself: stderr warnings and error descriptions, in one place.

Rules kept here: QEMU's own wherever it has one, exact; those that are ours say what to do. Texts
of the monitor are in `engine.qmp.texts`, texts of devices in `devices.texts`.
"""

from __future__ import annotations

#: QEMU migration.c process_incoming_migration_co with -EPERM and with -EINVAL.
LOAD_REFUSED = "load of migration failed: Operation not permitted"
LOAD_INVALID = "load of migration failed: Invalid argument"
#: QEMU savevm.c check_section_footer: the stream stopped in the middle.
STREAM_CUT = "check_section_footer: Read section footer failed: -5"
#: QEMU migration.c qemu_savevm_wait_unplug.
PARTIALLY_UNPLUGGED = "warning: migration: partially unplugged device on failure"
#: QEMU hw/net/virtio-net.c virtio_net_handle_migration_primary.
NOT_UNPLUGGED = "warning: couldn't unplug primary device"
#: QEMU hw/net/virtio-net.c failover_add_primary, two lines.
PRIMARY_NOT_FOUND = (
    "warning: Primary device not found\n"
    "Virtio-net failover will not work. Make sure primary device has parameter "
    "failover_pair_id=%s"
)
#: QEMU qdev-monitor.c, as failover_add_primary prints it.
PRIMARY_DROPPED = "warning: device_add not allowed while migrating"
PLUG_FAILED = "warning: %s"
#: Ours.
NOT_TRACKED = "The host does not tell which memory the guest writes: %s"
PEER_LOST = "The target is gone"
NO_ANSWER = "The target is gone: it went without an answer to HELLO; its stderr says why"
DEFECT = "Internal error, of which stderr says more: %s"
UNDECIDED = (
    "%s. The target may run the VM, so it stays paused here: if the target does not, cancel the "
    "migration"
)
PEER_SILENT = "Nothing was heard from the target for %d ms"
CHANNEL_LOST = "A channel for RAM was lost"
STRANGE_CHANNEL = "warning: a connection that is none of this migration's channels was closed"
SOURCE_LOST = "The source is gone"
SOURCE_SILENT = "Nothing was heard from the source for %d ms"
UNPLUG_TIMED_OUT = (
    "The guest did not release %s within %d ms: the migration was rolled back; look at the guest's "
    "hotplug driver, or raise x-unplug-timeout-ms"
)
UNPLUG_WAS_REFUSED = (
    "The slot of %s refused the unplug request (the guest holds it busy): nothing was unplugged"
)
DIGEST_DIFFERS = "The target's RAM is not the source's: the target must not run"
SOURCE_GAVE_UP = "The source gave up: %s"
CANCELLED = "cancelled by migrate_cancel"
TARGET_REFUSED = "The target refuses this VM: %s"
TARGET_FAILED = "The target could not load the VM: %s"
BROKEN_PIPE = "Unable to write to socket: Broken pipe"
JOURNAL_STOPPED = "the journal cannot be written, and ends here; the VM goes on without it: %s"
SIGNAL_IN_DOUBT = (
    "this VM is in doubt and may be the only whole copy: resolve it with x-replug-resolve, "
    "or send the signal again to end it all the same"
)

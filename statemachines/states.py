"""Every state of every lifecycle, each with what it means.

Rules kept here:
1. One Enum per lifecycle. A guard names a lifecycle by naming one of its states, so the Enum class
   is the lifecycle's identity; `tables/` gives each exactly one table.
2. A value is the spelling a person sees (for migration and run state: QEMU's QMP spelling); the
   `#:` line above a member is what diagrams and tables print for it.
3. A flag (hidden, pending, ...) is a lifecycle of two states, never a boolean somewhere else.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Base of every lifecycle's states."""

    # A state is itself alone. Enum hashes a member's name, in Python: tables are all look-ups.
    __hash__ = object.__hash__


class Migration(State):
    """Outgoing migration as `query-migrate` shows it (QEMU MigrationStatus, precopy part)."""

    #: No migration has been asked for yet.
    NONE = "none"
    #: Connecting, agreeing with the target, asking for the primaries' unplug.
    SETUP = "setup"
    #: Waiting for the guest to eject every primary it was asked to release.
    WAIT_UNPLUG = "wait-unplug"
    #: RAM passes are running while the guest runs.
    ACTIVE = "active"
    #: The guest is stopped and the operator's `migrate-continue` is awaited.
    PRE_SWITCHOVER = "pre-switchover"
    #: The guest is stopped; the last pages and the device state go over and are acknowledged.
    DEVICE = "device"
    #: The target has the VM (or, one-way, every byte is flushed).
    COMPLETED = "completed"
    #: `migrate_cancel` was accepted; the rollback has not finished.
    CANCELLING = "cancelling"
    #: Cancelled; the VM is the source's again.
    CANCELLED = "cancelled"
    #: Failed; the VM is the source's again.
    FAILED = "failed"


class Incoming(State):
    """The target's side as its own `query-migrate` shows it."""

    #: Not (yet) told to listen.
    NONE = "none"
    #: Listening for the source.
    SETUP = "setup"
    #: A source is connected and streams.
    ACTIVE = "active"
    #: The VM was taken over and runs, or is paused, here.
    COMPLETED = "completed"
    #: The stream was refused, cut or wrong.
    FAILED = "failed"


class RunState(State):
    """Whether the guest's processors run (QEMU RunState, the part a migration touches)."""

    #: Built, not yet started.
    PRELAUNCH = "prelaunch"
    #: The guest runs.
    RUNNING = "running"
    #: Stopped by the operator.
    PAUSED = "paused"
    #: Waiting for an incoming stream.
    INMIGRATE = "inmigrate"
    #: Stopped for the last part of an outgoing migration.
    FINISH_MIGRATE = "finish-migrate"
    #: The VM has left, or may have left.
    POSTMIGRATE = "postmigrate"


class Resume(State):
    """What the guest should do when whoever holds it may start it."""

    #: Run it: it was running when it was stopped for the migration.
    RUN = "run"
    #: Leave it paused.
    HOLD = "hold"


class Link(State):
    """One VM's own end of the migration channel."""

    #: There is none.
    CLOSED = "closed"
    #: Connecting to the target.
    CONNECTING = "connecting"
    #: Waiting for a source to connect.
    LISTENING = "listening"
    #: Connected, and the peer can answer.
    OPEN = "open"
    #: Connected to a sink or from a file: nobody answers.
    ONE_WAY = "one-way"
    #: The peer closed, died, or was silent for too long.
    LOST = "lost"


class ReturnPath(State):
    """Capability `return-path`: does the target's verdict come back to the source."""

    #: The source ends when its bytes are written.
    OFF = "off"
    #: The source waits for the target's verdict.
    ON = "on"


class PauseCapability(State):
    """Capability `pause-before-switchover`."""

    #: Switch over as soon as RAM has converged.
    OFF = "off"
    #: Wait in pre-switchover for `migrate-continue`.
    ON = "on"


class Blocker(State):
    """Whether something in the VM forbids migrating it."""

    #: Nothing does.
    CLEAR = "clear"
    #: A device that cannot be migrated is plugged (a vfio-pci that is no failover primary).
    BLOCKED = "blocked"


class Handover(State):
    """Who owns the VM, as the source knows it."""

    #: Nothing is being handed over.
    IDLE = "idle"
    #: HELLO is sent; nothing is unplugged before the target accepts.
    GREETED = "greeted"
    #: The target is ready to receive (or cannot say).
    ACCEPTED = "accepted"
    #: Device state and END are sent; the verdict is awaited.
    DELIVERED = "delivered"
    #: COMMIT is sent: from here the source never resumes by itself.
    COMMITTED = "committed"
    #: The answer to COMMIT was lost: an operator decides who keeps the VM.
    IN_DOUBT = "in-doubt"


class Takeover(State):
    """Who owns the VM, as the target knows it."""

    #: Nothing is being taken over.
    IDLE = "idle"
    #: HELLO is here and being compared with this VM.
    GREETED = "greeted"
    #: RAM arrives.
    RECEIVING = "receiving"
    #: Device state is loaded.
    STATE_LOADED = "state-loaded"
    #: Everything is here and verified; LOADED is sent and the VM stays paused.
    LOADED = "loaded"
    #: LOADED was sent and the source is gone: an operator decides who keeps the VM.
    IN_DOUBT = "in-doubt"


class Primary(State):
    """One failover primary: the device whose failover_pair_id names a standby."""

    #: There is no such device.
    ABSENT = "absent"
    #: Its options are kept; the guest has not acknowledged STANDBY, so it is not plugged.
    HIDDEN = "hidden"
    #: In its slot.
    PLUGGED = "plugged"
    #: In its slot; the guest was asked to release it.
    UNPLUG_PENDING = "unplug-pending"
    #: Ejected by the guest; the host keeps the device to plug it back.
    UNPLUGGED = "unplugged"


class Request(State):
    """Whose unplug request is outstanding on one primary."""

    #: Nobody's.
    NONE = "none"
    #: The running migration's.
    MIGRATION = "migration"
    #: The user's device_del.
    USER = "user"
    #: A migration's that was taken back; the guest may still be acting on it.
    WITHDRAWN = "withdrawn"


class Pending(State):
    """QEMU's pending_deleted_event of one primary."""

    #: No eject is expected.
    CLEAR = "clear"
    #: An unplug was requested and not yet answered.
    SET = "set"


class Partial(State):
    """QEMU's partially_hotplugged of one primary: what an eject means."""

    #: An eject deletes the device.
    WHOLE = "whole"
    #: An eject only takes the device from the guest.
    PARTIAL = "partial"


class Stored(State):
    """Whether the standby keeps the options of one primary (QEMU's primary_opts)."""

    #: It does not.
    EMPTY = "empty"
    #: It does: the primary can be created from them.
    KEPT = "kept"


class Slot(State):
    """One primary's PCIe slot, by ACPI or native hotplug."""

    #: No device.
    EMPTY = "empty"
    #: A device was plugged; the guest has not taken it into use.
    INSERTED = "inserted"
    #: The guest has enumerated the device.
    OCCUPIED = "occupied"
    #: Removal is requested (ACPI down bit, or the attention button).
    REQUESTED = "requested"
    #: Native only: the power indicator blinks; the guest will power off.
    BLINKING = "blinking"
    #: Native only: the guest has cut the slot's power, its indicator is still on.
    POWERED_OFF = "powered-off"


class Lower(State):
    """Whether one primary is a lower device of the guest's failover device."""

    #: The guest's failover device does not use it.
    OUT = "out"
    #: It is enslaved.
    IN = "in"


class Standby(State):
    """Virtio device status of one standby (virtio 1.2 §2.1)."""

    #: Reset, or never touched.
    RESET = "reset"
    #: The guest has noticed the device.
    ACKNOWLEDGE = "acknowledge"
    #: The guest knows how to drive it.
    DRIVER = "driver"
    #: Features are agreed.
    FEATURES_OK = "features-ok"
    #: The driver is live.
    DRIVER_OK = "driver-ok"
    #: The guest gave up on the device.
    FAILED = "failed"


class Feature(State):
    """Whether the guest has acknowledged VIRTIO_NET_F_STANDBY on one standby."""

    #: It has not.
    NOT_ACKED = "not-acked"
    #: It has: primaries may be shown to it.
    ACKED = "acked"


class Hidden(State):
    """QEMU's failover_primary_hidden of one standby."""

    #: A primary that is added stays hidden.
    HIDDEN = "hidden"
    #: A primary that is added is plugged.
    SHOWN = "shown"


class NetFailover(State):
    """The guest's failover device over one standby (Linux net_failover): which path it uses."""

    #: No failover device: the standby is a plain NIC.
    ABSENT = "absent"
    #: Only the standby carries traffic.
    STANDBY = "standby"
    #: A primary is enslaved without carrier: sends on the standby, drops what arrives there.
    PRIMARY_DOWN = "primary-down"
    #: The primary carries traffic.
    PRIMARY = "primary"


class VfioMigration(State):
    """VFIO migration v2 device states (Linux include/uapi/linux/vfio.h)."""

    #: Only a device reset leaves it.
    ERROR = "error"
    #: No DMA, no interrupts, no state change.
    STOP = "stop"
    #: Normal operation.
    RUNNING = "running"
    #: Stopped; its state is read out.
    STOP_COPY = "stop-copy"
    #: Stopped; its state is written in.
    RESUMING = "resuming"
    #: Running, but starts no peer-to-peer DMA.
    RUNNING_P2P = "running-p2p"
    #: Running; its state is already read out.
    PRE_COPY = "pre-copy"
    #: Both of the former.
    PRE_COPY_P2P = "pre-copy-p2p"

"""What must be possible, and how everything must end.

Rules kept here: those of `properties.py`. *sometimes* is there so that what is proved is not
proved of nothing; *resolves* says that nobody waits for ever.
"""

from __future__ import annotations

from statemachines.claims import At, Every, Kind, Neither, Property, never, never_some
from statemachines.claims import at_source as _source
from statemachines.claims import at_target as _target
from statemachines.environment import Option, Side
from statemachines.guards import All, AnyOf, In, Not, Per, Policy, Some
from statemachines.observers import (
    Announced,
    Asked,
    Life,
    Placement,
    Wanted,
)
from statemachines.states import (
    Feature,
    Handover,
    Incoming,
    Link,
    Lower,
    Migration,
    PauseCapability,
    Primary,
    Request,
    RunState,
    Slot,
    Standby,
    Takeover,
)
from statemachines.tables.conditions import IDLE_STATUSES, MIGRATING
from statemachines.witnesses import SetBlocker, SetPause, SetReturnPath, Told
from statemachines.witnesses_of_devices import Carrier, Indicator, Touched

_ALIVE = In(Life.ALIVE)
_RUNS = All(_ALIVE, In(RunState.RUNNING))
_ATTACHED = In(Primary.PLUGGED, Primary.UNPLUG_PENDING)
_LIVE_SLOT = In(Slot.INSERTED, Slot.OCCUPIED, Slot.REQUESTED, Slot.BLINKING)
_NEVER_ACKED = Some(In(Feature.NOT_ACKED))

_TWO_PHASE = Policy("handover", "two-phase")

SOMETIMES: tuple[Property, ...] = (
    Property(
        "completes-with-failover",
        Kind.SOMETIMES,
        "The guest has moved and uses the target's primary.",
        Every(
            (
                _source(In(Migration.COMPLETED), Some(In(Primary.UNPLUGGED))),
                _target(_RUNS, Some(In(Lower.IN))),
            )
        ),
        "hw/net/virtio-net.c",
        covers=(38,),
    ),
    Property(
        "completes-without-negotiation",
        Kind.SOMETIMES,
        "A guest without a STANDBY driver moves too.",
        Every(
            (
                _source(In(Migration.COMPLETED), Some(In(Asked.NEVER)), _NEVER_ACKED),
                _target(_RUNS),
            )
        ),
        "migration.c qemu_savevm_wait_unplug: nothing pending",
    ),
    Property(
        "waits-for-the-guest",
        Kind.SOMETIMES,
        "A migration waits for the guest to let a primary go.",
        _source(In(Migration.WAIT_UNPLUG), Some(In(Request.MIGRATION))),
        "migration.c qemu_savevm_wait_unplug",
        covers=(12,),
    ),
    Property(
        "cancelled-in-wait",
        Kind.SOMETIMES,
        "A cancel in wait-unplug ends, with the primary in its slot.",
        _source(In(Migration.CANCELLED), Some(All(_ATTACHED, _LIVE_SLOT))),
        "migration.c migrate_fd_cancel",
        covers=(1,),
    ),
    Property(
        "replugged-after-failure",
        Kind.SOMETIMES,
        "After a failure the guest has its ejected primary back in use.",
        _source(In(Migration.FAILED), Some(All(In(Lower.IN), In(Slot.OCCUPIED)))),
        "hw/net/virtio-net.c failover_replug_primary",
        covers=(9,),
    ),
    Property(
        "pauses-before-switchover",
        Kind.SOMETIMES,
        "A migration waits in pre-switchover.",
        _source(In(Migration.PRE_SWITCHOVER)),
        "migration.c migration_maybe_pause",
        covers=(11,),
    ),
    Property(
        "goes-on-when-continued",
        Kind.SOMETIMES,
        "A migration that waited in pre-switchover completes.",
        _source(In(Migration.COMPLETED), In(PauseCapability.ON)),
        "migration.c qmp_migrate_continue",
        covers=(11,),
    ),
    Property(
        "arrives-paused",
        Kind.SOMETIMES,
        "A guest that stood still arrives standing still.",
        _target(In(Incoming.COMPLETED), In(RunState.PAUSED)),
        "migration/global_state.c",
    ),
    Property(
        "stopped-on-the-way",
        Kind.SOMETIMES,
        "The operator stops the guest while its RAM is sent.",
        _source(_ALIVE, In(Migration.ACTIVE), In(RunState.PAUSED)),
        "softmmu/cpus.c vm_stop",
    ),
    Property(
        "goes-before-it-ran",
        Kind.SOMETIMES,
        "A guest that was never run is migrated.",
        _source(_ALIVE, In(Migration.ACTIVE), In(RunState.PRELAUNCH)),
        "softmmu/runstate.c: -S",
        option=Option.HELD_SOURCE,
    ),
    Property(
        "misplaced-is-tried",
        Kind.SOMETIMES,
        "A primary that the bus refuses is tried, and is not there.",
        _source(_ALIVE, Some(All(In(Placement.MISPLACED), In(Primary.ABSENT)))),
        "hw/core/qdev.c device_set_realized",
        option=Option.MISPLACED,
    ),
    Property(
        "both-in-doubt",
        Kind.SOMETIMES,
        "A lost COMMIT leaves both sides in doubt, and nothing runs.",
        Every((_source(In(Handover.IN_DOUBT)), _target(_ALIVE, In(Takeover.IN_DOUBT)))),
        "two-phase hand-over",
        where=_TWO_PHASE,
        needs_reply_path=True,
    ),
    Property(
        "target-refuses",
        Kind.SOMETIMES,
        "A target gives up, and its process ends.",
        _target(In(Life.EXITED)),
        "migration.c process_incoming_migration_co",
        covers=(39, 43),
    ),
    Property(
        "primary-before-standby",
        Kind.SOMETIMES,
        "A primary that was plugged before its standby is there without negotiation.",
        _source(In(Migration.NONE), Some(All(In(Primary.PLUGGED), In(Announced.NO)))),
        "a device plugged before its standby stays visible",
        covers=(25,),
        option=Option.ADOPTED,
    ),
    Property(
        "return-path-can-be-set",
        Kind.SOMETIMES,
        "An operator sets return-path, and it is on.",
        _source(In(SetReturnPath.ON), MIGRATING),
        "migration.c qmp_migrate_set_capabilities",
    ),
    Property(
        "return-path-can-be-taken-back",
        Kind.SOMETIMES,
        "An operator sets return-path and takes it back.",
        _source(In(SetReturnPath.OFF_AGAIN)),
        "migration.c qmp_migrate_set_capabilities",
    ),
    Property(
        "pause-can-be-taken-back",
        Kind.SOMETIMES,
        "An operator sets pause-before-switchover and takes it back.",
        _source(In(SetPause.OFF_AGAIN)),
        "migration.c qmp_migrate_set_capabilities",
    ),
    Property(
        "blocker-goes",
        Kind.SOMETIMES,
        "A device that forbids migrating is taken out.",
        _source(_ALIVE, In(SetBlocker.GONE)),
        "hw/vfio/migration.c vfio_migration_exit",
        option=Option.BLOCKER,
    ),
    Property(
        "standby-declined",
        Kind.SOMETIMES,
        "A driver answers that it does not know STANDBY.",
        At(Side.SOURCE, In(Touched.DECLINED), each=Per.STANDBY),
        "virtio 1.2 §5.1.3; drivers/net/virtio_net.c: a driver without the feature bit",
    ),
    Property(
        "driver-fails",
        Kind.SOMETIMES,
        "A standby's driver gives up.",
        At(Side.SOURCE, In(Standby.FAILED), each=Per.STANDBY),
        "virtio 1.2 §2.1: FAILED",
        option=Option.FLAKY_GUEST,
    ),
    Property(
        "leaves-by-acpi",
        Kind.SOMETIMES,
        "With ACPI hotplug a guest that was asked ejects its primary.",
        _source(In(Migration.ACTIVE), Some(In(Primary.UNPLUGGED))),
        "hw/acpi/pcihp.c acpi_pcihp_eject_slot",
        where=Policy("hotplug", "acpi"),
    ),
    Property(
        "leaves-by-its-slot",
        Kind.SOMETIMES,
        "With native hotplug a guest powers a slot off, and what the user deleted is gone.",
        _source(Some(In(Wanted.DELETED))),
        "hw/pci/pcie.c pcie_cap_slot_write_config",
        where=Policy("hotplug", "native"),
    ),
    Property(
        "carrier-lost",
        Kind.SOMETIMES,
        "An enslaved primary loses its carrier.",
        _source(_RUNS, Some(In(Carrier.LOST))),
        "drivers/net/net_failover.c net_failover_xmit_ready",
        covers=(49,),
        option=Option.FLAKY_GUEST,
    ),
    Property(
        "removal-given-up",
        Kind.SOMETIMES,
        "A guest gives up a removal, and nobody tells.",
        _source(_RUNS, Some(In(Indicator.GIVEN_UP))),
        "Linux pciehp_ctrl.c: a second press cancels",
        covers=(51,),
        where=Policy("hotplug", "native"),
    ),
    Property(
        "user-deletes",
        Kind.SOMETIMES,
        "The user deletes a primary, and it goes.",
        _source(_RUNS, Some(In(Wanted.DELETED))),
        "softmmu/qdev-monitor.c qmp_device_del",
        covers=(33,),
    ),
    Property(
        "reboot-in-wait-goes-on",
        Kind.SOMETIMES,
        "A guest that reboots in wait-unplug lets the migration go on.",
        _source(In(Migration.ACTIVE), Some(All(In(Standby.RESET), In(Primary.UNPLUGGED)))),
        "hw/acpi/pcihp.c acpi_pcihp_reset",
        covers=(14,),
    ),
    Property(
        "decided-for-the-source",
        Kind.SOMETIMES,
        "A doubt is ended on both sides: the source has the VM back, the target's process is gone.",
        Every(
            (
                _source(In(Migration.FAILED), In(Told.HERE), _RUNS),
                _target(In(Life.EXITED)),
            )
        ),
        "DESIGN: x-replug-resolve",
        where=_TWO_PHASE,
        needs_reply_path=True,
    ),
    Property(
        "decided-for-the-target",
        Kind.SOMETIMES,
        "A doubt is ended on both sides: the target runs the VM, the source has let it go.",
        Every(
            (
                _source(_ALIVE, In(Migration.COMPLETED), In(Told.THERE)),
                _target(_RUNS, In(Told.HERE)),
            )
        ),
        "DESIGN: x-replug-resolve",
        where=_TWO_PHASE,
        needs_reply_path=True,
    ),
)

#: A target that is being started anew waits for the operator, and everything with it.
_NOT_YET_THERE = (In(Primary.PLUGGED), In(Slot.EMPTY))

RESOLVES: tuple[Property, ...] = (
    Property(
        "migration-ends",
        Kind.RESOLVES,
        "Every migration ends, is in doubt, or waits for the operator who asked it to.",
        At(
            Side.SOURCE,
            AnyOf(
                Not(_ALIVE),
                In(
                    Migration.NONE,
                    Migration.COMPLETED,
                    Migration.CANCELLED,
                    Migration.FAILED,
                    Migration.PRE_SWITCHOVER,
                ),
                In(Handover.IN_DOUBT),
            ),
        ),
        "migration.c qemu_savevm_wait_unplug waits without end",
        covers=(4, 7, 12, 13, 14, 51),
    ),
    Property(
        "take-over-ends",
        Kind.RESOLVES,
        "A target that has begun to take a VM over has it, has given up, or is in doubt.",
        never(
            _target(_ALIVE, In(Incoming.ACTIVE), Not(In(Takeover.IN_DOUBT))),
            Neither(_source(_ALIVE, In(Migration.PRE_SWITCHOVER))),
        ),
        "migration.c process_incoming_migration_co",
        covers=(43,),
    ),
    Property(
        "channel-is-let-go",
        Kind.RESOLVES,
        "When a migration has ended, neither side holds on to the channel.",
        Every(
            (
                never(_source(_ALIVE, In(*IDLE_STATUSES), Not(In(Link.CLOSED)))),
                never(_target(_ALIVE, In(Incoming.COMPLETED), Not(In(Link.CLOSED)))),
            )
        ),
        "migration.c migrate_fd_cleanup",
        covers=(10,),
    ),
    Property(
        "plugging-ends",
        Kind.RESOLVES,
        "A primary that is to be plugged comes into its slot, or is given up.",
        Every(
            (
                never(
                    Neither(_source(never_some(*_NOT_YET_THERE))),
                    Neither(_target(_ALIVE, In(Incoming.NONE))),
                ),
                _target(never_some(*_NOT_YET_THERE)),
            )
        ),
        "hw/net/virtio-net.c failover_add_primary, failover_replug_primary",
        covers=(6, 38),
    ),
)

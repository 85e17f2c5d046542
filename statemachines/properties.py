"""What must hold of two VMs: named, cited, and mapped to the hard situations it covers.

Rules kept here:
1. A claim speaks of joint states: what the two VMs are in, observers included. It never asks a
   table what it would do.
2. *always*: in every reachable state. *sometimes*: in some reachable state, so that what is proved
   is not proved of nothing. *resolves*: with operator, guest and faults taken away, every course
   comes to an end, and no course goes round without one.
3. `covers` numbers situations in `docs/properties.md`, where those that no claim can cover are
   listed with the test that does.
"""

from __future__ import annotations

from statemachines.agreements import AGREEMENTS
from statemachines.agreements_of_guests import AGREEMENTS_OF_GUESTS
from statemachines.agreements_of_primaries import AGREEMENTS_OF_PRIMARIES
from statemachines.claims import At, Every, Kind, Neither, Property, never, never_some
from statemachines.claims import at_source as _source
from statemachines.claims import at_target as _target
from statemachines.claims import on_both as _on_both
from statemachines.environment import Side
from statemachines.guards import All, AnyOf, In, Mine, Not, Per, Some
from statemachines.observers import (
    Announced,
    Asked,
    Before,
    EverPlugged,
    Life,
    Placement,
    SlotRefused,
    Streamed,
    Wanted,
)
from statemachines.outcomes import RESOLVES, SOMETIMES
from statemachines.states import (
    Feature,
    Handover,
    Incoming,
    Link,
    Lower,
    Migration,
    NetFailover,
    Partial,
    Pending,
    Primary,
    Request,
    RunState,
    Slot,
    Standby,
    Stored,
    Takeover,
)
from statemachines.tables.conditions import LEAVING_STATUSES

_ALIVE = In(Life.ALIVE)
_RUNS = All(_ALIVE, In(RunState.RUNNING))
_ATTACHED = In(Primary.PLUGGED, Primary.UNPLUG_PENDING)
_LIVE_SLOT = In(Slot.INSERTED, Slot.OCCUPIED, Slot.REQUESTED, Slot.BLINKING)
_STREAMING = In(Migration.ACTIVE, Migration.PRE_SWITCHOVER, *LEAVING_STATUSES)
_ROLLED_BACK = In(Migration.CANCELLED, Migration.FAILED)
_GIVEN = In(Handover.COMMITTED, Handover.IN_DOUBT)
_STOPPED_FOR_IT = In(RunState.FINISH_MIGRATE, RunState.POSTMIGRATE)
#: The target has the VM, whole: running or paused, or waiting for a word.
_TARGET_HAS_IT = AnyOf(
    In(Life.DIED_WITH_VM),
    All(_ALIVE, AnyOf(In(Incoming.COMPLETED), In(Takeover.LOADED, Takeover.IN_DOUBT))),
)
_BOUND = All(In(Standby.DRIVER_OK), In(Feature.ACKED))
_BEYOND_RECALL = All(
    _ALIVE,
    In(RunState.POSTMIGRATE),
    In(Migration.COMPLETED),
    In(Handover.IDLE),
)

ALWAYS: tuple[Property, ...] = (
    Property(
        "every-event-has-an-answer",
        Kind.ALWAYS,
        "Whatever its owner lets happen, every machine that listens can take.",
        Every((Neither(_source(In(Life.BROKEN))), Neither(_target(In(Life.BROKEN))))),
        "DESIGN: events have one owner",
        covers=(3, 5),
    ),
    Property(
        "one-vm-runs",
        Kind.ALWAYS,
        "The two VMs never run at the same time.",
        never(_source(_RUNS), _target(_RUNS)),
        "migration.c migration_completion; monitor/qmp-cmds.c qmp_cont",
        covers=(16,),
        needs_reply_path=True,
    ),
    Property(
        "vm-never-lost",
        Kind.ALWAYS,
        "A source that has let the VM go has let it go to a target that has it.",
        never(_source(_BEYOND_RECALL), Neither(_target(_TARGET_HAS_IT))),
        "migration.c migration_completion without return path",
        covers=(39,),
        needs_reply_path=True,
    ),
    Property(
        "commit-gives-it-away",
        Kind.ALWAYS,
        "Once COMMIT is sent the source stands still, until an operator has decided.",
        never(_source(_ALIVE, _GIVEN), Neither(_source(_STOPPED_FOR_IT))),
        "two-phase hand-over",
    ),
    Property(
        "launched-only-when-given",
        Kind.ALWAYS,
        "A target runs only what the source has given away and cannot resume by itself.",
        never(
            _target(_ALIVE, In(Incoming.COMPLETED)),
            _source(_ALIVE, _ROLLED_BACK),
        ),
        "migration.c process_incoming_migration_bh",
        needs_reply_path=True,
    ),
    Property(
        "nothing-streamed-with-a-primary",
        Kind.ALWAYS,
        "No device state is sent while a primary is the guest's; none travels in the stream.",
        Neither(_source(Some(In(Streamed.ATTACHED)))),
        "hw/net/virtio-net.c failover_unplug_primary: its vmstate is unregistered",
        covers=(25, 26, 29, 31),
    ),
    Property(
        "waits-for-every-eject",
        Kind.ALWAYS,
        "No RAM pass runs while a primary that was asked to leave is still there.",
        never(_source(_ALIVE, _STREAMING, Some(In(Primary.UNPLUG_PENDING)))),
        "migration.c qemu_savevm_wait_unplug",
        covers=(15, 18, 26, 52),
    ),
    Property(
        "refusal-ends-the-migration",
        Kind.ALWAYS,
        "A migration whose unplug request was refused does not go on with the primary attached.",
        never(_source(_ALIVE, _STREAMING, Some(All(In(SlotRefused.YES), _ATTACHED)))),
        "hw/net/virtio-net.c virtio_net_handle_migration_primary",
        covers=(30, 31),
    ),
    Property(
        "every-primary-is-asked",
        Kind.ALWAYS,
        "No RAM pass runs while a primary is plugged that was never asked to leave.",
        never(
            _source(
                _ALIVE,
                _STREAMING,
                Some(All(In(Primary.PLUGGED), In(SlotRefused.NO), In(Asked.NEVER))),
            )
        ),
        "hw/net/virtio-net.c failover_find_primary_device: the last found",
        covers=(25, 29),
    ),
    Property(
        "asked-once",
        Kind.ALWAYS,
        "UNPLUG_PRIMARY is emitted at most once for a primary in a migration.",
        Neither(_source(Some(In(Asked.TWICE)))),
        "hw/net/virtio-net.c failover_unplug_primary",
        covers=(3, 10),
    ),
    Property(
        "plugged-only-when-negotiated",
        Kind.ALWAYS,
        "A target plugs a primary only after FAILOVER_NEGOTIATED.",
        never(_target(_ALIVE, Some(All(In(Primary.PLUGGED), In(Announced.NO))))),
        "hw/net/virtio-net.c virtio_net_set_features",
        covers=(38, 42),
    ),
    Property(
        "cancelled-vm-resumes",
        Kind.ALWAYS,
        "A migration that was given up leaves the guest in the run state it had.",
        Every(
            (
                never(
                    _source(_ALIVE, _ROLLED_BACK, In(Before.RAN)),
                    Neither(_source(In(RunState.RUNNING))),
                ),
                never(
                    _source(_ALIVE, _ROLLED_BACK, In(Before.STOOD)),
                    Neither(_source(In(RunState.PAUSED, RunState.PRELAUNCH))),
                ),
                never(_source(_ALIVE, _ROLLED_BACK, _STOPPED_FOR_IT)),
            )
        ),
        "migration.c migration_iteration_finish",
        covers=(9, 11),
    ),
    Property(
        "primaries-come-back",
        Kind.ALWAYS,
        "After a migration that was given up no primary is left unplugged or asked to leave.",
        never(
            _source(
                _ALIVE,
                _ROLLED_BACK,
                Some(
                    AnyOf(
                        In(Primary.UNPLUGGED),
                        In(Request.MIGRATION),
                        In(Partial.PARTIAL),
                        All(In(Primary.UNPLUG_PENDING), Not(In(Request.USER))),
                    )
                ),
            )
        ),
        "hw/net/virtio-net.c failover_replug_primary",
        covers=(1, 2, 4, 5, 8, 9, 11, 15),
    ),
    Property(
        "nothing-left-pending",
        Kind.ALWAYS,
        "After a migration that was given up no eject is expected any more, but for a user's.",
        never(_source(_ALIVE, _ROLLED_BACK, Some(All(In(Pending.SET), Not(In(Request.USER)))))),
        "hw/acpi/pcihp.c: pending_deleted_event is cleared by an eject alone",
        covers=(10,),
    ),
    Property(
        "no-eject-deletes-a-primary",
        Kind.ALWAYS,
        "A primary that was plugged, and that nobody gave up, is never deleted.",
        _on_both(never_some(In(Wanted.YES), Not(In(EverPlugged.NO)), In(Primary.ABSENT))),
        "hw/acpi/pcihp.c acpi_pcihp_eject_slot",
        covers=(6, 33),
    ),
    Property(
        "negotiation-loses-no-primary",
        Kind.ALWAYS,
        "A primary that waits to be shown is not lost when the guest negotiates.",
        _on_both(never_some(In(Wanted.YES), In(EverPlugged.NO), In(Primary.ABSENT))),
        "hw/net/virtio-net.c failover_add_primary",
        covers=(18, 22),
    ),
    Property(
        "deleted-stays-deleted",
        Kind.ALWAYS,
        "A primary that the user deleted does not come back by itself.",
        _on_both(never_some(In(Wanted.DELETED), Not(In(Primary.ABSENT)))),
        "hw/net/virtio-net.c failover_add_primary: the options outlive the device",
        covers=(23,),
    ),
    Property(
        "refused-primary-is-forgotten",
        Kind.ALWAYS,
        "A primary whose bus refused it leaves nothing behind that blocks another.",
        _on_both(never_some(In(Placement.MISPLACED), In(Primary.ABSENT), In(Stored.KEPT))),
        "hw/net/virtio-net.c failover_hide_primary_device",
        covers=(19, 22),
    ),
    Property(
        "guest-has-a-path",
        Kind.ALWAYS,
        "While the guest runs with its driver bound, exactly one path carries its traffic.",
        Every(
            tuple(
                At(
                    side,
                    AnyOf(
                        Not(_RUNS),
                        Not(_BOUND),
                        All(In(NetFailover.STANDBY), Not(Mine(In(Lower.IN)))),
                        All(
                            In(NetFailover.PRIMARY, NetFailover.PRIMARY_DOWN),
                            Mine(All(In(Lower.IN), _ATTACHED, _LIVE_SLOT)),
                        ),
                    ),
                    each=Per.STANDBY,
                )
                for side in Side
            )
        ),
        "drivers/net/net_failover.c net_failover_start_xmit",
        covers=(47, 49, 50, 52),
    ),
    Property(
        "lost-peer-is-noticed",
        Kind.ALWAYS,
        "A migration does not wait for an eject while its peer is gone.",
        never(_source(_ALIVE, In(Migration.WAIT_UNPLUG), In(Link.LOST))),
        "migration.c qemu_savevm_wait_unplug: nobody looks at the channel",
        covers=(8,),
    ),
)

#: Every property, in the order of reports.
PROPERTIES: tuple[Property, ...] = (
    *ALWAYS,
    *AGREEMENTS,
    *AGREEMENTS_OF_GUESTS,
    *AGREEMENTS_OF_PRIMARIES,
    *SOMETIMES,
    *RESOLVES,
)


def property_named(name: str) -> Property:
    """Return a property.

    :raise KeyError: if there is none of that name; the message lists them.
    """
    for found in PROPERTIES:
        if found.name == name:
            return found
    known = ", ".join(found.name for found in PROPERTIES)
    raise KeyError(f"no property {name!r}: it is one of {known}")

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

from dataclasses import dataclass
from enum import Enum

from statemachines.compile import Model
from statemachines.environment import Side
from statemachines.ground import Ground, both
from statemachines.guards import ALWAYS as ALWAYS_SO
from statemachines.guards import VM_SCOPE, All, AnyOf, Guard, In, Mine, Not, Per, Policy, Some
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

# -- claims


@dataclass(frozen=True)
class At:
    """Something is so at one VM."""

    #: Which VM.
    side: Side
    #: What is so; read in the scope of the VM, or of each of its standbys.
    guard: Guard
    #: VM, or STANDBY: it is so of every one.
    each: Per = Per.VM


@dataclass(frozen=True)
class Neither:
    """The claim does not hold."""

    #: What does not hold.
    claim: Claim


@dataclass(frozen=True)
class Every:
    """All of the claims hold."""

    #: At least one.
    claims: tuple[Claim, ...]


Claim = At | Neither | Every


def never(*claims: Claim) -> Claim:
    """Return that the claims do not hold together."""
    return Neither(Every(claims))


def ground_leaf(model: Model, leaf: At) -> Ground:
    """Return what a leaf of a claim says, over the fields of its VM."""
    if leaf.each is Per.VM:
        return model.ground(leaf.guard, VM_SCOPE)
    return both(model.ground(leaf.guard, scope) for scope in model.topology.scopes(leaf.each))


class Kind(Enum):
    """What is claimed of the reachable states."""

    #: Every one is so.
    ALWAYS = "always"
    #: Some one is so.
    SOMETIMES = "sometimes"
    #: Every course ends where it is so.
    RESOLVES = "resolves"


@dataclass(frozen=True)
class Property:
    """One thing that must hold."""

    #: Its name on the command line and in reports.
    name: str
    #: What kind of claim it is.
    kind: Kind
    #: One sentence, true when it holds.
    sentence: str
    #: The claim.
    claim: Claim
    #: Where the rule comes from.
    cite: str
    #: Numbers of the situations that it covers.
    covers: tuple[int, ...] = ()
    #: It is promised only where the target can answer.
    needs_reply_path: bool = False
    #: It is promised only under these policies.
    where: Guard = ALWAYS_SO

    def applies(self, model: Model) -> bool:
        """Return whether it is promised of a system."""
        asked = self.needs_reply_path and not model.topology.reply_path
        return not asked and model.ground(self.where, VM_SCOPE) is True


def _source(*parts: Guard) -> At:
    return At(Side.SOURCE, parts[0] if len(parts) == 1 else All(*parts))


def _target(*parts: Guard) -> At:
    return At(Side.TARGET, parts[0] if len(parts) == 1 else All(*parts))


def never_some(*parts: Guard) -> Guard:
    """Return that no primary of a living VM is all of these at once."""
    return Not(All(In(Life.ALIVE), Some(All(*parts))))


def _on_both(guard: Guard) -> Claim:
    return Every(tuple(At(side, guard) for side in Side))


_ALIVE = In(Life.ALIVE)
_RUNS = All(_ALIVE, In(RunState.RUNNING))
_ATTACHED = In(Primary.PLUGGED, Primary.UNPLUG_PENDING)
_LIVE_SLOT = In(Slot.INSERTED, Slot.OCCUPIED, Slot.REQUESTED, Slot.BLINKING)
_NEVER_ACKED = Some(In(Feature.NOT_ACKED))
_STREAMING = In(Migration.ACTIVE, Migration.PRE_SWITCHOVER, Migration.DEVICE)
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
        _on_both(never_some(In(Wanted.YES), In(EverPlugged.YES), In(Primary.ABSENT))),
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
        "arrives-paused",
        Kind.SOMETIMES,
        "A guest that stood still arrives standing still.",
        _target(In(Incoming.COMPLETED), In(RunState.PAUSED)),
        "migration/global_state.c",
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
)

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
)

#: Every property, in the order of reports.
PROPERTIES: tuple[Property, ...] = (*ALWAYS, *SOMETIMES, *RESOLVES)


def property_named(name: str) -> Property:
    """Return a property.

    :raise KeyError: if there is none of that name; the message lists them.
    """
    for found in PROPERTIES:
        if found.name == name:
            return found
    known = ", ".join(found.name for found in PROPERTIES)
    raise KeyError(f"no property {name!r}: it is one of {known}")

"""The outgoing migration: QEMU's statuses and arcs for precopy.

Rules kept here: statuses and arcs are those of QEMU 7.2 (migration/migration.c); where profiles
differ the row names the policy. Postcopy and COLO have no row: they are not served.
"""

from __future__ import annotations

from statemachines.effects import Command, Raise, do
from statemachines.events import E
from statemachines.guards import All, In, Not, Per, Policy
from statemachines.refusals import Field
from statemachines.spec import Ignored, MachineSpec, Refused, Row
from statemachines.states import Blocker, Handover, Link, Migration, PauseCapability, RunState
from statemachines.tables.conditions import (
    GIVEN_AWAY,
    IDLE_STATUSES,
    RUNNING_STATUSES,
    TWO_PHASE,
    UNANSWERED,
    VERDICT,
    WAITING,
)

M = Migration
EMIT = do(Command.EMIT_MIGRATION)
ITERATE = do(Command.ITERATE, E.CONVERGED, E.STREAM_FAILED)
POLL = do(Command.START_POLL, E.POLL)
#: What every failure does: the status first, then the VM resumes, then the primaries return.
FAILING = (EMIT, Raise(E.ABANDON), Raise(E.RESUME_SOURCE), Raise(E.ROLLBACK))
BEGIN = (Raise(E.UNPLUG_PRIMARIES), Raise(E.START_SETUP))
COMPLETING = (EMIT, Raise(E.MIGRATED))

_POLLED = Policy("leave_wait_unplug", "poll")
_LINGERS = Policy("cancel_in_wait", "linger")

_SETTING_UP = (
    Row(
        IDLE_STATUSES,
        E.MIGRATE,
        M.SETUP,
        when=All(
            Not(In(RunState.INMIGRATE, RunState.POSTMIGRATE)),
            In(Blocker.CLEAR),
            In(Link.CLOSED),
        ),
        then=(
            EMIT,
            do(Command.CONNECT, E.CONNECTED, E.CONNECTED_ONE_WAY, E.CONNECT_FAILED),
        ),
        cite="migration.c migrate_prepare, migrate_init",
    ),
    Row(M.SETUP, E.CONNECT_FAILED, M.FAILED, then=FAILING, cite="migration.c migrate_fd_error"),
    Row(
        M.SETUP,
        E.CONNECTED,
        None,
        when=Not(All(Policy("greeting", "asked"), Policy("handover", "two-phase"))),
        then=BEGIN,
        cite="migration.c migrate_fd_connect: notifiers run, then the thread starts",
    ),
    Row(M.SETUP, E.CONNECTED_ONE_WAY, None, then=BEGIN, cite="migration.c migrate_fd_connect"),
    Row(M.SETUP, E.RECV_ACCEPT, None, then=BEGIN),
    Row(M.SETUP, E.RECV_REFUSE, M.FAILED, then=FAILING),
    Row(M.SETUP, E.UNPLUG_PRIMARIES, None),
    Row(
        (M.SETUP, M.WAIT_UNPLUG),
        E.UNPLUG_REFUSED,
        M.FAILED,
        when=Policy("unplug_refused", "fail"),
        then=FAILING,
    ),
    Row(
        M.SETUP,
        E.START_SETUP,
        None,
        then=(do(Command.SAVE_SETUP, E.SETUP_DONE, E.STREAM_FAILED),),
        cite="savevm.c qemu_savevm_state_setup",
    ),
    Row(
        M.SETUP,
        E.SETUP_DONE,
        M.WAIT_UNPLUG,
        when=All(WAITING, _POLLED),
        then=(EMIT, POLL),
        cite="migration.c qemu_savevm_wait_unplug",
    ),
    Row(
        M.SETUP,
        E.SETUP_DONE,
        M.WAIT_UNPLUG,
        when=WAITING,
        then=(EMIT, do(Command.START_DEADLINE, E.UNPLUG_DEADLINE)),
    ),
    Row(
        M.SETUP,
        E.SETUP_DONE,
        M.ACTIVE,
        then=(EMIT, ITERATE),
        cite="migration.c qemu_savevm_wait_unplug: nothing pending",
    ),
)

_WAITING = (
    Row(
        M.WAIT_UNPLUG,
        E.PRIMARY_UNPLUGGED,
        M.ACTIVE,
        when=All(Policy("leave_wait_unplug", "event"), Not(WAITING)),
        then=(EMIT, ITERATE),
    ),
    Row(
        M.WAIT_UNPLUG,
        E.POLL,
        M.ACTIVE,
        when=All(_POLLED, Not(WAITING)),
        then=(EMIT, ITERATE),
        cite="migration.c qemu_savevm_wait_unplug: a timed wait of 250 ms, never posted",
    ),
    Row(M.WAIT_UNPLUG, E.POLL, None, when=_POLLED, then=(POLL,)),
    Row(
        M.WAIT_UNPLUG,
        E.UNPLUG_DEADLINE,
        M.FAILED,
        when=Policy("unplug_deadline", "on"),
        then=FAILING,
    ),
)

#: The guest is stopped for this migration, not for one that was given up meanwhile.
_STOPPED = In(RunState.FINISH_MIGRATE)

_SWITCHING_OVER = (
    Row(M.ACTIVE, E.CONVERGED, None, cite="migration.c migration_completion"),
    Row(
        M.ACTIVE,
        E.GUEST_STOPPED,
        M.PRE_SWITCHOVER,
        when=All(_STOPPED, In(PauseCapability.ON)),
        then=(EMIT,),
        cite="migration.c migration_maybe_pause",
    ),
    Row(
        M.ACTIVE,
        E.GUEST_STOPPED,
        M.DEVICE,
        when=All(_STOPPED, Policy("device_status", "always")),
        then=(EMIT, Raise(E.DELIVER)),
        cite="QEMU 10: device before every completion",
    ),
    Row(M.ACTIVE, E.GUEST_STOPPED, None, when=_STOPPED, then=(Raise(E.DELIVER),)),
    Row(
        M.PRE_SWITCHOVER,
        E.CONTINUE,
        M.DEVICE,
        then=(EMIT, Raise(E.DELIVER)),
        cite="migration.c qmp_migrate_continue",
    ),
    Row(
        (M.ACTIVE, M.DEVICE),
        E.DELIVER,
        None,
        then=(do(Command.SAVE_FINAL, E.FINAL_SENT, E.STREAM_FAILED),),
        cite="savevm.c qemu_savevm_state_complete_precopy",
    ),
)

_ENDING = (
    Row(
        M.DEVICE,
        E.RECV_RUNNING,
        M.COMPLETED,
        when=All(TWO_PHASE, In(Handover.COMMITTED)),
        then=COMPLETING,
    ),
    Row(
        (M.ACTIVE, M.DEVICE),
        E.RECV_RUNNING,
        M.COMPLETED,
        when=All(VERDICT, In(Handover.DELIVERED)),
        then=COMPLETING,
        cite="migration.c migration_completion: await_return_path_close_on_source",
    ),
    Row(
        (M.ACTIVE, M.DEVICE),
        E.FLUSHED,
        M.COMPLETED,
        when=UNANSWERED,
        then=COMPLETING,
        cite="migration.c migration_completion without return path",
    ),
    Row(
        (M.ACTIVE, M.DEVICE),
        E.STREAM_FAILED,
        M.FAILED,
        when=Not(GIVEN_AWAY),
        then=FAILING,
        cite="migration.c migration_completion fail, migration_detect_error",
    ),
    Row(M.SETUP, E.STREAM_FAILED, M.FAILED, then=FAILING),
    Row(
        (M.SETUP, M.WAIT_UNPLUG),
        E.PEER_LOST,
        M.FAILED,
        when=Policy("peer_loss_in_wait", "at-once"),
        then=FAILING,
    ),
    Row(
        (M.ACTIVE, M.PRE_SWITCHOVER, M.DEVICE),
        E.PEER_LOST,
        M.FAILED,
        when=Not(GIVEN_AWAY),
        then=FAILING,
    ),
    Row(
        (M.SETUP, M.WAIT_UNPLUG, M.ACTIVE, M.PRE_SWITCHOVER, M.DEVICE),
        E.RECV_LOAD_FAILED,
        M.FAILED,
        when=Not(GIVEN_AWAY),
        then=FAILING,
        cite="migration.c: the return path reports an error",
    ),
    Row(M.DEVICE, E.DIGEST_MISMATCH, M.FAILED, when=Not(GIVEN_AWAY), then=FAILING),
    Row(
        M.DEVICE,
        E.KEEP_HERE,
        M.FAILED,
        when=In(Handover.IN_DOUBT),
        then=(EMIT, Raise(E.RESUME_SOURCE), Raise(E.ROLLBACK)),
    ),
    Row(M.DEVICE, E.KEEP_THERE, M.COMPLETED, when=In(Handover.IN_DOUBT), then=COMPLETING),
)

_CANCELLING = (
    Row(
        (M.SETUP, M.WAIT_UNPLUG, M.ACTIVE, M.PRE_SWITCHOVER, M.DEVICE),
        E.CANCEL,
        M.CANCELLING,
        when=Not(GIVEN_AWAY),
        then=(EMIT, Raise(E.ABANDON), Raise(E.RESUME_SOURCE)),
        cite="migration.c migrate_fd_cancel",
    ),
    Row(M.CANCELLING, E.CANCEL, None, then=(EMIT,), cite="migrate_fd_cancel: the event again"),
    Row(
        M.CANCELLING,
        E.CHANNEL_CLOSED,
        None,
        when=All(_LINGERS, WAITING),
        then=(POLL, do(Command.START_CANCEL_WAIT, E.CANCEL_WAIT_OVER)),
        cite="migration.c qemu_savevm_wait_unplug: up to 120 further waits",
    ),
    Row(
        M.CANCELLING,
        E.CHANNEL_CLOSED,
        M.CANCELLED,
        then=(EMIT, Raise(E.ROLLBACK)),
        cite="migration.c migrate_fd_cleanup",
    ),
    Row(
        M.CANCELLING,
        E.POLL,
        M.CANCELLED,
        when=All(_LINGERS, In(Link.CLOSED), Not(WAITING)),
        then=(EMIT, Raise(E.ROLLBACK)),
    ),
    Row(M.CANCELLING, E.POLL, None, when=_LINGERS, then=(POLL,)),
    Row(
        M.CANCELLING,
        E.CANCEL_WAIT_OVER,
        M.CANCELLED,
        when=All(_LINGERS, In(Link.CLOSED)),
        then=(do(Command.WARN_PARTIALLY_UNPLUGGED), EMIT, Raise(E.ROLLBACK)),
        cite="migration.c qemu_savevm_wait_unplug: 'partially unplugged device on failure'",
    ),
)

_BROADCASTS = (
    Row((M.CANCELLING, M.FAILED), E.ABANDON, None),
    Row((M.CANCELLING, M.FAILED), E.RESUME_SOURCE, None),
    Row((M.CANCELLED, M.FAILED), E.ROLLBACK, None),
    Row(M.COMPLETED, E.MIGRATED, None),
)

_ENDED = (M.COMPLETED, M.CANCELLING, M.CANCELLED, M.FAILED)

MIGRATION = MachineSpec(
    name="migration",
    states=Migration,
    summary="The outgoing migration, as query-migrate shows it on the source.",
    initial=M.NONE,
    final=frozenset(IDLE_STATUSES),
    per=Per.VM,
    rows=(
        *_SETTING_UP,
        *_WAITING,
        *_SWITCHING_OVER,
        *_ENDING,
        *_CANCELLING,
        *_BROADCASTS,
    ),
    ignored=(
        Ignored(M.SETUP, E.CONNECTED, "the target's ACCEPT is awaited first"),
        Ignored(M.CANCELLING, (E.CONNECTED, E.CONNECTED_ONE_WAY, E.CONNECT_FAILED), "cancelled"),
        Ignored(IDLE_STATUSES, E.CANCEL, "no migration is under way (qmp_migrate_cancel)"),
        Ignored(tuple(M), E.PRIMARY_UNPLUGGED, "nothing is waited for, or another one still is"),
        Ignored(tuple(M), E.POLL, "the wait has ended"),
        Ignored(tuple(M), E.UNPLUG_DEADLINE, "the wait has ended"),
        Ignored(tuple(M), E.CANCEL_WAIT_OVER, "it was asked for by a cancel that has ended"),
        Ignored(tuple(M), E.UNPLUG_REFUSED, "the migration goes on with the primary attached"),
        Ignored(
            tuple(s for s in M if s is not M.CANCELLING),
            E.CHANNEL_CLOSED,
            "nothing waits for it",
        ),
        Ignored(
            tuple(M),
            E.PEER_LOST,
            "the migration has ended, has given the VM away, or looks at the stream later",
        ),
        Ignored(
            (*_ENDED, M.DEVICE, M.NONE, M.WAIT_UNPLUG),
            E.STREAM_FAILED,
            "the migration has ended or the verdict is the target's",
        ),
        Ignored(_ENDED, (E.SETUP_DONE, E.CONVERGED), "the migration has ended"),
        Ignored(tuple(M), E.GUEST_STOPPED, "it was stopped for a migration that was given up"),
        Ignored(_ENDED, (E.FLUSHED, E.FINAL_SENT), "the migration has ended"),
        Ignored((M.ACTIVE, M.DEVICE), E.FINAL_SENT, "the hand-over's step"),
        Ignored(M.DEVICE, E.RECV_LOADED, "the hand-over's step"),
        Ignored(
            _ENDED,
            (
                E.RECV_ACCEPT,
                E.RECV_REFUSE,
                E.RECV_LOADED,
                E.RECV_RUNNING,
                E.RECV_LOAD_FAILED,
                E.DIGEST_MISMATCH,
            ),
            "the migration has ended",
        ),
        Ignored(tuple(M), (E.KEEP_HERE, E.KEEP_THERE), "the source is not in doubt"),
        Ignored(M.DEVICE, E.DOUBT, "the status stays device until the doubt is resolved"),
    ),
    refused=(
        Refused(RUNNING_STATUSES, E.MIGRATE, "There's a migration process in progress"),
        Refused(
            IDLE_STATUSES,
            E.MIGRATE,
            "Guest is waiting for an incoming migration",
            when=In(RunState.INMIGRATE),
            cite="migration.c migrate_prepare",
        ),
        Refused(
            IDLE_STATUSES,
            E.MIGRATE,
            "Can't migrate the vm that was paused due to previous migration",
            when=In(RunState.POSTMIGRATE),
            cite="migration.c migrate_prepare",
        ),
        Refused(
            IDLE_STATUSES,
            E.MIGRATE,
            "VFIO device doesn't support migration",
            when=In(Blocker.BLOCKED),
            cite="hw/vfio/migration.c vfio_migration_probe; migration.c migration_is_blocked",
        ),
        Refused(
            IDLE_STATUSES,
            E.MIGRATE,
            "There's a migration process in progress",
            cite="migration.c migrate_prepare; here: the channel of the one before is being shut",
        ),
        Refused(
            RUNNING_STATUSES,
            E.CANCEL,
            "The VM has been handed to the target: it can no longer be cancelled",
        ),
        Refused(
            tuple(s for s in M if s is not M.PRE_SWITCHOVER),
            E.CONTINUE,
            "Migration not in expected state: %s",
            (Field.STATUS,),
            cite="migration.c qmp_migrate_continue",
        ),
    ),
)

"""Whether the guest runs, and whether it should once whoever holds it may start it.

Rules kept here: run states and their names are QEMU's (softmmu/runstate.c). Resuming after a
migration is decided by what the VM was doing when it was stopped for it.
"""

from __future__ import annotations

from statemachines.effects import Command, Raise, do
from statemachines.events import E
from statemachines.guards import All, AnyOf, In, Latched, Not, Per, Policy
from statemachines.spec import Ignored, MachineSpec, Refused, Row
from statemachines.states import Handover, Migration, Resume, RunState, Takeover
from statemachines.tables.conditions import LEAVING_STATUSES

R = RunState
RUN = (do(Command.RUN_GUEST), do(Command.EMIT_RESUME))
QUIESCE = do(Command.QUIESCE_GUEST, E.GUEST_STOPPED)
_STOPPED_EARLIER = (R.PRELAUNCH, R.PAUSED)
#: The migration still is where it stops the guest.
_SWITCHES_OVER = In(Migration.ACTIVE)
#: A VM that was given away can come back: out of a doubt, by the operator's word.
_COMES_BACK = Policy("handover", "two-phase")
#: Devices and RAM are being sent, or taken in: a reset of either side would be half a reset.
_ON_ITS_WAY = All(
    Policy("reset_on_the_way", "refused"), AnyOf(In(R.INMIGRATE), In(*LEAVING_STATUSES))
)
_NOT_IN_DOUBT = "The VM is not in doubt: there is nothing to resolve"

RUN_STATE = MachineSpec(
    name="run_state",
    states=RunState,
    summary="Whether the guest's processors run, as query-status shows it.",
    initial=R.PRELAUNCH,
    final=frozenset({R.PRELAUNCH, R.RUNNING, R.PAUSED, R.INMIGRATE, R.POSTMIGRATE}),
    per=Per.VM,
    rows=(
        Row(R.PRELAUNCH, E.BOOT, R.RUNNING, then=(do(Command.RUN_GUEST),)),
        Row(R.PRELAUNCH, E.BOOT_HELD, None),
        Row(R.PRELAUNCH, E.BOOT_INCOMING, R.INMIGRATE),
        Row(R.PRELAUNCH, E.BOOT_INCOMING_HELD, R.INMIGRATE),
        Row(
            R.RUNNING,
            E.STOP,
            R.PAUSED,
            then=(do(Command.STOP_GUEST), do(Command.EMIT_STOP)),
            cite="softmmu/cpus.c vm_stop",
        ),
        Row(R.INMIGRATE, E.STOP, None, cite="monitor/qmp-cmds.c qmp_stop: autostart = 0"),
        Row(_STOPPED_EARLIER, E.CONT, R.RUNNING, then=RUN, cite="softmmu/cpus.c vm_start"),
        Row(R.INMIGRATE, E.CONT, None, cite="monitor/qmp-cmds.c qmp_cont: autostart = 1"),
        Row(
            R.POSTMIGRATE,
            E.CONT,
            R.RUNNING,
            when=Policy("cont_after_completed", "allowed"),
            then=RUN,
        ),
        Row(
            tuple(R),
            E.SYSTEM_RESET,
            None,
            when=Not(_ON_ITS_WAY),
            then=(do(Command.RESET_GUEST), do(Command.EMIT_RESET)),
            cite="softmmu/runstate.c main_loop_should_exit",
        ),
        Row(
            R.RUNNING,
            E.CONVERGED,
            R.FINISH_MIGRATE,
            when=_SWITCHES_OVER,
            then=(do(Command.EMIT_STOP), QUIESCE),
            cite="migration.c migration_completion: vm_stop_force_state",
        ),
        Row(
            _STOPPED_EARLIER,
            E.CONVERGED,
            R.FINISH_MIGRATE,
            when=_SWITCHES_OVER,
            then=(QUIESCE,),
        ),
        Row(
            R.FINISH_MIGRATE,
            E.RESUME_SOURCE,
            R.RUNNING,
            when=In(Resume.RUN),
            then=RUN,
            cite="migration.c migration_iteration_finish",
        ),
        Row(
            R.POSTMIGRATE,
            E.RESUME_SOURCE,
            R.RUNNING,
            when=All(_COMES_BACK, In(Resume.RUN)),
            then=RUN,
        ),
        Row(
            R.FINISH_MIGRATE,
            E.RESUME_SOURCE,
            R.POSTMIGRATE,
            when=Policy("paused_after_failure", "postmigrate"),
        ),
        Row(R.FINISH_MIGRATE, E.RESUME_SOURCE, R.PAUSED),
        Row(R.POSTMIGRATE, E.RESUME_SOURCE, R.PAUSED, when=_COMES_BACK),
        Row(R.FINISH_MIGRATE, E.MIGRATED, R.POSTMIGRATE, cite="migration_iteration_finish"),
        Row(R.FINISH_MIGRATE, E.DOUBT, R.POSTMIGRATE),
        Row(R.POSTMIGRATE, E.KEEP_HERE, None, when=In(Handover.IN_DOUBT)),
        Row(R.POSTMIGRATE, E.KEEP_THERE, None, when=In(Handover.IN_DOUBT)),
        Row(R.INMIGRATE, E.KEEP_HERE, None, when=In(Takeover.IN_DOUBT)),
        Row(R.INMIGRATE, E.KEEP_THERE, None, when=In(Takeover.IN_DOUBT)),
        Row(
            R.INMIGRATE,
            E.LAUNCH,
            R.RUNNING,
            when=In(Resume.RUN),
            then=(*RUN, Raise(E.LAUNCHED)),
            cite="migration.c process_incoming_migration_bh",
        ),
        Row(R.INMIGRATE, E.LAUNCH, R.PAUSED, then=(Raise(E.LAUNCHED),)),
        Row((R.RUNNING, R.PAUSED), E.LAUNCHED, None),
    ),
    ignored=(
        Ignored((*_STOPPED_EARLIER, R.FINISH_MIGRATE, R.POSTMIGRATE), E.STOP, "it is stopped"),
        Ignored(R.RUNNING, E.CONT, "it runs"),
        Ignored((R.RUNNING, R.PAUSED, R.PRELAUNCH), E.RESUME_SOURCE, "it was not stopped for it"),
        Ignored(tuple(R), E.CONVERGED, "the migration was given up meanwhile"),
        Ignored(R.POSTMIGRATE, E.MIGRATED, "it has left already"),
    ),
    refused=(
        Refused(
            R.FINISH_MIGRATE,
            E.CONT,
            "Migration is not finalized yet",
            cite="monitor/qmp-cmds.c qmp_cont",
        ),
        Refused(
            R.POSTMIGRATE,
            E.CONT,
            "The VM may be running on the target: say who keeps it with x-replug-resolve first",
            when=In(Handover.IN_DOUBT),
        ),
        Refused(
            R.POSTMIGRATE,
            E.CONT,
            "The VM has moved to the target: running it here as well would run it twice",
        ),
        Refused(
            tuple(R),
            E.SYSTEM_RESET,
            "The VM is on its way to the other side: reset it once the migration has ended",
        ),
        Refused(tuple(R), E.KEEP_HERE, _NOT_IN_DOUBT),
        Refused(tuple(R), E.KEEP_THERE, _NOT_IN_DOUBT),
    ),
)

RESUME = MachineSpec(
    name="resume",
    states=Resume,
    summary="What the guest should do when whoever holds it may start it.",
    initial=Resume.RUN,
    final=frozenset(Resume),
    per=Per.VM,
    rows=(
        Row(Resume.RUN, E.BOOT_INCOMING_HELD, Resume.HOLD),
        Row(Resume.RUN, E.STOP, Resume.HOLD, when=In(R.INMIGRATE)),
        Row(Resume.HOLD, E.CONT, Resume.RUN, when=In(R.INMIGRATE)),
        Row(
            Resume.RUN,
            E.CONVERGED,
            Resume.HOLD,
            when=All(_SWITCHES_OVER, In(*_STOPPED_EARLIER)),
        ),
        Row(Resume.HOLD, E.CONVERGED, Resume.RUN, when=All(_SWITCHES_OVER, In(R.RUNNING))),
        Row(
            Resume.RUN,
            E.RECV_STATE,
            Resume.HOLD,
            when=Latched(Resume.HOLD),
            cite="migration/global_state.c: the source's run state travels",
        ),
    ),
    ignored=(
        Ignored(
            tuple(Resume),
            (E.STOP, E.CONT, E.CONVERGED, E.RECV_STATE),
            "it is as it should be",
        ),
    ),
)

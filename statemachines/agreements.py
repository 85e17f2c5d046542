"""What must hold between things that are kept apart: the status, the guest, and the world.

Rules kept here: those of `properties.py`. An agreement ties a state to what bears it out, so that
no row can move one without the other; what users are promised stands in `properties.py`.
"""

from __future__ import annotations

from statemachines.claims import (
    Claim,
    Every,
    Kind,
    Neither,
    Property,
    at_source,
    at_target,
    never,
    on_both,
)
from statemachines.guards import All, AnyOf, Guard, In, Not, Policy, Some
from statemachines.observers import Asked, EndSeen, Life
from statemachines.states import (
    Blocker,
    Handover,
    Incoming,
    Link,
    Migration,
    PauseCapability,
    Primary,
    ReturnPath,
    RunState,
    Takeover,
)
from statemachines.tables.conditions import IDLE_STATUSES, LEAVING_STATUSES, MIGRATING
from statemachines.witnesses import (
    Closing,
    Course,
    SetBlocker,
    SetPause,
    SetReturnPath,
    SinceState,
    Told,
    Unheard,
)

_ALIVE = In(Life.ALIVE)
_TWO_PHASE = Policy("handover", "two-phase")
_ROLLED_BACK = In(Migration.CANCELLED, Migration.FAILED)
_STOPPED_FOR_IT = In(RunState.FINISH_MIGRATE, RunState.POSTMIGRATE)
_TAKING_IN = In(Takeover.RECEIVING, *(t for t in Takeover if t.name.endswith("LOADED")))


def _never_alive(*parts: Guard) -> Claim:
    """Return that no living VM is all of these at once."""
    return on_both(Not(All(_ALIVE, *parts)))


#: Every agreement of the migration, in the order of reports.
AGREEMENTS: tuple[Property, ...] = (
    Property(
        "course-in-order",
        Kind.ALWAYS,
        "Primaries leave before the stream; giving up is told, the guest resumes, they return.",
        Every(
            (
                Neither(at_source(In(Course.MIXED_UP))),
                never(at_source(_ALIVE, _ROLLED_BACK, Not(In(Course.ROLLED_BACK)))),
            )
        ),
        "migration.c migrate_fd_connect, migration_iteration_finish, migrate_fd_cleanup",
        covers=(2, 9, 11),
    ),
    Property(
        "accepted-before-asked",
        Kind.ALWAYS,
        "No primary is asked to leave before the target has accepted HELLO.",
        Every(
            (
                never(at_source(_ALIVE, In(Handover.GREETED), Some(Not(In(Asked.NEVER))))),
                never(at_source(_ALIVE, In(Migration.WAIT_UNPLUG), Not(In(Handover.ACCEPTED)))),
                never(
                    at_source(_ALIVE, In(Handover.ACCEPTED), In(Link.OPEN)),
                    at_target(
                        _ALIVE,
                        In(Incoming.SETUP, Incoming.ACTIVE),
                        In(Takeover.IDLE, Takeover.GREETED),
                    ),
                ),
            )
        ),
        "DESIGN: HELLO and ACCEPT before anything is unplugged",
        covers=(7,),
        needs_reply_path=True,
        where=_TWO_PHASE,
    ),
    Property(
        "leaves-the-wait",
        Kind.ALWAYS,
        "Wait-unplug is left with the last eject.",
        never(at_source(_ALIVE, In(Migration.WAIT_UNPLUG), Not(Some(In(Primary.UNPLUG_PENDING))))),
        "DESIGN: leaving wait-unplug at once, on the event",
        covers=(5, 12),
        where=Policy("leave_wait_unplug", "event"),
    ),
    Property(
        "switchover-stands-still",
        Kind.ALWAYS,
        "From pre-switchover on, and while the VM is given away, the guest stands still.",
        Every(
            (
                never(
                    at_source(
                        _ALIVE,
                        In(Migration.PRE_SWITCHOVER, *LEAVING_STATUSES),
                        Not(_STOPPED_FOR_IT),
                    )
                ),
                never(
                    at_source(
                        _ALIVE, In(Handover.DELIVERED, Handover.COMMITTED), Not(_STOPPED_FOR_IT)
                    )
                ),
            )
        ),
        "migration.c migration_completion: vm_stop_force_state",
        covers=(11,),
    ),
    Property(
        "pauses-where-asked",
        Kind.ALWAYS,
        "A migration waits in pre-switchover only where pause-before-switchover is on.",
        never(at_source(_ALIVE, In(Migration.PRE_SWITCHOVER), In(PauseCapability.OFF))),
        "migration.c migration_maybe_pause",
        covers=(11,),
    ),
    Property(
        "hand-over-rests",
        Kind.ALWAYS,
        "Where no migration is under way, nothing is being handed over, and nobody connects.",
        Every(
            (
                never(
                    at_source(
                        _ALIVE, In(*IDLE_STATUSES, Migration.CANCELLING), Not(In(Handover.IDLE))
                    )
                ),
                never(at_source(_ALIVE, In(*IDLE_STATUSES), In(Link.CONNECTING))),
            )
        ),
        "two-phase hand-over",
        covers=(2, 10),
    ),
    Property(
        "answers-where-it-can",
        Kind.ALWAYS,
        "Where the target can answer, no link is one-way.",
        on_both(Not(In(Link.ONE_WAY))),
        "DESIGN: two-phase where there is a reply path",
        needs_reply_path=True,
    ),
    Property(
        "not-reset-on-its-way",
        Kind.ALWAYS,
        "Once the devices' state is sent the source is not reset: the reset would be lost.",
        never(
            at_source(_ALIVE, In(Handover.DELIVERED, Handover.COMMITTED), In(SinceState.ALTERED))
        ),
        "softmmu/runstate.c main_loop_should_exit",
        covers=(14,),
    ),
    Property(
        "sent-away-stands-down",
        Kind.ALWAYS,
        "A source that has completed is in postmigrate, and has sent the stream to its end.",
        Every(
            (
                never(at_source(_ALIVE, In(Migration.COMPLETED), Not(In(RunState.POSTMIGRATE)))),
                never(at_source(_ALIVE, In(Migration.COMPLETED), In(EndSeen.NO))),
            )
        ),
        "migration.c migration_iteration_finish; monitor/qmp-cmds.c qmp_cont",
        covers=(16,),
        where=Policy("cont_after_completed", "refused"),
    ),
    Property(
        "blocker-blocks",
        Kind.ALWAYS,
        "No migration is under way while a device forbids it, and only such a device does.",
        Every(
            (
                never(at_source(_ALIVE, MIGRATING, In(Blocker.BLOCKED))),
                never(at_source(_ALIVE, In(Blocker.BLOCKED), Not(In(SetBlocker.PRESENT)))),
                never(at_source(_ALIVE, In(Blocker.CLEAR), In(SetBlocker.PRESENT))),
            )
        ),
        "migration.c migration_is_blocked; hw/vfio/migration.c vfio_migration_probe",
    ),
    Property(
        "capabilities-are-as-set",
        Kind.ALWAYS,
        "A source's capabilities are what was last set, the target's return-path is the source's.",
        Every(
            (
                never(at_source(_ALIVE, In(SetReturnPath.ON), In(ReturnPath.OFF))),
                never(at_source(_ALIVE, Not(In(SetReturnPath.ON)), In(ReturnPath.ON))),
                never(at_source(_ALIVE, In(SetPause.ON), In(PauseCapability.OFF))),
                never(at_source(_ALIVE, Not(In(SetPause.ON)), In(PauseCapability.ON))),
                *(
                    never(
                        at_source(_ALIVE, MIGRATING, In(ReturnPath(value))),
                        at_target(_ALIVE, _TAKING_IN, Not(In(ReturnPath(value)))),
                    )
                    for value in ("on", "off")
                ),
            )
        ),
        "migration.c qmp_migrate_set_capabilities; here HELLO carries return-path",
    ),
    Property(
        "closing-is-shown",
        Kind.ALWAYS,
        "A link that is being closed is not called closed once the status lets a migration in.",
        _never_alive(
            In(Closing.YES), In(Link.CLOSED, Link.LISTENING), Not(In(Migration.CANCELLING))
        ),
        "migration.c migrate_fd_cleanup",
        covers=(10,),
    ),
    Property(
        "speaks-where-it-is-heard",
        Kind.ALWAYS,
        "Nothing but the stream itself is said where nobody can answer.",
        on_both(Not(All(_ALIVE, In(Unheard.YES)))),
        "migration.c migrate_send_rp_message; a file holds a stream and nothing else",
    ),
    Property(
        "doubt-is-told",
        Kind.ALWAYS,
        "Nobody is in doubt without the operator being told.",
        _never_alive(
            AnyOf(In(Handover.IN_DOUBT), In(Takeover.IN_DOUBT)),
            In(Told.NO),
        ),
        "DESIGN: event X_REPLUG_IN_DOUBT",
    ),
    Property(
        "doubt-needs-an-accident",
        Kind.ALWAYS,
        "Where nothing fails, whoever gives up says so, and neither side is ever in doubt.",
        _never_alive(AnyOf(In(Handover.IN_DOUBT), In(Takeover.IN_DOUBT))),
        "two-phase hand-over: ABORT",
        where=_TWO_PHASE,
        needs_peace=True,
    ),
)

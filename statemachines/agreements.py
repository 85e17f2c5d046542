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
    never_some,
    on_both,
)
from statemachines.guards import All, AnyOf, Guard, In, Mine, Not, Policy, Some
from statemachines.observers import Asked, EndSeen, Life
from statemachines.states import (
    Blocker,
    Feature,
    Handover,
    Incoming,
    Link,
    Lower,
    Migration,
    NetFailover,
    PauseCapability,
    Primary,
    Resume,
    ReturnPath,
    RunState,
    Slot,
    Standby,
    State,
    Takeover,
)
from statemachines.tables.conditions import IDLE_STATUSES, MIGRATING
from statemachines.witnesses import (
    Carrier,
    Closing,
    Course,
    Meant,
    Processors,
    SetPause,
    SetReturnPath,
    SinceState,
    Spoilt,
    Told,
    Touched,
    Unheard,
)

_ALIVE = In(Life.ALIVE)
_TWO_PHASE = Policy("handover", "two-phase")
_WITHDRAWS = Policy("cancel_in_wait", "withdraw")
_ROLLED_BACK = In(Migration.CANCELLED, Migration.FAILED)
_STOPPED_FOR_IT = In(RunState.FINISH_MIGRATE, RunState.POSTMIGRATE)
_RUNNING = In(RunState.RUNNING)
_INMIGRATE = In(RunState.INMIGRATE)
_HOLDS_IT = In(Takeover.STATE_LOADED, Takeover.LOADED, Takeover.IN_DOUBT)
_ENSLAVED = In(NetFailover.PRIMARY, NetFailover.PRIMARY_DOWN)
_TAKING_IN = In(Takeover.RECEIVING, *(t for t in Takeover if t.name.endswith("LOADED")))


def _never_alive(*parts: Guard) -> Claim:
    """Return that no living VM is all of these at once."""
    return on_both(Not(All(_ALIVE, *parts)))


def _nowhere(*parts: Guard) -> Claim:
    """Return that no primary of a living VM is all of these at once."""
    return on_both(never_some(*parts))


def _arrives(lifecycle: type[State]) -> tuple[Claim, ...]:
    """Return that what the target has loaded is what the source has."""
    return tuple(
        never(
            at_source(
                _ALIVE,
                _STOPPED_FOR_IT,
                Not(_ROLLED_BACK),
                In(SinceState.SAME),
                Some(In(state)),
            ),
            at_target(_ALIVE, _HOLDS_IT, Not(Some(In(state)))),
        )
        for state in lifecycle
    )


_OF_THE_MIGRATION = (
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
                        In(Migration.PRE_SWITCHOVER, Migration.DEVICE),
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
        "No migration is under way while something forbids it.",
        never(at_source(_ALIVE, MIGRATING, In(Blocker.BLOCKED))),
        "migration.c migration_is_blocked; hw/vfio/migration.c vfio_migration_probe",
    ),
    Property(
        "capabilities-are-as-set",
        Kind.ALWAYS,
        "A source's capabilities are what was last set, the target's return-path is the source's.",
        Every(
            (
                never(at_source(_ALIVE, In(SetReturnPath.ON), In(ReturnPath.OFF))),
                never(at_source(_ALIVE, In(SetReturnPath.OFF), In(ReturnPath.ON))),
                never(at_source(_ALIVE, In(SetPause.ON), In(PauseCapability.OFF))),
                never(at_source(_ALIVE, In(SetPause.OFF), In(PauseCapability.ON))),
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
)

_OF_THE_GUEST = (
    Property(
        "processors-follow",
        Kind.ALWAYS,
        "The guest's processors run exactly in run state running.",
        Every(
            (
                _never_alive(_RUNNING, In(Processors.STAND)),
                _never_alive(Not(_RUNNING), In(Processors.RUN)),
            )
        ),
        "softmmu/cpus.c vm_start, vm_stop",
        covers=(9, 11),
    ),
    Property(
        "runs-only-as-told",
        Kind.ALWAYS,
        "A guest that should stand still never runs; one that should run is not left paused.",
        Every(
            (
                _never_alive(_RUNNING, In(Meant.HOLD)),
                _never_alive(In(RunState.PAUSED), In(Meant.RUN)),
                never(at_source(_ALIVE, _STOPPED_FOR_IT, In(Meant.HOLD), In(Resume.RUN))),
                never(at_source(_ALIVE, _STOPPED_FOR_IT, In(Meant.RUN), In(Resume.HOLD))),
            )
        ),
        "migration/global_state.c; migration.c process_incoming_migration_bh",
        covers=(13,),
    ),
    Property(
        "waits-in-inmigrate",
        Kind.ALWAYS,
        "A target waits in inmigrate until it has the VM, and has it from then on.",
        Every(
            (
                never(
                    at_target(
                        _ALIVE,
                        In(Incoming.SETUP, Incoming.ACTIVE),
                        Not(_INMIGRATE),
                    )
                ),
                never(
                    at_target(
                        _ALIVE,
                        In(Incoming.COMPLETED),
                        Not(In(RunState.RUNNING, RunState.PAUSED)),
                    )
                ),
                never(at_target(_ALIVE, In(Meant.HOLD), In(Incoming.NONE), Not(_INMIGRATE))),
                never(at_target(_ALIVE, In(Incoming.SETUP), Not(In(Link.LISTENING)))),
                never(at_target(_ALIVE, In(Incoming.NONE), Not(In(Link.CLOSED)))),
            )
        ),
        "softmmu/runstate.c; migration.c process_incoming_migration_bh",
        covers=(38,),
    ),
    Property(
        "spoilt-ends-it",
        Kind.ALWAYS,
        "What is damaged, refused or aborted ends the target, and at the source the migration.",
        Every(
            (
                never(at_target(_ALIVE, In(Spoilt.YES))),
                never(at_source(_ALIVE, In(Spoilt.YES), MIGRATING)),
            )
        ),
        "migration.c process_incoming_migration_co; two-phase hand-over",
        covers=(39, 43),
    ),
    Property(
        "failed-target-exits",
        Kind.ALWAYS,
        "A target whose incoming migration failed does not live on.",
        never(at_target(_ALIVE, In(Incoming.FAILED))),
        "migration.c process_incoming_migration_co: exit(EXIT_FAILURE)",
        covers=(39, 43),
    ),
    Property(
        "devices-arrive-as-they-left",
        Kind.ALWAYS,
        "What the target has loaded of standbys and guest is what the stopped source has.",
        Every(
            (*_arrives(Standby), *_arrives(Feature), *_arrives(NetFailover)),
        ),
        "hw/virtio/virtio.c virtio_save, virtio_load",
        covers=(38, 42),
    ),
    Property(
        "driver-in-order",
        Kind.ALWAYS,
        "STANDBY is agreed after DRIVER, and a failover device exists only while its driver lives.",
        Every(
            (
                _nowhere(In(Feature.ACKED), In(Standby.RESET, Standby.ACKNOWLEDGE)),
                _nowhere(Not(In(NetFailover.ABSENT)), In(Feature.NOT_ACKED)),
                _nowhere(Not(In(NetFailover.ABSENT)), Not(In(Standby.DRIVER_OK, Standby.FAILED))),
                _nowhere(In(NetFailover.ABSENT), In(Feature.ACKED), In(Standby.DRIVER_OK)),
                _nowhere(In(Touched.NO), Not(In(Standby.RESET))),
                at_source(never_some(Not(In(Touched.NO)), In(Standby.RESET))),
                at_source(
                    never_some(In(Standby.FEATURES_OK, Standby.DRIVER_OK), Not(In(Touched.AGREED)))
                ),
            )
        ),
        "virtio 1.2 §3.1.1; drivers/net/virtio_net.c virtnet_probe",
        covers=(27, 52),
    ),
    Property(
        "enslaved-is-shown",
        Kind.ALWAYS,
        "A failover device has a primary exactly while one of its primaries is a lower device.",
        Every(
            (
                _nowhere(In(Lower.IN), Not(_ENSLAVED)),
                _nowhere(_ENSLAVED, Not(Mine(In(Lower.IN)))),
                _nowhere(In(Lower.IN), In(NetFailover.PRIMARY), Not(In(Carrier.UP))),
                _nowhere(In(Lower.IN), In(NetFailover.PRIMARY_DOWN), In(Carrier.UP)),
                _nowhere(In(Lower.IN), In(Slot.EMPTY, Slot.INSERTED, Slot.POWERED_OFF)),
            )
        ),
        "drivers/net/net_failover.c net_failover_slave_register",
        covers=(47, 50, 52),
        where=_WITHDRAWS,
    ),
)

#: Every agreement of the migration and the guest, in the order of reports.
AGREEMENTS: tuple[Property, ...] = (*_OF_THE_MIGRATION, *_OF_THE_GUEST)

"""What must hold between the guest, its drivers, its processors and what was asked of it.

Rules kept here: those of `agreements.py`.
"""

from __future__ import annotations

from statemachines.claims import (
    Claim,
    Every,
    Kind,
    Property,
    at_source,
    at_target,
    never,
    never_some,
    on_both,
)
from statemachines.guards import All, Guard, In, Mine, Not, Policy, Some
from statemachines.observers import Life
from statemachines.states import (
    Feature,
    Incoming,
    Link,
    Lower,
    Migration,
    NetFailover,
    Resume,
    RunState,
    Slot,
    Standby,
    State,
    Takeover,
)
from statemachines.tables.conditions import MIGRATING
from statemachines.witnesses import Meant, Processors, SinceState, Spoilt
from statemachines.witnesses_of_devices import Carrier, Touched

_ALIVE = In(Life.ALIVE)
_WITHDRAWS = Policy("cancel_in_wait", "withdraw")
_ROLLED_BACK = In(Migration.CANCELLED, Migration.FAILED)
_STOPPED_FOR_IT = In(RunState.FINISH_MIGRATE, RunState.POSTMIGRATE)
_RUNNING = In(RunState.RUNNING)
_INMIGRATE = In(RunState.INMIGRATE)
_HOLDS_IT = In(Takeover.STATE_LOADED, Takeover.LOADED, Takeover.IN_DOUBT)
_ENSLAVED = In(NetFailover.PRIMARY, NetFailover.PRIMARY_DOWN)


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


#: Every agreement of the guest, in the order of reports.
AGREEMENTS_OF_GUESTS: tuple[Property, ...] = (
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
        "let-go-is-taken",
        Kind.ALWAYS,
        "Where nothing fails, no target gives up a VM that its source has let go.",
        never(
            at_source(_ALIVE, In(Migration.COMPLETED)),
            at_target(In(Life.EXITED)),
        ),
        "savevm.c qemu_loadvm_state: the end of a whole stream is no loss",
        covers=(39,),
        needs_peace=True,
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
                _nowhere(In(Feature.ACKED), In(Touched.DECLINED)),
                _nowhere(
                    In(Standby.DRIVER, Standby.FEATURES_OK, Standby.DRIVER_OK),
                    In(Touched.ACKNOWLEDGED),
                ),
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

"""The incoming migration: the target's status.

Rules kept here: statuses and their order are QEMU's (migration.c process_incoming_migration_co);
the VM starts before the status says completed. A target that fails ends its process with 1.
"""

from __future__ import annotations

from statemachines.effects import Command, do
from statemachines.events import E
from statemachines.guards import In, Not, Per
from statemachines.spec import Ignored, MachineSpec, Refused, Row
from statemachines.states import Incoming, RunState, Takeover

I = Incoming  # noqa: E741 - the table reads better with one letter, as its siblings do
EMIT = do(Command.EMIT_INCOMING)
FAILING = (EMIT, do(Command.EXIT))

INCOMING = MachineSpec(
    name="incoming",
    states=Incoming,
    summary="The incoming migration, as query-migrate shows it on the target.",
    initial=I.NONE,
    final=frozenset({I.NONE, I.SETUP, I.COMPLETED, I.FAILED}),
    per=Per.VM,
    rows=(
        Row(
            I.NONE,
            E.INCOMING,
            I.SETUP,
            when=In(RunState.INMIGRATE),
            then=(
                EMIT,
                do(Command.LISTEN, E.PEER_CONNECTED, E.PEER_CONNECTED_ONE_WAY, E.LISTEN_FAILED),
            ),
            cite="migration.c qemu_start_incoming_migration",
        ),
        Row(I.SETUP, E.LISTEN_FAILED, I.NONE, cite="qmp_migrate_incoming: may be tried again"),
        Row(I.SETUP, E.PEER_CONNECTED, I.ACTIVE, then=(EMIT,)),
        Row(I.SETUP, E.PEER_CONNECTED_ONE_WAY, I.ACTIVE, then=(EMIT,)),
        Row(I.ACTIVE, E.LAUNCHED, I.COMPLETED, then=(EMIT,), cite="process_incoming_migration_bh"),
        Row(I.ACTIVE, E.TARGET_FAILED, I.FAILED, then=FAILING),
        Row(
            I.ACTIVE,
            E.PEER_LOST,
            I.FAILED,
            when=In(Takeover.IDLE),
            then=FAILING,
            cite="the source left before it said HELLO",
        ),
    ),
    ignored=(
        Ignored(I.ACTIVE, E.PEER_LOST, "the take-over decides", when=Not(In(Takeover.IDLE))),
        Ignored((I.NONE, I.COMPLETED, I.FAILED), E.PEER_LOST, "nothing is coming in"),
    ),
    refused=(
        Refused(
            (I.SETUP, I.ACTIVE, I.COMPLETED, I.FAILED),
            E.INCOMING,
            "The incoming migration has already been started",
            cite="migration.c qmp_migrate_incoming",
        ),
        Refused(I.NONE, E.INCOMING, "'-incoming' was not specified on the command line"),
    ),
)

"""One VM's end of the migration channel, and the capabilities that shape the conversation.

Rules kept here: a link is lost by an end of file, a reset, or silence beyond the heartbeat; what
that means is each listener's business. Closing is asked of the world and ends when the world says
that nothing more can come.
"""

from __future__ import annotations

from statemachines.effects import Command, Raise, do
from statemachines.events import E
from statemachines.guards import All, AnyOf, In, Latched, Not, Per, Policy
from statemachines.spec import Ignored, MachineSpec, Refused, Row
from statemachines.states import (
    Blocker,
    Incoming,
    Link,
    Migration,
    PauseCapability,
    ReturnPath,
    Takeover,
)
from statemachines.tables.conditions import MIGRATING, ONE_WAY_HANDOVER

L = Link
CLOSE = do(Command.CLOSE_CHANNEL, E.CHANNEL_CLOSED)
_CONNECTED = (L.OPEN, L.ONE_WAY)
#: The source does not look at its channel, so nobody shuts it either.
_UNNOTICED = All(
    Policy("peer_loss_in_wait", "after-eject"), In(Migration.SETUP, Migration.WAIT_UNPLUG)
)
#: The end of a one-way stream comes after END, or instead of it: the target looks what is there.
_END_OF_STREAM = All(ONE_WAY_HANDOVER, In(Takeover.STATE_LOADED))

LINK = MachineSpec(
    name="link",
    states=Link,
    summary="One VM's own end of the migration channel.",
    initial=L.CLOSED,
    final=frozenset({L.CLOSED, L.LISTENING, L.LOST}),
    per=Per.VM,
    rows=(
        Row(L.CLOSED, E.MIGRATE, L.CONNECTING),
        Row(L.CONNECTING, E.CONNECTED, L.OPEN),
        Row(L.CONNECTING, E.CONNECTED_ONE_WAY, L.ONE_WAY),
        Row(L.CONNECTING, E.CONNECT_FAILED, L.CLOSED),
        Row(L.CLOSED, E.INCOMING, L.LISTENING),
        Row(L.LISTENING, E.LISTEN_FAILED, L.CLOSED),
        Row(L.LISTENING, E.PEER_CONNECTED, L.OPEN),
        Row(L.LISTENING, E.PEER_CONNECTED_ONE_WAY, L.ONE_WAY),
        Row(
            _CONNECTED,
            E.LINK_BROKEN,
            L.LOST,
            when=_UNNOTICED,
            then=(Raise(E.PEER_LOST),),
            cite="migration.c qemu_savevm_wait_unplug: nobody looks at the channel",
        ),
        Row(
            _CONNECTED,
            E.LINK_BROKEN,
            L.LOST,
            when=_END_OF_STREAM,
            then=(CLOSE,),
            cite="savevm.c qemu_loadvm_state: what has come decides",
        ),
        Row(_CONNECTED, E.LINK_BROKEN, L.LOST, then=(Raise(E.PEER_LOST), CLOSE)),
        Row(L.OPEN, E.LINK_SILENT, L.LOST, when=_UNNOTICED, then=(Raise(E.PEER_LOST),)),
        Row(L.OPEN, E.LINK_SILENT, L.LOST, then=(Raise(E.PEER_LOST), CLOSE)),
        Row(L.LOST, E.PEER_LOST, None),
        Row((L.CONNECTING, *_CONNECTED, L.LOST), E.ABANDON, None, then=(CLOSE,)),
        Row(_CONNECTED, E.MIGRATED, None, then=(CLOSE,)),
        Row(_CONNECTED, E.TARGET_FAILED, None, then=(CLOSE,)),
        Row((L.CONNECTING, *_CONNECTED, L.LOST), E.CHANNEL_CLOSED, L.CLOSED),
    ),
    ignored=(
        Ignored((L.CLOSED, L.LOST), (E.LINK_BROKEN, E.LINK_SILENT), "no link"),
        Ignored((L.CLOSED, L.LISTENING), (E.ABANDON, E.TARGET_FAILED), "nothing to close"),
        Ignored((L.CLOSED, L.LOST), E.MIGRATED, "nothing to close"),
        Ignored(L.LOST, E.TARGET_FAILED, "closing already"),
        Ignored(L.CLOSED, (E.CHANNEL_CLOSED, E.PEER_LOST), "closed already"),
    ),
)

#: Capabilities shape a migration from its start: they are fixed while one is under way.
_FREE = Not(AnyOf(MIGRATING, In(Incoming.ACTIVE)))
_BUSY = "There's a migration process in progress"
_BUSY_CITE = "migration.c qmp_migrate_set_capabilities"

RETURN_PATH = MachineSpec(
    name="return_path",
    states=ReturnPath,
    summary="Capability return-path, and at the target the source's.",
    initial=ReturnPath.OFF,
    final=frozenset(ReturnPath),
    per=Per.VM,
    rows=(
        Row(tuple(ReturnPath), E.RETURN_PATH_ON, ReturnPath.ON, when=_FREE),
        Row(tuple(ReturnPath), E.RETURN_PATH_OFF, ReturnPath.OFF, when=_FREE),
        Row(ReturnPath.OFF, E.RECV_HELLO, ReturnPath.ON, when=Latched(ReturnPath.ON)),
        Row(ReturnPath.ON, E.RECV_HELLO, ReturnPath.OFF, when=Latched(ReturnPath.OFF)),
    ),
    ignored=(
        Ignored(tuple(ReturnPath), E.RECV_HELLO, "as the source has it"),
        Ignored(
            tuple(ReturnPath),
            (E.RETURN_PATH_ON, E.RETURN_PATH_OFF),
            "the stream that comes in goes by what HELLO said",
            when=In(Incoming.ACTIVE),
        ),
    ),
    refused=(
        Refused(tuple(ReturnPath), E.RETURN_PATH_ON, _BUSY, cite=_BUSY_CITE),
        Refused(tuple(ReturnPath), E.RETURN_PATH_OFF, _BUSY, cite=_BUSY_CITE),
    ),
)

PAUSE_CAPABILITY = MachineSpec(
    name="pause_capability",
    states=PauseCapability,
    summary="Capability pause-before-switchover.",
    initial=PauseCapability.OFF,
    final=frozenset(PauseCapability),
    per=Per.VM,
    rows=(
        Row(tuple(PauseCapability), E.PAUSE_ON, PauseCapability.ON, when=Not(MIGRATING)),
        Row(tuple(PauseCapability), E.PAUSE_OFF, PauseCapability.OFF, when=Not(MIGRATING)),
    ),
    refused=(
        Refused(tuple(PauseCapability), E.PAUSE_ON, _BUSY, cite=_BUSY_CITE),
        Refused(tuple(PauseCapability), E.PAUSE_OFF, _BUSY, cite=_BUSY_CITE),
    ),
)

BLOCKER = MachineSpec(
    name="blocker",
    states=Blocker,
    summary="Whether something in the VM forbids migrating it.",
    initial=Blocker.CLEAR,
    final=frozenset(Blocker),
    per=Per.VM,
    rows=(
        Row(
            Blocker.CLEAR,
            E.BLOCK,
            Blocker.BLOCKED,
            when=Not(MIGRATING),
            cite="hw/vfio/migration.c vfio_migration_probe",
        ),
        Row(Blocker.BLOCKED, E.UNBLOCK, Blocker.CLEAR, cite="hw/vfio/migration.c"),
    ),
    refused=(Refused(Blocker.CLEAR, E.BLOCK, "device_add not allowed while migrating"),),
)

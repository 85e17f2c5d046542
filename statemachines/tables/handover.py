"""The two-phase hand-over: who owns the VM, as the source and as the target know it.

Rules kept here:
1. HELLO is accepted before anything is unplugged; END is answered by LOADED, LOADED by COMMIT,
   COMMIT by RUNNING. From COMMIT on the source never resumes by itself; from LOADED on the target
   neither runs nor gives up by itself. A lost answer is a doubt that only an operator ends.
2. Where nobody can answer, or the profile is one-way, the target owns the VM once END is loaded
   and the source once its bytes have left: QEMU's hand-over.
"""

from __future__ import annotations

from statemachines.effects import Command, Message, Raise, Send, do
from statemachines.events import E
from statemachines.guards import All, AnyOf, In, Per, Policy
from statemachines.spec import Ignored, MachineSpec, Row
from statemachines.states import (
    Feature,
    Handover,
    Incoming,
    Link,
    Lower,
    Migration,
    NetFailover,
    Resume,
    ReturnPath,
    Standby,
    Takeover,
)
from statemachines.tables.conditions import ONE_WAY_HANDOVER, TWO_PHASE, UNANSWERED

H = Handover
T = Takeover
HELLO = Send(Message.HELLO, latch=(ReturnPath,))
STATE = Send(Message.STATE, latch=(Standby, Feature, NetFailover, Lower, Resume))
_IN_PROGRESS = (H.GREETED, H.ACCEPTED, H.DELIVERED)

HANDOVER = MachineSpec(
    name="handover",
    states=Handover,
    summary="Who owns the VM, as the source knows it.",
    initial=H.IDLE,
    final=frozenset({H.IDLE}),
    per=Per.VM,
    rows=(
        Row(
            H.IDLE,
            E.CONNECTED,
            H.GREETED,
            when=All(
                Policy("greeting", "asked"),
                Policy("handover", "two-phase"),
                In(Migration.SETUP),
            ),
            then=(HELLO,),
        ),
        Row(
            H.IDLE,
            E.CONNECTED,
            H.ACCEPTED,
            when=In(Migration.SETUP),
            then=(HELLO,),
        ),
        Row(H.IDLE, E.CONNECTED_ONE_WAY, H.ACCEPTED, when=In(Migration.SETUP), then=(HELLO,)),
        Row(H.GREETED, E.RECV_ACCEPT, H.ACCEPTED),
        Row(H.GREETED, E.RECV_REFUSE, H.IDLE),
        Row(
            H.ACCEPTED,
            E.FINAL_SENT,
            H.DELIVERED,
            when=UNANSWERED,
            then=(
                STATE,
                Send(Message.END),
                do(Command.FLUSH, E.FLUSHED, E.STREAM_FAILED),
            ),
            cite="savevm.c qemu_savevm_state_complete_precopy",
        ),
        Row(H.ACCEPTED, E.FINAL_SENT, H.DELIVERED, then=(STATE, Send(Message.END))),
        Row(H.DELIVERED, E.FLUSHED, H.IDLE),
        Row(
            H.DELIVERED,
            E.RECV_LOADED,
            H.COMMITTED,
            when=TWO_PHASE,
            then=(Send(Message.COMMIT),),
        ),
        Row((H.DELIVERED, H.COMMITTED), E.RECV_RUNNING, H.IDLE),
        Row(_IN_PROGRESS, E.RECV_LOAD_FAILED, H.IDLE),
        Row(H.DELIVERED, E.DIGEST_MISMATCH, None),
        Row(
            _IN_PROGRESS,
            E.ABANDON,
            H.IDLE,
            when=In(Link.OPEN),
            then=(Send(Message.ABORT),),
        ),
        Row(_IN_PROGRESS, E.ABANDON, H.IDLE),
        Row(
            H.COMMITTED,
            E.PEER_LOST,
            H.IN_DOUBT,
            then=(do(Command.EMIT_IN_DOUBT), Raise(E.DOUBT)),
        ),
        Row(H.IN_DOUBT, E.DOUBT, None),
        Row(H.IN_DOUBT, E.KEEP_HERE, H.IDLE),
        Row(H.IN_DOUBT, E.KEEP_THERE, H.IDLE),
    ),
    ignored=(
        Ignored(H.IDLE, (E.CONNECTED, E.CONNECTED_ONE_WAY), "cancelled while connecting"),
        Ignored((H.IDLE, H.IN_DOUBT), E.ABANDON, "nothing was being handed over"),
        Ignored((H.IDLE, *_IN_PROGRESS, H.IN_DOUBT), E.PEER_LOST, "the migration decides"),
        Ignored(
            H.IDLE,
            (
                E.RECV_ACCEPT,
                E.RECV_REFUSE,
                E.RECV_LOADED,
                E.RECV_RUNNING,
                E.RECV_LOAD_FAILED,
                E.DIGEST_MISMATCH,
                E.FINAL_SENT,
                E.FLUSHED,
            ),
            "the migration was given up",
        ),
        Ignored(H.IDLE, (E.KEEP_HERE, E.KEEP_THERE), "the source is not in doubt"),
    ),
)

_REPLIES = AnyOf(
    Policy("handover", "two-phase"),
    In(ReturnPath.ON),
)
_CAN_REPLY = All(In(Link.OPEN), _REPLIES)
_GIVES_UP = Raise(E.TARGET_FAILED)
VERIFY = do(Command.VERIFY, E.VERIFIED, E.LOAD_FAILED)
_BEFORE_LOADED = (T.GREETED, T.RECEIVING, T.STATE_LOADED)

TAKEOVER = MachineSpec(
    name="takeover",
    states=Takeover,
    summary="Who owns the VM, as the target knows it.",
    initial=T.IDLE,
    final=frozenset({T.IDLE}),
    per=Per.VM,
    rows=(
        Row(
            T.IDLE,
            E.RECV_HELLO,
            T.GREETED,
            then=(do(Command.CHECK_HELLO, E.HELLO_GOOD, E.HELLO_BAD),),
        ),
        Row(
            T.GREETED,
            E.HELLO_GOOD,
            T.RECEIVING,
            when=All(TWO_PHASE, Policy("greeting", "asked")),
            then=(Send(Message.ACCEPT),),
        ),
        Row(T.GREETED, E.HELLO_GOOD, T.RECEIVING),
        Row(
            T.GREETED,
            E.HELLO_BAD,
            T.IDLE,
            when=All(TWO_PHASE, Policy("greeting", "asked")),
            then=(Send(Message.REFUSE), _GIVES_UP),
        ),
        Row(
            T.GREETED,
            E.HELLO_BAD,
            T.IDLE,
            when=_CAN_REPLY,
            then=(Send(Message.LOAD_FAILED), _GIVES_UP),
        ),
        Row(T.GREETED, E.HELLO_BAD, T.IDLE, then=(_GIVES_UP,)),
        Row(T.RECEIVING, E.RECV_STATE, T.STATE_LOADED),
        Row(
            T.RECEIVING,
            E.RECV_BAD_STATE,
            T.IDLE,
            when=_CAN_REPLY,
            then=(Send(Message.LOAD_FAILED), _GIVES_UP),
        ),
        Row(T.RECEIVING, E.RECV_BAD_STATE, T.IDLE, then=(_GIVES_UP,)),
        Row(
            T.STATE_LOADED,
            E.RECV_END,
            None,
            then=(VERIFY,),
        ),
        Row(
            T.STATE_LOADED,
            E.LINK_BROKEN,
            None,
            when=ONE_WAY_HANDOVER,
            then=(VERIFY,),
            cite="savevm.c qemu_loadvm_state: an end without END is a failed load",
        ),
        Row(
            T.STATE_LOADED,
            E.VERIFIED,
            T.LOADED,
            when=TWO_PHASE,
            then=(Send(Message.LOADED),),
        ),
        Row(
            T.STATE_LOADED,
            E.VERIFIED,
            T.IDLE,
            then=(Raise(E.LAUNCH),),
            cite="migration.c process_incoming_migration_co: END means go",
        ),
        Row(
            T.STATE_LOADED,
            E.LOAD_FAILED,
            T.IDLE,
            when=_CAN_REPLY,
            then=(Send(Message.LOAD_FAILED), _GIVES_UP),
        ),
        Row(T.STATE_LOADED, E.LOAD_FAILED, T.IDLE, then=(_GIVES_UP,)),
        Row(
            _BEFORE_LOADED,
            E.STREAM_BAD,
            T.IDLE,
            when=_CAN_REPLY,
            then=(Send(Message.LOAD_FAILED), _GIVES_UP),
        ),
        Row(_BEFORE_LOADED, E.STREAM_BAD, T.IDLE, then=(_GIVES_UP,)),
        Row(
            T.IDLE,
            E.STREAM_BAD,
            None,
            when=All(In(Incoming.ACTIVE), TWO_PHASE, Policy("greeting", "asked")),
            then=(Send(Message.REFUSE), _GIVES_UP),
        ),
        Row(T.IDLE, E.STREAM_BAD, None, when=In(Incoming.ACTIVE), then=(_GIVES_UP,)),
        Row(T.LOADED, E.RECV_COMMIT, T.IDLE, then=(Raise(E.LAUNCH),)),
        Row((*_BEFORE_LOADED, T.LOADED), E.RECV_ABORT, T.IDLE, then=(_GIVES_UP,)),
        Row(_BEFORE_LOADED, E.PEER_LOST, T.IDLE, then=(_GIVES_UP,)),
        Row(T.LOADED, E.PEER_LOST, T.IN_DOUBT, then=(do(Command.EMIT_IN_DOUBT),)),
        Row(T.IN_DOUBT, E.KEEP_HERE, T.IDLE, then=(Raise(E.LAUNCH),)),
        Row(T.IN_DOUBT, E.KEEP_THERE, T.IDLE, then=(_GIVES_UP,)),
        Row(T.IDLE, E.LAUNCH, None),
        Row(T.IDLE, E.TARGET_FAILED, None),
        Row(
            T.IDLE,
            E.LAUNCHED,
            None,
            when=_CAN_REPLY,
            then=(Send(Message.RUNNING),),
            cite="migration.c process_incoming_migration_bh: the return path says 0",
        ),
    ),
    ignored=(
        Ignored(tuple(T), E.LINK_BROKEN, "the link's loss is told as such"),
        Ignored(T.IDLE, E.PEER_LOST, "the incoming migration decides"),
        Ignored(T.IDLE, E.LAUNCHED, "nobody waits for the answer"),
        Ignored(T.IDLE, (E.KEEP_HERE, E.KEEP_THERE), "the target is not in doubt"),
        Ignored(
            T.IDLE,
            (E.HELLO_GOOD, E.HELLO_BAD, E.VERIFIED, E.LOAD_FAILED, E.STREAM_BAD),
            "the incoming migration was given up meanwhile",
        ),
        Ignored(T.IDLE, E.RECV_ABORT, "one-way, the VM is here already"),
    ),
)

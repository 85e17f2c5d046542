"""The guest's side: Linux net_failover over one standby, and the primaries it has enslaved.

Rules kept here: the path follows drivers/net/net_failover.c: send through the primary while it is
up, else through the standby; while a primary is enslaved, what arrives on the standby is dropped.
A newcomer beside an enslaved primary stays an ordinary NIC (net_failover_slave_pre_register).
"""

from __future__ import annotations

from statemachines.events import E
from statemachines.guards import All, In, Latched, Not, Per, Sibling
from statemachines.spec import Ignored, MachineSpec, Refused, Row
from statemachines.states import Feature, Lower, NetFailover, Slot

N = NetFailover
_ENSLAVED_STATES = (N.PRIMARY_DOWN, N.PRIMARY)
_USABLE = In(Slot.OCCUPIED)
_MINE = In(Lower.IN)

NET_FAILOVER = MachineSpec(
    name="net_failover",
    states=NetFailover,
    summary="The guest's failover device over one standby: which path carries its traffic.",
    initial=N.ABSENT,
    final=frozenset(N),
    per=Per.STANDBY,
    rows=(
        Row(
            N.ABSENT,
            E.GUEST_DRIVER_OK,
            N.STANDBY,
            when=In(Feature.ACKED),
            cite="drivers/net/virtio_net.c virtnet_probe: net_failover_create",
        ),
        Row(
            N.STANDBY,
            E.GUEST_ENSLAVES,
            N.PRIMARY_DOWN,
            when=_USABLE,
            cite="net/core/failover.c failover_slave_register",
        ),
        Row(
            N.PRIMARY_DOWN,
            E.GUEST_LINK_UP,
            N.PRIMARY,
            when=_MINE,
            cite="drivers/net/net_failover.c net_failover_xmit_ready",
        ),
        Row(N.PRIMARY, E.GUEST_LINK_DOWN, N.PRIMARY_DOWN, when=_MINE),
        Row(
            _ENSLAVED_STATES,
            E.GUEST_RELEASES,
            N.STANDBY,
            when=_MINE,
            cite="drivers/net/net_failover.c net_failover_slave_unregister",
        ),
        Row(_ENSLAVED_STATES, E.GUEST_EJECTS, N.STANDBY, when=_MINE, cite="surprise removal"),
        Row(_ENSLAVED_STATES, E.GUEST_POWERS_OFF, N.STANDBY, when=_MINE, cite="pciehp_ctrl.c"),
        Row(
            (N.STANDBY, *_ENSLAVED_STATES),
            E.DRIVER_RESET,
            N.ABSENT,
            cite="drivers/net/net_failover.c net_failover_destroy",
        ),
        Row((N.STANDBY, *_ENSLAVED_STATES), E.SYSTEM_RESET, N.ABSENT),
        *(
            Row(N.ABSENT, E.RECV_STATE, state, when=Latched(state))
            for state in (N.STANDBY, *_ENSLAVED_STATES)
        ),
    ),
    ignored=(
        Ignored(tuple(N), E.GUEST_DRIVER_OK, "a plain virtio-net driver, or bound already"),
        Ignored(
            tuple(N),
            (E.GUEST_EJECTS, E.GUEST_POWERS_OFF),
            "it was not enslaved, or released before",
        ),
        Ignored(N.ABSENT, (E.DRIVER_RESET, E.SYSTEM_RESET, E.RECV_STATE), "no failover device"),
    ),
    refused=(
        Refused(tuple(N), E.GUEST_ENSLAVES, "no failover device, or it has its primary already"),
        Refused(tuple(N), E.GUEST_LINK_UP, "that primary is not enslaved"),
        Refused(tuple(N), E.GUEST_LINK_DOWN, "that primary is not enslaved, or has no carrier"),
        Refused(tuple(N), E.GUEST_RELEASES, "that primary is not enslaved"),
    ),
)

LOWER = MachineSpec(
    name="lower",
    states=Lower,
    summary="Whether one primary is a lower device of the guest's failover device.",
    initial=Lower.OUT,
    final=frozenset(Lower),
    per=Per.PRIMARY,
    rows=(
        Row(
            Lower.OUT,
            E.GUEST_ENSLAVES,
            Lower.IN,
            when=All(_USABLE, In(N.STANDBY), Not(Sibling(In(Lower.IN)))),
        ),
        Row(Lower.IN, E.GUEST_RELEASES, Lower.OUT),
        Row(Lower.IN, E.GUEST_EJECTS, Lower.OUT),
        Row(Lower.IN, E.GUEST_POWERS_OFF, Lower.OUT, cite="pciehp_ctrl.c remove_board"),
        Row(Lower.IN, E.DRIVER_RESET, Lower.OUT),
        Row(Lower.IN, E.SYSTEM_RESET, Lower.OUT),
        Row(Lower.OUT, E.RECV_STATE, Lower.IN, when=Latched(Lower.IN)),
    ),
    ignored=(
        Ignored(
            Lower.OUT,
            (E.GUEST_EJECTS, E.GUEST_POWERS_OFF, E.DRIVER_RESET, E.SYSTEM_RESET, E.RECV_STATE),
            "not enslaved",
        ),
    ),
)

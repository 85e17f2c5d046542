"""The virtio-net standby: virtio status, the STANDBY feature, and whether primaries are hidden.

Rules kept here: status bits and their order are virtio 1.2 §3.1.1; QEMU applies features at every
write of a feature word (hw/virtio/virtio-pci.c virtio_pci_common_write), so negotiation happens
there, before DRIVER_OK. What a stream carries is latched by the source and set here.
"""

from __future__ import annotations

from statemachines.effects import Command, Raise, do
from statemachines.events import E
from statemachines.guards import AnyOf, In, Latched, Mine, Per
from statemachines.spec import Ignored, MachineSpec, Row
from statemachines.states import Feature, Hidden, Partial, Standby
from statemachines.tables.conditions import REQUEST_REACHES

S = Standby
NEGOTIATION = (do(Command.EMIT_FAILOVER_NEGOTIATED), Raise(E.NEGOTIATED))
_TOUCHED = (S.ACKNOWLEDGE, S.DRIVER, S.FEATURES_OK, S.DRIVER_OK, S.FAILED)

STANDBY = MachineSpec(
    name="standby",
    states=Standby,
    summary="Virtio device status of one failover standby.",
    initial=S.RESET,
    final=frozenset(S),
    per=Per.STANDBY,
    rows=(
        Row(S.RESET, E.GUEST_ACKNOWLEDGE, S.ACKNOWLEDGE, cite="virtio 1.2 §3.1.1 step 2"),
        Row(S.ACKNOWLEDGE, E.GUEST_DRIVER, S.DRIVER, cite="virtio 1.2 §3.1.1 step 3"),
        Row(
            S.DRIVER,
            E.FEATURES_WITH_STANDBY,
            None,
            cite="virtio 1.2 §3.1.1 step 4; hw/virtio/virtio.c virtio_set_features",
        ),
        Row(S.DRIVER, E.FEATURES_WITHOUT_STANDBY, None, cite="virtio 1.2 §3.1.1 step 4"),
        Row(S.DRIVER, E.GUEST_FEATURES_OK, S.FEATURES_OK, cite="virtio 1.2 §3.1.1 step 5"),
        Row(S.FEATURES_OK, E.GUEST_DRIVER_OK, S.DRIVER_OK, cite="virtio 1.2 §3.1.1 step 8"),
        Row(_TOUCHED[:-1], E.GUEST_FAILS, S.FAILED, cite="virtio 1.2 §2.1 FAILED"),
        Row(tuple(S), E.DRIVER_RESET, S.RESET, cite="virtio 1.2 §2.4"),
        Row(_TOUCHED, E.SYSTEM_RESET, S.RESET),
        *(Row(S.RESET, E.RECV_STATE, s, when=Latched(s)) for s in _TOUCHED),
    ),
    ignored=(
        Ignored(S.RESET, E.SYSTEM_RESET, "reset already"),
        Ignored(S.RESET, E.RECV_STATE, "the source's guest never touched it"),
        Ignored(
            (S.FEATURES_OK, S.DRIVER_OK, S.FAILED),
            (E.FEATURES_WITH_STANDBY, E.FEATURES_WITHOUT_STANDBY),
            "features are agreed (virtio_set_features after FEATURES_OK: -EINVAL)",
        ),
    ),
)

_FEATURES_OPEN = In(S.DRIVER)

FEATURE = MachineSpec(
    name="feature",
    states=Feature,
    summary="Whether the guest has acknowledged VIRTIO_NET_F_STANDBY on one standby.",
    initial=Feature.NOT_ACKED,
    final=frozenset(Feature),
    per=Per.STANDBY,
    rows=(
        Row(
            tuple(Feature),
            E.FEATURES_WITH_STANDBY,
            Feature.ACKED,
            when=_FEATURES_OPEN,
            then=NEGOTIATION,
            cite="hw/net/virtio-net.c virtio_net_set_features",
        ),
        Row(
            Feature.ACKED,
            E.FEATURES_WITHOUT_STANDBY,
            Feature.NOT_ACKED,
            when=_FEATURES_OPEN,
        ),
        Row(Feature.ACKED, E.DRIVER_RESET, Feature.NOT_ACKED, cite="virtio.c virtio_reset"),
        Row(Feature.ACKED, E.SYSTEM_RESET, Feature.NOT_ACKED, cite="virtio.c virtio_reset"),
        Row(
            Feature.NOT_ACKED,
            E.RECV_STATE,
            Feature.ACKED,
            when=Latched(Feature.ACKED),
            then=NEGOTIATION,
            cite="hw/virtio/virtio.c virtio_load: features are applied after the subsections",
        ),
        Row(Feature.ACKED, E.NEGOTIATED, None),
    ),
    ignored=(
        Ignored(
            tuple(Feature),
            (E.FEATURES_WITH_STANDBY, E.FEATURES_WITHOUT_STANDBY),
            "features are agreed already, or STANDBY is not acknowledged",
        ),
        Ignored(Feature.NOT_ACKED, (E.DRIVER_RESET, E.SYSTEM_RESET), "not acknowledged"),
        Ignored(Feature.NOT_ACKED, E.RECV_STATE, "the source's guest did not acknowledge it"),
    ),
)

HIDDEN = MachineSpec(
    name="hidden",
    states=Hidden,
    summary="Whether one standby's primaries stay hidden (failover_primary_hidden).",
    initial=Hidden.HIDDEN,
    final=frozenset(Hidden),
    per=Per.STANDBY,
    rows=(
        Row(
            Hidden.HIDDEN,
            E.NEGOTIATED,
            Hidden.SHOWN,
            cite="hw/net/virtio-net.c virtio_net_set_features",
        ),
        Row(
            Hidden.SHOWN,
            E.UNPLUG_PRIMARIES,
            Hidden.HIDDEN,
            when=Mine(REQUEST_REACHES),
            cite="virtio_net_handle_migration_primary",
        ),
        Row(
            Hidden.HIDDEN,
            E.ROLLBACK,
            Hidden.SHOWN,
            when=AnyOf(In(Feature.ACKED), Mine(In(Partial.PARTIAL))),
            cite="failover_replug_primary: whatever the guest has acknowledged by now",
        ),
    ),
    ignored=(
        Ignored(Hidden.SHOWN, (E.NEGOTIATED, E.ROLLBACK), "shown already"),
        Ignored(tuple(Hidden), E.UNPLUG_PRIMARIES, "no primary was asked to leave"),
        Ignored(Hidden.HIDDEN, E.ROLLBACK, "nothing of it comes back"),
    ),
)

"""The primary and its flags: plugged, unplug-pending, unplugged, and what QEMU remembers of it.

Rules kept here: a primary is a device whose failover_pair_id names a standby with failover=on.
Unplugging is asked of its slot in the same step; only the guest's eject, a reset, or a slot the
guest never powered completes it.
"""

from __future__ import annotations

from statemachines.effects import Command, Raise, do
from statemachines.events import E
from statemachines.guards import All, AnyOf, In, Not, Per, Policy, Sibling
from statemachines.refusals import Field, RefusalKind
from statemachines.spec import Ignored, MachineSpec, Refused, Row
from statemachines.states import Feature, Hidden, Primary, Request, Slot, Stored
from statemachines.tables.conditions import (
    ASKED_TO_LEAVE,
    EJECT_DELETES,
    LATE_EJECT,
    MARK_MAY_LINGER,
    MIGRATING,
    OPTIONS_MAY_LINGER,
    RESET_EJECTS,
    RESET_FORGETS,
    SLOT_LETS_GO_AT_ONCE,
    SLOT_TAKES_REQUEST,
)

P = Primary
PLUG = do(Command.PLUG_PRIMARY, E.PRIMARY_PLUGGED, E.PLUG_FAILED)
REPLUG = do(Command.REPLUG_PRIMARY, E.PRIMARY_PLUGGED, E.PLUG_FAILED)
HIDE = do(Command.HIDE_PRIMARY)
DELETE = do(Command.DELETE_PRIMARY)
UNPLUG_EVENT = do(Command.EMIT_UNPLUG_PRIMARY)
ANOTHER_IS_ATTACHED = AnyOf(
    Sibling(In(Stored.KEPT)),
    All(Policy("user_deleted", "forgotten"), Sibling(Not(In(P.ABSENT)))),
)

_CONFIGURING = (
    Row(
        P.ABSENT,
        E.DEVICE_ADD,
        P.HIDDEN,
        when=All(Not(ANOTHER_IS_ATTACHED), In(Hidden.HIDDEN)),
        cite="hw/net/virtio-net.c failover_hide_primary_device",
    ),
    Row(
        P.ABSENT,
        E.DEVICE_ADD,
        P.PLUGGED,
        when=All(Not(ANOTHER_IS_ATTACHED), Not(MIGRATING)),
        then=(PLUG,),
        cite="softmmu/qdev-monitor.c qdev_device_add_from_qdict",
    ),
    Row(P.ABSENT, E.DEVICE_ADD_MISPLACED, None, when=Not(ANOTHER_IS_ATTACHED)),
    Row(
        P.ABSENT,
        E.ADOPT,
        P.PLUGGED,
        when=Not(MIGRATING),
        cite="a device plugged before its standby stays visible",
    ),
)

_NEGOTIATING = (
    Row(
        P.HIDDEN,
        E.NEGOTIATED,
        P.PLUGGED,
        when=Not(MIGRATING),
        then=(PLUG,),
        cite="hw/net/virtio-net.c failover_add_primary",
    ),
    Row(
        P.HIDDEN,
        E.NEGOTIATED,
        P.ABSENT,
        when=Policy("first_negotiation", "drop"),
        then=(do(Command.WARN_PRIMARY_DROPPED),),
        cite="failover_add_primary: device_add not allowed while migrating; opts are dropped",
    ),
    Row(
        P.ABSENT,
        E.NEGOTIATED,
        P.PLUGGED,
        when=All(OPTIONS_MAY_LINGER, In(Stored.KEPT), Not(MIGRATING)),
        then=(PLUG,),
        cite="failover_add_primary: the options outlive the device",
    ),
    Row(P.PLUGGED, E.PLUG_FAILED, P.ABSENT, then=(do(Command.WARN_PLUG_FAILED),)),
)

_UNPLUGGING = (
    Row(
        P.PLUGGED,
        E.UNPLUG_PRIMARIES,
        P.UNPLUGGED,
        when=All(ASKED_TO_LEAVE, SLOT_LETS_GO_AT_ONCE),
        then=(UNPLUG_EVENT, HIDE, Raise(E.PRIMARY_UNPLUGGED)),
        cite="hw/pci/pcie.c pcie_cap_slot_unplug_request_cb: power and indicator off",
    ),
    Row(
        P.PLUGGED,
        E.UNPLUG_PRIMARIES,
        P.UNPLUG_PENDING,
        when=All(ASKED_TO_LEAVE, SLOT_TAKES_REQUEST),
        then=(UNPLUG_EVENT,),
        cite="hw/net/virtio-net.c failover_unplug_primary",
    ),
    Row(
        P.PLUGGED,
        E.UNPLUG_PRIMARIES,
        None,
        when=ASKED_TO_LEAVE,
        then=(do(Command.WARN_NOT_UNPLUGGED), Raise(E.UNPLUG_REFUSED)),
        cite="virtio_net_handle_migration_primary: couldn't unplug primary device",
    ),
    Row(P.PLUGGED, E.UNPLUG_REFUSED, None),
    Row(
        P.PLUGGED,
        E.DEVICE_DEL,
        P.ABSENT,
        when=SLOT_LETS_GO_AT_ONCE,
        then=(DELETE,),
    ),
    Row(P.PLUGGED, E.DEVICE_DEL, P.UNPLUG_PENDING, when=SLOT_TAKES_REQUEST),
    Row(P.PLUGGED, E.GUEST_EJECTS, None, when=LATE_EJECT, then=(REPLUG,)),
    Row(
        P.PLUGGED,
        E.GUEST_EJECTS,
        P.ABSENT,
        when=EJECT_DELETES,
        then=(DELETE,),
        cite="hw/acpi/pcihp.c acpi_pcihp_eject_slot",
    ),
    Row(P.PLUGGED, E.GUEST_EJECTS, P.UNPLUGGED, when=MARK_MAY_LINGER, then=(HIDE,)),
    Row(
        P.UNPLUG_PENDING,
        E.GUEST_EJECTS,
        P.ABSENT,
        when=EJECT_DELETES,
        then=(DELETE, Raise(E.PRIMARY_UNPLUGGED)),
    ),
    Row(
        P.UNPLUG_PENDING,
        E.GUEST_EJECTS,
        P.UNPLUGGED,
        then=(HIDE, Raise(E.PRIMARY_UNPLUGGED)),
        cite="acpi_pcihp_eject_slot: partially hotplugged, only the pending flag is cleared",
    ),
    Row(
        P.UNPLUG_PENDING,
        E.SYSTEM_RESET,
        P.ABSENT,
        when=All(RESET_EJECTS, EJECT_DELETES),
        then=(DELETE, Raise(E.PRIMARY_UNPLUGGED)),
        cite="hw/acpi/pcihp.c acpi_pcihp_reset",
    ),
    Row(
        P.UNPLUG_PENDING,
        E.SYSTEM_RESET,
        P.UNPLUGGED,
        when=RESET_EJECTS,
        then=(HIDE, Raise(E.PRIMARY_UNPLUGGED)),
        cite="hw/acpi/pcihp.c acpi_pcihp_reset",
    ),
    Row(P.UNPLUG_PENDING, E.SYSTEM_RESET, P.PLUGGED, when=All(RESET_FORGETS, Not(MIGRATING))),
    Row(
        P.PLUGGED,
        E.SYSTEM_RESET,
        P.ABSENT,
        when=All(Policy("cancel_in_wait", "linger"), RESET_EJECTS),
        then=(DELETE,),
        cite="acpi_pcihp_reset: a down bit left over from a timed-out cancel",
    ),
    Row((P.UNPLUGGED, P.ABSENT), E.PRIMARY_UNPLUGGED, None),
)

_ROLLING_BACK = (
    Row(
        P.UNPLUGGED,
        E.ROLLBACK,
        P.PLUGGED,
        then=(REPLUG,),
        cite="hw/net/virtio-net.c failover_replug_primary",
    ),
    Row(P.UNPLUG_PENDING, E.ROLLBACK, P.PLUGGED, when=Not(In(Request.USER))),
    Row(P.HIDDEN, E.ROLLBACK, P.PLUGGED, when=In(Feature.ACKED), then=(PLUG,)),
)

PRIMARY = MachineSpec(
    name="primary",
    states=Primary,
    summary="One failover primary, from its options to its eject and back.",
    initial=P.ABSENT,
    final=frozenset({P.ABSENT, P.HIDDEN, P.PLUGGED, P.UNPLUGGED}),
    per=Per.PRIMARY,
    rows=(*_CONFIGURING, *_NEGOTIATING, *_UNPLUGGING, *_ROLLING_BACK),
    ignored=(
        Ignored(P.HIDDEN, (E.DEVICE_ADD, E.DEVICE_ADD_MISPLACED), "its options are kept already"),
        Ignored(tuple(P), E.NEGOTIATED, "there is nothing to plug, or not now"),
        Ignored(tuple(P), E.UNPLUG_PRIMARIES, "not plugged, or not asked"),
        Ignored(tuple(P), E.ROLLBACK, "where it should be"),
        Ignored(tuple(P), E.SYSTEM_RESET, "no eject is due"),
        Ignored(tuple(P), E.PRIMARY_PLUGGED, "the slot's step"),
        Ignored(
            P.UNPLUG_PENDING,
            E.DEVICE_DEL,
            "asked already (QEMU 7.2.3 and later)",
            when=All(Policy("user_deleted", "resurrects"), Policy("hotplug", "acpi")),
        ),
        Ignored(
            P.UNPLUGGED,
            E.DEVICE_DEL,
            "QEMU answers {} and nothing comes of it",
            when=Policy("user_deleted", "resurrects"),
        ),
    ),
    refused=(
        Refused(
            P.ABSENT,
            E.DEVICE_ADD,
            "Cannot attach more than one primary device to '%s': '%s' and '%s'",
            (Field.STANDBY, Field.OTHER_PRIMARY, Field.DEVICE),
            when=ANOTHER_IS_ATTACHED,
            cite="failover_hide_primary_device",
        ),
        Refused(P.ABSENT, E.DEVICE_ADD, "device_add not allowed while migrating"),
        Refused(
            P.ABSENT,
            E.DEVICE_ADD_MISPLACED,
            "Cannot attach more than one primary device to '%s': '%s' and '%s'",
            (Field.STANDBY, Field.OTHER_PRIMARY, Field.DEVICE),
        ),
        Refused(
            (P.PLUGGED, P.UNPLUG_PENDING, P.UNPLUGGED),
            E.DEVICE_ADD,
            "Duplicate device ID '%s'",
            (Field.DEVICE,),
        ),
        Refused(
            (P.PLUGGED, P.UNPLUG_PENDING, P.UNPLUGGED),
            E.DEVICE_ADD_MISPLACED,
            "Bus '%s' does not support hotplugging",
            (Field.BUS,),
            cite="softmmu/qdev-monitor.c qdev_device_add_from_qdict: the bus before the id",
        ),
        Refused(P.ABSENT, E.ADOPT, "device_add not allowed while migrating"),
        Refused(
            (P.ABSENT, P.HIDDEN),
            E.DEVICE_DEL,
            "Device '%s' not found",
            (Field.DEVICE,),
            RefusalKind.DEVICE_NOT_FOUND,
        ),
        Refused(
            P.PLUGGED,
            E.DEVICE_DEL,
            "Hot-unplug failed: guest is busy (power indicator blinking)",
            when=In(Slot.BLINKING),
            cite="hw/pci/pcie.c pcie_cap_slot_unplug_request_cb",
        ),
        Refused(
            (P.PLUGGED, P.UNPLUG_PENDING, P.UNPLUGGED),
            E.DEVICE_DEL,
            "Device %s is already in the process of unplug",
            (Field.DEVICE,),
            cite="softmmu/qdev-monitor.c qmp_device_del",
        ),
    ),
)

"""What is remembered of one primary beside where it is: whose request, pending, partial, stored.

Rules kept here: each flag of QEMU's (PCIDevice.partially_hotplugged, DeviceState.
pending_deleted_event, VirtIONet.primary_opts) is a lifecycle of its own, so that a defect that
hides in their combination can be found by search.
"""

from __future__ import annotations

from statemachines.events import E
from statemachines.guards import All, In, Not, Per, Policy
from statemachines.spec import Ignored, MachineSpec, Row
from statemachines.states import Partial, Pending, Primary, Request, Stored
from statemachines.tables.conditions import (
    ASKED_TO_LEAVE,
    EJECT_DELETES,
    MARK_MAY_LINGER,
    MIGRATING,
    REQUEST_REACHES,
    RESET_EJECTS,
    RESET_FORGETS,
    SLOT_LETS_GO_AT_ONCE,
    SLOT_TAKES_REQUEST,
)

_WAITS_FOR_GUEST = All(REQUEST_REACHES, Not(SLOT_LETS_GO_AT_ONCE))
_USER_WAITS = All(In(Primary.PLUGGED), SLOT_TAKES_REQUEST, Not(SLOT_LETS_GO_AT_ONCE))
_WITHDRAWS = Policy("cancel_in_wait", "withdraw")

REQUEST = MachineSpec(
    name="request",
    states=Request,
    summary="Whose unplug request is outstanding on one primary.",
    initial=Request.NONE,
    final=frozenset({Request.NONE, Request.WITHDRAWN}),
    per=Per.PRIMARY,
    rows=(
        Row(
            (Request.NONE, Request.WITHDRAWN),
            E.UNPLUG_PRIMARIES,
            Request.MIGRATION,
            when=_WAITS_FOR_GUEST,
        ),
        Row((Request.NONE, Request.WITHDRAWN), E.DEVICE_DEL, Request.USER, when=_USER_WAITS),
        Row(tuple(Request), E.GUEST_EJECTS, Request.NONE),
        Row(Request.MIGRATION, E.ROLLBACK, Request.WITHDRAWN, when=_WITHDRAWS),
        Row(Request.MIGRATION, E.ROLLBACK, Request.NONE),
        Row(tuple(Request), E.SYSTEM_RESET, Request.NONE, when=RESET_EJECTS),
        Row(Request.WITHDRAWN, E.SYSTEM_RESET, Request.NONE),
        # A migration that waits for it goes on waiting, and gives it back when it is given up.
        Row(Request.USER, E.SYSTEM_RESET, Request.MIGRATION, when=All(RESET_FORGETS, MIGRATING)),
        Row(Request.USER, E.SYSTEM_RESET, Request.NONE, when=RESET_FORGETS),
        Row(tuple(Request), E.PLUG_FAILED, Request.NONE),
    ),
    ignored=(
        Ignored(tuple(Request), E.UNPLUG_PRIMARIES, "nothing reaches the slot"),
        Ignored(tuple(Request), E.DEVICE_DEL, "the primary or its slot decides"),
        Ignored((Request.NONE, Request.USER, Request.WITHDRAWN), E.ROLLBACK, "not the migration's"),
        Ignored((Request.NONE, Request.USER, Request.MIGRATION), E.SYSTEM_RESET, "no eject is due"),
    ),
)

PENDING = MachineSpec(
    name="pending",
    states=Pending,
    summary="Whether an eject of one primary is expected (pending_deleted_event).",
    initial=Pending.CLEAR,
    final=frozenset(Pending),
    per=Per.PRIMARY,
    rows=(
        Row(Pending.CLEAR, E.UNPLUG_PRIMARIES, Pending.SET, when=_WAITS_FOR_GUEST),
        Row(Pending.CLEAR, E.DEVICE_DEL, Pending.SET, when=_USER_WAITS),
        Row(Pending.SET, E.GUEST_EJECTS, Pending.CLEAR, cite="hw/acpi/pcihp.c, hw/pci/pcie.c"),
        Row(Pending.SET, E.SYSTEM_RESET, Pending.CLEAR, when=RESET_EJECTS),
        Row(
            Pending.SET,
            E.SYSTEM_RESET,
            Pending.CLEAR,
            when=All(RESET_FORGETS, Not(MIGRATING)),
        ),
        Row(
            Pending.SET,
            E.ROLLBACK,
            Pending.CLEAR,
            when=All(_WITHDRAWS, Not(In(Request.USER))),
        ),
    ),
    ignored=(
        Ignored(tuple(Pending), (E.UNPLUG_PRIMARIES, E.DEVICE_DEL), "set already, or no request"),
        Ignored(
            tuple(Pending),
            (E.SYSTEM_RESET, E.ROLLBACK),
            "clear already, or stays set (QEMU never clears it at a re-plug)",
        ),
        Ignored(Pending.CLEAR, E.GUEST_EJECTS, "clear already"),
    ),
)

PARTIAL = MachineSpec(
    name="partial",
    states=Partial,
    summary="Whether an eject of one primary deletes it (partially_hotplugged).",
    initial=Partial.WHOLE,
    final=frozenset(Partial),
    per=Per.PRIMARY,
    rows=(
        Row(Partial.WHOLE, E.UNPLUG_PRIMARIES, Partial.PARTIAL, when=REQUEST_REACHES),
        Row(
            Partial.WHOLE,
            E.UNPLUG_PRIMARIES,
            Partial.PARTIAL,
            when=All(
                Policy("unplug_scope", "oldest"),
                ASKED_TO_LEAVE,
                In(Primary.PLUGGED, Primary.UNPLUG_PENDING),
            ),
            cite="failover_unplug_primary sets it before it asks the slot",
        ),
        Row(Partial.PARTIAL, E.ROLLBACK, Partial.WHOLE, cite="failover_replug_primary"),
        Row(Partial.PARTIAL, E.PLUG_FAILED, Partial.WHOLE, when=MARK_MAY_LINGER),
    ),
    ignored=(
        Ignored(tuple(Partial), E.UNPLUG_PRIMARIES, "set already, or no request"),
        Ignored(Partial.WHOLE, (E.ROLLBACK, E.PLUG_FAILED), "whole already"),
    ),
)

STORED = MachineSpec(
    name="stored",
    states=Stored,
    summary="Whether the standby keeps one primary's options (primary_opts).",
    initial=Stored.EMPTY,
    final=frozenset(Stored),
    per=Per.PRIMARY,
    rows=(
        Row(Stored.EMPTY, E.DEVICE_ADD, Stored.KEPT, cite="failover_hide_primary_device"),
        Row(
            Stored.EMPTY,
            E.DEVICE_ADD_MISPLACED,
            Stored.KEPT,
            when=Policy("refused_primary", "poisons"),
            cite="the hide test keeps the options before the bus is checked",
        ),
        Row(Stored.KEPT, E.PLUG_FAILED, Stored.EMPTY, cite="failover_add_primary drops them"),
        Row(
            Stored.KEPT,
            E.NEGOTIATED,
            Stored.EMPTY,
            when=All(In(Primary.HIDDEN), MIGRATING, Policy("first_negotiation", "drop")),
            cite="failover_add_primary: device_add not allowed while migrating",
        ),
        Row(
            Stored.KEPT,
            E.GUEST_EJECTS,
            Stored.EMPTY,
            when=All(Policy("user_deleted", "forgotten"), EJECT_DELETES),
        ),
        Row(
            Stored.KEPT,
            E.SYSTEM_RESET,
            Stored.EMPTY,
            when=All(Policy("user_deleted", "forgotten"), RESET_EJECTS, EJECT_DELETES),
        ),
        Row(
            Stored.KEPT,
            E.DEVICE_DEL,
            Stored.EMPTY,
            when=All(
                Policy("user_deleted", "forgotten"), In(Primary.PLUGGED), SLOT_LETS_GO_AT_ONCE
            ),
        ),
    ),
    ignored=(
        Ignored(
            tuple(Stored),
            (E.DEVICE_ADD, E.DEVICE_ADD_MISPLACED),
            "kept already, or a refused primary leaves nothing behind",
        ),
        Ignored(Stored.EMPTY, E.PLUG_FAILED, "nothing is kept"),
        Ignored(
            tuple(Stored),
            (E.NEGOTIATED, E.GUEST_EJECTS, E.SYSTEM_RESET, E.DEVICE_DEL),
            "the device is not deleted, or its options outlive it",
        ),
    ),
)

#: All flags of a primary.
PRIMARY_FLAGS = (REQUEST, PENDING, PARTIAL, STORED)

"""Guards that several tables share, each named once.

Rules kept here: only guards; a name says what is true when the guard holds.
"""

from __future__ import annotations

from statemachines.guards import All, AnyOf, In, Not, Older, Policy, Some
from statemachines.states import (
    Feature,
    Handover,
    Hidden,
    Link,
    Migration,
    Partial,
    Pending,
    Primary,
    Request,
    ReturnPath,
    Slot,
)

#: Outgoing statuses in which a new migration may be asked for (QEMU migration_is_idle).
IDLE_STATUSES = (Migration.NONE, Migration.COMPLETED, Migration.CANCELLED, Migration.FAILED)
#: Outgoing statuses in which a migration is under way (QEMU migration_is_running).
RUNNING_STATUSES = tuple(status for status in Migration if status not in IDLE_STATUSES)

#: Those in which the guest was stopped for good, and its devices' state leaves. What is not known
#: to be earlier counts as one of them.
LEAVING_STATUSES = tuple(
    status
    for status in RUNNING_STATUSES
    if status
    not in (
        Migration.SETUP,
        Migration.WAIT_UNPLUG,
        Migration.ACTIVE,
        Migration.PRE_SWITCHOVER,
        Migration.CANCELLING,
    )
)

MIGRATING = In(*RUNNING_STATUSES)

#: Some primary still has to be ejected before RAM may be streamed.
WAITING = AnyOf(
    All(Policy("wait_for", "request"), Some(In(Primary.UNPLUG_PENDING))),
    All(
        Policy("wait_for", "pending-flag"),
        Some(All(In(Pending.SET), In(Feature.ACKED), Not(In(Primary.ABSENT, Primary.HIDDEN)))),
    ),
)

#: The hand-over is two-phase: the peer can answer and the profile asks it to.
TWO_PHASE = All(Policy("handover", "two-phase"), In(Link.OPEN))
#: Nobody waits for a word after END: the end of the stream is no loss.
ONE_WAY_HANDOVER = AnyOf(Policy("handover", "one-way"), In(Link.ONE_WAY))
#: The target's verdict comes back although the hand-over is one-way (QEMU's return-path).
VERDICT = All(Policy("handover", "one-way"), In(Link.OPEN), In(ReturnPath.ON))
#: Nobody answers: the source ends when its bytes have left.
UNANSWERED = All(Not(TWO_PHASE), Not(VERDICT))

#: The options of a primary can outlive it.
OPTIONS_MAY_LINGER = AnyOf(
    Policy("user_deleted", "resurrects"), Policy("refused_primary", "poisons")
)
#: A plugged primary can still be marked for an eject that only hides it.
MARK_MAY_LINGER = AnyOf(Policy("unplug_refused", "go-on"), Policy("unplug_scope", "oldest"))

#: From here the source never resumes by itself.
GIVEN_AWAY = In(Handover.COMMITTED, Handover.IN_DOUBT)

#: The slot can take an unplug request now (pcie_cap_slot_unplug_request_cb, pcihp).
SLOT_TAKES_REQUEST = Not(In(Slot.EMPTY, Slot.BLINKING, Slot.POWERED_OFF))
#: Native slots that the guest has not powered yet let go at once.
SLOT_LETS_GO_AT_ONCE = All(Policy("hotplug", "native"), In(Slot.INSERTED))

#: The migration asks this primary to leave (failover_unplug_primary): with policy `oldest` only
#: where the pair has negotiated, and only the primary that was added first.
ASKED_TO_LEAVE = AnyOf(
    Policy("unplug_scope", "all"),
    All(In(Hidden.SHOWN), Not(Older(In(Primary.PLUGGED, Primary.UNPLUG_PENDING)))),
)
#: This primary is plugged and the migration's request reaches its slot.
REQUEST_REACHES = All(In(Primary.PLUGGED), ASKED_TO_LEAVE, SLOT_TAKES_REQUEST)

#: The guest is only finishing what a withdrawn request asked for.
LATE_EJECT = All(In(Request.WITHDRAWN), Policy("late_eject", "replug"))
#: An eject now deletes the primary (pcihp acpi_pcihp_eject_slot, pcie_cap_slot_do_unplug).
EJECT_DELETES = AnyOf(
    All(In(Primary.PLUGGED), Not(LATE_EJECT), In(Partial.WHOLE)),
    All(In(Primary.UNPLUG_PENDING), In(Request.USER), In(Partial.WHOLE)),
)
#: A system reset executes an ACPI eject that is due (pcihp acpi_pcihp_reset).
RESET_EJECTS = All(Policy("hotplug", "acpi"), In(Slot.REQUESTED))
#: A slot that is hotplugged by itself has forgotten, after a reset, what the user asked of it. The
#: user may ask again: QEMU lets a request expire (qdev-monitor.c qdev_unplug).
RESET_FORGETS = All(Policy("hotplug", "native"), In(Request.USER))

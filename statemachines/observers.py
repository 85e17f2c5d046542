"""What the checker remembers beside the tables, so that a property can speak of the past.

Rules kept here:
1. An observer only watches: it never blocks an event and no table reads it. It is not part of the
   machine that runs.
2. A watch is triggered by an event, or by an effect of a row that is taken (a command, a message);
   its guard reads the same snapshot as the rows do. Of several the first that fits is taken.
3. An observer knows what was asked and what was done, never what a table would do.
"""

from __future__ import annotations

from statemachines.effects import Command, Message
from statemachines.events import E
from statemachines.guards import All, AnyOf, In, Not, Per, Policy
from statemachines.states import (
    Migration,
    Primary,
    Request,
    RunState,
    Slot,
    State,
    Takeover,
)
from statemachines.watch import Observer, Watch
from statemachines.witnesses import WITNESSES


class Life(State):
    """One VM's process."""

    #: It lives.
    ALIVE = "alive"
    #: It has ended by itself: what came in could not be loaded.
    EXITED = "exited"
    #: It died before it had the VM.
    DIED = "died"
    #: It died, and the VM with it.
    DIED_WITH_VM = "died with the VM"
    #: Something happened that one of its machines has no row for.
    BROKEN = "broken"


class Wanted(State):
    """What a user wants of one primary."""

    #: It was never asked for, or was given up in a way its user knows of.
    NO = "no"
    #: It was configured, and nobody has given it up.
    YES = "yes"
    #: The user asked for it to be deleted, and the guest has not let go of it.
    LEAVING = "leaving"
    #: It is deleted, as the user wanted.
    DELETED = "deleted"


class EverPlugged(State):
    """Whether one primary was in its slot since it was configured."""

    #: It was not.
    NO = "no"
    #: It was.
    YES = "yes"
    #: It was, before its standby was there: the standby has no options of it.
    ADOPTED = "adopted"


class Placement(State):
    """Where one primary was last configured."""

    #: On a bus that takes it.
    GOOD = "good"
    #: On a bus that refuses it.
    MISPLACED = "misplaced"


class Asked(State):
    """How often one primary was announced as leaving (UNPLUG_PRIMARY) in this migration."""

    #: Not yet.
    NEVER = "never"
    #: Once.
    ONCE = "once"
    #: Again.
    TWICE = "twice"


class SlotRefused(State):
    """Whether one primary's slot has refused this migration's request."""

    #: It has not.
    NO = "no"
    #: It has.
    YES = "yes"
    #: It has, and the operator was not told.
    SILENT = "silent"


class Announced(State):
    """Whether FAILOVER_NEGOTIATED was emitted for one standby."""

    #: It was not, or not since a migration has asked the primaries to leave.
    NO = "no"
    #: It was.
    YES = "yes"


class Streamed(State):
    """Whether a primary was the guest's when the devices' state was sent."""

    #: None was, or nothing was sent.
    CLEAN = "clean"
    #: One was.
    ATTACHED = "attached"


class Before(State):
    """What the guest was doing when this migration stopped it."""

    #: It has not been stopped.
    UNTOUCHED = "untouched"
    #: It ran.
    RAN = "ran"
    #: It was stopped already.
    STOOD = "stood"


class EndSeen(State):
    """Whether the target has read END, or the source has sent it."""

    #: It has not.
    NO = "no"
    #: It has.
    YES = "yes"


_OVER = In(Migration.COMPLETED, Migration.CANCELLED, Migration.FAILED)
_ASKED_SLOT = In(Slot.REQUESTED, Slot.BLINKING, Slot.POWERED_OFF)
#: Nothing but the guest's own wish makes it eject.
_UNASKED = All(Not(_ASKED_SLOT), Not(In(Request.WITHDRAWN)))

WANTED = Observer(
    "wanted",
    Wanted,
    Per.PRIMARY,
    (
        Watch(tuple(Wanted), E.DEVICE_ADD, Wanted.YES),
        Watch(tuple(Wanted), E.ADOPT, Wanted.YES),
        Watch((Wanted.DELETED,), E.DEVICE_ADD_MISPLACED, Wanted.NO),
        Watch((Wanted.YES,), E.DEVICE_DEL, Wanted.LEAVING, when=In(Primary.PLUGGED)),
        Watch((Wanted.YES, Wanted.LEAVING), E.PLUG_FAILED, Wanted.NO),
        Watch((Wanted.YES,), E.GUEST_EJECTS, Wanted.NO, when=_UNASKED),
        Watch((Wanted.YES,), E.GUEST_BLINKS, Wanted.NO, when=_UNASKED),
        Watch((Wanted.LEAVING,), E.GUEST_EJECTS, Wanted.DELETED),
        # That it came back was to be seen already: from here on it is like any other.
        Watch((Wanted.DELETED,), E.PRIMARY_PLUGGED, Wanted.YES),
        # A slot of its own forgets what it was asked: the user has to ask again.
        Watch(
            (Wanted.LEAVING,),
            E.SYSTEM_RESET,
            Wanted.YES,
            when=All(Policy("hotplug", "native"), In(Primary.UNPLUG_PENDING)),
        ),
    ),
)
EVER_PLUGGED = Observer(
    "ever_plugged",
    EverPlugged,
    Per.PRIMARY,
    (
        Watch((EverPlugged.YES, EverPlugged.ADOPTED), E.DEVICE_ADD, EverPlugged.NO),
        Watch((EverPlugged.NO,), E.PRIMARY_PLUGGED, EverPlugged.YES),
        Watch((EverPlugged.NO,), E.ADOPT, EverPlugged.ADOPTED),
    ),
)
PLACEMENT = Observer(
    "placement",
    Placement,
    Per.PRIMARY,
    (
        Watch((Placement.GOOD,), E.DEVICE_ADD_MISPLACED, Placement.MISPLACED),
        Watch((Placement.MISPLACED,), E.DEVICE_ADD, Placement.GOOD),
        Watch((Placement.MISPLACED,), E.PLUG_FAILED, Placement.GOOD),
    ),
)
ASKED = Observer(
    "asked",
    Asked,
    Per.PRIMARY,
    (
        Watch(tuple(Asked), E.ROLLBACK, Asked.NEVER),
        Watch(tuple(Asked), E.MIGRATED, Asked.NEVER),
        Watch((Asked.NEVER,), Command.EMIT_UNPLUG_PRIMARY, Asked.ONCE),
        Watch((Asked.ONCE,), Command.EMIT_UNPLUG_PRIMARY, Asked.TWICE),
    ),
)
SLOT_REFUSED = Observer(
    "slot_refused",
    SlotRefused,
    Per.PRIMARY,
    (
        Watch((SlotRefused.NO,), Command.WARN_NOT_UNPLUGGED, SlotRefused.YES),
        Watch((SlotRefused.NO,), E.UNPLUG_REFUSED, SlotRefused.SILENT),
        Watch((SlotRefused.YES,), E.ROLLBACK, SlotRefused.NO),
        Watch((SlotRefused.YES,), E.MIGRATED, SlotRefused.NO),
    ),
)
ANNOUNCED = Observer(
    "announced",
    Announced,
    Per.STANDBY,
    (
        Watch((Announced.NO,), Command.EMIT_FAILOVER_NEGOTIATED, Announced.YES, when=Not(_OVER)),
        *(
            Watch((Announced.YES,), event, Announced.NO)
            for event in (E.MIGRATE, E.UNPLUG_PRIMARIES, E.ROLLBACK, E.MIGRATED)
        ),
    ),
)
STREAMED = Observer(
    "streamed",
    Streamed,
    Per.PRIMARY,
    (
        Watch((Streamed.ATTACHED,), E.MIGRATE, Streamed.CLEAN),
        Watch(
            (Streamed.CLEAN,),
            Message.STATE,
            Streamed.ATTACHED,
            when=AnyOf(In(Primary.PLUGGED, Primary.UNPLUG_PENDING), Not(In(Slot.EMPTY))),
        ),
    ),
)
BEFORE = Observer(
    "before",
    Before,
    Per.VM,
    (
        Watch(tuple(Before), E.MIGRATE, Before.UNTOUCHED),
        Watch(
            (Before.UNTOUCHED,),
            E.CONVERGED,
            Before.RAN,
            when=All(In(Migration.ACTIVE), In(RunState.RUNNING)),
        ),
        Watch(
            (Before.UNTOUCHED,),
            E.CONVERGED,
            Before.STOOD,
            when=All(In(Migration.ACTIVE), In(RunState.PAUSED, RunState.PRELAUNCH)),
        ),
        Watch((Before.RAN, Before.STOOD), E.STOP, Before.UNTOUCHED, when=In(RunState.RUNNING)),
        Watch((Before.RAN, Before.STOOD), E.CONT, Before.UNTOUCHED),
    ),
)
END_SEEN = Observer(
    "end_seen",
    EndSeen,
    Per.VM,
    (
        Watch((EndSeen.NO,), E.RECV_END, EndSeen.YES, when=In(Takeover.STATE_LOADED)),
        Watch((EndSeen.NO,), Message.END, EndSeen.YES),
        Watch((EndSeen.YES,), E.MIGRATE, EndSeen.NO),
    ),
)

#: Every observer of one VM.
OBSERVERS: tuple[Observer, ...] = (
    BEFORE,
    END_SEEN,
    ANNOUNCED,
    WANTED,
    EVER_PLUGGED,
    PLACEMENT,
    ASKED,
    SLOT_REFUSED,
    STREAMED,
    *WITNESSES,
)

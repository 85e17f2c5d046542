"""Observers that bear out what a status says: what was really done, by whom, and in which order.

Rules kept here: those of `observers.py`. A witness repeats no table: it counts what was asked of
the world, what was sent and what the operator said, and a property compares that with the states.
"""

from __future__ import annotations

from statemachines.effects import Command, Message
from statemachines.events import E
from statemachines.guards import In, Latched, Not, Per
from statemachines.states import (
    Handover,
    Incoming,
    Link,
    Migration,
    Resume,
    RunState,
    State,
    Takeover,
)
from statemachines.watch import Observer, Watch
from statemachines.witnesses_of_devices import (
    CARRIER,
    DEVICE,
    INDICATOR,
    PLUG_REPORT,
    TOUCHED,
)


class Course(State):
    """How far this migration has come, or has been undone."""

    #: Nothing was done yet.
    BEGUN = "begun"
    #: The primaries were asked to leave.
    ASKED = "asked"
    #: The stream was set up.
    SET_UP = "set up"
    #: It was given up, and the target told.
    ABANDONED = "abandoned"
    #: The guest may run again.
    RESUMED = "resumed"
    #: Its primaries were brought back.
    ROLLED_BACK = "rolled back"
    #: Some of this came before what it has to follow.
    MIXED_UP = "mixed up"


class Meant(State):
    """What the operator wants the guest to do, here or where it came from."""

    #: Run.
    RUN = "run"
    #: Stand still.
    HOLD = "hold"


class Processors(State):
    """What the guest's processors were last told."""

    #: To stand still.
    STAND = "stand"
    #: To run.
    RUN = "run"


class SetReturnPath(State):
    """What return-path was last set to."""

    #: Off, or nothing was said.
    OFF = "off"
    #: On.
    ON = "on"
    #: Off, where it was on, and the VM was not started since.
    OFF_AGAIN = "off again"


class SetPause(State):
    """What pause-before-switchover was last set to."""

    #: Off, or nothing was said.
    OFF = "off"
    #: On.
    ON = "on"
    #: Off, where it was on, and the VM was not started since.
    OFF_AGAIN = "off again"


class SetBlocker(State):
    """Whether the operator gave the VM a device that cannot be migrated."""

    #: No, or it is gone since before the last migration.
    NO = "no"
    #: It has one.
    PRESENT = "present"
    #: It had one, and has not migrated since.
    GONE = "gone"


class SinceState(State):
    """What happened to the devices since their state was sent."""

    #: It was not sent.
    UNSENT = "unsent"
    #: Nothing.
    SAME = "same"
    #: They were reset.
    ALTERED = "altered"


class Told(State):
    """Whether the operator was told of a doubt, and what the operator said."""

    #: No.
    NO = "no"
    #: Yes.
    YES = "yes"
    #: The VM stays here.
    HERE = "here"
    #: The VM is the other side's.
    THERE = "there"


class Closing(State):
    """Whether the channel is being closed."""

    #: It is not, or it is closed.
    NO = "no"
    #: It is.
    YES = "yes"


class Unheard(State):
    """Whether something was said that nobody could hear."""

    #: Nothing was.
    NO = "no"
    #: Something was.
    YES = "yes"


class Spoilt(State):
    """Whether what came in cannot be used, or is not to be: its receiver was told so."""

    #: It was not.
    NO = "no"
    #: It was.
    YES = "yes"


_AHEAD = (Course.BEGUN, Course.ASKED, Course.SET_UP)
_UNDONE = (Course.ABANDONED, Course.RESUMED, Course.ROLLED_BACK)

COURSE = Observer(
    "course",
    Course,
    Per.VM,
    (
        Watch(tuple(Course), E.MIGRATE, Course.BEGUN),
        Watch((Course.BEGUN,), E.UNPLUG_PRIMARIES, Course.ASKED),
        Watch(tuple(Course), E.UNPLUG_PRIMARIES, Course.MIXED_UP),
        Watch((Course.ASKED,), E.START_SETUP, Course.SET_UP),
        Watch(tuple(Course), E.START_SETUP, Course.MIXED_UP),
        Watch(_AHEAD, E.ABANDON, Course.ABANDONED),
        Watch(_AHEAD, E.KEEP_HERE, Course.ABANDONED, when=In(Handover.IN_DOUBT)),
        Watch(_UNDONE, E.ABANDON, Course.MIXED_UP),
        Watch((Course.ABANDONED,), E.RESUME_SOURCE, Course.RESUMED),
        Watch(tuple(Course), E.RESUME_SOURCE, Course.MIXED_UP),
        Watch((Course.RESUMED,), E.ROLLBACK, Course.ROLLED_BACK),
        Watch(tuple(Course), E.ROLLBACK, Course.MIXED_UP),
    ),
)
MEANT = Observer(
    "meant",
    Meant,
    Per.VM,
    (
        Watch((Meant.RUN,), E.BOOT_HELD, Meant.HOLD),
        Watch((Meant.RUN,), E.BOOT_INCOMING_HELD, Meant.HOLD),
        Watch((Meant.RUN,), E.STOP, Meant.HOLD, when=In(RunState.RUNNING, RunState.INMIGRATE)),
        Watch((Meant.HOLD,), E.CONT, Meant.RUN),
        Watch((Meant.RUN,), E.RECV_STATE, Meant.HOLD, when=Latched(Resume.HOLD)),
    ),
)
PROCESSORS = Observer(
    "processors",
    Processors,
    Per.VM,
    (
        Watch((Processors.STAND,), Command.RUN_GUEST, Processors.RUN),
        Watch((Processors.RUN,), Command.STOP_GUEST, Processors.STAND),
        Watch((Processors.RUN,), Command.QUIESCE_GUEST, Processors.STAND),
    ),
)
SET_RETURN_PATH = Observer(
    "set_return_path",
    SetReturnPath,
    Per.VM,
    (
        Watch((SetReturnPath.OFF, SetReturnPath.OFF_AGAIN), E.RETURN_PATH_ON, SetReturnPath.ON),
        Watch((SetReturnPath.ON,), E.RETURN_PATH_OFF, SetReturnPath.OFF_AGAIN),
        Watch((SetReturnPath.OFF_AGAIN,), E.BOOT, SetReturnPath.OFF),
        Watch((SetReturnPath.OFF_AGAIN,), E.BOOT_HELD, SetReturnPath.OFF),
    ),
)
SET_PAUSE = Observer(
    "set_pause",
    SetPause,
    Per.VM,
    (
        Watch((SetPause.OFF, SetPause.OFF_AGAIN), E.PAUSE_ON, SetPause.ON),
        Watch((SetPause.ON,), E.PAUSE_OFF, SetPause.OFF_AGAIN),
        Watch((SetPause.OFF_AGAIN,), E.BOOT, SetPause.OFF),
        Watch((SetPause.OFF_AGAIN,), E.BOOT_HELD, SetPause.OFF),
    ),
)
SET_BLOCKER = Observer(
    "set_blocker",
    SetBlocker,
    Per.VM,
    (
        Watch((SetBlocker.NO, SetBlocker.GONE), E.BLOCK, SetBlocker.PRESENT),
        Watch((SetBlocker.PRESENT,), E.UNBLOCK, SetBlocker.GONE),
        Watch((SetBlocker.GONE,), E.MIGRATE, SetBlocker.NO),
    ),
)
SINCE_STATE = Observer(
    "since_state",
    SinceState,
    Per.VM,
    (
        Watch(tuple(SinceState), E.MIGRATE, SinceState.UNSENT),
        Watch((SinceState.UNSENT,), Message.STATE, SinceState.SAME),
        Watch((SinceState.SAME,), E.SYSTEM_RESET, SinceState.ALTERED),
    ),
)
TOLD = Observer(
    "told",
    Told,
    Per.VM,
    (
        Watch((Told.NO,), Command.EMIT_IN_DOUBT, Told.YES),
        Watch((Told.YES,), E.KEEP_HERE, Told.HERE),
        Watch((Told.YES,), E.KEEP_THERE, Told.THERE),
        Watch(tuple(Told), E.MIGRATE, Told.NO),
    ),
)
CLOSING = Observer(
    "closing",
    Closing,
    Per.VM,
    (
        Watch((Closing.NO,), Command.CLOSE_CHANNEL, Closing.YES),
        Watch((Closing.YES,), E.CHANNEL_CLOSED, Closing.NO),
    ),
)
UNHEARD = Observer(
    "unheard",
    Unheard,
    Per.VM,
    tuple(
        Watch((Unheard.NO,), message, Unheard.YES, when=In(Link.ONE_WAY))
        for message in Message
        if message not in (Message.HELLO, Message.STATE, Message.END)
    ),
)

SPOILT = Observer(
    "spoilt",
    Spoilt,
    Per.VM,
    (
        *(
            Watch((Spoilt.NO,), event, Spoilt.YES, when=Not(In(Takeover.IDLE)))
            for event in (E.HELLO_BAD, E.RECV_BAD_STATE, E.LOAD_FAILED, E.RECV_ABORT)
        ),
        Watch((Spoilt.NO,), E.RECV_REFUSE, Spoilt.YES, when=In(Migration.SETUP)),
        Watch((Spoilt.NO,), E.STREAM_BAD, Spoilt.YES, when=In(Incoming.ACTIVE)),
        Watch((Spoilt.NO,), E.DIGEST_MISMATCH, Spoilt.YES, when=In(Handover.DELIVERED)),
        Watch((Spoilt.YES,), E.MIGRATE, Spoilt.NO),
    ),
)

WITNESSES: tuple[Observer, ...] = (
    COURSE,
    MEANT,
    PROCESSORS,
    DEVICE,
    SET_RETURN_PATH,
    SET_PAUSE,
    SET_BLOCKER,
    SINCE_STATE,
    TOLD,
    CLOSING,
    UNHEARD,
    PLUG_REPORT,
    SPOILT,
    TOUCHED,
    CARRIER,
    INDICATOR,
)

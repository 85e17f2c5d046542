"""Observers that bear out what a status says: what was really done, by whom, and in which order.

Rules kept here: those of `observers.py`. A witness repeats no table: it counts what was asked of
the world, what was sent and what the operator said, and a property compares that with the states.
"""

from __future__ import annotations

from statemachines.effects import Command, Message
from statemachines.events import E
from statemachines.guards import All, In, Latched, Not, Per
from statemachines.states import (
    Feature,
    Handover,
    Hidden,
    Incoming,
    Link,
    Resume,
    RunState,
    State,
    Takeover,
)
from statemachines.watch import Observer, Watch


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


class Device(State):
    """What was last done with one primary's device."""

    #: There is none.
    NONE = "none"
    #: It was put into its slot.
    PLACED = "placed"
    #: The same, though its guest has negotiated nothing.
    UNCALLED = "uncalled"
    #: It was taken out, and kept.
    KEPT = "kept"


class SetReturnPath(State):
    """What return-path was last set to."""

    #: Off, or nothing was said.
    OFF = "off"
    #: On.
    ON = "on"


class SetPause(State):
    """What pause-before-switchover was last set to."""

    #: Off, or nothing was said.
    OFF = "off"
    #: On.
    ON = "on"


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


class PlugReport(State):
    """Whether the operator was told that one primary could not be plugged."""

    #: There was nothing to tell.
    NOTHING = "nothing"
    #: Yes.
    TOLD = "told"
    #: No.
    SILENT = "silent"


class Spoilt(State):
    """Whether what came in cannot be used, or is not to be: its receiver was told so."""

    #: It was not.
    NO = "no"
    #: It was.
    YES = "yes"


class Touched(State):
    """Whether a driver has touched one standby since it was last reset."""

    #: None has.
    NO = "no"
    #: One has, here or where it came from.
    YES = "yes"
    #: One has, and said here that features are agreed.
    AGREED = "agreed"


class Carrier(State):
    """Whether one enslaved primary has carrier."""

    #: It has none yet, or is not enslaved.
    DOWN = "down"
    #: It lost it.
    LOST = "lost"
    #: It has.
    UP = "up"


class Indicator(State):
    """Whether the power indicator of one primary's slot blinks."""

    #: It does not.
    STEADY = "steady"
    #: It does.
    BLINKS = "blinks"
    #: It did, and the guest gave the removal up.
    GIVEN_UP = "given up"


_UNCALLED = All(In(Hidden.HIDDEN), In(Feature.NOT_ACKED))
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
DEVICE = Observer(
    "device",
    Device,
    Per.PRIMARY,
    (
        Watch((Device.NONE,), Command.PLUG_PRIMARY, Device.UNCALLED, when=_UNCALLED),
        Watch((Device.NONE,), Command.PLUG_PRIMARY, Device.PLACED),
        Watch((Device.KEPT,), Command.REPLUG_PRIMARY, Device.PLACED),
        Watch((Device.NONE,), E.ADOPT, Device.PLACED),
        Watch((Device.PLACED,), Command.HIDE_PRIMARY, Device.KEPT),
        Watch((Device.PLACED,), Command.DELETE_PRIMARY, Device.NONE),
        Watch(tuple(Device), E.PLUG_FAILED, Device.NONE),
    ),
)
SET_RETURN_PATH = Observer(
    "set_return_path",
    SetReturnPath,
    Per.VM,
    (
        Watch((SetReturnPath.OFF,), E.RETURN_PATH_ON, SetReturnPath.ON),
        Watch((SetReturnPath.ON,), E.RETURN_PATH_OFF, SetReturnPath.OFF),
    ),
)
SET_PAUSE = Observer(
    "set_pause",
    SetPause,
    Per.VM,
    (
        Watch((SetPause.OFF,), E.PAUSE_ON, SetPause.ON),
        Watch((SetPause.ON,), E.PAUSE_OFF, SetPause.OFF),
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
PLUG_REPORT = Observer(
    "plug_report",
    PlugReport,
    Per.PRIMARY,
    (
        Watch((PlugReport.NOTHING,), Command.WARN_PLUG_FAILED, PlugReport.TOLD),
        Watch((PlugReport.NOTHING,), E.PLUG_FAILED, PlugReport.SILENT),
        Watch((PlugReport.TOLD,), E.DEVICE_ADD, PlugReport.NOTHING),
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
        Watch((Spoilt.NO,), E.STREAM_BAD, Spoilt.YES, when=In(Incoming.ACTIVE)),
        Watch((Spoilt.NO,), E.DIGEST_MISMATCH, Spoilt.YES, when=In(Handover.DELIVERED)),
        Watch((Spoilt.YES,), E.MIGRATE, Spoilt.NO),
    ),
)
TOUCHED = Observer(
    "touched",
    Touched,
    Per.STANDBY,
    (
        Watch((Touched.NO,), E.GUEST_ACKNOWLEDGE, Touched.YES),
        Watch((Touched.NO,), E.RECV_STATE, Touched.YES),
        Watch((Touched.YES,), E.GUEST_FEATURES_OK, Touched.AGREED),
        Watch((Touched.YES, Touched.AGREED), E.DRIVER_RESET, Touched.NO),
        Watch((Touched.YES, Touched.AGREED), E.SYSTEM_RESET, Touched.NO),
    ),
)
CARRIER = Observer(
    "carrier",
    Carrier,
    Per.PRIMARY,
    (
        Watch((Carrier.DOWN, Carrier.LOST), E.GUEST_LINK_UP, Carrier.UP),
        Watch((Carrier.UP,), E.GUEST_LINK_DOWN, Carrier.LOST),
        *(
            Watch((Carrier.UP, Carrier.LOST), event, Carrier.DOWN)
            for event in (
                E.GUEST_RELEASES,
                E.GUEST_EJECTS,
                E.GUEST_POWERS_OFF,
                E.DRIVER_RESET,
                E.SYSTEM_RESET,
            )
        ),
    ),
)
INDICATOR = Observer(
    "indicator",
    Indicator,
    Per.PRIMARY,
    (
        Watch((Indicator.STEADY, Indicator.GIVEN_UP), E.GUEST_BLINKS, Indicator.BLINKS),
        Watch((Indicator.BLINKS,), E.GUEST_STOPS_BLINKING, Indicator.GIVEN_UP),
        *(
            Watch((Indicator.BLINKS, Indicator.GIVEN_UP), event, Indicator.STEADY)
            for event in (E.GUEST_POWERS_OFF, E.GUEST_EJECTS, E.SYSTEM_RESET)
        ),
        *(
            Watch((Indicator.GIVEN_UP,), event, Indicator.STEADY)
            for event in (E.UNPLUG_PRIMARIES, E.DEVICE_DEL)
        ),
    ),
)

WITNESSES: tuple[Observer, ...] = (
    COURSE,
    MEANT,
    PROCESSORS,
    DEVICE,
    SET_RETURN_PATH,
    SET_PAUSE,
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

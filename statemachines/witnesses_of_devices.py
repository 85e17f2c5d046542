"""Witnesses of devices: what was done with each primary, and what a driver did to each standby.

Rules kept here: those of `witnesses.py`.
"""

from __future__ import annotations

from statemachines.effects import Command
from statemachines.events import E
from statemachines.guards import All, In, Per
from statemachines.states import Feature, Hidden, Standby, State
from statemachines.watch import Observer, Watch


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


class PlugReport(State):
    """Whether the operator was told that one primary could not be plugged."""

    #: There was nothing to tell.
    NOTHING = "nothing"
    #: Yes.
    TOLD = "told"
    #: No.
    SILENT = "silent"


class Touched(State):
    """Whether a driver has touched one standby since it was last reset."""

    #: None has.
    NO = "no"
    #: One was found for it.
    ACKNOWLEDGED = "acknowledged"
    #: One knows how to drive it, here or where it came from.
    DRIVEN = "driven"
    #: The same, and its last word on VIRTIO_NET_F_STANDBY was no.
    DECLINED = "declined"
    #: It said here that features are agreed.
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
_DRIVEN = (Touched.DRIVEN, Touched.DECLINED)
_TOUCHED = (Touched.ACKNOWLEDGED, *_DRIVEN, Touched.AGREED)

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

TOUCHED = Observer(
    "touched",
    Touched,
    Per.STANDBY,
    (
        Watch((Touched.NO,), E.GUEST_ACKNOWLEDGE, Touched.ACKNOWLEDGED),
        Watch((Touched.NO,), E.RECV_STATE, Touched.DRIVEN),
        Watch((Touched.ACKNOWLEDGED,), E.GUEST_DRIVER, Touched.DRIVEN),
        Watch(
            (Touched.DRIVEN,),
            E.FEATURES_WITHOUT_STANDBY,
            Touched.DECLINED,
            when=In(Standby.DRIVER),
        ),
        Watch((Touched.DECLINED,), E.FEATURES_WITH_STANDBY, Touched.DRIVEN),
        Watch(_DRIVEN, E.GUEST_FEATURES_OK, Touched.AGREED),
        Watch(_TOUCHED, E.DRIVER_RESET, Touched.NO),
        Watch(_TOUCHED, E.SYSTEM_RESET, Touched.NO),
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

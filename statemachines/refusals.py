"""What a refusal is made of besides its text: its class, and what fills the text's blanks.

Rules kept here: only vocabulary. What a class is called on a wire, and where a field's value comes
from, is the business of whoever passes the refusal on.
"""

from __future__ import annotations

from enum import Enum


class RefusalKind(Enum):
    """What the sender's program may tell a refusal by."""

    #: Its text says all there is to say.
    GENERIC = "generic"
    #: There is no device of that id.
    DEVICE_NOT_FOUND = "device-not-found"


class Field(Enum):
    """What fills one `%s` of a refusal's text."""

    #: The id of the device that was asked about.
    DEVICE = "device"
    #: The id of that primary's standby.
    STANDBY = "standby"
    #: The id of another primary of that standby.
    OTHER_PRIMARY = "other-primary"
    #: The name of the bus on which the device was to be.
    BUS = "bus"
    #: The status of the outgoing migration.
    STATUS = "status"

"""The courses of a migration that are drawn, and how the world answers in them.

Rules kept here: a scenario is only what comes from outside: the operator, the guest, time. What
follows is found by running the tables (`sequence.py`). The world here is one in which everything
works: each command has one answer, and that is its good one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from statemachines.effects import Command
from statemachines.events import E


class Side(Enum):
    """One of the two VMs."""

    #: The VM that leaves.
    SOURCE = "source"
    #: The VM that takes over.
    TARGET = "target"

    @property
    def other(self) -> Side:
        """The other one."""
        return Side.TARGET if self is Side.SOURCE else Side.SOURCE


@dataclass(frozen=True)
class Act:
    """Something that comes from outside, once all that went before has run its course."""

    #: To which VM.
    side: Side
    #: What; about the standby or the primary, if it is about one.
    event: E


@dataclass(frozen=True)
class Scenario:
    """One course of events."""

    #: Name in files and on the command line.
    name: str
    #: One sentence.
    summary: str
    #: What happens to both VMs before it is drawn.
    before: tuple[Act, ...]
    #: profile -> what comes from outside, in order.
    acts: Mapping[str, tuple[Act, ...]]


def _at(side: Side, *events: E) -> tuple[Act, ...]:
    return tuple(Act(side, event) for event in events)


#: Commands and the one answer they are given, at once; about the instance that asked.
ANSWERS: Mapping[Command, E] = MappingProxyType(
    {
        Command.SAVE_SETUP: E.SETUP_DONE,
        Command.ITERATE: E.CONVERGED,
        Command.QUIESCE_GUEST: E.GUEST_STOPPED,
        Command.SAVE_FINAL: E.FINAL_SENT,
        Command.FLUSH: E.FLUSHED,
        Command.CHECK_HELLO: E.HELLO_GOOD,
        Command.VERIFY: E.VERIFIED,
        Command.PLUG_PRIMARY: E.PRIMARY_PLUGGED,
        Command.REPLUG_PRIMARY: E.PRIMARY_PLUGGED,
        Command.CLOSE_CHANNEL: E.CHANNEL_CLOSED,
        Command.CONNECT: E.CONNECTED,
    }
)
#: Commands whose answer is given when the other VM does something: LISTEN, when it connects.
AWAITED: Mapping[Command, E] = MappingProxyType({Command.LISTEN: E.PEER_CONNECTED})
#: Commands that set a timer, which a scenario's act lets run out.
TIMERS: Mapping[Command, E] = MappingProxyType(
    {
        Command.START_POLL: E.POLL,
        Command.START_DEADLINE: E.UNPLUG_DEADLINE,
        Command.START_CANCEL_WAIT: E.CANCEL_WAIT_OVER,
    }
)

_PLUGGED = _at(
    Side.SOURCE,
    E.BOOT,
    E.DEVICE_ADD,
    E.GUEST_ACKNOWLEDGE,
    E.GUEST_DRIVER,
    E.FEATURES_WITH_STANDBY,
    E.GUEST_FEATURES_OK,
    E.GUEST_DRIVER_OK,
    E.GUEST_PROBES,
    E.GUEST_ENSLAVES,
    E.GUEST_LINK_UP,
)
#: The source runs on its primary; the target is started and has its own, hidden.
READY = _PLUGGED + _at(Side.TARGET, E.DEVICE_ADD, E.BOOT_INCOMING)

_START = (Act(Side.TARGET, E.INCOMING), Act(Side.SOURCE, E.MIGRATE))
_EJECT = _at(Side.SOURCE, E.GUEST_RELEASES, E.GUEST_EJECTS)
_POLL = _at(Side.SOURCE, E.POLL)
_CANCEL = _at(Side.SOURCE, E.CANCEL)
_BACK_ON_PRIMARY = (E.GUEST_PROBES, E.GUEST_ENSLAVES, E.GUEST_LINK_UP)

MIGRATION = Scenario(
    name="migration",
    summary="A whole migration: the primary leaves, the VM moves, the target's primary comes.",
    before=READY,
    acts=MappingProxyType(
        {
            "native": (*_START, *_EJECT, *_at(Side.TARGET, *_BACK_ON_PRIMARY)),
            "qemu-7.2": (*_START, *_POLL, *_EJECT, *_POLL, *_at(Side.TARGET, *_BACK_ON_PRIMARY)),
        }
    ),
)
CANCEL = Scenario(
    name="cancel",
    summary="The operator cancels in wait-unplug, before the guest has ejected the primary.",
    before=READY,
    acts=MappingProxyType(
        {
            "native": (*_START, *_CANCEL),
            "qemu-7.2": (
                *_START,
                *_CANCEL,
                *_POLL,
                *_EJECT,
                *_POLL,
                *_at(Side.SOURCE, *_BACK_ON_PRIMARY),
            ),
        }
    ),
)
LATE_EJECT = Scenario(
    name="late-eject",
    summary="The guest ejects the primary after the cancelled migration has stopped waiting.",
    before=READY,
    acts=MappingProxyType(
        {
            "native": (*_START, *_CANCEL, *_EJECT, *_at(Side.SOURCE, *_BACK_ON_PRIMARY)),
            "qemu-7.2": (*_START, *_CANCEL, *_at(Side.SOURCE, E.CANCEL_WAIT_OVER), *_EJECT),
        }
    ),
)

SCENARIOS: tuple[Scenario, ...] = (MIGRATION, CANCEL, LATE_EJECT)

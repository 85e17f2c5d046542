"""Everything around the two VMs that decides for itself: what it may do, when, and at what cost.

Rules kept here:
1. The tables say what an event does; this page says who may make it happen. An event that comes
   from outside, from time, from the peer or as an answer happens only by one of these permits.
2. A permit reads its own VM, the other VM and the channel, never a budget: it draws on one.
   Budgets are the topology's (`topology.py`), and are printed with every result.
3. An answer also needs the command that it answers; a message needs to be the next in the channel;
   a guest's deed needs a guest that runs. These are implied, not repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from statemachines.events import E, Origin
from statemachines.guards import ALWAYS, Guard


class Side(Enum):
    """The two VMs."""

    #: The one that has the guest first.
    SOURCE = "source"
    #: The one that waits for it.
    TARGET = "target"


class Budget(Enum):
    """What a disturbance is paid from."""

    #: `migrate`.
    MIGRATIONS = "migrations"
    #: Any other command of the operator, but for hotplug.
    OPERATOR = "operator"
    #: A guest that does not do what is expected of it.
    GUEST = "guest"
    #: A host, a process, a disk or the network that fails.
    FAULTS = "faults"
    #: device_add, device_del, and devices that block a migration.
    HOTPLUG = "hotplug"


class Need(Enum):
    """What a permit asks of the channel."""

    #: Nothing.
    ANY = "any"
    #: There is none.
    NONE = "none"
    #: A source has connected, both ways, and nobody has accepted it.
    WAITING = "waiting"
    #: The same, one way.
    WAITING_ONE_WAY = "waiting one way"
    #: The peer's end is gone, and everything it sent has been read.
    ENDED = "ended"
    #: The peer's end is gone, whatever is still on the way.
    PEER_GONE = "peer gone"
    #: The peer's end is there.
    PEER_THERE = "peer there"
    #: Nothing moves on it.
    STALLED = "stalled"


class Stage(Enum):
    """How far the two processes have been set up; the order takes interleavings away."""

    #: The source is being configured.
    SOURCE = "source"
    #: The source's guest boots, and comes to rest with its driver bound or not.
    GUEST = "guest"
    #: The target is being configured.
    TARGET = "target"
    #: The target is started, and has not been told to listen.
    LISTEN = "listen"
    #: Everything may happen.
    LIVE = "live"


class Option(Enum):
    """A way of setting up that only some topologies have: each one doubles what there is to see."""

    #: The source's primaries may be plugged before their standby.
    ADOPTED = "a primary is plugged before its standby"
    #: The source may be started with -S.
    HELD_SOURCE = "the source is started with -S"
    #: The target may be started with -S, stopped and continued.
    HELD_TARGET = "the target is started with -S, stopped, continued"
    #: A primary may be configured on a bus that refuses it.
    MISPLACED = "a primary is configured on a bus that refuses it"
    #: The guest's driver may give up, and a primary's carrier may come and go.
    FLAKY_GUEST = "the guest's driver fails, or a carrier is lost"
    #: Guest and hotplug go on disturbing the source when its migration is over.
    AFTERMATH = "disturbances go on when the migration is over"
    #: Something that forbids migrating may be plugged.
    BLOCKER = "a device that cannot be migrated is plugged"
    #: Devices are plugged and channels closed while other things happen.
    SLOW_WORLD = "plugging a device and closing a channel take time"
    #: The target may have no primary.
    BARE_TARGET = "the target has no primary"


class Promise(Enum):
    """What an operator does about a doubt: one who has said who keeps the VM stays with it."""

    #: Nothing.
    NONE = "none"
    #: Says that the source keeps the VM.
    SOURCE = "source"
    #: Says that the target keeps the VM.
    TARGET = "target"


@dataclass(frozen=True)
class Permit:
    """An event may happen at one of these sides, in these circumstances."""

    #: What happens.
    event: E
    #: At whose VM.
    sides: tuple[Side, ...] = tuple(Side)
    #: What is so at that VM, in the scope of the event.
    when: Guard = ALWAYS
    #: What is so at the other VM.
    peer: Guard = ALWAYS
    #: What is so of the channel.
    channel: Need = Need.ANY
    #: What it is paid from; None: it is what is expected.
    cost: Budget | None = None
    #: In which stage.
    stage: Stage = Stage.LIVE
    #: Which stage follows.
    then: Stage | None = None
    #: What the operator promises by it, and must not have promised otherwise.
    promise: Promise = Promise.NONE
    #: The channel can answer (True), cannot (False), or either (None): asked of the topology.
    reply_path: bool | None = None
    #: Only in topologies that have this.
    option: Option | None = None


@dataclass(frozen=True)
class Forfeit:
    """What is left of some budgets is let go where nothing can draw on it any more.

    States that differ in nothing else are one state then.
    """

    #: What is so at the source.
    when: Guard
    #: What is let go.
    budgets: tuple[Budget, ...]
    #: Only when nothing is left of this.
    spent: Budget | None = None
    #: Not in topologies that have one of these.
    unless: frozenset[Option] = frozenset()


class Disturbance(Enum):
    """What happens to processes and to the channel; no table is asked."""

    #: The source's process dies.
    KILL_SOURCE = "the source's process dies"
    #: The target's process dies.
    KILL_TARGET = "the target's process dies"
    #: A new target process takes the place of one that has ended.
    RESPAWN_TARGET = "a new target process is started"
    #: The channel is cut; what is on its way still arrives.
    CUT = "the channel is cut"
    #: The channel is cut, and what is on its way to the target is lost.
    CUT_TO_TARGET = "the channel is cut, messages to the target are lost"
    #: The channel is cut, and what is on its way to the source is lost.
    CUT_TO_SOURCE = "the channel is cut, messages to the source are lost"
    #: The channel is cut, and nothing that is on its way arrives.
    CUT_BOTH = "the channel is cut, everything on its way is lost"
    #: Nothing moves on the channel any more, and nobody is told.
    STALL = "the channel stalls"
    #: The channel moves again.
    UNSTALL = "the channel moves again"


#: Disturbance -> what it is paid from.
DISTURBANCES: dict[Disturbance, Budget | None] = {
    disturbance: None
    if disturbance in (Disturbance.UNSTALL, Disturbance.RESPAWN_TARGET)
    else Budget.FAULTS
    for disturbance in Disturbance
}
#: Origins whose events are taken away when a system must come to its end by itself.
UNFAIR_ORIGINS = (Origin.OPERATOR, Origin.GUEST)

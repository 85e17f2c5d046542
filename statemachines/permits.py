"""Who may make which event happen, when, and at what cost: the environment, as data.

Rules kept here: one permit for each way in which an event can come about. What is left out, so that
the states can be counted, is left out here, each time with the reason.
"""

from __future__ import annotations

from statemachines.effects import Command
from statemachines.environment import (
    Budget,
    Forfeit,
    Need,
    Option,
    Permit,
    Promise,
    Side,
    Stage,
)
from statemachines.events import E, Origin
from statemachines.guards import ALWAYS, All, AnyOf, Guard, In, Not, Some
from statemachines.observers import EndSeen, Life, Placement
from statemachines.states import (
    Feature,
    Handover,
    Incoming,
    Link,
    Lower,
    Migration,
    NetFailover,
    PauseCapability,
    Primary,
    Request,
    ReturnPath,
    RunState,
    Slot,
    Standby,
    Takeover,
)
from statemachines.tables.conditions import RUNNING_STATUSES

SOURCE = (Side.SOURCE,)
TARGET = (Side.TARGET,)
_CONNECTED = In(Link.OPEN, Link.ONE_WAY)
_UNCONNECTED = Not(_CONNECTED)
_LEAVING = In(Slot.REQUESTED, Slot.BLINKING, Slot.POWERED_OFF)
_WAS_ASKED = AnyOf(_LEAVING, In(Request.WITHDRAWN))
_LET_GO = In(Lower.OUT)
_DOUBTED_AT_SOURCE = In(Handover.IN_DOUBT)
_DOUBTED_AT_TARGET = In(Takeover.IN_DOUBT)
_GONE = Not(In(Life.ALIVE))

#: The guest has booted: no driver yet, or a driver that uses all there is.
_SETTLED = Not(
    Some(
        AnyOf(
            Not(In(Standby.RESET, Standby.DRIVER_OK)),
            All(
                In(Standby.DRIVER_OK),
                In(Feature.ACKED),
                In(Primary.PLUGGED),
                Not(In(NetFailover.PRIMARY)),
            ),
            All(In(Primary.PLUGGED), In(Slot.EMPTY)),
        )
    )
)
SETTING_UP = (
    *(
        Permit(event, SOURCE, when=when, stage=Stage.SOURCE, cost=Budget.OPERATOR)
        for event, when in (
            (E.RETURN_PATH_ON, In(ReturnPath.OFF)),
            (E.RETURN_PATH_OFF, In(ReturnPath.ON)),
            (E.PAUSE_ON, In(PauseCapability.OFF)),
            (E.PAUSE_OFF, In(PauseCapability.ON)),
        )
    ),
    Permit(E.DEVICE_ADD, SOURCE, stage=Stage.SOURCE),
    Permit(E.ADOPT, SOURCE, stage=Stage.SOURCE, option=Option.ADOPTED),
    Permit(E.BOOT, SOURCE, stage=Stage.SOURCE, then=Stage.GUEST),
    Permit(E.BOOT_HELD, SOURCE, stage=Stage.SOURCE, then=Stage.GUEST, option=Option.HELD_SOURCE),
    *(
        Permit(event, SOURCE, stage=Stage.GUEST)
        for event in (
            E.GUEST_ACKNOWLEDGE,
            E.GUEST_DRIVER,
            E.FEATURES_WITH_STANDBY,
            E.FEATURES_WITHOUT_STANDBY,
            E.GUEST_FEATURES_OK,
            E.GUEST_DRIVER_OK,
            E.PRIMARY_PLUGGED,
            E.GUEST_PROBES,
            E.GUEST_ENSLAVES,
            E.GUEST_LINK_UP,
        )
    ),
    Permit(E.DEVICE_ADD, TARGET, stage=Stage.GUEST, then=Stage.TARGET, peer=_SETTLED),
    Permit(E.DEVICE_ADD, TARGET, stage=Stage.TARGET),
    Permit(
        E.RETURN_PATH_ON,
        TARGET,
        stage=Stage.TARGET,
        cost=Budget.OPERATOR,
        option=Option.HELD_TARGET,
    ),
    Permit(
        E.BOOT_INCOMING,
        TARGET,
        stage=Stage.GUEST,
        then=Stage.LISTEN,
        peer=_SETTLED,
        option=Option.BARE_TARGET,
    ),
    Permit(E.BOOT_INCOMING, TARGET, stage=Stage.TARGET, then=Stage.LISTEN),
    Permit(
        E.BOOT_INCOMING_HELD,
        TARGET,
        stage=Stage.TARGET,
        then=Stage.LISTEN,
        option=Option.HELD_TARGET,
    ),
    Permit(E.INCOMING, TARGET, stage=Stage.LISTEN, then=Stage.LIVE),
    Permit(E.INCOMING, TARGET, when=In(Incoming.NONE), peer=In(Migration.NONE)),
)

#: The source's migration has ended one way or the other.
_OVER = In(Migration.COMPLETED, Migration.CANCELLED, Migration.FAILED)
#: The target has nothing more to do with it.
_TARGET_AT_REST = AnyOf(_GONE, In(Link.CLOSED), _DOUBTED_AT_TARGET)
#: The source has nothing more to do with it.
_SOURCE_AT_REST = AnyOf(_GONE, In(Link.CLOSED), _DOUBTED_AT_SOURCE)


def _by_itself(
    event: E,
    when: Guard = ALWAYS,
    cost: Budget | None = None,
    option: Option | None = None,
    after: Option | None = None,
) -> tuple[Permit, ...]:
    """Permit what the source's VM does by itself; after its migration, once the target is at rest.

    It does not reach the target then: the order of the two is moot, and one order is enough.
    """
    return (
        Permit(event, SOURCE, when=_all(when, Not(_OVER)), cost=cost, option=option),
        Permit(
            event,
            SOURCE,
            when=_all(when, _OVER),
            peer=_TARGET_AT_REST,
            cost=cost,
            option=after or option,
        ),
    )


def _disturbed(
    event: E, cost: Budget, when: Guard = ALWAYS, option: Option | None = None
) -> tuple[Permit, ...]:
    """Permit a disturbance at the source.

    Guest and hotplug go on when its migration is over only in topologies that look at that.
    """
    after = None if cost is Budget.OPERATOR else Option.AFTERMATH
    return _by_itself(event, when, cost, option, after)


def _expected(event: E, when: Guard = ALWAYS) -> tuple[Permit, ...]:
    """Permit what a guest is expected to do; at the target, once the source is at rest."""
    return (
        *_by_itself(event, when),
        Permit(event, TARGET, when=when, peer=_SOURCE_AT_REST),
    )


def _all(guard: Guard, other: Guard) -> Guard:
    return other if guard == ALWAYS else All(guard, other)


OPERATOR = (
    Permit(E.MIGRATE, SOURCE, channel=Need.NONE, cost=Budget.MIGRATIONS),
    Permit(E.CANCEL, SOURCE, when=In(*RUNNING_STATUSES), cost=Budget.OPERATOR),
    Permit(E.CONTINUE, SOURCE),
    *_disturbed(E.STOP, Budget.OPERATOR, In(RunState.RUNNING)),
    *_disturbed(E.CONT, Budget.OPERATOR, Not(In(RunState.RUNNING))),
    Permit(
        E.STOP,
        TARGET,
        when=In(RunState.RUNNING, RunState.INMIGRATE),
        cost=Budget.OPERATOR,
        option=Option.HELD_TARGET,
    ),
    Permit(
        E.CONT,
        TARGET,
        when=Not(In(RunState.RUNNING)),
        cost=Budget.OPERATOR,
        option=Option.HELD_TARGET,
    ),
    *_disturbed(E.SYSTEM_RESET, Budget.OPERATOR),
    *_disturbed(E.DEVICE_ADD, Budget.HOTPLUG),
    *_disturbed(E.DEVICE_ADD_MISPLACED, Budget.HOTPLUG, option=Option.MISPLACED),
    *_disturbed(E.DEVICE_DEL, Budget.HOTPLUG),
    Permit(E.BLOCK, SOURCE, cost=Budget.HOTPLUG, option=Option.BLOCKER),
    Permit(E.UNBLOCK, SOURCE, option=Option.BLOCKER),
    # An operator who decides looks at both sides, and asks the target before the source.
    Permit(
        E.KEEP_HERE,
        SOURCE,
        peer=AnyOf(_GONE, _DOUBTED_AT_TARGET),
        promise=Promise.SOURCE,
    ),
    Permit(
        E.KEEP_THERE,
        SOURCE,
        peer=AnyOf(_DOUBTED_AT_TARGET, In(Incoming.COMPLETED)),
        promise=Promise.TARGET,
    ),
    Permit(
        E.KEEP_HERE,
        TARGET,
        peer=AnyOf(_GONE, _DOUBTED_AT_SOURCE, In(Migration.COMPLETED)),
        promise=Promise.TARGET,
    ),
    Permit(
        E.KEEP_THERE,
        TARGET,
        peer=All(In(Life.ALIVE), Not(In(Migration.COMPLETED))),
        promise=Promise.SOURCE,
    ),
)

GUEST = (
    *_expected(E.GUEST_DRIVER),
    *_expected(E.FEATURES_WITH_STANDBY),
    *_expected(E.GUEST_FEATURES_OK),
    *_expected(E.GUEST_DRIVER_OK),
    *_expected(E.GUEST_PROBES),
    *_expected(E.GUEST_ENSLAVES),
    *_expected(E.GUEST_LINK_UP),
    *_expected(E.GUEST_POWERS_OFF),
    *_disturbed(E.GUEST_ACKNOWLEDGE, Budget.GUEST),
    *_disturbed(E.FEATURES_WITHOUT_STANDBY, Budget.GUEST, In(Feature.ACKED)),
    *_disturbed(E.GUEST_FAILS, Budget.GUEST, option=Option.FLAKY_GUEST),
    *_disturbed(E.DRIVER_RESET, Budget.GUEST),
    *_disturbed(E.GUEST_LINK_DOWN, Budget.GUEST, option=Option.FLAKY_GUEST),
    *_expected(E.GUEST_RELEASES, _WAS_ASKED),
    *_disturbed(E.GUEST_RELEASES, Budget.GUEST, Not(_WAS_ASKED)),
    *_expected(E.GUEST_BLINKS, In(Slot.REQUESTED)),
    *_disturbed(E.GUEST_BLINKS, Budget.GUEST, Not(In(Slot.REQUESTED))),
    *_disturbed(E.GUEST_STOPS_BLINKING, Budget.GUEST),
    *_expected(E.GUEST_EJECTS, All(_WAS_ASKED, _LET_GO)),
    *_disturbed(E.GUEST_EJECTS, Budget.GUEST, Not(All(_WAS_ASKED, _LET_GO))),
)

HOSTS = (
    Permit(E.LINK_BROKEN, when=_CONNECTED, channel=Need.ENDED),
    Permit(E.LINK_SILENT, when=In(Link.OPEN), channel=Need.STALLED),
    Permit(E.STREAM_BAD, TARGET, when=_CONNECTED, cost=Budget.FAULTS),
)

ANSWERS = (
    Permit(E.CONNECTED, peer=In(Link.LISTENING), channel=Need.NONE, reply_path=True),
    Permit(E.CONNECTED_ONE_WAY, channel=Need.NONE, reply_path=False),
    Permit(E.CONNECT_FAILED, peer=Not(In(Link.LISTENING))),
    Permit(E.CONNECT_FAILED, peer=In(Link.LISTENING), cost=Budget.FAULTS),
    Permit(E.PEER_CONNECTED, channel=Need.WAITING),
    Permit(E.PEER_CONNECTED_ONE_WAY, channel=Need.WAITING_ONE_WAY),
    Permit(E.LISTEN_FAILED, channel=Need.NONE, cost=Budget.FAULTS),
    Permit(E.CONVERGED, when=_CONNECTED),
    Permit(E.FINAL_SENT, when=_CONNECTED),
    Permit(E.FLUSHED, when=_CONNECTED),
    Permit(E.STREAM_FAILED, when=_UNCONNECTED),
    Permit(E.STREAM_FAILED, when=_CONNECTED, channel=Need.PEER_GONE),
    Permit(E.STREAM_FAILED, when=_CONNECTED, channel=Need.PEER_THERE, cost=Budget.FAULTS),
    Permit(E.HELLO_GOOD),
    Permit(E.HELLO_BAD, cost=Budget.FAULTS),
    Permit(E.VERIFIED, when=In(EndSeen.YES)),
    Permit(E.LOAD_FAILED, when=In(EndSeen.NO)),
    Permit(E.LOAD_FAILED, when=In(EndSeen.YES), cost=Budget.FAULTS),
    Permit(E.PRIMARY_PLUGGED, when=In(Placement.GOOD)),
    Permit(E.PLUG_FAILED, when=In(Placement.MISPLACED)),
    Permit(E.PLUG_FAILED, when=In(Placement.GOOD), cost=Budget.FAULTS),
    *(
        Permit(event)
        for event in (
            E.SETUP_DONE,
            E.GUEST_STOPPED,
            E.CHANNEL_CLOSED,
            E.POLL,
            E.UNPLUG_DEADLINE,
            E.CANCEL_WAIT_OVER,
        )
    ),
)

MESSAGES = (
    *(
        Permit(event, when=_CONNECTED)
        for event in E
        if event.info.origin is Origin.PEER and event not in (E.RECV_BAD_STATE, E.DIGEST_MISMATCH)
    ),
    Permit(E.RECV_BAD_STATE, when=_CONNECTED, cost=Budget.FAULTS),
    Permit(E.DIGEST_MISMATCH, when=_CONNECTED, cost=Budget.FAULTS),
)

#: Everything that may happen.
PERMITS: tuple[Permit, ...] = (
    *SETTING_UP,
    *OPERATOR,
    *GUEST,
    *HOSTS,
    *ANSWERS,
    *MESSAGES,
)

#: What nobody can spend any more: guest and hotplug disturb a source that lives, and, but where
#: the aftermath is looked at, whose migration is not over or can be followed by another.
FORFEITS: tuple[Forfeit, ...] = (
    Forfeit(_GONE, (Budget.GUEST, Budget.HOTPLUG)),
    Forfeit(
        _OVER,
        (Budget.GUEST, Budget.HOTPLUG),
        spent=Budget.MIGRATIONS,
        unless=frozenset({Option.AFTERMATH, Option.BLOCKER}),
    ),
)


#: Commands that are carried out where they are given: a VM does nothing else before the answer,
#: but in topologies whose world is slow.
AT_ONCE: tuple[Command, ...] = (Command.PLUG_PRIMARY, Command.REPLUG_PRIMARY, Command.CLOSE_CHANNEL)


#: Deadline -> where it can still do something. Elsewhere its table ignores it, and it is armed
#: anew on the way there: the world may as well forget it.
MATTERS_IN: dict[Command, Guard] = {
    Command.START_DEADLINE: In(Migration.WAIT_UNPLUG),
}

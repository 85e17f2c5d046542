"""Everything that can happen, who decides that it may, and where it comes from.

Rules kept here:
1. Every event has one owner: the lifecycle whose table alone says whether it can happen now. Any
   number of lifecycles listen; a listener has to be able to take what the owner lets happen.
2. An event per primary or per standby carries its index. It reaches that primary, its standby and
   the VM's own machines (per primary), or that standby, all its primaries and the VM's own
   machines (per standby). An event of the VM reaches every instance of every listener.
3. An event comes from outside (operator, guest, host, time), from the peer as a message, as the
   answer to a `Do`, or from a `Raise` in this VM. There is no other origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from statemachines.guards import Per
from statemachines.states import (
    Blocker,
    Feature,
    Handover,
    Incoming,
    Link,
    Migration,
    NetFailover,
    PauseCapability,
    Primary,
    ReturnPath,
    RunState,
    Slot,
    Standby,
    State,
    Takeover,
    VfioMigration,
)


class Origin(Enum):
    """Where an event comes from."""

    #: A command of the person or program in charge.
    OPERATOR = "operator"
    #: Something the guest does.
    GUEST = "guest"
    #: Something the host or the network does.
    HOST = "host"
    #: A timer.
    TIME = "time"
    #: A message from the other VM.
    PEER = "peer"
    #: The answer to a command that a row gave to the world.
    ANSWER = "answer"
    #: Raised by a row of this VM.
    RAISED = "raised"


@dataclass(frozen=True, eq=False)
class EventInfo:
    """What is fixed about an event."""

    #: Where it comes from.
    origin: Origin
    #: The lifecycle that decides whether it can happen.
    owner: type[State]
    #: What it is about: the VM, one standby or one primary.
    per: Per
    #: One sentence for tables and diagrams.
    meaning: str


def _vm(origin: Origin, owner: type[State], meaning: str) -> EventInfo:
    return EventInfo(origin, owner, Per.VM, meaning)


def _standby(origin: Origin, owner: type[State], meaning: str) -> EventInfo:
    return EventInfo(origin, owner, Per.STANDBY, meaning)


def _primary(origin: Origin, owner: type[State], meaning: str) -> EventInfo:
    return EventInfo(origin, owner, Per.PRIMARY, meaning)


class E(Enum):
    """The events."""

    # See `State`: an event is itself alone.
    __hash__ = object.__hash__

    # -- operator: the VM
    BOOT = _vm(Origin.OPERATOR, RunState, "the VM is started")
    BOOT_HELD = _vm(Origin.OPERATOR, RunState, "the VM is started with -S: it stays paused")
    BOOT_INCOMING = _vm(Origin.OPERATOR, RunState, "the VM is started to be migrated into")
    BOOT_INCOMING_HELD = _vm(
        Origin.OPERATOR, RunState, "the same with -S: it stays paused once it is here"
    )
    STOP = _vm(Origin.OPERATOR, RunState, "stop")
    CONT = _vm(Origin.OPERATOR, RunState, "cont")
    SYSTEM_RESET = _vm(Origin.OPERATOR, RunState, "system_reset, or the guest reboots")
    # -- operator: migration
    MIGRATE = _vm(Origin.OPERATOR, Migration, "migrate")
    CANCEL = _vm(Origin.OPERATOR, Migration, "migrate_cancel")
    CONTINUE = _vm(Origin.OPERATOR, Migration, "migrate-continue from pre-switchover")
    INCOMING = _vm(Origin.OPERATOR, Incoming, "-incoming URI, or migrate-incoming")
    RETURN_PATH_ON = _vm(Origin.OPERATOR, ReturnPath, "capability return-path is set")
    RETURN_PATH_OFF = _vm(Origin.OPERATOR, ReturnPath, "capability return-path is cleared")
    PAUSE_ON = _vm(Origin.OPERATOR, PauseCapability, "pause-before-switchover is set")
    PAUSE_OFF = _vm(Origin.OPERATOR, PauseCapability, "pause-before-switchover is cleared")
    KEEP_HERE = _vm(Origin.OPERATOR, RunState, "x-replug-resolve: this side keeps the VM")
    KEEP_THERE = _vm(Origin.OPERATOR, RunState, "x-replug-resolve: the other side keeps it")
    # -- operator: devices
    BLOCK = _vm(Origin.OPERATOR, Blocker, "the first unmigratable device was plugged")
    UNBLOCK = _vm(Origin.OPERATOR, Blocker, "the last unmigratable device is gone")
    DEVICE_ADD = _primary(Origin.OPERATOR, Primary, "the primary is configured (-device or QMP)")
    DEVICE_ADD_MISPLACED = _primary(
        Origin.OPERATOR, Primary, "the primary is configured on a bus that refuses it"
    )
    ADOPT = _primary(Origin.OPERATOR, Primary, "the standby was added after a device that names it")
    DEVICE_DEL = _primary(Origin.OPERATOR, Primary, "device_del of the primary")
    # -- guest
    GUEST_ACKNOWLEDGE = _standby(Origin.GUEST, Standby, "the driver writes ACKNOWLEDGE")
    GUEST_DRIVER = _standby(Origin.GUEST, Standby, "the driver writes DRIVER")
    FEATURES_WITH_STANDBY = _standby(
        Origin.GUEST, Standby, "the driver writes features that contain STANDBY"
    )
    FEATURES_WITHOUT_STANDBY = _standby(
        Origin.GUEST, Standby, "the driver writes features that lack STANDBY"
    )
    GUEST_FEATURES_OK = _standby(Origin.GUEST, Standby, "the driver writes FEATURES_OK")
    GUEST_DRIVER_OK = _standby(Origin.GUEST, Standby, "the driver writes DRIVER_OK")
    GUEST_FAILS = _standby(Origin.GUEST, Standby, "the driver writes FAILED")
    DRIVER_RESET = _standby(Origin.GUEST, Standby, "the driver resets the standby")
    GUEST_PROBES = _primary(Origin.GUEST, Slot, "the guest finds the plugged primary")
    GUEST_ENSLAVES = _primary(Origin.GUEST, NetFailover, "the primary becomes a lower device")
    GUEST_LINK_UP = _primary(Origin.GUEST, NetFailover, "the enslaved primary has carrier")
    GUEST_LINK_DOWN = _primary(Origin.GUEST, NetFailover, "the enslaved primary lost carrier")
    GUEST_RELEASES = _primary(Origin.GUEST, NetFailover, "the guest's driver lets go of it")
    GUEST_BLINKS = _primary(
        Origin.GUEST, Slot, "the power indicator starts to blink (native hotplug)"
    )
    GUEST_STOPS_BLINKING = _primary(
        Origin.GUEST, Slot, "the guest gives up the removal (native hotplug)"
    )
    GUEST_POWERS_OFF = _primary(Origin.GUEST, Slot, "the guest cuts the power (native hotplug)")
    GUEST_EJECTS = _primary(Origin.GUEST, Slot, "the guest ejects the primary")
    # -- host and network
    LINK_BROKEN = _vm(Origin.HOST, Link, "the peer closed the channel or died")
    STREAM_BAD = _vm(Origin.HOST, Takeover, "what comes in is damaged, or is no stream")
    # -- time
    LINK_SILENT = _vm(Origin.TIME, Link, "nothing came from the peer within the heartbeat")
    POLL = _vm(Origin.TIME, Migration, "250 ms of wait-unplug have passed")
    UNPLUG_DEADLINE = _vm(Origin.TIME, Migration, "the deadline on wait-unplug has passed")
    CANCEL_WAIT_OVER = _vm(Origin.TIME, Migration, "a cancel has waited 30 s for an eject")
    # -- answers of the world
    CONNECTED = _vm(Origin.ANSWER, Link, "connected to a target that can answer")
    CONNECTED_ONE_WAY = _vm(Origin.ANSWER, Link, "connected to something that cannot answer")
    CONNECT_FAILED = _vm(Origin.ANSWER, Link, "could not connect")
    PEER_CONNECTED = _vm(Origin.ANSWER, Link, "a source connected and can be answered")
    PEER_CONNECTED_ONE_WAY = _vm(Origin.ANSWER, Link, "a stream is here, nobody to answer")
    LISTEN_FAILED = _vm(Origin.ANSWER, Link, "could not listen")
    CHANNEL_CLOSED = _vm(Origin.ANSWER, Link, "the channel is closed and silent")
    SETUP_DONE = _vm(Origin.ANSWER, Migration, "the stream is set up")
    CONVERGED = _vm(Origin.ANSWER, Migration, "what is still dirty fits the downtime limit")
    STREAM_FAILED = _vm(Origin.ANSWER, Migration, "writing the stream failed")
    GUEST_STOPPED = _vm(Origin.ANSWER, Migration, "the guest's processors and NICs are quiet")
    FINAL_SENT = _vm(Origin.ANSWER, Handover, "the last dirty pages are sent")
    FLUSHED = _vm(Origin.ANSWER, Handover, "every byte has left")
    HELLO_GOOD = _vm(Origin.ANSWER, Takeover, "this VM can take what HELLO describes")
    HELLO_BAD = _vm(Origin.ANSWER, Takeover, "this VM cannot take what HELLO describes")
    VERIFIED = _vm(Origin.ANSWER, Takeover, "everything END announces is here")
    LOAD_FAILED = _vm(Origin.ANSWER, Takeover, "the stream cannot be loaded")
    PRIMARY_PLUGGED = _primary(Origin.ANSWER, Slot, "the device is in the slot")
    PLUG_FAILED = _primary(Origin.ANSWER, Primary, "the device could not be created")
    # -- messages
    RECV_HELLO = _vm(Origin.PEER, Takeover, "HELLO: who the source is and what it will send")
    RECV_ACCEPT = _vm(Origin.PEER, Handover, "ACCEPT: the target is ready")
    RECV_REFUSE = _vm(Origin.PEER, Handover, "REFUSE: the target cannot take this VM")
    RECV_STATE = _vm(Origin.PEER, Takeover, "STATE: the devices' state, and it loads")
    RECV_BAD_STATE = _vm(Origin.PEER, Takeover, "STATE: the devices' state, and it does not load")
    RECV_END = _vm(Origin.PEER, Takeover, "END: nothing more will come")
    RECV_LOADED = _vm(Origin.PEER, Handover, "LOADED: the target has everything, paused")
    DIGEST_MISMATCH = _vm(Origin.PEER, Handover, "LOADED: but the target's RAM is not the source's")
    RECV_COMMIT = _vm(Origin.PEER, Takeover, "COMMIT: the VM is the target's")
    RECV_RUNNING = _vm(Origin.PEER, Handover, "RUNNING: the target has taken over")
    RECV_LOAD_FAILED = _vm(Origin.PEER, Handover, "LOAD_FAILED: the target gave up")
    RECV_ABORT = _vm(Origin.PEER, Takeover, "ABORT: the source gave up")
    # -- a VFIO device's user
    VFIO_WANT_STOP = _vm(Origin.HOST, VfioMigration, "set STOP")
    VFIO_WANT_RUNNING = _vm(Origin.HOST, VfioMigration, "set RUNNING")
    VFIO_WANT_PRE_COPY = _vm(Origin.HOST, VfioMigration, "set PRE_COPY")
    VFIO_WANT_PRE_COPY_P2P = _vm(Origin.HOST, VfioMigration, "set PRE_COPY_P2P")
    VFIO_WANT_STOP_COPY = _vm(Origin.HOST, VfioMigration, "set STOP_COPY")
    VFIO_WANT_RESUMING = _vm(Origin.HOST, VfioMigration, "set RESUMING")
    VFIO_WANT_RUNNING_P2P = _vm(Origin.HOST, VfioMigration, "set RUNNING_P2P")
    VFIO_WANT_ERROR = _vm(Origin.HOST, VfioMigration, "set ERROR")
    VFIO_FAULT = _vm(Origin.HOST, VfioMigration, "an arc failed halfway")
    VFIO_RESET = _vm(Origin.HOST, VfioMigration, "the device is reset")
    # -- raised within one VM
    UNPLUG_PRIMARIES = _vm(Origin.RAISED, Migration, "every primary is asked to leave")
    START_SETUP = _vm(Origin.RAISED, Migration, "the stream may be set up")
    UNPLUG_REFUSED = _primary(Origin.RAISED, Primary, "the slot refused the unplug request")
    PRIMARY_UNPLUGGED = _primary(Origin.RAISED, Primary, "a primary that was asked has left")
    DELIVER = _vm(Origin.RAISED, Migration, "the last part of the stream may go")
    ABANDON = _vm(Origin.RAISED, Migration, "the migration is given up")
    RESUME_SOURCE = _vm(Origin.RAISED, Migration, "the VM goes back to the state it had")
    ROLLBACK = _vm(Origin.RAISED, Migration, "primaries go back to where they were")
    MIGRATED = _vm(Origin.RAISED, Migration, "the VM has left")
    PEER_LOST = _vm(Origin.RAISED, Link, "the link to the peer is lost")
    DOUBT = _vm(Origin.RAISED, Handover, "nobody here knows who owns the VM")
    NEGOTIATED = _standby(Origin.RAISED, Feature, "the guest acknowledged STANDBY")
    LAUNCH = _vm(Origin.RAISED, Takeover, "the VM may run here")
    LAUNCHED = _vm(Origin.RAISED, RunState, "the VM has been started, or held, here")
    TARGET_FAILED = _vm(Origin.RAISED, Takeover, "the VM will not come here")

    @property
    def info(self) -> EventInfo:
        """Return what is fixed about the event."""
        info: EventInfo = self.value
        return info

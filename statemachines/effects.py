"""What a row does besides moving: the three kinds of effect, and their vocabularies.

Rules kept here:
1. `Send` puts a message on the way to the other VM; `Raise` puts an event into this VM's inbox,
   which is emptied before anything else happens; `Do` gives a command to the world, which can
   only answer with one of the events listed.
2. An effect is data, in the order in which it takes place. Rows cause nothing else.
3. A message that carries state carries it as fields latched when it is sent: the states of the
   named lifecycles, all instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from statemachines.events import E
from statemachines.states import State


class Message(Enum):
    """What the two VMs say to each other; RAM pages travel beside it and decide nothing."""

    # See `State`: a message is itself alone.
    __hash__ = object.__hash__

    #: Source: who I am, what I will send, which pairs need a free primary.
    HELLO = "hello"
    #: Target: ready.
    ACCEPT = "accept"
    #: Target: I cannot take this VM, and why.
    REFUSE = "refuse"
    #: Source: the devices' state.
    STATE = "state"
    #: Source: nothing more will come.
    END = "end"
    #: Target: everything is here and verified, paused.
    LOADED = "loaded"
    #: Source: the VM is yours.
    COMMIT = "commit"
    #: Target: it is mine.
    RUNNING = "running"
    #: Target: the stream cannot be loaded, and why.
    LOAD_FAILED = "load-failed"
    #: Source: forget it, and why.
    ABORT = "abort"


#: Which event a message is at the one who receives it (STATE may instead be RECV_BAD_STATE).
RECEIVED_AS: dict[Message, E] = {
    Message.HELLO: E.RECV_HELLO,
    Message.ACCEPT: E.RECV_ACCEPT,
    Message.REFUSE: E.RECV_REFUSE,
    Message.STATE: E.RECV_STATE,
    Message.END: E.RECV_END,
    Message.LOADED: E.RECV_LOADED,
    Message.COMMIT: E.RECV_COMMIT,
    Message.RUNNING: E.RECV_RUNNING,
    Message.LOAD_FAILED: E.RECV_LOAD_FAILED,
    Message.ABORT: E.RECV_ABORT,
}


class Command(Enum):
    """What the tables ask of the world."""

    # See `State`: a command is itself alone.
    __hash__ = object.__hash__

    # -- events for the operator
    #: QMP event MIGRATION with the status just reached.
    EMIT_MIGRATION = "emit MIGRATION"
    #: The same for the target's status.
    EMIT_INCOMING = "emit MIGRATION (incoming)"
    #: QMP event UNPLUG_PRIMARY.
    EMIT_UNPLUG_PRIMARY = "emit UNPLUG_PRIMARY"
    #: QMP event FAILOVER_NEGOTIATED.
    EMIT_FAILOVER_NEGOTIATED = "emit FAILOVER_NEGOTIATED"
    #: QMP event STOP.
    EMIT_STOP = "emit STOP"
    #: QMP event RESUME.
    EMIT_RESUME = "emit RESUME"
    #: QMP event RESET.
    EMIT_RESET = "emit RESET"
    #: QMP event X_REPLUG_IN_DOUBT.
    EMIT_IN_DOUBT = "emit X_REPLUG_IN_DOUBT"
    #: Warn that the slot refused the unplug request.
    WARN_NOT_UNPLUGGED = "warn: not unplugged"
    #: Warn that a primary was still pending when the cancel gave up waiting.
    WARN_PARTIALLY_UNPLUGGED = "warn: partially unplugged"
    #: Warn that a primary could not be plugged, by name and reason.
    WARN_PLUG_FAILED = "warn: plug failed"
    #: Warn that a negotiation during a migration lost the primary.
    WARN_PRIMARY_DROPPED = "warn: primary dropped"
    # -- the channel
    #: Connect to the URI of `migrate`.
    CONNECT = "connect"
    #: Listen on the URI of `-incoming`.
    LISTEN = "listen"
    #: Shut the channel down.
    CLOSE_CHANNEL = "close channel"
    # -- the stream
    #: Start dirty tracking and the stream.
    SAVE_SETUP = "set up the stream"
    #: Run RAM passes until they converge.
    ITERATE = "run RAM passes"
    #: Send the last dirty pages of the stopped guest.
    SAVE_FINAL = "send the last pages"
    #: Wait until every byte has left.
    FLUSH = "flush"
    #: Compare HELLO with this VM.
    CHECK_HELLO = "check HELLO"
    #: Check that everything END announces is here.
    VERIFY = "verify"
    # -- the guest
    #: Start the guest's processors.
    RUN_GUEST = "run the guest"
    #: Stop the guest's processors, drain its NICs.
    QUIESCE_GUEST = "quiesce the guest"
    #: Stop the guest's processors.
    STOP_GUEST = "stop the guest"
    #: Reset the guest and its devices.
    RESET_GUEST = "reset the guest"
    # -- devices
    #: Create the primary from its options and plug it.
    PLUG_PRIMARY = "plug primary"
    #: Plug the kept, ejected device again.
    REPLUG_PRIMARY = "replug primary"
    #: Take the primary from the guest's view and keep it.
    HIDE_PRIMARY = "keep the ejected primary"
    #: Delete the device, with event DEVICE_DELETED.
    DELETE_PRIMARY = "delete primary"
    # -- time and process
    #: Ask for POLL in 250 ms.
    START_POLL = "start poll"
    #: Ask for UNPLUG_DEADLINE.
    START_DEADLINE = "start deadline"
    #: Ask for CANCEL_WAIT_OVER in 30 s.
    START_CANCEL_WAIT = "start cancel wait"
    #: End this process with status 1: the incoming migration failed.
    EXIT = "exit 1"


@dataclass(frozen=True)
class Send:
    """Send a message to the other VM."""

    #: Which message.
    message: Message
    #: Lifecycles whose states it carries, latched now, all instances.
    latch: tuple[type[State], ...] = ()

    def __str__(self) -> str:
        return f"send {self.message.name}"


@dataclass(frozen=True)
class Raise:
    """Put an event into this VM's inbox (same index as the row's instance)."""

    #: Which event.
    event: E

    def __str__(self) -> str:
        return f"raise {self.event.name}"


@dataclass(frozen=True)
class Do:
    """Give a command to the world."""

    #: Which command.
    command: Command
    #: The only events by which the world may answer; empty: it does not answer.
    answers: frozenset[E] = frozenset()

    def __str__(self) -> str:
        return f"do {self.command.value}"


Effect = Send | Raise | Do


def do(command: Command, *answers: E) -> Do:
    """Write a `Do` with its answers in a row."""
    return Do(command, frozenset(answers))

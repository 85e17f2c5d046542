"""The source's half of the conversation: messages out as the tables send them, answers in.

What may live here: building each message of the tables, and turning what the target says into the
event it is. Rules: no bytes and no sockets (the codec and the driver have those); what an answer
means is the tables' business; its reason is kept for query-migrate.
"""

from __future__ import annotations

from collections.abc import Callable

from engine import texts
from engine.device_state import save_state
from engine.errors import UnexpectedMessage
from engine.hello import build_hello
from engine.message_shape import MIGRATION_NAME_BYTES
from engine.messages import (
    Abort,
    Accept,
    Commit,
    End,
    Heartbeat,
    Loaded,
    LoadFailed,
    Refuse,
    Running,
)
from engine.messages import Message as StreamMessage
from engine.vm import Vm
from statemachines.effects import Message
from statemachines.events import E
from statemachines.runtime import Happening, StateError

#: The longest reason put into a message, in characters.
REASON_CHARACTERS_MAX = 2000


class Source:
    """One VM as a source of migrations."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm
        #: Digest of the whole RAM for END, where the target is to compare it; set by the driver.
        self.end_digest: bytes | None = None
        #: What the migration is called, and how many channels beside the main one it has; set by
        #: the driver.
        self.migration = bytes(MIGRATION_NAME_BYTES)
        self.channels = 0
        #: Called with the target's digest before LOADED counts; fires RECV_LOADED or a mismatch.
        self.compare: Callable[[bytes], None] | None = None

    def build(self, kind: Message, happening: Happening) -> StreamMessage:
        """Build a message of the source's.

        :raise VmStateError: if a device's state cannot be saved.
        """
        vm = self._vm
        match kind:
            case Message.HELLO:
                return build_hello(vm, self.migration, self.channels)
            case Message.STATE:
                return save_state(vm, happening.latched)
            case Message.END:
                ram = vm.statistics.ram
                return End(ram.passes, vm.ram.size_bytes, self.end_digest)
            case Message.COMMIT:
                return Commit()
            case Message.ABORT:
                reason = vm.error_description or texts.CANCELLED
                return Abort(reason[:REASON_CHARACTERS_MAX])
            case _:
                raise ValueError(f"a source does not send {kind.name}")

    def receive(self, message: StreamMessage) -> None:
        """Take one message from the target.

        :raise UnexpectedMessage: if a target does not say this.
        """
        vm = self._vm
        match message:
            case Accept():
                self._take(E.RECV_ACCEPT, message)
            case Refuse(reason=reason):
                self._check(E.RECV_REFUSE, message)
                vm.error_description = texts.TARGET_REFUSED % reason
                vm.fire(E.RECV_REFUSE)
            case LoadFailed(reason=reason):
                self._check(E.RECV_LOAD_FAILED, message)
                if vm.profile.explains_losses:
                    vm.error_description = texts.TARGET_FAILED % reason
                vm.fire(E.RECV_LOAD_FAILED)
            case Loaded(digest=digest):
                self._check(E.RECV_LOADED, message)
                if digest is not None and self.compare is not None:
                    self.compare(bytes(digest))
                else:
                    vm.fire(E.RECV_LOADED)
            case Running():
                self._take(E.RECV_RUNNING, message)
            case Heartbeat():
                pass
            case _:
                raise UnexpectedMessage(
                    expected="an answer of a target",
                    came=type(message).__name__,
                    remedy="the peer is no target; check the URI",
                )

    def _take(self, event: E, message: StreamMessage) -> None:
        self._check(event, message)
        self._vm.fire(event)

    def _check(self, event: E, message: StreamMessage) -> None:
        try:
            self._vm.runtime.check(event)
        except StateError as error:
            raise UnexpectedMessage(
                expected="an answer to what this source has said",
                came=type(message).__name__,
                remedy="the target is of another version, or the stream is damaged",
            ) from error

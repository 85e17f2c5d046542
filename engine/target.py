"""The target's half of the conversation: what the source says in, answers out.

What may live here: writing arriving pages into RAM, checking that they belong there, turning
messages into events, building the answers. Rules: a page index, a size or an order that cannot be
is a typed error, raised before RAM is touched; no bytes and no sockets.
"""

from __future__ import annotations

from collections.abc import Callable

from engine import texts
from engine.device_state import LoadError, load_state
from engine.errors import UnexpectedMessage
from engine.hello import check_hello
from engine.messages import (
    Abort,
    Accept,
    Commit,
    End,
    Heartbeat,
    Hello,
    LivePages,
    Loaded,
    LoadFailed,
    PassEnd,
    RamPages,
    RamShared,
    Refuse,
    Running,
    State,
    ZeroPages,
)
from engine.messages import Message as StreamMessage
from engine.parameters import Capability
from engine.ram_receiving import load_ram
from engine.source import REASON_CHARACTERS_MAX
from engine.suspect_pages import SuspectPages
from engine.vm import Vm
from statemachines.effects import Command, Message
from statemachines.events import E
from statemachines.policies import VALUATIONS
from statemachines.states import ReturnPath, Takeover


class Target:
    """One VM as the target of a migration."""

    def __init__(self, vm: Vm) -> None:
        """Take charge of the tables' CHECK_HELLO."""
        self._vm = vm
        self._hello: Hello | None = None
        self._end: End | None = None
        #: Why this target refuses or fails, for the answer and for stderr.
        self.reason = ""
        self._has_adopted = False
        #: Pages that are to come again, or were damaged; the driver sets one that threads may use.
        self.suspects = SuspectPages()
        #: Makes the memory that came with RamShared this VM's; raises StreamError if it cannot be.
        #: Set by the driver.
        self.adopt: Callable[[], None] = lambda: None
        #: Digest of the whole RAM, for LOADED; set by the driver.
        self.loaded_digest: bytes | None = None
        vm.handle(Command.CHECK_HELLO, self._check_hello)

    @property
    def verifies(self) -> bool:
        """Whether the source asked for a comparison of the whole RAM."""
        return self._hello is not None and Capability.X_VERIFY_RAM.value in self._hello.capabilities

    @property
    def is_complete(self) -> bool:
        """Whether END is here, and RAM is, as large as it says."""
        is_here = self._has_adopted or not self.shares
        return is_here and self._end is not None and self._end.ram_bytes == self._vm.ram.size_bytes

    @property
    def shares(self) -> bool:
        """Whether the source hands over its memory instead of sending RAM."""
        asked = self._hello.capabilities if self._hello is not None else ()
        return Capability.X_SHARE_MEMORY.value in asked

    @property
    def announced_digest(self) -> bytes | None:
        """The digest that END carries, when the source cannot compare itself."""
        return bytes(self._end.digest) if self._end and self._end.digest is not None else None

    def build(self, kind: Message) -> StreamMessage:
        """Build a message of the target's."""
        reason = (self.reason or "unknown reason")[:REASON_CHARACTERS_MAX]
        match kind:
            case Message.ACCEPT:
                return Accept()
            case Message.REFUSE:
                return Refuse(reason)
            case Message.LOADED:
                return Loaded(self.loaded_digest)
            case Message.RUNNING:
                return Running()
            case Message.LOAD_FAILED:
                return LoadFailed(reason)
            case _:
                raise ValueError(f"a target does not send {kind.name}")

    def receive(self, message: StreamMessage) -> None:
        """Take one message from the source.

        :raise StreamError: for what cannot come now, or cannot be; RAM is untouched by it.
        """
        vm = self._vm
        match message:
            case RamPages() | LivePages() | ZeroPages():
                self.check_ram(message)
                load_ram(vm.ram, message, self.suspects)
            case RamShared():
                self._adopt(message)
            case PassEnd() | Heartbeat():
                pass
            case Hello():
                self._hello = message
                self._expect(Takeover.IDLE, message)
                path = ReturnPath.ON if self._hears(message) else ReturnPath.OFF
                vm.fire(E.RECV_HELLO, latched={ReturnPath: {0: path}})
            case State():
                self._expect(Takeover.RECEIVING, message)
                self._load_state(message)
            case End():
                self._expect(Takeover.STATE_LOADED, message)
                self.suspects.check()
                self._end = message
                vm.fire(E.RECV_END)
            case Commit():
                self._expect(Takeover.LOADED, message)
                vm.fire(E.RECV_COMMIT)
            case Abort(reason=reason):
                self.reason = texts.SOURCE_GAVE_UP % reason
                vm.fire(E.RECV_ABORT)
            case _:
                raise _out_of_order("a message of a source", message)

    def check_ram(self, message: StreamMessage | None = None) -> None:
        """Raise UnexpectedMessage when this is not the time for RAM."""
        self._expect(Takeover.RECEIVING, message)
        if self.shares:
            raise _out_of_order("RamShared instead of RAM", message)

    def _adopt(self, message: RamShared) -> None:
        self._expect(Takeover.RECEIVING, message)
        if not self.shares or self._has_adopted or message.ram_bytes != self._vm.ram.size_bytes:
            raise _out_of_order("RAM as Hello announced it", message)
        self.adopt()
        self._has_adopted = True

    def _hears(self, hello: Hello) -> bool:
        """Say whether the source listens for this target's verdict.

        A source of another profile is refused; one that hands over in two phases waits for that.
        """
        theirs = VALUATIONS.get(hello.profile, {}).get("handover")
        is_other = hello.profile != self._vm.profile.name
        asked = Capability.RETURN_PATH.value in hello.capabilities
        return asked or (is_other and theirs == "two-phase")

    def _expect(self, state: Takeover, message: StreamMessage | None) -> None:
        here = self._vm.state(Takeover)
        if here is not state:
            raise _out_of_order(f"nothing of the kind while {here.value}", message)

    def _check_hello(self, _index: int | None) -> None:
        assert self._hello is not None
        difference = check_hello(self._vm, self._hello)
        if difference is None:
            self._vm.fire(E.HELLO_GOOD)
        else:
            self.reason = difference
            self._vm.fire(E.HELLO_BAD)

    def _load_state(self, message: State) -> None:
        try:
            latched = load_state(self._vm, message)
        except LoadError as error:
            self.reason = "\n".join(error.lines)
            self._vm.fire(E.RECV_BAD_STATE)
        else:
            self._vm.fire(E.RECV_STATE, latched=latched)


def _out_of_order(expected: str, message: StreamMessage | None) -> UnexpectedMessage:
    return UnexpectedMessage(
        expected=expected,
        came="RAM" if message is None else type(message).__name__,
        remedy="the source is of another version, or the stream is damaged",
    )

"""The messages of a migration stream: what the two ends say to each other, and who says it when.

What may live here: one frozen dataclass per message, the records inside them, and the list of
them all. Those that carry RAM are in `engine.messages_ram`. Rules:

- a code is for ever: it is never used again for another message; docs/stream.md lists them;
- the annotation of a field carries its shape and bounds, applied alike when it is written and
  when it is read; what several fields must keep together is in `check`;
- the fields go over the wire as a list in the order they stand here, so adding, removing or
  reordering one means a new `version` of that message;
- what a field means for the migration (does this page exist, is this the device I have) is
  judged by who receives the message, never here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

from engine.message_shape import (
    CHANNELS_MAX,
    COUNT,
    DIGEST,
    FROM_BOTH,
    FROM_SOURCE,
    FROM_TARGET,
    MIGRATION,
    NAME,
    PAGE_BYTES_MAX,
    PAGE_BYTES_MIN,
    PASS,
    REASON,
    STATE_BODY_BYTES_MAX,
    WireMessage,
    check_page_bytes,
)
from engine.message_shape import Direction as Direction
from engine.messages_ram import ChannelHello as ChannelHello
from engine.messages_ram import ChannelSync as ChannelSync
from engine.messages_ram import LivePages as LivePages
from engine.messages_ram import PassEnd as PassEnd
from engine.messages_ram import RamPages as RamPages
from engine.messages_ram import RamShared as RamShared
from engine.messages_ram import ZeroPages as ZeroPages
from engine.shapes import (
    U16_MAX,
    DictOf,
    Integer,
    ListOf,
    Mismatch,
    RecordOf,
    Text,
    Tree,
)

_PROPERTY = Tree(depth_max=4, values_max=4096, items_max=256, text_bytes_max=4096)
_STATE = Tree(depth_max=32, values_max=200_000, items_max=16_384, text_bytes_max=64 << 10)


@dataclass(frozen=True)
class DeviceEntry:
    """One device of the source, as its target must have it."""

    #: The device's id on the command line.
    id: Annotated[str, NAME]
    #: Its driver, such as virtio-net-pci.
    driver: Annotated[str, NAME]
    #: The id of the bus it sits on.
    bus: Annotated[str, NAME]
    #: Its address on that bus; empty when the bus chose one.
    addr: Annotated[str, NAME]
    #: The options both ends must agree on, by name.
    properties: Annotated[dict[str, Any], DictOf(NAME, _PROPERTY, 256)]


@dataclass(frozen=True)
class PairEntry:
    """One failover pair of the source."""

    #: The id of the standby.
    standby: Annotated[str, NAME]
    #: The id of the primary that names it.
    primary: Annotated[str, NAME]
    #: The MAC address the two share, as aa:bb:cc:dd:ee:ff.
    mac: Annotated[str, Text(17)]


@dataclass(frozen=True)
class Hello(WireMessage):
    """Sent by the source first, before anything is unplugged: what it is and what it will send."""

    code: ClassVar[int] = 0x01
    version: ClassVar[int] = 2
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE

    #: The version of the hand-over, the order in which messages come.
    protocol: Annotated[int, Integer(0, U16_MAX)]
    #: The profile; both ends must use the same.
    profile: Annotated[str, NAME]
    #: The machine type.
    machine: Annotated[str, NAME]
    #: The name of the VM; empty when it has none.
    name: Annotated[str, NAME]
    #: The UUID of the VM; empty when it has none.
    uuid: Annotated[str, NAME]
    #: The size of guest RAM, in bytes.
    ram_bytes: Annotated[int, COUNT]
    #: The size of a page, in bytes: a power of two.
    page_bytes: Annotated[int, Integer(PAGE_BYTES_MIN, PAGE_BYTES_MAX)]
    #: Every device that will be in the stream or must exist at the target.
    devices: Annotated[list[DeviceEntry], ListOf(RecordOf(DeviceEntry), 1024)]
    #: Every failover pair.
    pairs: Annotated[list[PairEntry], ListOf(RecordOf(PairEntry), 256)]
    #: The features the guest acknowledged, by the id of the standby.
    features: Annotated[dict[str, int], DictOf(NAME, COUNT, 256)]
    #: The migration capabilities that are on.
    capabilities: Annotated[list[str], ListOf(NAME, 256)]
    #: What this migration, and no other, is called: channels that follow say the same.
    migration: Annotated[bytes, MIGRATION]
    #: How many channels for RAM follow this one; 0: RAM comes through this one.
    channels: Annotated[int, Integer(0, CHANNELS_MAX)]

    def check(self) -> None:
        """Hold the page size to a power of two, and RAM to whole pages."""
        check_page_bytes(self.page_bytes)
        if self.ram_bytes % self.page_bytes:
            raise Mismatch(f"RAM in whole pages of {self.page_bytes} bytes", f"{self.ram_bytes}")


@dataclass(frozen=True)
class State(WireMessage):
    """Sent by the source once it is stopped and RAM is over: the state of the devices."""

    code: ClassVar[int] = 0x05
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE
    body_bytes_max: ClassVar[int] = STATE_BODY_BYTES_MAX

    #: One map per device, in the order they are to be loaded.
    sections: Annotated[list[Any], _STATE]
    #: State that belongs to the VM and to no device.
    globals: Annotated[dict[str, Any], _STATE]

    def check(self) -> None:
        """Hold the sections to a list and the globals to a map."""
        if not isinstance(self.sections, list | tuple):
            raise Mismatch("sections as a list", type(self.sections).__name__)
        if not isinstance(self.globals, dict):
            raise Mismatch("globals as a map", type(self.globals).__name__)


@dataclass(frozen=True)
class End(WireMessage):
    """Sent by the source after State: nothing more follows before the target's answer."""

    code: ClassVar[int] = 0x06
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE

    #: How many passes there were.
    passes: Annotated[int, PASS]
    #: The size of guest RAM, in bytes.
    ram_bytes: Annotated[int, COUNT]
    #: The digest of guest RAM as it stopped, or None when none is taken.
    digest: Annotated[bytes | None, DIGEST]


@dataclass(frozen=True)
class Commit(WireMessage):
    """Sent by the source on Loaded: the VM is the target's; the source no longer resumes it."""

    code: ClassVar[int] = 0x07
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE


@dataclass(frozen=True)
class Abort(WireMessage):
    """Sent by the source at any time before Commit: the migration is off, drop what you have."""

    code: ClassVar[int] = 0x08
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE

    #: Why, for people.
    reason: Annotated[str, REASON]


@dataclass(frozen=True)
class Accept(WireMessage):
    """Sent by the target on Hello: it can take this VM."""

    code: ClassVar[int] = 0x41
    senders: ClassVar[frozenset[Direction]] = FROM_TARGET


@dataclass(frozen=True)
class Refuse(WireMessage):
    """Sent by the target on Hello: it cannot take this VM."""

    code: ClassVar[int] = 0x42
    senders: ClassVar[frozenset[Direction]] = FROM_TARGET

    #: Why not, for people.
    reason: Annotated[str, REASON]


@dataclass(frozen=True)
class Loaded(WireMessage):
    """Sent by the target after End: it holds everything, verified, and stays paused."""

    code: ClassVar[int] = 0x43
    senders: ClassVar[frozenset[Direction]] = FROM_TARGET

    #: The digest of guest RAM as it was loaded, or None when none is taken.
    digest: Annotated[bytes | None, DIGEST]


@dataclass(frozen=True)
class Running(WireMessage):
    """Sent by the target on Commit, once the VM is its own."""

    code: ClassVar[int] = 0x44
    senders: ClassVar[frozenset[Direction]] = FROM_TARGET


@dataclass(frozen=True)
class LoadFailed(WireMessage):
    """Sent by the target between Accept and Loaded: it cannot load what came."""

    code: ClassVar[int] = 0x45
    senders: ClassVar[frozenset[Direction]] = FROM_TARGET

    #: What could not be loaded, for people.
    reason: Annotated[str, REASON]


@dataclass(frozen=True)
class Heartbeat(WireMessage):
    """Sent by either end when it has said nothing else for a while: it is alive."""

    code: ClassVar[int] = 0x7E
    senders: ClassVar[frozenset[Direction]] = FROM_BOTH

    #: The sender's own clock, in milliseconds; only its progress means anything.
    now_ms: Annotated[int, COUNT]


#: A message that carries guest RAM.
RamMessage: TypeAlias = RamPages | LivePages | ZeroPages

#: Any message.
Message: TypeAlias = (
    Hello
    | RamPages
    | ZeroPages
    | PassEnd
    | State
    | End
    | Commit
    | Abort
    | ChannelHello
    | ChannelSync
    | RamShared
    | LivePages
    | Accept
    | Refuse
    | Loaded
    | Running
    | LoadFailed
    | Heartbeat
)

#: Every message by its code.
MESSAGES: dict[int, type[Message]] = {
    message.code: message
    for message in (
        *(Hello, RamPages, ZeroPages, PassEnd, State, End, Commit, Abort),
        *(ChannelHello, ChannelSync, RamShared, LivePages),
        *(Accept, Refuse, Loaded, Running, LoadFailed, Heartbeat),
    )
}

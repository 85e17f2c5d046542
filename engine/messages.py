"""The messages of a migration stream: what the two ends say to each other, and who says it when.

What may live here: one frozen dataclass per message, the records inside them, and the list of
them all. Rules:

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
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from engine.shapes import (
    U16_MAX,
    U32_MAX,
    U64_MAX,
    BytesLike,
    DictOf,
    Integer,
    ListOf,
    Maybe,
    Mismatch,
    Octets,
    RecordOf,
    Text,
    Tree,
    size_bytes,
)

#: Which end a message comes from.
Direction: TypeAlias = Literal["from_source", "from_target"]

#: The most bytes in the body of a message that carries guest RAM.
RAM_BODY_BYTES_MAX = 4 << 20
#: The most bytes in the body of the message that carries device state.
STATE_BODY_BYTES_MAX = 16 << 20
#: The most bytes in the body of any other message.
CONTROL_BODY_BYTES_MAX = 64 << 10

#: The smallest page a stream can have, in bytes (QEMU's smallest target page is 1 KiB).
PAGE_BYTES_MIN = 512
#: The largest page, in bytes: a huge page, so that any page fits in a RAM frame.
PAGE_BYTES_MAX = 2 << 20
#: One page index on the wire, in bytes: u64, little-endian.
PAGE_INDEX_BYTES = 8

_COUNT = Integer(0, U64_MAX)
_PASS = Integer(0, U32_MAX)
_NAME = Text(255)
_REASON = Text(16 << 10)
_DIGEST = Maybe(Octets(16, 64))
_PROPERTY = Tree(depth_max=4, values_max=4096, items_max=256, text_bytes_max=4096)
_STATE = Tree(depth_max=32, values_max=200_000, items_max=16_384, text_bytes_max=64 << 10)

_SOURCE: frozenset[Direction] = frozenset(["from_source"])
_TARGET: frozenset[Direction] = frozenset(["from_target"])
_BOTH = _SOURCE | _TARGET


class WireMessage:
    """What every message has: its code, its version, its senders and its bound."""

    #: The type byte of its frame.
    code: ClassVar[int]
    #: The version of its fields.
    version: ClassVar[int] = 1
    #: The ends that may send it.
    senders: ClassVar[frozenset[Direction]]
    #: The most bytes its body may have, on the wire and decompressed.
    body_bytes_max: ClassVar[int] = CONTROL_BODY_BYTES_MAX

    def check(self) -> None:
        """Raise Mismatch when fields that are each right do not fit together."""


@dataclass(frozen=True)
class DeviceEntry:
    """One device of the source, as its target must have it."""

    #: The device's id on the command line.
    id: Annotated[str, _NAME]
    #: Its driver, such as virtio-net-pci.
    driver: Annotated[str, _NAME]
    #: The id of the bus it sits on.
    bus: Annotated[str, _NAME]
    #: Its address on that bus; empty when the bus chose one.
    addr: Annotated[str, _NAME]
    #: The options both ends must agree on, by name.
    properties: Annotated[dict[str, Any], DictOf(_NAME, _PROPERTY, 256)]


@dataclass(frozen=True)
class PairEntry:
    """One failover pair of the source."""

    #: The id of the standby.
    standby: Annotated[str, _NAME]
    #: The id of the primary that names it.
    primary: Annotated[str, _NAME]
    #: The MAC address the two share, as aa:bb:cc:dd:ee:ff.
    mac: Annotated[str, Text(17)]


@dataclass(frozen=True)
class Hello(WireMessage):
    """Sent by the source first, before anything is unplugged: what it is and what it will send."""

    code: ClassVar[int] = 0x01
    senders: ClassVar[frozenset[Direction]] = _SOURCE

    #: The version of the hand-over, the order in which messages come.
    protocol: Annotated[int, Integer(0, U16_MAX)]
    #: The profile; both ends must use the same.
    profile: Annotated[str, _NAME]
    #: The machine type.
    machine: Annotated[str, _NAME]
    #: The name of the VM; empty when it has none.
    name: Annotated[str, _NAME]
    #: The UUID of the VM; empty when it has none.
    uuid: Annotated[str, _NAME]
    #: The size of guest RAM, in bytes.
    ram_bytes: Annotated[int, _COUNT]
    #: The size of a page, in bytes: a power of two.
    page_bytes: Annotated[int, Integer(PAGE_BYTES_MIN, PAGE_BYTES_MAX)]
    #: Every device that will be in the stream or must exist at the target.
    devices: Annotated[list[DeviceEntry], ListOf(RecordOf(DeviceEntry), 1024)]
    #: Every failover pair.
    pairs: Annotated[list[PairEntry], ListOf(RecordOf(PairEntry), 256)]
    #: The features the guest acknowledged, by the id of the standby.
    features: Annotated[dict[str, int], DictOf(_NAME, _COUNT, 256)]
    #: The migration capabilities that are on.
    capabilities: Annotated[list[str], ListOf(_NAME, 256)]

    def check(self) -> None:
        """Hold the page size to a power of two, and RAM to whole pages."""
        _check_page_bytes(self.page_bytes)
        if self.ram_bytes % self.page_bytes:
            raise Mismatch(f"RAM in whole pages of {self.page_bytes} bytes", f"{self.ram_bytes}")


@dataclass(frozen=True)
class RamPages(WireMessage):
    """Sent by the source during passes and once stopped: pages and what is in them.

    `data` is handed on uncopied: it must not change until its frame has been written.
    """

    code: ClassVar[int] = 0x02
    senders: ClassVar[frozenset[Direction]] = _SOURCE
    body_bytes_max: ClassVar[int] = RAM_BODY_BYTES_MAX

    #: The pass these pages belong to.
    pass_number: Annotated[int, _PASS]
    #: The page indexes, u64 little-endian each.
    pages: Annotated[BytesLike, Octets(PAGE_INDEX_BYTES, RAM_BODY_BYTES_MAX)]
    #: The pages themselves, one after the other, in the order of the indexes.
    data: Annotated[BytesLike, Octets(PAGE_BYTES_MIN, RAM_BODY_BYTES_MAX)]

    def check(self) -> None:
        """Hold the data to one whole page per index."""
        pages = _page_count(self.pages)
        page_bytes, rest = divmod(size_bytes(self.data), pages)
        if rest:
            raise Mismatch(f"{pages} pages of one size", f"{size_bytes(self.data)} bytes of data")
        _check_page_bytes(page_bytes)


@dataclass(frozen=True)
class ZeroPages(WireMessage):
    """Sent by the source during passes and once stopped: pages that hold only zeros."""

    code: ClassVar[int] = 0x03
    senders: ClassVar[frozenset[Direction]] = _SOURCE
    body_bytes_max: ClassVar[int] = RAM_BODY_BYTES_MAX

    #: The page indexes, u64 little-endian each.
    pages: Annotated[BytesLike, Octets(PAGE_INDEX_BYTES, RAM_BODY_BYTES_MAX)]

    def check(self) -> None:
        """Hold the indexes to whole ones."""
        _page_count(self.pages)


@dataclass(frozen=True)
class PassEnd(WireMessage):
    """Sent by the source when a pass over RAM is done."""

    code: ClassVar[int] = 0x04
    senders: ClassVar[frozenset[Direction]] = _SOURCE

    #: The pass that is done.
    pass_number: Annotated[int, _PASS]
    #: How many pages the guest dirtied meanwhile, which is what the next pass starts with.
    dirty_pages: Annotated[int, _COUNT]


@dataclass(frozen=True)
class State(WireMessage):
    """Sent by the source once it is stopped and RAM is over: the state of the devices."""

    code: ClassVar[int] = 0x05
    senders: ClassVar[frozenset[Direction]] = _SOURCE
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
    senders: ClassVar[frozenset[Direction]] = _SOURCE

    #: How many passes there were.
    passes: Annotated[int, _PASS]
    #: The size of guest RAM, in bytes.
    ram_bytes: Annotated[int, _COUNT]
    #: The digest of guest RAM as it stopped, or None when none is taken.
    digest: Annotated[bytes | None, _DIGEST]


@dataclass(frozen=True)
class Commit(WireMessage):
    """Sent by the source on Loaded: the VM is the target's; the source no longer resumes it."""

    code: ClassVar[int] = 0x07
    senders: ClassVar[frozenset[Direction]] = _SOURCE


@dataclass(frozen=True)
class Abort(WireMessage):
    """Sent by the source at any time before Commit: the migration is off, drop what you have."""

    code: ClassVar[int] = 0x08
    senders: ClassVar[frozenset[Direction]] = _SOURCE

    #: Why, for people.
    reason: Annotated[str, _REASON]


@dataclass(frozen=True)
class Accept(WireMessage):
    """Sent by the target on Hello: it can take this VM."""

    code: ClassVar[int] = 0x41
    senders: ClassVar[frozenset[Direction]] = _TARGET


@dataclass(frozen=True)
class Refuse(WireMessage):
    """Sent by the target on Hello: it cannot take this VM."""

    code: ClassVar[int] = 0x42
    senders: ClassVar[frozenset[Direction]] = _TARGET

    #: Why not, for people.
    reason: Annotated[str, _REASON]


@dataclass(frozen=True)
class Loaded(WireMessage):
    """Sent by the target after End: it holds everything, verified, and stays paused."""

    code: ClassVar[int] = 0x43
    senders: ClassVar[frozenset[Direction]] = _TARGET

    #: The digest of guest RAM as it was loaded, or None when none is taken.
    digest: Annotated[bytes | None, _DIGEST]


@dataclass(frozen=True)
class Running(WireMessage):
    """Sent by the target on Commit, once the VM is its own."""

    code: ClassVar[int] = 0x44
    senders: ClassVar[frozenset[Direction]] = _TARGET


@dataclass(frozen=True)
class LoadFailed(WireMessage):
    """Sent by the target between Accept and Loaded: it cannot load what came."""

    code: ClassVar[int] = 0x45
    senders: ClassVar[frozenset[Direction]] = _TARGET

    #: What could not be loaded, for people.
    reason: Annotated[str, _REASON]


@dataclass(frozen=True)
class Heartbeat(WireMessage):
    """Sent by either end when it has said nothing else for a while: it is alive."""

    code: ClassVar[int] = 0x7E
    senders: ClassVar[frozenset[Direction]] = _BOTH

    #: The sender's own clock, in milliseconds; only its progress means anything.
    now_ms: Annotated[int, _COUNT]


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
        *(Accept, Refuse, Loaded, Running, LoadFailed, Heartbeat),
    )
}


def _page_count(pages: BytesLike) -> int:
    count, rest = divmod(size_bytes(pages), PAGE_INDEX_BYTES)
    if rest:
        raise Mismatch(
            f"page indexes of {PAGE_INDEX_BYTES} bytes", f"{size_bytes(pages)} bytes of them"
        )
    return count


def _check_page_bytes(page_bytes: int) -> None:
    if page_bytes & (page_bytes - 1) or not PAGE_BYTES_MIN <= page_bytes <= PAGE_BYTES_MAX:
        expected = f"a page size of 2^n bytes from {PAGE_BYTES_MIN} to {PAGE_BYTES_MAX}"
        raise Mismatch(expected, f"{page_bytes}")

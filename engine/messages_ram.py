"""The messages of a migration stream that carry RAM, and those that keep its passes in order.

What may live here: RAM's part of the list in `engine.messages`, by the same rules. Pages are named
in runs: a run is its first page and how many there are from there, u64 little-endian each.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated, ClassVar

from engine.message_shape import (
    CHANNELS_MAX,
    COUNT,
    FROM_SOURCE,
    MIGRATION,
    PAGE_BYTES_MIN,
    PAGE_SUM_BYTES,
    PASS,
    RAM_BODY_BYTES_MAX,
    RUN_BYTES,
    RUNS_MAX,
    Direction,
    WireMessage,
    check_page_bytes,
)
from engine.shapes import BytesLike, Integer, Mismatch, Octets, size_bytes

_RUNS = Octets(RUN_BYTES, RUNS_MAX * RUN_BYTES)


@dataclass(frozen=True)
class RamPages(WireMessage):
    """Sent by the source during passes and once stopped: runs of pages and what is in them.

    `data` is handed on uncopied: it must not change until its frame has been written.
    """

    code: ClassVar[int] = 0x02
    version: ClassVar[int] = 2
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE
    body_bytes_max: ClassVar[int] = RAM_BODY_BYTES_MAX

    #: The pass these pages belong to.
    pass_number: Annotated[int, PASS]
    #: The runs of pages.
    runs: Annotated[BytesLike, _RUNS]
    #: The pages themselves, one after the other, in the order of the runs.
    data: Annotated[BytesLike, Octets(PAGE_BYTES_MIN, RAM_BODY_BYTES_MAX)]

    def check(self) -> None:
        """Hold the data to one whole page for each that the runs name."""
        _check_data(self.runs, self.data)


@dataclass(frozen=True)
class LivePages(WireMessage):
    """Sent by the source instead of RamPages where nothing is copied: pages that may yet change.

    A page that is written to before it is read at the target has not its sum then, and comes again
    in a later pass; any other with a wrong sum is damaged. The frame's checksum leaves `data` out.
    """

    code: ClassVar[int] = 0x0C
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE
    has_sums: ClassVar[bool] = True
    body_bytes_max: ClassVar[int] = RAM_BODY_BYTES_MAX

    #: The pass these pages belong to.
    pass_number: Annotated[int, PASS]
    #: The runs of pages.
    runs: Annotated[BytesLike, _RUNS]
    #: The sum of each page (devices/page_sums.py), u64 little-endian, in the order of the runs.
    sums: Annotated[BytesLike, Octets(PAGE_SUM_BYTES, RAM_BODY_BYTES_MAX)]
    #: The pages themselves, one after the other, in the order of the runs.
    data: Annotated[BytesLike, Octets(PAGE_BYTES_MIN, RAM_BODY_BYTES_MAX)]

    def check(self) -> None:
        """Hold sums and data to one sum and one whole page for each that the runs name."""
        pages = _check_data(self.runs, self.data)
        if size_bytes(self.sums) != pages * PAGE_SUM_BYTES:
            raise Mismatch(f"{pages} sums", f"{size_bytes(self.sums)} bytes of them")


@dataclass(frozen=True)
class ZeroPages(WireMessage):
    """Sent by the source during passes and once stopped: runs of pages that hold only zeros."""

    code: ClassVar[int] = 0x03
    version: ClassVar[int] = 2
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE

    #: The runs of pages.
    runs: Annotated[BytesLike, _RUNS]

    def check(self) -> None:
        """Hold the runs to whole ones."""
        page_count(self.runs)


@dataclass(frozen=True)
class PassEnd(WireMessage):
    """Sent by the source when a pass over RAM is done."""

    code: ClassVar[int] = 0x04
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE

    #: The pass that is done.
    pass_number: Annotated[int, PASS]
    #: How many pages the guest dirtied meanwhile, which is what the next pass starts with.
    dirty_pages: Annotated[int, COUNT]


@dataclass(frozen=True)
class ChannelHello(WireMessage):
    """Sent by the source first on each channel but the main one: whose it is."""

    code: ClassVar[int] = 0x09
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE

    #: The migration, as its Hello on the main channel calls it.
    migration: Annotated[bytes, MIGRATION]
    #: Which of its channels this is, from 1.
    channel: Annotated[int, Integer(1, CHANNELS_MAX)]


@dataclass(frozen=True)
class ChannelSync(WireMessage):
    """Sent by the source on each channel but the main one: its part of a pass is over.

    The target takes nothing more from this channel until all have come so far, the main one with
    the PassEnd of that pass: no page is overtaken by an older one.
    """

    code: ClassVar[int] = 0x0A
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE

    #: The pass that is done.
    pass_number: Annotated[int, PASS]


@dataclass(frozen=True)
class RamShared(WireMessage):
    """Sent by the source once stopped, instead of all RAM, with a descriptor of its memory.

    Only through a unix socket; the descriptor comes with the first byte of the frame.
    """

    code: ClassVar[int] = 0x0B
    senders: ClassVar[frozenset[Direction]] = FROM_SOURCE

    #: The size of guest RAM, in bytes.
    ram_bytes: Annotated[int, COUNT]


def _check_data(runs: BytesLike, data: BytesLike) -> int:
    """Return how many pages the runs name; Mismatch unless the data is as many of one size."""
    pages = page_count(runs)
    page_bytes, rest = divmod(size_bytes(data), pages)
    if rest:
        raise Mismatch(f"{pages} pages of one size", f"{size_bytes(data)} bytes of data")
    check_page_bytes(page_bytes)
    return pages


def page_count(runs: BytesLike) -> int:
    """Return how many pages the runs of a message name; Mismatch when they are no runs."""
    count, rest = divmod(size_bytes(runs), RUN_BYTES)
    if rest:
        raise Mismatch(f"runs of {RUN_BYTES} bytes", f"{size_bytes(runs)} bytes of them")
    lengths = struct.unpack(f"<{2 * count}Q", runs)[1::2]
    if not all(lengths):
        raise Mismatch("runs of at least one page", "an empty one")
    return sum(lengths)

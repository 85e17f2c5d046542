"""What every message of a migration stream is, and the bounds that several of them share.

What may live here: the base class, which end sends what, shapes of fields that have no message of
their own.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from engine.shapes import U32_MAX, U64_MAX, Integer, Maybe, Mismatch, Octets, Text

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
#: One run of pages on the wire, in bytes: its first page and its length, u64 little-endian each.
RUN_BYTES = 16
#: The sum of one page on the wire, in bytes: u64 little-endian.
PAGE_SUM_BYTES = 8
#: The most runs in one message.
RUNS_MAX = 4000
#: The most channels that a migration may have beside its main one.
CHANNELS_MAX = 255
#: The name of one migration, in bytes.
MIGRATION_NAME_BYTES = 16

COUNT = Integer(0, U64_MAX)
PASS = Integer(0, U32_MAX)
NAME = Text(255)
REASON = Text(16 << 10)
DIGEST = Maybe(Octets(16, 64))
MIGRATION = Octets(MIGRATION_NAME_BYTES, MIGRATION_NAME_BYTES)

FROM_SOURCE: frozenset[Direction] = frozenset(["from_source"])
FROM_TARGET: frozenset[Direction] = frozenset(["from_target"])
FROM_BOTH = FROM_SOURCE | FROM_TARGET


class WireMessage:
    """What every message has: its code, its version, its senders and its bound."""

    #: The type byte of its frame.
    code: ClassVar[int]
    #: The version of its fields.
    version: ClassVar[int] = 1
    #: The ends that may send it.
    senders: ClassVar[frozenset[Direction]]
    #: Whether its last field has sums of its own, and is left out of the checksum of its frame.
    has_sums: ClassVar[bool] = False
    #: The most bytes its body may have, on the wire and decompressed.
    body_bytes_max: ClassVar[int] = CONTROL_BODY_BYTES_MAX

    def check(self) -> None:
        """Raise Mismatch when fields that are each right do not fit together."""


def check_page_bytes(page_bytes: int) -> None:
    """Raise Mismatch when `page_bytes` is no page size that a stream can have."""
    if page_bytes & (page_bytes - 1) or not PAGE_BYTES_MIN <= page_bytes <= PAGE_BYTES_MAX:
        expected = f"a page size of 2^n bytes from {PAGE_BYTES_MIN} to {PAGE_BYTES_MAX}"
        raise Mismatch(expected, f"{page_bytes}")

"""Frames put together from docs/stream.md alone, and two messages with something in every field.

Nothing here uses the encoder, so that a mistake both ends share does not pass.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgpack

from engine.codec import StreamDecoder
from engine.messages import (
    DeviceEntry,
    Direction,
    Hello,
    Message,
    PairEntry,
    State,
)

MAGIC = bytes([0x89]) + b"REPLUG" + bytes([0x0A])

HELLO = Hello(
    protocol=2,
    profile="native",
    machine="q35",
    name="vm",
    uuid="",
    ram_bytes=1 << 30,
    page_bytes=4096,
    devices=[DeviceEntry("net1", "virtio-net-pci", "root2", "", {"failover": True})],
    pairs=[PairEntry("net1", "hostdev0", "52:54:00:6f:55:cc")],
    features={"net1": 1 << 62},
    capabilities=["return-path"],
    migration=bytes(range(16)),
    channels=0,
)
STATE = State(
    sections=[{"id": "net1", "queues": [0] * 500, "mac": b"\x52\x54"}],
    globals={"position": 2**64 - 1, "none": None, "below": -1},
)


#: Messages that have had other fields before; the others have version 1.
VERSIONS = {0x01: 2, 0x02: 2, 0x03: 2}


def runs(*of: tuple[int, int]) -> bytes:
    """Runs of pages: the first of each, and how many."""
    return b"".join(struct.pack("<2Q", *each) for each in of)


def stream_header(version: int = 3, minimum: int = 3, magic: bytes = MAGIC) -> bytes:
    """A stream header as the document has it."""
    start = magic + struct.pack("<HH", version, minimum)
    return start + struct.pack("<I", zlib.crc32(start))


def frame(
    code: int,
    body: bytes,
    *,
    sequence: int = 0,
    flags: int = 0,
    version: int | None = None,
    raw_bytes: int | None = None,
    unsummed_bytes: int = 0,
) -> bytes:
    """A frame as the document has it; `unsummed_bytes` at its end the checksum leaves out."""
    raw_bytes = len(body) if raw_bytes is None else raw_bytes
    version = VERSIONS.get(code, 1) if version is None else version
    start = struct.pack("<BBHII", code, flags, version, len(body), raw_bytes)
    end = struct.pack("<Q", sequence)
    summed = body[: len(body) - unsummed_bytes]
    return start + struct.pack("<I", zlib.crc32(start + end + summed)) + end + body


def packed(code: int, fields: Any, **header: Any) -> bytes:
    """A frame around one msgpack value."""
    return frame(code, msgpack.packb(fields), **header)


def decode(*pieces: bytes, direction: Direction = "from_source") -> list[Message]:
    """Decode a whole stream whose header is in order."""
    decoder = StreamDecoder(direction)
    messages = []
    for piece in (stream_header(), *pieces):
        decoder.feed(piece)
        while (item := decoder.next()) is not None:
            messages.append(item[1])
    decoder.eof()
    return messages

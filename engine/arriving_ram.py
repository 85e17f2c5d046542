"""A message of RAM while it arrives: its head is here, its pages can go where they belong.

What may live here: what can be known of such a message before it is whole. Rules:

- only a message whose head is as it must be is one of these; whatever is not is left to the
  decoder, which waits for the whole of it and says what is wrong;
- the checksum is taken piece by piece, as the pages come. It is known at the end, when they are in
  place: until then, and for ever if it is wrong, RAM holds what nobody vouches for. The stream has
  failed then, and with it the migration: RAM of a failed migration is never run.
"""

from __future__ import annotations

from zlib_ng.zlib_ng import crc32

from engine.bodies import RamHead, read_ram_head
from engine.framing import (
    FRAME_HEADER_BYTES,
    FrameHeader,
    check_checksum,
    frame_checksum,
    parts_of_header,
)
from engine.messages import RamPages


class ArrivingRam:
    """One message of RAM, uncompressed, of which the head has come."""

    def __init__(self, frame: FrameHeader, came: memoryview, head: RamHead) -> None:
        """Begin with all that has come of the frame, header included."""
        start, end = parts_of_header(came[:FRAME_HEADER_BYTES])
        body = came[FRAME_HEADER_BYTES:]
        #: Where its pages belong, as on the wire; a copy.
        self.runs = bytes(head.runs)
        #: How many bytes its pages have.
        self.data_bytes = head.data_bytes
        #: Those that have come already.
        self.begun = body[head.data_start :]
        self._frame = frame
        self._checksum = frame_checksum(start, end, (body[: head.data_start],))

    def came(self, data: memoryview) -> None:
        """Take note of the next bytes of its pages."""
        self._checksum = crc32(data, self._checksum)

    def check(self, sequence: int) -> None:
        """Hold it to its checksum, as frame `sequence`, now that all is here; ChecksumMismatch."""
        check_checksum(self._checksum, self._frame, sequence)


def arriving_ram(frame: FrameHeader, came: memoryview) -> ArrivingRam | None:
    """Return the message of RAM that arrives in a frame; None when it is none, or not as it must.

    `came` is what has come of it, its header at the least.
    """
    if frame.kind is not RamPages or frame.compressed:
        return None
    head = read_ram_head(came[FRAME_HEADER_BYTES:])
    if head is None or head.data_start + head.data_bytes != frame.wire_bytes:
        return None
    return ArrivingRam(frame, came, head)

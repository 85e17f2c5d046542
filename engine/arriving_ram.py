"""A message of RAM while it arrives: its head is here, its pages can go where they belong.

What may live here: what can be known of such a message before it is whole. Rules:

- only a message whose head is as it must be is one of these; whatever is not is left to the
  decoder, which waits for the whole of it and says what is wrong;
- the checksum is taken piece by piece, as the pages come. It is known at the end, when they are in
  place: until then, and for ever if it is wrong, RAM holds what nobody vouches for. The stream has
  failed then, and with it the migration: RAM of a failed migration is never run;
- pages with sums of their own are held to those once they are in place. One that is wrong may come
  again: see suspect_pages.py.
"""

from __future__ import annotations

import numpy as np
from zlib_ng.zlib_ng import crc32

from devices.page_runs import Marks
from engine.bodies import RamHead, read_ram_head
from engine.framing import (
    FRAME_HEADER_BYTES,
    FrameHeader,
    check_checksum,
    frame_checksum,
    parts_of_header,
)
from engine.message_shape import PAGE_SUM_BYTES
from engine.messages import LivePages, RamPages
from engine.suspect_pages import wrong_marks


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
        #: The sums of its pages, a copy; None: the checksum covers them.
        self._sums = bytes(head.sums) if head.sums is not None else None
        self._placed = 0
        self._wrong: list[Marks] = []
        self._frame = frame
        self._checksum = frame_checksum(start, end, (body[: head.data_start],))

    @property
    def sum_count(self) -> int | None:
        """How many sums came before its pages; None where the checksum covers these."""
        return None if self._sums is None else len(self._sums) // PAGE_SUM_BYTES

    def came(self, data: memoryview) -> None:
        """Take note of the next bytes of its pages."""
        if self._sums is None:
            self._checksum = crc32(data, self._checksum)

    def placed(self, place: memoryview) -> None:
        """Take note that the next of its pages are all in a place."""
        if self._sums is not None:
            pages = len(place) * len(self._sums) // (self.data_bytes * PAGE_SUM_BYTES)
            start, self._placed = self._placed, self._placed + pages * PAGE_SUM_BYTES
            self._wrong.append(wrong_marks(place, self._sums[start : self._placed]))

    @property
    def wrong(self) -> Marks | None:
        """Which of its pages are not what their sums say, now that all are in place; None: none."""
        return np.concatenate(self._wrong) if any(some.any() for some in self._wrong) else None

    def check(self, sequence: int) -> None:
        """Hold it to its checksum, as frame `sequence`, now that all is here; ChecksumMismatch."""
        check_checksum(self._checksum, self._frame, sequence)


def arriving_ram(frame: FrameHeader, came: memoryview) -> ArrivingRam | None:
    """Return the message of RAM that arrives in a frame; None when it is none, or not as it must.

    `came` is what has come of it, its header at the least.
    """
    if frame.kind not in (RamPages, LivePages) or frame.compressed:
        return None
    head = read_ram_head(frame.kind, came[FRAME_HEADER_BYTES:])
    if head is None or head.data_start + head.data_bytes != frame.wire_bytes:
        return None
    return ArrivingRam(frame, came, head)

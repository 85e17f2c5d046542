"""RAM out: the frames of some pages, as writes for whoever can write.

What may live here: what goes into which frame, and the one copy on the way. Rules:

- a generator yields one gathered write after the other; the next one is asked for when the last
  has been taken whole. It does no I/O and knows no clock: a thread drives it, or a loop;
- contents are copied into a buffer of the channel's own before their checksum is taken: the guest
  may go on writing, and what is sent must be what was summed. The copy, the checksum and the write
  then find it in the processor's cache: the pages themselves are read once;
- between two frames it can be told to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from devices.page_runs import Runs, indexes_of, page_count, split
from devices.ram import PAGE_BYTES, Ram
from devices.zero_pages import nonzero_marks
from engine.adaptive_compression import SAMPLE_BYTES, AdaptiveCompression
from engine.codec import StreamEncoder
from engine.messages import RamPages, ZeroPages
from engine.shapes import BytesLike, size_bytes
from engine.wire_runs import RunQueue, runs_to_wire

_Pages: TypeAlias = npt.NDArray[np.uint8]

#: Pages in one frame: 2 MiB. Half of that costs a fifth more, twice that saves little.
FRAME_PAGES = 512
#: Up to so many runs in a frame are copied one by one, more page by page (in numpy).
_COPIED_RUNS_MAX = 16


class Compression(Enum):
    """What is compressed of RAM."""

    #: Nothing.
    NEVER = "never"
    #: Everything that it makes smaller.
    ALWAYS = "always"
    #: What it gets over the link sooner.
    ADAPTIVE = "adaptive"


@dataclass(frozen=True)
class Sent:
    """What became of some pages."""

    #: Bytes on the wire.
    wire_bytes: int = 0
    #: Pages sent with their contents.
    normal_pages: int = 0
    #: Pages sent as zero.
    zero_pages: int = 0

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            self.wire_bytes + other.wire_bytes,
            self.normal_pages + other.normal_pages,
            self.zero_pages + other.zero_pages,
        )


#: Gathered writes, one after the other.
Sending: TypeAlias = Generator[list[BytesLike], None, Sent]


class RamSender:
    """What one channel needs to send RAM."""

    def __init__(
        self,
        ram: Ram,
        encoder: StreamEncoder,
        compression: Compression = Compression.NEVER,
        now_ms: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Send with this encoder, which can compress RAM if it is to."""
        self._ram = ram
        self._compression = compression
        self._adaptive = AdaptiveCompression()
        self._now_ms = now_ms
        #: What a byte takes by the bandwidth limit; 0: there is none.
        self.limit_ms_per_byte = 0.0
        self._encoder = encoder
        self._buffer = np.empty((FRAME_PAGES, PAGE_BYTES), dtype=np.uint8)

    def send(self, pass_number: int, runs: Runs, stopped: Callable[[], bool]) -> Sending:
        """Send these pages as part of a pass; less of them if `stopped` says so."""
        rows = np.frombuffer(self._ram.view(), dtype=np.uint8).reshape(-1, PAGE_BYTES)
        # Not `split_zero`: what is sent was touched, and asking the host which pages were costs
        # as much as all of RAM has, for each portion.
        contents, zeros = split(runs, nonzero_marks(rows.view(np.uint64), runs))
        sent = Sent()
        queue = RunQueue(zeros)
        while len(queue) and not stopped():
            taken = queue.take(len(queue))
            frame = self._encoder.encode(ZeroPages(runs_to_wire(taken)))
            yield frame
            sent += Sent(_size(frame), zero_pages=page_count(taken))
        queue = RunQueue(contents)
        while len(queue) and not stopped():
            taken = queue.take(FRAME_PAGES)
            pages = page_count(taken)
            copy = self._buffer[:pages]
            _gather(rows, taken, copy)
            message = RamPages(pass_number, runs_to_wire(taken), copy.data.cast("B"))
            frame = self._frame(message)
            began_ms = self._now_ms()
            yield frame
            self._adaptive.sent(_size(frame), self._now_ms() - began_ms)
            sent += Sent(_size(frame), normal_pages=pages)
        return sent

    def _frame(self, message: RamPages) -> list[BytesLike]:
        if self._compression is Compression.ALWAYS:
            return self._encoder.encode_packed(message)
        if self._compression is Compression.ADAPTIVE and self._is_worth_it(message):
            began_ms = self._now_ms()
            frame = self._encoder.encode_packed(message)
            self._adaptive.compressed(size_bytes(message.data), self._now_ms() - began_ms)
            return frame
        return self._encoder.encode(message)

    def _is_worth_it(self, message: RamPages) -> bool:
        if not self._adaptive.wants_sample(self.limit_ms_per_byte):
            return False
        sample = memoryview(message.data)[:SAMPLE_BYTES]
        began_ms = self._now_ms()
        packed_bytes = self._encoder.packed_bytes(sample)
        self._adaptive.compressed(len(sample), self._now_ms() - began_ms)
        return self._adaptive.pays(packed_bytes / len(sample), self.limit_ms_per_byte)


def _size(frame: list[BytesLike]) -> int:
    return sum(size_bytes(piece) for piece in frame)


def _gather(rows: _Pages, runs: Runs, copy: _Pages) -> None:
    """Copy the pages of the runs one after the other; numpy lets other threads run meanwhile."""
    if len(runs) > _COPIED_RUNS_MAX:
        # Any other mode would copy once more, to undo it all should an index be wrong.
        rows.take(indexes_of(runs), axis=0, out=copy, mode="clip")
        return
    start = 0
    for first, after in runs.tolist():
        np.copyto(copy[start : start + after - first], rows[first:after])
        start += after - first

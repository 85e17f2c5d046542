"""RAM out: the frames of some pages, as writes for whoever can write.

What may live here: what goes into which frame, and the copy on the way where there is one. Rules:

- a generator yields one gathered write after the other; the next one is asked for when the last
  has been taken whole. It does no I/O and knows no clock: a thread drives it, or a loop;
- where the channel can take pages from where they are, nothing is copied (live_pages.py). Pages
  below the workload's still are: devices and a reset write those even once the guest has stopped,
  when nothing comes again. What is to be compressed is copied as well;
- else contents are copied into a buffer of the channel's own before their checksum is taken: the
  guest may go on writing, and what is sent must be what was summed. Where all pages seem to have
  contents, zeros are looked for in the copy as well: it is in the processor's cache, and the pages
  are read once. Where some seem to be zero, they are looked at where they are and only the others
  are copied: a page that is written to meanwhile is dirty, and comes again;
- what is to be compressed is sorted before (noise_sorting.py): pages that look like noise go as
  they are, in frames of their own;
- between two frames it can be told to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np

from devices.guest_memory import WORKLOAD_FIRST_PAGE
from devices.page_copies import Pages, gather, page_buffer
from devices.page_runs import (
    Runs,
    difference,
    intersection,
    one_run,
    page_count,
    split,
    union,
)
from devices.ram import PAGE_BYTES
from devices.zero_pages import filled_marks
from engine.adaptive_compression import SAMPLE_BYTES, AdaptiveCompression
from engine.codec import StreamEncoder
from engine.live_pages import LivePacking, PagesInPlace
from engine.messages import RamPages, ZeroPages
from engine.noise_sorting import NoiseSorting
from engine.page_pieces import LOOK_PAGES
from engine.shapes import BytesLike, size_bytes
from engine.wire_runs import RunQueue, runs_to_wire

_NO_RUNS = one_run(0, 0)

#: Pages in one frame: 2 MiB. Half of that costs a fifth more, twice that saves little.
FRAME_PAGES = 512
#: To so much of its size something has to shrink, or it does not compress.
_SHRUNK_MAX = 0.95
#: Every so many pages one is looked at to tell whether all of them may have contents.
_PROBED = 64


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


#: What writes are made of.
Piece: TypeAlias = BytesLike | PagesInPlace
#: Gathered writes, one after the other.
Sending: TypeAlias = Generator[Sequence[Piece], None, Sent]


class RamSender:
    """What one channel needs to send RAM."""

    def __init__(
        self,
        contents: memoryview,
        encoder: StreamEncoder,
        compression: Compression = Compression.NEVER,
        now_ms: Callable[[], float] = lambda: 0.0,
        *,
        in_place: bool = False,
    ) -> None:
        """Send RAM that is seen like this, with an encoder that can compress it if it is to.

        With `in_place` whoever writes takes pages from where they are.
        """
        self._rows = np.frombuffer(contents, dtype=np.uint8).reshape(-1, PAGE_BYTES)
        self._compression = compression
        self._in_place = in_place and compression is Compression.NEVER
        self._adaptive = AdaptiveCompression()
        self._now_ms = now_ms
        #: What a byte takes by the bandwidth limit; 0: there is none.
        self.limit_ms_per_byte = 0.0
        self._encoder = encoder
        self._read, self._packed = (page_buffer(FRAME_PAGES, PAGE_BYTES) for _ in range(2))

    def send(self, pass_number: int, runs: Runs, stopped: Callable[[], bool]) -> Sending:
        """Send these pages as part of a pass; less of them if `stopped` says so."""
        if self._compression is Compression.ALWAYS:
            return (yield from self._send_packed(pass_number, runs, stopped))
        if not self._in_place:
            return (yield from self._send_copies(pass_number, runs, stopped))
        lowest = one_run(0, WORKLOAD_FIRST_PAGE)
        sent = yield from self._send_copies(pass_number, intersection(runs, lowest), stopped)
        others = difference(runs, lowest)
        return sent + (yield from self._send_in_place(pass_number, others, stopped))

    def _send_in_place(self, pass_number: int, runs: Runs, stopped: Callable[[], bool]) -> Sending:
        packing = LivePacking(self._rows, runs, self._read, self._packed)
        sent = Sent()
        while not stopped():
            contents, sums = packing.next()
            if not len(contents):
                break
            pages = PagesInPlace(self._rows, contents)
            head = self._encoder.encode_live(
                pass_number, runs_to_wire(contents), sums.astype("<u8").tobytes(), len(pages)
            )
            yield [head, pages]
            sent += Sent(len(head) + len(pages), normal_pages=sums.size)
        return sent + (yield from self._send_zeros(_joined(packing.zeros), stopped))

    def _send_packed(self, pass_number: int, runs: Runs, stopped: Callable[[], bool]) -> Sending:
        sorting = NoiseSorting(self._rows, runs, self._read)
        sent = Sent()
        while not stopped():
            contents, is_noise = sorting.next()
            if not len(contents):
                break
            packed = self._packed[: page_count(contents)]
            gather(self._rows, contents, packed)
            message = RamPages(pass_number, runs_to_wire(contents), packed.data.cast("B"))
            frame = self._packed_frame(message, is_noise=is_noise)
            yield frame
            sent += Sent(_size(frame), normal_pages=len(packed))
        return sent + (yield from self._send_zeros(_joined(sorting.zeros), stopped))

    def _send_copies(self, pass_number: int, runs: Runs, stopped: Callable[[], bool]) -> Sending:
        packing = _Packing(self._rows, runs, self._read, self._packed)
        sent = Sent()
        while not stopped():
            contents, packed = packing.next()
            if not len(contents):
                break
            message = RamPages(pass_number, runs_to_wire(contents), packed.data.cast("B"))
            frame = self._adapted_frame(message)
            began_ms = self._now_ms()
            yield frame
            self._adaptive.sent(_size(frame), self._now_ms() - began_ms)
            sent += Sent(_size(frame), normal_pages=len(packed))
        return sent + (yield from self._send_zeros(packing.zeros(), stopped))

    def _send_zeros(self, runs: Runs, stopped: Callable[[], bool]) -> Sending:
        zeros, sent = RunQueue(runs), Sent()
        while len(zeros) and not stopped():
            taken = zeros.take(len(zeros))
            frame = self._encoder.encode(ZeroPages(runs_to_wire(taken)))
            yield frame
            sent += Sent(_size(frame), zero_pages=page_count(taken))
        return sent

    def _packed_frame(self, message: RamPages, *, is_noise: bool) -> list[BytesLike]:
        # That something will not compress is a guess, which is checked with a part of it.
        if is_noise and not self._shrinks(message):
            return self._encoder.encode(message)
        return self._encoder.encode_packed(message)

    def _adapted_frame(self, message: RamPages) -> list[BytesLike]:
        if self._compression is Compression.ADAPTIVE and self._is_worth_it(message):
            began_ms = self._now_ms()
            frame = self._encoder.encode_packed(message)
            self._adaptive.compressed(size_bytes(message.data), self._now_ms() - began_ms)
            return frame
        return self._encoder.encode(message)

    def _shrinks(self, message: RamPages) -> bool:
        sample = memoryview(message.data)[:SAMPLE_BYTES]
        return self._encoder.packed_bytes(sample) < _SHRUNK_MAX * len(sample)

    def _is_worth_it(self, message: RamPages) -> bool:
        if not self._adaptive.wants_sample(self.limit_ms_per_byte):
            return False
        sample = memoryview(message.data)[:SAMPLE_BYTES]
        began_ms = self._now_ms()
        packed_bytes = self._encoder.packed_bytes(sample)
        self._adaptive.compressed(len(sample), self._now_ms() - began_ms)
        return self._adaptive.pays(packed_bytes / len(sample), self.limit_ms_per_byte)


class _Packing:
    """Pages on their way into frames: those with contents are packed, those of zeros noted."""

    def __init__(self, rows: Pages, runs: Runs, read: Pages, packed: Pages) -> None:
        """Take the pages of `runs` out of `rows`, by way of `read`, and pack them in `packed`."""
        self._rows = rows
        self._queue = RunQueue(runs)
        self._read = read
        self._packed = packed
        #: Pages that seem to have contents, all of them.
        self._likely = RunQueue()
        #: Pages that were seen to have contents, and are not copied yet.
        self._found = RunQueue()
        self._zeros: list[Runs] = []

    def next(self) -> tuple[Runs, Pages]:
        """Return the next pages with contents, and these; none when all are done."""
        while True:
            is_whole = len(self._found) >= FRAME_PAGES
            if is_whole or (len(self._found) and (len(self._likely) or not len(self._queue))):
                return self._pack(self._found.take(FRAME_PAGES))
            if len(self._likely):
                contents, packed = self._copy(self._likely.take(FRAME_PAGES))
                if len(contents):
                    return contents, packed
            elif len(self._queue):
                self._look_at(self._queue.take(LOOK_PAGES))
            else:
                return _NO_RUNS, self._packed[:0]

    def _look_at(self, runs: Runs) -> None:
        """Sort pages, unless they are to be looked at once they are copied."""
        if len(runs) != 1 or self._seem_filled(runs):
            self._likely = RunQueue(runs)
            return
        # Nothing is copied that turns out to be zero.
        marks = filled_marks(self._rows[runs[0, 0] : runs[0, 1]])
        contents, zeros = split(runs, marks)
        self._found = RunQueue(union(self._found.rest(), contents))
        self._zeros.append(zeros)

    def _seem_filled(self, runs: Runs) -> bool:
        """Guess from a few of the pages whether all hold contents."""
        return bool(self._rows[runs[0, 0] : runs[0, 1] : _PROBED].view(np.uint64)[:, 0].all())

    def _copy(self, runs: Runs) -> tuple[Runs, Pages]:
        """Copy pages, and look at them once they are here: what is in the cache is what is sent."""
        read = self._read[: page_count(runs)]
        gather(self._rows, runs, read)
        marks = filled_marks(read)
        if marks.all():
            return runs, read
        contents, zeros = split(runs, marks)
        self._zeros.append(zeros)
        packed = self._packed[: page_count(contents)]
        read.compress(marks, axis=0, out=packed)
        return contents, packed

    def _pack(self, contents: Runs) -> tuple[Runs, Pages]:
        packed = self._packed[: page_count(contents)]
        gather(self._rows, contents, packed)
        return contents, packed

    def zeros(self) -> Runs:
        """Return the pages that were found to be zero."""
        return _joined(self._zeros)


def _joined(runs: list[Runs]) -> Runs:
    if len(runs) == 1:
        return runs[0]
    return union(_NO_RUNS, np.concatenate(runs)) if runs else _NO_RUNS


def _size(frame: Sequence[BytesLike]) -> int:
    return sum(size_bytes(piece) for piece in frame)

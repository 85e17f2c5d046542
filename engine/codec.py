"""The stream's encoder and decoder: messages to bytes, and bytes that come in any pieces back.

What may live here: the two classes, which hold a direction's position and nothing of the
migration. Rules:

- one encoder and one decoder per direction and connection; each direction begins with the
  stream header and counts its own frames;
- neither does I/O: the encoder returns pieces for a gathering write, the decoder is fed;
- the decoder keeps less than one frame beyond what it is fed, if `next` is called until it
  returns None after each `feed`; a frame out of bounds is refused when its header is there;
- an error of the decoder is final, one of the encoder is not: nothing was sent and the sequence
  has not moved.

That a stream ends after a whole frame says nothing about whether the migration was over: that
is for the machines to judge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import zstandard

from engine.arriving_ram import ArrivingRam, arriving_ram
from engine.bodies import lend_ram_pages, live_head, read_body, summed_part, write_body
from engine.errors import MalformedMessage, StreamError, Truncated
from engine.framing import (
    FLAG_ZSTD,
    FRAME_HEADER_BYTES,
    MAGIC,
    STREAM_HEADER_BYTES,
    FrameHeader,
    check_body_bytes,
    check_frame,
    check_magic,
    check_sequence,
    check_stream_header,
    frame_header,
    read_frame_header,
    write_frame_header,
    write_stream_header,
)
from engine.messages import (
    Direction,
    LivePages,
    Message,
    RamMessage,
    RamPages,
    State,
)
from engine.pending import PendingBytes
from engine.shapes import BytesLike

#: Read beyond a message, so that the head of the next one comes with it.
AHEAD_BYTES = 8 << 10


def only_state(message: Message) -> bool:
    """Return whether `message` is worth compressing: device state is, RAM costs more time."""
    return isinstance(message, State)


@dataclass(frozen=True)
class Prepared:
    """A message on its way to be a frame: its body, as it will be on the wire."""

    #: The type of the message.
    kind: type[Message]
    #: The size of the body before compression.
    raw_bytes: int
    #: The flags of the frame.
    flags: int
    #: The body, in pieces.
    pieces: list[BytesLike]


class StreamEncoder:
    """Turns the messages of one direction into the bytes of its stream."""

    def __init__(self, compress: Callable[[Message], bool] = only_state, level: int = 1) -> None:
        """Compress the bodies of the messages `compress` picks, at zstd `level`."""
        self._compress = compress
        self._compressor = zstandard.ZstdCompressor(level=level, write_content_size=True)
        self._ram_compressor = self._compressor
        self._sequence = 0

    @property
    def sequence(self) -> int:
        """The number the next message will have; also how many have been encoded."""
        return self._sequence

    def header(self) -> bytes:
        """Return the stream header, to be written once, before anything else."""
        return write_stream_header()

    def encode(self, message: Message) -> list[BytesLike]:
        """Return the frame of `message`, in pieces to be written one after the other.

        Large fields are handed on as they are, not copied: they must not change until they
        have been written, or the other end finds the checksum wrong. A body that compression
        does not shrink goes as it is. Raises MalformedMessage for a field out of its bounds
        and FrameTooLarge for a body over that of its type; nothing has moved then.
        """
        return self.number(self.prepare(message))

    def compress_ram(self, level: int) -> None:
        """Be able to compress RAM, at zstd `level`."""
        self._ram_compressor = zstandard.ZstdCompressor(level=level, write_content_size=True)

    def packed_bytes(self, sample: BytesLike) -> int:
        """Return to how many bytes a sample of RAM compresses."""
        return len(self._ram_compressor.compress(sample))

    def encode_packed(self, message: RamPages) -> list[BytesLike]:
        """Return the same as `encode`, with RAM compressed where that makes it smaller."""
        prepared = self.prepare(message)
        # Piece by piece: joined first, RAM would be copied while nobody else may run.
        packing = self._ram_compressor.compressobj(size=prepared.raw_bytes)
        pieces: list[BytesLike] = [packing.compress(piece) for piece in prepared.pieces]
        pieces.append(packing.flush())
        if sum(len(piece) for piece in pieces) < prepared.raw_bytes:
            prepared = replace(prepared, flags=FLAG_ZSTD, pieces=pieces)
        return self.number(prepared)

    def encode_live(self, pass_number: int, runs: bytes, sums: bytes, data_bytes: int) -> BytesLike:
        """Return the frame of LivePages up to its data, which is elsewhere and so many bytes."""
        head = live_head(pass_number, runs, sums, data_bytes)
        body_bytes = len(head) + data_bytes
        check_body_bytes(LivePages, body_bytes)
        header = frame_header(LivePages, self._sequence, (body_bytes, body_bytes), [head])
        self._sequence += 1
        return header + head

    def prepare(self, message: Message) -> Prepared:
        """Do all of `encode` but give the frame its number; what raises, raises here."""
        kind = type(message)
        pieces = write_body(message)
        raw_bytes = sum(len(piece) for piece in pieces)
        check_body_bytes(kind, raw_bytes)
        flags = 0
        if self._compress(message):
            compressed = self._compressor.compress(b"".join(pieces))
            if len(compressed) < raw_bytes:
                pieces, flags = [compressed], FLAG_ZSTD
        return Prepared(kind, raw_bytes, flags, pieces)

    def number(self, prepared: Prepared) -> list[BytesLike]:
        """Return the frame of what was prepared, as the next of the stream."""
        pieces = prepared.pieces
        header = write_frame_header(
            prepared.kind, self._sequence, prepared.raw_bytes, pieces, prepared.flags
        )
        self._sequence += 1
        if len(pieces) == 1:
            return [header, pieces[0]]
        # The headers of frame and first field are small: one piece less for the write.
        return [header + pieces[0], *pieces[1:]]


class StreamDecoder:
    """Turns the bytes of one direction's stream, fed in any pieces, into its messages."""

    def __init__(self, direction: Direction, *, lends: bool = False) -> None:
        """Take only messages that the end named by `direction` sends.

        With `lends`, the fields of RamPages and LivePages are views of what is pending here: they
        hold until the decoder is used again, and are not copied.
        """
        if direction not in get_args(Direction):
            raise ValueError(f"expected one of {get_args(Direction)}, got {direction!r}")
        self._direction: Direction = direction
        self._lends = lends
        self._decompressor = zstandard.ZstdDecompressor()
        self._pending = PendingBytes()
        self._header_read = False
        self._frame: FrameHeader | None = None
        self._sequence = 0
        self._failure: StreamError | None = None

    @property
    def sequence(self) -> int:
        """The number the next message must have; also how many have been decoded."""
        return self._sequence

    @property
    def header_read(self) -> bool:
        """Whether the stream header has been read and found good."""
        return self._header_read

    @property
    def buffered_bytes(self) -> int:
        """How many bytes have been fed and not yet used."""
        return len(self._pending)

    @property
    def wanted_bytes(self) -> int:
        """How many more bytes it takes, at least, before `next` can tell anything more."""
        return max(0, self._needed_bytes() - self.buffered_bytes)

    @property
    def begins_ram(self) -> bool:
        """Whether what comes next is a message of RAM, be it all here or not."""
        try:
            self._look_ahead()
        except StreamError:
            return False  # `next` tells it
        return self._frame is not None and self._frame.kind in get_args(RamMessage)

    def room(self) -> memoryview:
        """Return a place for what comes next, a message and the head of another; see `came`."""
        return self._pending.room(self.wanted_bytes + AHEAD_BYTES)

    def came(self, size: int) -> None:
        """Take the first `size` bytes that were written to the last `room`."""
        self._pending.came(size)

    def arriving_ram(self) -> ArrivingRam | None:
        """Return the message of RAM whose head has come, but not all of it; None if that is not so.

        Whoever puts its pages in place calls `arrived` then; what has come of it is not kept here.
        """
        self._look_ahead()
        frame = self._frame
        if frame is None or self.buffered_bytes >= self._needed_bytes() or self._failure:
            return None
        return arriving_ram(frame, self._pending.view(self.buffered_bytes))

    def arrived(self, arriving: ArrivingRam) -> None:
        """Take note that all of it is in place, and hold it to its checksum and its number.

        Raises ChecksumMismatch or UnexpectedMessage: the decoder has failed then.
        """
        assert self._frame is not None
        try:
            arriving.check(self._sequence)
            check_sequence(self._frame, self._sequence)
        except StreamError as failure:
            self._failure = failure
            raise
        finally:
            self._pending.drop(self.buffered_bytes)
        self._frame = None
        self._sequence += 1

    def feed(self, data: BytesLike) -> None:
        """Take the next bytes of the stream, in whatever piece they came.

        Raises the decoder's error again, if it has failed.
        """
        self._raise_failure()
        self._pending.add(data)

    def next(self) -> tuple[int, Message] | None:
        """Return the next message and its sequence number, or None until more is fed.

        Raises the StreamError that fits; the decoder then repeats it for ever.
        """
        self._raise_failure()
        try:
            if not self._header_read and not self._read_stream_header():
                return None
            return self._read_frame()
        except StreamError as failure:
            self._failure = failure
            self._pending.clear()
            raise

    def eof(self) -> None:
        """Take note that nothing more comes, once `next` has returned None.

        Raises Truncated when the header is missing or a frame is not whole, or the decoder's
        error, if it has failed.
        """
        self._raise_failure()
        if self._header_read and not self.buffered_bytes:
            return
        self._failure = Truncated(
            expected=f"{self._needed_bytes()} bytes of {self._part()}",
            came=f"{self.buffered_bytes}",
            remedy="look at the other end for why it stopped sending",
        )
        raise self._failure

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _part(self) -> str:
        if not self._header_read:
            return "the stream header"
        return f"frame {self._sequence}" + (
            f" ({self._frame.kind.__name__})" if self._frame else ""
        )

    def _needed_bytes(self) -> int:
        if not self._header_read:
            return STREAM_HEADER_BYTES
        return FRAME_HEADER_BYTES + (self._frame.wire_bytes if self._frame else 0)

    def _read_stream_header(self) -> bool:
        check_magic(self._pending.first(len(MAGIC)))
        if self.buffered_bytes < STREAM_HEADER_BYTES:
            return False
        check_stream_header(self._pending.first(STREAM_HEADER_BYTES))
        self._header_read = True
        self._pending.drop(STREAM_HEADER_BYTES)
        return True

    def _look_ahead(self) -> None:
        """Read the header of the next frame once it is here."""
        if not self._header_read or self._frame is not None or self._failure is not None:
            return
        header = self._pending.first(FRAME_HEADER_BYTES)
        if len(header) == FRAME_HEADER_BYTES:
            self._frame = read_frame_header(header, self._direction)

    def _read_frame(self) -> tuple[int, Message] | None:
        self._look_ahead()
        frame, frame_bytes = self._frame, self._needed_bytes()
        if frame is None or self.buffered_bytes < frame_bytes:
            return None
        header = self._pending.first(FRAME_HEADER_BYTES)
        if self._lends and frame.kind in (RamPages, LivePages):
            # Not given back: what is lent stays where it is until it is overwritten.
            body = self._pending.view(frame_bytes)[FRAME_HEADER_BYTES:]
            check_frame(frame, header, _summed(frame, body), self._sequence)
            message: Message = lend_ram_pages(frame.kind, self._decompress(frame, body))
        else:
            with self._pending.view(frame_bytes) as view, view[FRAME_HEADER_BYTES:] as body:
                with _summed(frame, body) as summed:
                    check_frame(frame, header, summed, self._sequence)
                message = read_body(frame.kind, self._decompress(frame, body))
        self._pending.drop(frame_bytes)
        self._frame = None
        self._sequence += 1
        return frame.sequence, message

    def _decompress(self, frame: FrameHeader, body: memoryview) -> BytesLike:
        if not frame.compressed:
            return body
        # zstd heeds max_output_size only where its own frame does not tell the size, so that
        # is held to the announcement first: it must tell it, and tell the same.
        try:
            content_bytes = zstandard.frame_content_size(body)
            if content_bytes != frame.raw_bytes:
                raise zstandard.ZstdError(f"content size {content_bytes}")
            return self._decompressor.decompress(
                body, max_output_size=frame.raw_bytes, allow_extra_data=False
            )
        except zstandard.ZstdError as error:
            raise MalformedMessage(
                expected=f"one zstd frame that tells its size, {frame.raw_bytes} bytes",
                came=f"another body of {frame.kind.__name__} ({error})",
                remedy="use the same version of replug at both ends",
            ) from None


def _summed(frame: FrameHeader, body: memoryview) -> memoryview:
    """Return what the checksum of a frame covers of its body, as a view of its own."""
    return body[:] if frame.compressed else summed_part(frame.kind, body)[:]

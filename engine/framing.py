"""The two fixed headers of a migration stream: the one it begins with and the one of each frame.

What may live here: their layout, and the checks that need nothing but the header. Rules:

- every number is unsigned and little-endian;
- the stream header decodes alone, without knowing the version, and never changes its layout;
- whatever a frame header announces is held against the bounds of its message type before a
  single byte of the body is kept;
- the checksum of a frame covers its whole header but itself, and the body as it is on the wire,
  but for an uncompressed field that has sums of its own; it is zlib's CRC-32, by zlib-ng, which
  takes a quarter of the time: RAM goes through it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zlib_ng.zlib_ng import crc32

from engine.errors import (
    ChecksumMismatch,
    FrameTooLarge,
    MalformedMessage,
    NotAStream,
    UnexpectedMessage,
    UnsupportedVersion,
)
from engine.messages import MESSAGES, Direction, Message
from engine.shapes import BytesLike

#: What every stream begins with. The first byte is not ASCII and the last ends a line, so that
#: a link that is not 8-bit clean or that converts line ends is found out at once.
MAGIC = b"\x89REPLUG\n"
#: What QEMU's own migration stream begins with (migration/savevm.h QEMU_VM_FILE_MAGIC).
QEMU_MAGIC = b"QEVM"
#: The version of the stream this end writes, and the newest it reads.
STREAM_VERSION = 3
#: The oldest version this end reads, and the oldest reader that understands what it writes.
STREAM_VERSION_MINIMUM = 3

#: The flag of a body that is one zstd frame.
FLAG_ZSTD = 0x01

_VERSIONS = struct.Struct("<HH")
_CHECKSUM = struct.Struct("<I")
_FRAME_START = struct.Struct("<BBHII")
_SEQUENCE = struct.Struct("<Q")

#: The size of the stream header.
STREAM_HEADER_BYTES = len(MAGIC) + _VERSIONS.size + _CHECKSUM.size
#: The size of a frame header.
FRAME_HEADER_BYTES = _FRAME_START.size + _CHECKSUM.size + _SEQUENCE.size

_SEQUENCE_OFFSET = _FRAME_START.size + _CHECKSUM.size

_SAME_REPLUG = "use the same version of replug at both ends"
_START_AGAIN = "check the transport and start the migration again"


def write_stream_header() -> bytes:
    """Return the header this end begins its stream with."""
    start = MAGIC + _VERSIONS.pack(STREAM_VERSION, STREAM_VERSION_MINIMUM)
    return start + _CHECKSUM.pack(crc32(start))


def check_magic(start: bytes) -> None:
    """Raise NotAStream when `start`, the first bytes however few, is not the magic's beginning."""
    if start == MAGIC[: len(start)]:
        return
    came = f"bytes that begin with {start!r}"
    if QEMU_MAGIC.startswith(start[: len(QEMU_MAGIC)]):
        came += ", which is how QEMU's own stream begins"
    raise NotAStream(
        expected=f"the magic {MAGIC!r}",
        came=came,
        remedy="point a replug source at this address, and nothing else",
    )


def check_stream_header(header: bytes) -> None:
    """Check the STREAM_HEADER_BYTES a stream begins with.

    Raises NotAStream, ChecksumMismatch, or UnsupportedVersion when the two ends' ranges of
    versions do not meet.
    """
    check_magic(header[: len(MAGIC)])
    start, checksum = header[: -_CHECKSUM.size], header[-_CHECKSUM.size :]
    _check_checksum(crc32(start), _CHECKSUM.unpack(checksum)[0], "the stream header")
    version, minimum = _VERSIONS.unpack_from(header, len(MAGIC))
    if not minimum <= version:
        raise MalformedMessage(
            expected="a minimum version up to the version",
            came=f"version {version} with minimum {minimum}",
            remedy=_SAME_REPLUG,
        )
    if minimum > STREAM_VERSION or version < STREAM_VERSION_MINIMUM:
        raise UnsupportedVersion(
            expected=f"versions {STREAM_VERSION_MINIMUM} to {STREAM_VERSION}",
            came=f"version {version} for readers of {minimum} or later",
            remedy=_SAME_REPLUG,
        )


@dataclass(frozen=True)
class FrameHeader:
    """A frame header whose announcements are within bounds; its checksum is still to be held."""

    #: The type of the message.
    kind: type[Message]
    #: Whether the body is one zstd frame.
    compressed: bool
    #: The size of the body on the wire.
    wire_bytes: int
    #: The size of the body once decompressed.
    raw_bytes: int
    #: The checksum of the header and the body.
    checksum: int
    #: The number of this frame in its direction, from 0.
    sequence: int


def write_frame_header(
    kind: type[Message], sequence: int, raw_bytes: int, body: Sequence[BytesLike], flags: int
) -> bytes:
    """Return the header of the frame whose body on the wire is the pieces of `body`.

    A field that the checksum leaves out is the last of them.
    """
    wire_bytes = sum(len(piece) for piece in body)
    summed = body[:-1] if kind.has_sums and not flags & FLAG_ZSTD else body
    return frame_header(kind, sequence, (wire_bytes, raw_bytes), summed, flags)


def frame_header(
    kind: type[Message],
    sequence: int,
    sizes: tuple[int, int],
    summed: Sequence[BytesLike],
    flags: int = 0,
) -> bytes:
    """Return the header of a frame, given the sizes of its body, on the wire and raw, in bytes.

    `summed` are the pieces of the body that its checksum covers.
    """
    wire_bytes, raw_bytes = sizes
    start = _FRAME_START.pack(kind.code, flags, kind.version, wire_bytes, raw_bytes)
    end = _SEQUENCE.pack(sequence)
    return start + _CHECKSUM.pack(frame_checksum(start, end, summed)) + end


def frame_checksum(start: BytesLike, end: BytesLike, body: Iterable[BytesLike]) -> int:
    """Return the CRC-32 of a frame: its header before and after the checksum, then the body."""
    checksum = crc32(end, crc32(start))
    for piece in body:
        checksum = crc32(piece, checksum)
    return checksum


def read_frame_header(header: bytes, direction: Direction) -> FrameHeader:
    """Read the FRAME_HEADER_BYTES of a frame that comes from the end `direction` names.

    Raises UnexpectedMessage for an unknown type or one this end does not send, FrameTooLarge
    for more than the type may have, UnsupportedVersion for other fields than those known here,
    MalformedMessage for anything else the format does not have.
    """
    code, flags, version, wire_bytes, raw_bytes = _FRAME_START.unpack_from(header)
    (checksum,) = _CHECKSUM.unpack_from(header, _FRAME_START.size)
    (sequence,) = _SEQUENCE.unpack_from(header, _SEQUENCE_OFFSET)
    kind = MESSAGES.get(code)
    if kind is None or direction not in kind.senders:
        raise UnexpectedMessage(
            expected=f"a message that comes {direction.replace('_', ' the ')}",
            came=f"type 0x{code:02x}" + (f" ({kind.__name__})" if kind else ", which is unknown"),
            remedy=_SAME_REPLUG,
        )
    if version != kind.version:
        raise UnsupportedVersion(
            expected=f"version {kind.version} of {kind.__name__}",
            came=f"version {version}",
            remedy=_SAME_REPLUG,
        )
    if flags & ~FLAG_ZSTD:
        raise MalformedMessage(
            expected="flags 0x00 or 0x01",
            came=f"0x{flags:02x} in {kind.__name__}",
            remedy=_SAME_REPLUG,
        )
    check_body_bytes(kind, max(wire_bytes, raw_bytes))
    compressed = bool(flags & FLAG_ZSTD)
    if not wire_bytes or (wire_bytes >= raw_bytes if compressed else wire_bytes != raw_bytes):
        raise MalformedMessage(
            expected="a body that is " + ("smaller compressed" if compressed else "as it is"),
            came=f"{wire_bytes} bytes for {raw_bytes} in {kind.__name__}",
            remedy=_SAME_REPLUG,
        )
    return FrameHeader(kind, compressed, wire_bytes, raw_bytes, checksum, sequence)


def parts_of_header(header: BytesLike) -> tuple[BytesLike, BytesLike]:
    """Return what the checksum covers of a frame header: before and after the checksum."""
    return header[: _FRAME_START.size], header[_SEQUENCE_OFFSET:FRAME_HEADER_BYTES]


def check_frame(frame: FrameHeader, header: BytesLike, summed: BytesLike, sequence: int) -> None:
    """Hold a whole frame to its checksum, then to `sequence`, the number it should have.

    `summed` is what the checksum covers of the body.

    Raises ChecksumMismatch or UnexpectedMessage.
    """
    start, end = parts_of_header(header)
    check_checksum(frame_checksum(start, end, (summed,)), frame, sequence)
    check_sequence(frame, sequence)


def check_checksum(came: int, frame: FrameHeader, sequence: int) -> None:
    """Raise ChecksumMismatch unless what came of a frame has the checksum of its header."""
    _check_checksum(came, frame.checksum, f"frame {sequence} ({frame.kind.__name__})")


def check_sequence(frame: FrameHeader, sequence: int) -> None:
    """Raise UnexpectedMessage unless a frame has the number it should have."""
    if frame.sequence != sequence:
        raise UnexpectedMessage(
            expected=f"frame {sequence}",
            came=f"frame {frame.sequence} ({frame.kind.__name__})",
            remedy="see that nothing between the ends drops, repeats or mixes streams",
        )


def check_body_bytes(kind: type[Message], body_bytes: int) -> None:
    """Raise FrameTooLarge when a message of type `kind` may not have `body_bytes` of body."""
    if body_bytes > kind.body_bytes_max:
        raise FrameTooLarge(
            expected=f"at most {kind.body_bytes_max} bytes in {kind.__name__}",
            came=f"{body_bytes} bytes",
            remedy="send less in one message",
        )


def _check_checksum(came: int, expected: int, what: str) -> None:
    if came != expected:
        raise ChecksumMismatch(
            expected=f"{what} with checksum 0x{expected:08x}",
            came=f"0x{came:08x}",
            remedy=_START_AGAIN,
        )

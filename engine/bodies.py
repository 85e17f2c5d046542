"""Message bodies: a message to msgpack and back, within bounds both ways.

What may live here: msgpack and its limits. Rules:

- a body is one msgpack array of the message's fields in order (engine.messages);
- msgpack itself is bounded by what the body could hold, and the values it makes are counted as
  it makes them, so that a small body cannot grow into a large heap;
- extension types, and a map that names a key twice, are refused: two ends could read them
  differently.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import msgpack

from engine.errors import MalformedMessage
from engine.message_shape import PAGE_SUM_BYTES, RUN_BYTES, RUNS_MAX
from engine.messages import MESSAGES, LivePages, Message, RamPages
from engine.shapes import U32_MAX, BytesLike, Mismatch, RecordOf, size_bytes

#: Bytes in one field from this size on are handed on as they are, not copied into the body.
GATHER_BYTES_MIN = 64 << 10

#: The most values in one message, every list and map counted once more for itself.
VALUES_MAX = 1 << 20
#: The most items in one list or map.
ITEMS_MAX = 16_384

# msgpack's bin 32, for what is not copied into the body; as a rule that has at least 2^16 bytes.
_BIN_32 = struct.Struct(">BI")
_BIN_32_TAG = 0xC6

#: msgpack's tags of bin 8, 16 and 32, and how each writes its length.
_BIN_LENGTHS = {0xC4: struct.Struct(">B"), 0xC5: struct.Struct(">H"), 0xC6: struct.Struct(">I")}
_ARRAYS = {RamPages: b"\x93", LivePages: b"\x94"}
#: A u32 and its tag.
_PASS_BYTES_MAX = 5

_SAME_REPLUG = "use the same version of replug at both ends"

_RECORDS = {kind: RecordOf(kind) for kind in MESSAGES.values()}
for _record in _RECORDS.values():
    # Five milliseconds in all, which else pass between two messages: while a guest stands still.
    _ = _record.shapes


def write_body(message: Message) -> list[BytesLike]:
    """Return the body of `message`, in pieces to be written one after the other.

    Fields of at least GATHER_BYTES_MIN bytes are pieces of their own and are not copied, as is the
    last one of a message that has sums for it. Raises MalformedMessage when a field is out of its
    bounds.
    """
    try:
        values = _RECORDS[type(message)].write(message)
        message.check()
    except Mismatch as mismatch:
        raise malformed(type(message), mismatch, "correct what is sent") from None
    packer = msgpack.Packer()
    pieces: list[BytesLike] = []
    head = bytearray(packer.pack_array_header(len(values)))
    for place, value in enumerate(values, start=1):
        bytes_min = 0 if message.has_sums and place == len(values) else GATHER_BYTES_MIN
        if isinstance(value, bytes | bytearray | memoryview) and size_bytes(value) >= bytes_min:
            head += _BIN_32.pack(_BIN_32_TAG, size_bytes(value))
            pieces += [head, value]
            head = bytearray()
        else:
            head += packer.pack(value)
    return [*pieces, head] if head else pieces


def live_head(pass_number: int, runs: bytes, sums: bytes, data_bytes: int) -> bytes:
    """Return the body of LivePages up to its data, which is elsewhere and so many bytes.

    The fields are not checked: they are the caller's own.
    """
    packer = msgpack.Packer()
    fields = [packer.pack(field) for field in (pass_number, runs, sums)]
    return b"".join([_ARRAYS[LivePages], *fields, _BIN_32.pack(_BIN_32_TAG, data_bytes)])


def read_body(kind: type[Message], body: BytesLike) -> Message:
    """Return the message of type `kind` whose body is `body`; raises MalformedMessage."""
    try:
        values = _unpack(body)
        message = cast(Message, _RECORDS[kind].read(values))
        message.check()
    except Mismatch as mismatch:
        raise malformed(kind, mismatch, _SAME_REPLUG) from None
    return message


@dataclass(frozen=True)
class RamHead:
    """What comes before the pages in the body of RamPages or LivePages."""

    #: The runs.
    runs: memoryview
    #: The sums of LivePages.
    sums: memoryview | None
    #: Where the pages begin in the body.
    data_start: int
    #: How many bytes they have.
    data_bytes: int


def read_ram_head(kind: type[Message], body: memoryview) -> RamHead | None:
    """Return the head of RamPages or LivePages out of the first bytes of its body.

    None when it is not all here, or not what such a head must be: then the whole body has to come
    before it can be said what is wrong with it.
    """
    try:
        if body[:1] != _ARRAYS[kind]:
            return None
        pass_number, start = _pass_number(body)
        runs, start = _octets(body, start)
        sums = None
        if kind is LivePages:
            sums, start = _octets(body, start)
        data_bytes, start = _length(body, start)
        # Its other bounds are those of the frame, which have been held.
        if not isinstance(pass_number, int) or not 0 <= pass_number <= U32_MAX or not data_bytes:
            return None
        if not 0 < len(runs) <= RUNS_MAX * RUN_BYTES or len(runs) % RUN_BYTES:
            return None
        if sums is not None and (not sums or len(sums) % PAGE_SUM_BYTES):
            return None
    except Mismatch:
        return None
    return RamHead(runs, sums, start, data_bytes)


def summed_part(kind: type[Message], body: memoryview) -> memoryview:
    """Return what the checksum of a frame covers of its body, uncompressed.

    Where that cannot be told something is wrong with it: then it is all of it.
    """
    head = read_ram_head(kind, body) if kind.has_sums else None
    return body if head is None else body[: head.data_start]


def lend_ram_pages(kind: type[Message], body: BytesLike) -> RamPages | LivePages:
    """Return the same as `read_body`, its fields views of `body`: RAM is not copied here."""
    view = memoryview(body)
    octets = 3 if kind is LivePages else 2
    try:
        if view[:1] != _ARRAYS[kind]:
            raise Mismatch(f"an array of {1 + octets} fields", "another")
        pass_number, start = _pass_number(view)
        fields = [pass_number]
        for _ in range(octets):
            field, start = _octets(view, start)
            fields.append(field)
        if start != len(view):
            raise Mismatch(f"{1 + octets} fields", "more after them")
        message = cast(RamPages | LivePages, _RECORDS[kind].read(fields))
        message.check()
    except Mismatch as mismatch:
        raise malformed(kind, mismatch, _SAME_REPLUG) from None
    return message


def _pass_number(view: memoryview) -> tuple[Any, int]:
    """Read the first field, and say where the second begins."""
    unpacker = msgpack.Unpacker(max_buffer_size=_PASS_BYTES_MAX, strict_map_key=True)
    unpacker.feed(view[1 : 1 + _PASS_BYTES_MAX])
    try:
        value = unpacker.unpack()
    except (ValueError, msgpack.UnpackException):
        raise Mismatch("a pass number", "something else") from None
    return value, 1 + unpacker.tell()


def _octets(view: memoryview, start: int) -> tuple[memoryview, int]:
    """Return bytes that are packed at `start`, and where what follows begins."""
    count, start = _length(view, start)
    if count > len(view) - start:
        raise Mismatch(f"{count} bytes", f"{len(view) - start}")
    return view[start : start + count], start + count


def _length(view: memoryview, start: int) -> tuple[int, int]:
    """Return how many bytes are packed at `start`, and where they begin."""
    length = _BIN_LENGTHS.get(view[start] if start < len(view) else -1)
    if length is None or start + 1 + length.size > len(view):
        raise Mismatch("bytes", "something else")
    start += 1 + length.size
    (count,) = length.unpack_from(view, start - length.size)
    return count, start


def malformed(kind: type[Message], mismatch: Mismatch, remedy: str) -> MalformedMessage:
    """Return the error that tells where in a message of type `kind` the mismatch is."""
    return MalformedMessage(
        expected=mismatch.expected,
        came=f"{mismatch.came} as {kind.__name__}{mismatch.path}",
        remedy=remedy,
    )


def _unpack(body: BytesLike) -> Any:
    budget = _Budget(VALUES_MAX)
    length_max = size_bytes(body)
    try:
        return msgpack.unpackb(
            body,
            strict_map_key=True,
            list_hook=budget.take_list,
            object_pairs_hook=budget.take_map,
            ext_hook=_refuse_extension,
            max_str_len=length_max,
            max_bin_len=length_max,
            max_array_len=min(ITEMS_MAX, length_max),
            max_map_len=min(ITEMS_MAX, length_max),
            max_ext_len=0,
        )
    except Mismatch:
        raise
    # msgpack has no one base class: what it finds wrong is a ValueError or an UnpackException.
    except (ValueError, msgpack.UnpackException) as error:
        detail = str(error) or type(error).__name__
        raise Mismatch("one bounded msgpack array", f"bytes msgpack refuses ({detail})") from None


class _Budget:
    """Counts the values of one body while msgpack builds them."""

    def __init__(self, values_max: int) -> None:
        self._left = values_max

    def take_list(self, items: list[Any]) -> list[Any]:
        self._take(1 + len(items))
        return items

    def take_map(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._take(1 + 2 * len(pairs))
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise Mismatch("a map with every key once", "a key twice")
        return entries

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise Mismatch(f"at most {VALUES_MAX} values", "more")


def _refuse_extension(code: int, _data: bytes) -> NoReturn:
    raise Mismatch("plain msgpack", f"extension type {code}")

"""Message bodies: what is refused in them, whoever packed or compressed it."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import msgpack
import pytest
import zstandard

from engine.codec import StreamEncoder
from engine.errors import (
    FrameTooLarge,
    MalformedMessage,
)
from engine.messages import Commit, DeviceEntry, End, Message, PairEntry, State, ZeroPages
from tests.unit.engine.documented_frames import (
    HELLO,
    decode,
    frame,
    packed,
    runs,
)

# --- bodies --------------------------------------------------------------------------------

DEEP = b"\x91" * 600 + b"\x90"


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (0x04, b"\x92\x01"),  # an item is missing
        (0x04, b"\x92\x01\x02\x03"),  # something follows
        (0x04, b"\xdd\xff\xff\xff\xff"),  # an array of 2^32 - 1 items in five bytes
        (0x04, b"\xdf\xff\xff\xff\xff"),  # such a map
        (0x08, b"\x91\xdb\xff\xff\xff\xff"),  # such a text
        (0x08, b"\x91\xc6\xff\xff\xff\xff"),  # such bytes
        (0x08, b"\x91\xa1\xff"),  # text that is not UTF-8
        (0x04, b"\xc1"),  # the byte msgpack never uses
        (0x04, b"\x92\x01\xd6\xff\x00\x00\x00\x00"),  # a timestamp
        (0x04, b"\x92\x01\xc7\x00\x05"),  # an empty extension
        (0x05, b"\x93\x91\xc7\x00\x05\x80\x80"),  # one where state may hold anything plain
        (0x05, b"\x93\x90\x80\x82\xa1a\x01\xa1a\x02"),  # a key twice
        (0x05, b"\x93\x90\x80\x81\x01\x02"),  # a key that is a number
        (0x05, b"\x93\x90\x80\x81\xc4\x01a\x02"),  # a key that is bytes
        (0x05, b"\x93" + DEEP + b"\x80\x80"),  # deeper than state may be
        (0x05, DEEP * 3),  # three values
        (0x05, b"\x93\x90\x80\x81\xa1a\xcb" + bytes(8)),  # a real number
    ],
)
def test_a_body_that_is_not_what_it_should_be_is_refused(code: int, body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(frame(code, body))


@pytest.mark.parametrize(
    ("code", "fields", "where"),
    [
        (0x04, [1], "PassEnd"),
        (0x04, [1, 2, 3], "PassEnd"),
        (0x04, {"pass_number": 1}, "PassEnd"),
        (0x04, [True, 2], "PassEnd.pass_number"),
        (0x04, [1, -1], "PassEnd.dirty_pages"),
        (0x04, [2**32, 1], "PassEnd.pass_number"),
        (0x04, [1, "2"], "PassEnd.dirty_pages"),
        (0x06, [1, 1, b"short"], "End.digest"),
        (0x08, ["x" * 20_000], "Abort.reason"),
        (0x08, [b"bytes"], "Abort.reason"),
        (0x02, [1, b"123456789012345", bytes(4096)], "RamPages.runs"),
        (0x02, [1, bytes(4001 * 16), bytes(4096)], "RamPages.runs"),
        (0x02, [1, runs((0, 1)) + bytes(8), bytes(4096)], "RamPages"),
        (0x02, [1, runs((0, 1), (5, 0)), bytes(4096)], "RamPages"),
        (0x02, [1, runs((0, 2)), bytes(4096 + 512)], "RamPages"),
        (0x02, [1, runs((0, 1), (2, 1)), bytes(8191)], "RamPages"),
        (0x02, [1, runs((0, 2)), bytes(8193)], "RamPages"),
        (0x02, [1, runs((0, 2**64 - 1)), bytes(4096)], "RamPages"),
        (0x02, [1, runs((0, 1)), ""], "RamPages.data"),
        (0x03, [bytes(17)], "ZeroPages"),
        (0x03, [runs((7, 0))], "ZeroPages"),
        (0x03, [b""], "ZeroPages.runs"),
        (0x09, [bytes(15), 1], "ChannelHello.migration"),
        (0x09, [bytes(16), 0], "ChannelHello.channel"),
        (0x09, [bytes(16), 256], "ChannelHello.channel"),
        (0x05, [{}, {}], "State"),
        (0x05, [[], []], "State"),
        (0x05, [["x" * 70_000], {}], "State.sections"),
        (0x05, [[[0] * 16_385], {}], ""),
    ],
)
def test_a_field_out_of_its_bounds_is_refused_and_named(code: int, fields: Any, where: str) -> None:
    with pytest.raises(MalformedMessage, match=f"as {where}|msgpack refuses"):
        decode(packed(code, fields))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"page_bytes": 4095}, "a page size"),
        ({"migration": bytes(17)}, "Hello.migration"),
        ({"channels": 256}, "Hello.channels"),
        ({"page_bytes": 256}, "Hello.page_bytes"),
        ({"ram_bytes": 4097}, "whole pages"),
        ({"protocol": 65536}, "Hello.protocol"),
        ({"name": "\ud800"}, "surrogate"),
        ({"name": "ä" * 128}, "Hello.name"),
        ({"features": {"net1": 2**64}}, r"Hello.features\['net1'\]"),
        ({"features": {"x" * 256: 1}}, "Hello.features key"),
        ({"capabilities": ["x"] * 257}, "Hello.capabilities"),
        ({"pairs": [{"standby": "net1"}]}, r"Hello.pairs\[0\]"),
        ({"pairs": [PairEntry("a", "b", "x" * 18)]}, r"Hello.pairs\[0\].mac"),
        ({"devices": [DeviceEntry("a", "b", "c", "d", {"e": 0.5})]}, r"devices\[0\].properties"),
    ],
)
def test_the_encoder_refuses_what_the_decoder_would(change: dict[str, Any], where: str) -> None:
    encoder = StreamEncoder()
    with pytest.raises(MalformedMessage, match=where):
        encoder.encode(dataclasses.replace(HELLO, **change))
    assert encoder.sequence == 0
    assert b"".join(encoder.encode(Commit())) == packed(0x07, [])


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (ZeroPages(memoryview(bytes(64))[::2]), "contiguous"),
        (ZeroPages(memoryview(b"")), "16 to"),
        (End(1, memoryview(b"number"), None), "an integer"),  # type: ignore[arg-type]
        (State([2**64], {}), "64 bits"),
        (State([-(2**63) - 1], {}), "64 bits"),
        (State([[0] * 16_385], {}), "16384 items"),
        (State([{1: 2}], {}), "text as the key"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_encoder_refuses_what_only_python_can_hold(message: Message, expected: str) -> None:
    with pytest.raises(MalformedMessage, match=expected):
        StreamEncoder().encode(message)


def test_the_encoder_refuses_a_body_over_its_bound() -> None:
    devices = [DeviceEntry(f"d{n}", "x" * 200, "b", "", {}) for n in range(1000)]
    encoder = StreamEncoder()
    with pytest.raises(FrameTooLarge, match="65536 bytes in Hello"):
        encoder.encode(dataclasses.replace(HELLO, devices=devices))
    assert encoder.sequence == 0


def test_the_most_state_there_may_be_is_read_again() -> None:
    # 200,000 values: the list itself, 13 lists and what they hold.
    items = [[0] * 16_384 for _ in range(12)] + [[0] * (200_000 - 1 - 13 - 12 * 16_384)]
    most = State(items, {})
    assert decode(b"".join(StreamEncoder().encode(most))) == [most]
    items[-1].append(0)
    with pytest.raises(MalformedMessage, match="200000 values"):
        StreamEncoder().encode(State(items, {}))


def test_a_small_frame_cannot_become_a_large_heap() -> None:
    # Sixteen million empty lists would fit in the bound of the body, and in a gigabyte.
    body = b"\x92\xdc\x03\xe8" + (b"\xdc\x3f\xff" + b"\x90" * 16_383) * 1000 + b"\x80"
    assert len(body) <= 16 << 20
    compressed = zstandard.compress(body)
    with pytest.raises(MalformedMessage, match="1048576 values"):
        decode(frame(0x05, compressed, flags=1, raw_bytes=len(body)))


# --- compression ---------------------------------------------------------------------------

RAW = msgpack.packb([["a" * 1000], {}])
ONE = zstandard.compress(RAW)
SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"skip"


@pytest.mark.parametrize(
    "body",
    [
        RAW[:100],
        ONE[:-1],
        ONE + b"\0",
        ONE + ONE,
        SKIPPABLE + ONE,
        zstandard.compress(RAW + b"\0"),
        zstandard.compress(bytes(1 << 30)),
        zstandard.ZstdCompressor(write_content_size=False).compress(RAW),
    ],
    ids=["no-zstd", "short", "more", "two", "skippable", "longer", "bomb", "no-size"],
)
def test_a_compressed_body_that_is_not_one_frame_of_its_size_is_refused(body: bytes) -> None:
    # A size is announced that the header alone does not give the lie to.
    raw_bytes = max(len(RAW), len(body) + 1)
    with pytest.raises(MalformedMessage, match="one zstd frame"):
        decode(frame(0x05, body, flags=1, raw_bytes=raw_bytes))


def test_a_compressed_body_is_read() -> None:
    assert decode(frame(0x05, ONE, flags=1, raw_bytes=len(RAW))) == [State(["a" * 1000], {})]

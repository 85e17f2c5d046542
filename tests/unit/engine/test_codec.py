"""The stream and its frames: their exact bytes, and every error with what leads to it."""

from __future__ import annotations

import struct

import pytest

from engine.codec import StreamDecoder, StreamEncoder
from engine.errors import (
    ChecksumMismatch,
    EngineError,
    FrameTooLarge,
    MalformedMessage,
    NotAStream,
    StreamError,
    Truncated,
    UnexpectedMessage,
    UnsupportedVersion,
)
from engine.messages import (
    MESSAGES,
    Abort,
    Accept,
    Commit,
    Direction,
    End,
    Heartbeat,
    LivePages,
    Loaded,
    Message,
    PassEnd,
    RamPages,
    Refuse,
    State,
    ZeroPages,
)
from tests.unit.engine.documented_frames import (
    HELLO,
    MAGIC,
    STATE,
    decode,
    frame,
    packed,
    runs,
    stream_header,
)


def crc32_by_the_book(data: bytes) -> int:
    """CRC-32 as ISO 3309 has it, bit by bit, without zlib."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_the_golden_stream_header() -> None:
    golden = bytes.fromhex("89 52 45 50 4c 55 47 0a  03 00  03 00")
    golden += crc32_by_the_book(golden).to_bytes(4, "little")
    assert StreamEncoder().header() == golden
    assert len(golden) == 16


def test_the_golden_commit_frame() -> None:
    start = bytes.fromhex("07  00  01 00  01 00 00 00  01 00 00 00")
    end = bytes.fromhex("00 00 00 00 00 00 00 00")
    body = bytes.fromhex("90")
    checksum = crc32_by_the_book(start + end + body).to_bytes(4, "little")
    golden = start + checksum + end + body
    encoder = StreamEncoder()
    assert b"".join(encoder.encode(Commit())) == golden
    assert len(golden) == 24 + 1
    assert decode(golden) == [Commit()]


def test_the_hand_made_frames_are_what_the_encoder_makes() -> None:
    encoder = StreamEncoder(compress=lambda _message: False)
    first = b"".join(encoder.encode(PassEnd(3, 17)))
    second = b"".join(encoder.encode(End(3, 1 << 20, None)))
    assert first == packed(0x04, [3, 17])
    assert second == packed(0x06, [3, 1 << 20, None], sequence=1)
    assert encoder.sequence == 2


@pytest.mark.parametrize("message", [HELLO, STATE, Abort("because"), Heartbeat(5)], ids=repr)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(b"".join(StreamEncoder().encode(message))) == [message]


def test_state_is_compressed_and_ram_is_not() -> None:
    encoder = StreamEncoder()
    ram = RamPages(0, runs((0, 1)), bytes(4096))
    assert b"".join(encoder.encode(STATE))[1] == 1
    assert b"".join(encoder.encode(ram))[1] == 0
    everything = StreamEncoder(compress=lambda _message: True)
    assert len(b"".join(everything.encode(ram))) < 200


def test_a_body_that_compression_does_not_shrink_goes_as_it_is() -> None:
    everything = StreamEncoder(compress=lambda _message: True)
    assert b"".join(everything.encode(Commit()))[1] == 0


def test_large_data_is_handed_on_uncopied() -> None:
    guest_ram = bytearray(range(256)) * 4096
    data = memoryview(guest_ram)
    pieces = StreamEncoder().encode(RamPages(1, runs((0, 256)), data))
    last = pieces[-1]
    assert isinstance(last, memoryview)
    assert last.obj is guest_ram
    assert decode(b"".join(pieces)) == [RamPages(1, runs((0, 256)), data)]


def test_runs_may_be_a_view_of_u64() -> None:
    view = memoryview(runs((7, 9))).cast("Q")
    pieces = StreamEncoder().encode(ZeroPages(view))
    assert decode(b"".join(pieces)) == [ZeroPages(runs((7, 9)))]


def test_every_message_says_who_sends_it_and_has_a_code_of_its_own() -> None:
    assert all(kind.code == code for code, kind in MESSAGES.items())
    assert {kind.__name__ for kind in MESSAGES.values()} == {
        *("Hello", "RamPages", "ZeroPages", "PassEnd", "State", "End", "Commit", "Abort"),
        *("ChannelHello", "ChannelSync", "RamShared", "LivePages"),
        *("Accept", "Refuse", "Loaded", "Running", "LoadFailed", "Heartbeat"),
    }


# --- the stream header ---------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP", MAGIC[:6] + b"g\n", b"QEVM\0\0\0\3"])
def test_another_magic_is_refused_at_its_first_wrong_byte(start: bytes) -> None:
    decoder = StreamDecoder("from_source")
    decoder.feed(start)
    with pytest.raises(NotAStream, match=r"^Not a migration stream") as caught:
        decoder.next()
    assert ("QEMU" in caught.value.came) == start.startswith(b"QEVM")


@pytest.mark.parametrize(("version", "minimum"), [(4, 4), (2, 2), (9, 4)])
def test_a_version_outside_is_refused_and_both_are_named(version: int, minimum: int) -> None:
    decoder = StreamDecoder("from_source")
    decoder.feed(stream_header(version, minimum))
    with pytest.raises(UnsupportedVersion) as caught:
        decoder.next()
    assert f"version {version} " in caught.value.came
    assert "versions 3 to 3" in caught.value.expected


def test_a_newer_stream_that_old_readers_understand_is_read() -> None:
    decoder = StreamDecoder("from_source")
    decoder.feed(stream_header(version=3, minimum=1) + packed(0x07, []))
    assert decoder.next() == (0, Commit())


def test_a_minimum_above_the_version_is_malformed() -> None:
    decoder = StreamDecoder("from_source")
    decoder.feed(stream_header(version=2, minimum=3))
    with pytest.raises(MalformedMessage):
        decoder.next()


def test_a_corrupted_stream_header_is_found() -> None:
    header = bytearray(stream_header())
    header[8] ^= 2
    decoder = StreamDecoder("from_source")
    decoder.feed(header)
    with pytest.raises(ChecksumMismatch, match="stream header"):
        decoder.next()


# --- the frame header ----------------------------------------------------------------------


def test_a_corrupted_body_is_found() -> None:
    with pytest.raises(ChecksumMismatch, match="PassEnd"):
        decode(packed(0x04, [3, 17])[:-1] + b"\x12")


@pytest.mark.parametrize(
    ("code", "direction"),
    [(0x00, "from_source"), (0x40, "from_source"), (0x41, "from_source"), (0x07, "from_target")],
)
def test_an_unknown_message_and_one_of_the_other_end_are_refused(
    code: int, direction: Direction
) -> None:
    with pytest.raises(UnexpectedMessage, match=f"0x{code:02x}"):
        decode(packed(code, []), direction=direction)


def test_a_heartbeat_may_come_from_both() -> None:
    both: tuple[Direction, Direction] = ("from_source", "from_target")
    for direction in both:
        assert decode(packed(0x7E, [5]), direction=direction) == [Heartbeat(5)]


@pytest.mark.parametrize("sequences", [[1], [0, 2], [0, 0], [2**64 - 1]])
def test_a_gap_or_a_repetition_in_the_sequence_is_refused(sequences: list[int]) -> None:
    frames = [packed(0x7E, [5], sequence=sequence) for sequence in sequences]
    with pytest.raises(UnexpectedMessage, match=f"got frame {sequences[-1]}"):
        decode(*frames)


def test_another_version_of_a_message_is_refused_and_both_are_named() -> None:
    with pytest.raises(UnsupportedVersion, match=r"version 1 of Commit, got version 2"):
        decode(packed(0x07, [], version=2))


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="flags"):
        decode(packed(0x07, [], flags=2))


@pytest.mark.parametrize(
    ("body", "flags", "raw_bytes"), [(b"", 0, 0), (b"\x90", 0, 2), (b"\x90", 1, 1), (b"", 1, 9)]
)
def test_sizes_that_contradict_each_other_are_refused(
    body: bytes, flags: int, raw_bytes: int
) -> None:
    with pytest.raises(MalformedMessage, match="in Commit"):
        decode(frame(0x07, body, flags=flags, raw_bytes=raw_bytes))


def _header(kind: type[Message], flags: int, wire_bytes: int, raw_bytes: int) -> bytes:
    return struct.pack("<BBHIIIQ", kind.code, flags, kind.version, wire_bytes, raw_bytes, 0, 0)


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=lambda kind: kind.__name__)
def test_a_body_over_its_bound_is_refused_when_the_header_is_there(kind: type[Message]) -> None:
    direction: Direction = min(kind.senders)
    for wire_bytes, raw_bytes, flags in (
        (kind.body_bytes_max + 1, kind.body_bytes_max + 1, 0),
        (2**32 - 1, 2**32 - 1, 0),
        (10, kind.body_bytes_max + 1, 1),
    ):
        decoder = StreamDecoder(direction)
        decoder.feed(stream_header())
        decoder.feed(_header(kind, flags, wire_bytes, raw_bytes))
        with pytest.raises(FrameTooLarge, match=kind.__name__):
            decoder.next()
        assert decoder.buffered_bytes == 0


def test_the_bounds_are_the_documented_ones() -> None:
    large = {kind: kind.body_bytes_max for kind in MESSAGES.values() if kind.body_bytes_max > 65536}
    assert large == {RamPages: 4 << 20, LivePages: 4 << 20, State: 16 << 20}


# --- the end, and after an error -----------------------------------------------------------


def test_a_stream_may_end_after_a_whole_frame() -> None:
    assert decode() == []
    assert decode(packed(0x07, [])) == [Commit()]


@pytest.mark.parametrize(
    ("received", "part"),
    [
        (b"", "16 bytes of the stream header"),
        (stream_header()[:15], "16 bytes of the stream header"),
        (stream_header() + packed(0x07, [])[:23], "24 bytes of frame 0"),
        (stream_header() + packed(0x07, [])[:24], r"25 bytes of frame 0 \(Commit\)"),
    ],
)
def test_an_end_anywhere_else_is_told(received: bytes, part: str) -> None:
    decoder = StreamDecoder("from_source")
    decoder.feed(received)
    assert decoder.next() is None
    assert decoder.wanted_bytes > 0
    with pytest.raises(Truncated, match=part):
        decoder.eof()
    with pytest.raises(Truncated):
        decoder.feed(b"more")


def test_wanted_bytes_says_what_the_next_step_takes() -> None:
    decoder = StreamDecoder("from_source")
    assert decoder.wanted_bytes == 16
    decoder.feed(stream_header())
    assert decoder.next() is None
    assert (decoder.header_read, decoder.wanted_bytes) == (True, 24)
    decoder.feed(packed(0x08, ["x" * 31])[:30])
    assert decoder.next() is None
    assert (decoder.buffered_bytes, decoder.wanted_bytes) == (30, 24 + 33 - 30)


def test_an_error_is_final() -> None:
    decoder = StreamDecoder("from_target")
    decoder.feed(stream_header() + packed(0x41, []) + packed(0x42, [5], sequence=1))
    assert decoder.next() == (0, Accept())
    with pytest.raises(MalformedMessage) as caught:
        decoder.next()
    for again in (decoder.next, decoder.eof, lambda: decoder.feed(packed(0x42, ["no"]))):
        with pytest.raises(MalformedMessage) as repeated:
            again()
        assert repeated.value is caught.value
    assert (decoder.sequence, decoder.buffered_bytes) == (1, 0)


def test_a_direction_must_be_one_of_the_two() -> None:
    with pytest.raises(ValueError, match="from_target"):
        StreamDecoder("sideways")  # type: ignore[arg-type]


def test_the_digest_may_be_missing() -> None:
    frames = packed(0x43, [None]) + packed(0x43, [bytes(32)], sequence=1)
    assert decode(frames, direction="from_target") == [Loaded(None), Loaded(bytes(32))]


def test_every_stream_error_says_what_was_expected_what_came_and_what_to_do() -> None:
    kinds = StreamError.__subclasses__()
    assert len(kinds) == 7
    for kind in kinds:
        error = kind(expected="this", came="that", remedy="do so")
        assert isinstance(error, EngineError)
        assert str(error).endswith("expected this, got that; do so")


def test_a_refusal_carries_its_reason() -> None:
    pieces = StreamEncoder().encode(Refuse("no free primary for net1"))
    assert decode(b"".join(pieces), direction="from_target") == [Refuse("no free primary for net1")]

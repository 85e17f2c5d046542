"""Laws of the stream: it comes back however it is cut, and no damage to it goes unnoticed."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from devices.page_runs import one_run
from devices.page_sums import page_sums
from engine.codec import StreamDecoder, StreamEncoder
from engine.errors import FrameTooLarge, MalformedMessage, StreamError, Truncated
from engine.messages import (
    Abort,
    Accept,
    ChannelHello,
    ChannelSync,
    Commit,
    DeviceEntry,
    Direction,
    End,
    Heartbeat,
    Hello,
    LivePages,
    Loaded,
    LoadFailed,
    Message,
    PairEntry,
    PassEnd,
    RamPages,
    Refuse,
    Running,
    State,
    ZeroPages,
)
from engine.suspect_pages import SuspectPages, wrong_marks

U64 = st.integers(0, 2**64 - 1)
#: Sizes a header may announce: anything, and often what is near a bound or the other size.
SIZE = st.integers(0, 2**32 - 1) | st.sampled_from(
    [0, 1, 2, 65_536, 65_537, 4 << 20, (4 << 20) + 1, 16 << 20, (16 << 20) + 1]
)
U32 = st.integers(0, 2**32 - 1)
NAME = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
DIGEST = st.none() | st.binary(min_size=16, max_size=64)
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | NAME
TREE = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4),
    max_leaves=12,
)
PROPERTIES = st.dictionaries(NAME, PLAIN, max_size=4)
RUN = st.tuples(U64, st.integers(1, 4)).map(lambda run: struct.pack("<2Q", *run))
RUNS = st.lists(RUN, min_size=1, max_size=4).map(b"".join)
MIGRATION = st.binary(min_size=16, max_size=16)


@st.composite
def hellos(draw: st.DrawFn) -> Hello:
    page_bytes = 2 ** draw(st.integers(9, 21))
    devices = st.builds(DeviceEntry, NAME, NAME, NAME, NAME, PROPERTIES)
    pairs = st.builds(PairEntry, NAME, NAME, st.just("52:54:00:6f:55:cc"))
    return Hello(
        protocol=draw(st.integers(0, 2**16 - 1)),
        profile=draw(NAME),
        machine=draw(NAME),
        name=draw(NAME),
        uuid=draw(NAME),
        ram_bytes=page_bytes * draw(st.integers(0, 2**40)),
        page_bytes=page_bytes,
        devices=draw(st.lists(devices, max_size=3)),
        pairs=draw(st.lists(pairs, max_size=3)),
        features=draw(st.dictionaries(NAME, U64, max_size=3)),
        capabilities=draw(st.lists(NAME, max_size=3)),
        migration=draw(MIGRATION),
        channels=draw(st.integers(0, 255)),
    )


@st.composite
def ram_pages(draw: st.DrawFn) -> RamPages:
    runs = draw(RUNS)
    pages = sum(length for _first, length in struct.iter_unpack("<2Q", runs))
    page_bytes = draw(st.sampled_from([512, 1024, 65536]))
    pattern = draw(st.binary(min_size=1, max_size=16))
    data = (pattern * (page_bytes // len(pattern) + 1))[:page_bytes]
    return RamPages(draw(U32), runs, data * pages)


@st.composite
def live_pages(draw: st.DrawFn) -> LivePages:
    pages = draw(ram_pages())
    return with_sums(pages)


def with_sums(pages: RamPages) -> LivePages:
    count = sum(length for _first, length in struct.iter_unpack("<2Q", pages.runs))
    rows = np.frombuffer(pages.data, dtype=np.uint8).reshape(count, -1)
    return LivePages(pages.pass_number, pages.runs, page_sums(rows).tobytes(), pages.data)


FROM_SOURCE: st.SearchStrategy[Message] = st.one_of(
    hellos(),
    ram_pages(),
    live_pages(),
    st.builds(ZeroPages, RUNS),
    st.builds(ChannelHello, MIGRATION, st.integers(1, 255)),
    st.builds(ChannelSync, U32),
    st.builds(PassEnd, U32, U64),
    st.builds(
        State,
        st.lists(TREE, max_size=3),
        st.dictionaries(NAME, TREE, max_size=3),
    ),
    st.builds(End, U32, U64, DIGEST),
    st.builds(Commit),
    st.builds(Abort, NAME),
    st.builds(Heartbeat, U64),
)
FROM_TARGET: st.SearchStrategy[Message] = st.one_of(
    st.builds(Accept),
    st.builds(Refuse, NAME),
    st.builds(Loaded, DIGEST),
    st.builds(Running),
    st.builds(LoadFailed, NAME),
    st.builds(Heartbeat, U64),
)


def encoded(messages: list[Message], *, compressed: bool = False) -> bytes:
    encoder = StreamEncoder(compress=lambda _message: compressed)
    pieces: list[bytes | bytearray | memoryview] = [encoder.header()]
    for message in messages:
        pieces += encoder.encode(message)
    return b"".join(pieces)


def received(direction: Direction, pieces: list[bytes]) -> tuple[list[Message], StreamError | None]:
    """What a decoder makes of the pieces of a stream, up to its end or its error.

    Pages that are not what their sums say are an error: here none will come again.
    """
    decoder = StreamDecoder(direction)
    messages: list[Message] = []
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (item := decoder.next()) is not None:
                sequence, message = item
                assert sequence == len(messages)
                if isinstance(message, LivePages):
                    suspects = SuspectPages()
                    wrong = wrong_marks(memoryview(message.data), message.sums)
                    suspects.came(one_run(0, wrong.size), wrong)
                    suspects.check()
                messages.append(message)
            assert decoder.wanted_bytes > 0
        decoder.eof()
    except StreamError as error:
        return messages, error
    return messages, None


@settings(max_examples=60)
@given(st.lists(FROM_SOURCE, max_size=4), st.booleans(), st.data())
def test_what_the_source_says_arrives_however_it_is_cut(
    messages: list[Message], compressed: bool, data: st.DataObject
) -> None:
    stream = encoded(messages, compressed=compressed)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert received("from_source", pieces) == (messages, None)


@settings(max_examples=60)
@given(st.lists(FROM_TARGET, max_size=4))
def test_what_the_target_says_arrives_at_every_split_point(messages: list[Message]) -> None:
    stream = encoded(messages)
    for cut in range(len(stream) + 1):
        assert received("from_target", [stream[:cut], stream[cut:]]) == (messages, None)
    single = [stream[n : n + 1] for n in range(len(stream))]
    assert received("from_target", single) == (messages, None)


@cache
def one_of_each_kind() -> tuple[list[Message], dict[bool, bytes]]:
    """A short stream with a frame of every layout, uncompressed and compressed."""
    messages: list[Message] = [
        Heartbeat(5),
        State([{"id": "net1", "queues": [0] * 40}], {"x": b"y"}),
        ZeroPages(struct.pack("<2Q", 1, 2)),
        RamPages(1, struct.pack("<2Q", 3, 1), bytes(range(64)) * 8),
        with_sums(RamPages(1, struct.pack("<2Q", 3, 1), bytes(range(64)) * 8)),
        End(2, 4096, bytes(32)),
        Commit(),
    ]
    return messages, {
        compressed: encoded(messages, compressed=compressed) for compressed in (False, True)
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_every_single_flipped_bit_is_noticed(compressed: bool) -> None:
    messages, streams = one_of_each_kind()
    stream = streams[compressed]
    for bit in range(8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit // 8] ^= 1 << bit % 8
        got, error = received("from_source", [bytes(flipped)])
        assert isinstance(error, StreamError), f"bit {bit} of {len(stream)} bytes"
        assert got == messages[: len(got)]


@pytest.mark.parametrize("compressed", [False, True])
def test_every_truncation_inside_a_frame_is_noticed(compressed: bool) -> None:
    messages, streams = one_of_each_kind()
    whole = {len(encoded(messages[:n], compressed=compressed)) for n in range(len(messages) + 1)}
    for length in range(len(streams[compressed])):
        got, error = received("from_source", [streams[compressed][:length]])
        assert got == messages[: len(got)]
        if length in whole:
            assert error is None
        else:
            assert isinstance(error, Truncated)


@settings(max_examples=100)
@given(st.lists(FROM_SOURCE, min_size=1, max_size=3), st.data())
def test_no_damage_makes_another_message(messages: list[Message], data: st.DataObject) -> None:
    stream = encoded(messages)
    start = data.draw(st.integers(0, len(stream) - 1))
    # A burst of up to four bytes is within what a CRC-32 is sure to find.
    burst = data.draw(st.binary(min_size=1, max_size=4).filter(any))[: len(stream) - start]
    damaged = bytearray(stream)
    for offset, byte in enumerate(burst):
        damaged[start + offset] ^= byte
    got, error = received("from_source", [bytes(damaged)])
    assert got == messages[: len(got)]
    assert error is not None or bytes(damaged) == stream


@settings(max_examples=200)
@given(st.binary(max_size=200))
@example(b"\x89REPLUG\n")
def test_nothing_but_a_stream_error_comes_of_noise(noise: bytes) -> None:
    header = StreamEncoder().header()
    for pieces in ([noise], [header, noise]):
        got, error = received("from_source", pieces)
        assert got == []
        assert error is not None or noise == b""


@settings(max_examples=200)
@given(
    st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 0x7E]),
    st.sampled_from([0, 1]),
    SIZE,
    SIZE,
)
def test_whatever_is_announced_no_more_than_the_bound_is_waited_for(
    code: int, flags: int, wire_bytes: int, raw_bytes: int
) -> None:
    decoder = StreamDecoder("from_source")
    decoder.feed(StreamEncoder().header())
    decoder.feed(
        struct.pack("<BBHIIIQ", code, flags, 2 if code <= 3 else 1, wire_bytes, raw_bytes, 0, 0)
    )
    bound = {2: 4 << 20, 5: 16 << 20, 12: 4 << 20}.get(code, 64 << 10)
    within = wire_bytes <= bound and raw_bytes <= bound
    if within and wire_bytes > 0 and (wire_bytes < raw_bytes if flags else wire_bytes == raw_bytes):
        assert decoder.next() is None
        assert decoder.wanted_bytes == wire_bytes
        return
    with pytest.raises(StreamError) as caught:
        decoder.next()
    assert isinstance(caught.value, MalformedMessage if within else FrameTooLarge)
    assert decoder.buffered_bytes == 0

"""RAM out and in, without any I/O: what leaves a source's RAM is what a target's RAM then holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest

from devices.page_runs import Runs, one_run
from devices.ram import PAGE_BYTES, BitmapRam
from engine.codec import AHEAD_BYTES, StreamDecoder, StreamEncoder
from engine.driver.channel import views
from engine.errors import (
    ChecksumMismatch,
    MalformedMessage,
    Truncated,
    UnexpectedMessage,
)
from engine.messages import Commit
from engine.ram_sending import FRAME_PAGES, Compression, RamSender
from tests.unit.engine.documented_frames import packed, runs, stream_header
from tests.unit.engine.ram_streams import (
    PAGES,
    LandingRam,
    filled,
    receive,
    received,
    written,
)


def test_compressed_it_is_less_and_arrives_the_same() -> None:
    source, target = BitmapRam(bytearray(TEXT * PAGES)), filled(2)
    encoder = StreamEncoder()
    encoder.compress_ram(1)
    sender = RamSender(source.stream_view(), encoder, Compression.ALWAYS)
    stream, sent = written(sender.send(1, one_run(0, PAGES), lambda: False))
    assert sent.normal_pages == PAGES
    assert sent.wire_bytes == len(stream) < PAGES * PAGE_BYTES // 100
    assert receive(encoder.header() + stream, target, 1 << 20) is None
    assert target.view() == source.view()


def test_what_does_not_compress_goes_as_it_is() -> None:
    noise = np.random.default_rng(1).integers(1, 255, PAGES * PAGE_BYTES, dtype=np.uint8)
    encoder = StreamEncoder()
    encoder.compress_ram(1)
    sender = RamSender(BitmapRam(noise).stream_view(), encoder, Compression.ALWAYS)
    stream, _ = written(sender.send(1, one_run(0, 1), lambda: False))
    assert len(stream) > PAGE_BYTES * 0.9


def compressed(ram: BitmapRam, pages: int) -> tuple[bytes, StreamEncoder]:
    encoder = StreamEncoder()
    encoder.compress_ram(1)
    sender = RamSender(ram.stream_view(), encoder, Compression.ALWAYS)
    return written(sender.send(1, one_run(0, pages), lambda: False))[0], encoder


def test_noise_among_text_is_kept_apart_when_it_is_compressed() -> None:
    contents = np.frombuffer(TEXT * PAGES, dtype=np.uint8).reshape(PAGES, PAGE_BYTES).copy()
    noise = np.random.default_rng(1).integers(1, 255, (PAGES // 2, PAGE_BYTES), dtype=np.uint8)
    contents[::2] = noise
    source, target = BitmapRam(contents.reshape(-1)), filled(2)
    stream, encoder = compressed(source, PAGES)
    # Each page of noise as it is, and hardly anything for the rest.
    assert noise.nbytes < len(stream) < noise.nbytes * 1.01
    assert noise[100].tobytes() in stream
    assert receive(encoder.header() + stream, target, 1 << 20) is None
    assert target.view() == source.view()


def test_what_only_looks_like_noise_is_compressed_all_the_same() -> None:
    contents = np.frombuffer(TEXT * 32, dtype=np.uint8).reshape(32, PAGE_BYTES).copy()
    # The same noise again and again.
    contents[::2] = np.random.default_rng(1).integers(1, 255, PAGE_BYTES, dtype=np.uint8)
    stream, _ = compressed(BitmapRam(contents.reshape(-1)), 32)
    assert len(stream) < 2 * PAGE_BYTES


@pytest.mark.parametrize(("send_ms", "is_less"), [(5.0, True), (0.02, False)])
def test_where_it_adapts_it_compresses_on_a_slow_link_only(send_ms: float, is_less: bool) -> None:
    clock = [0.0]

    def now_ms() -> float:
        # Whatever happens between two looks at the clock takes a hundredth of a millisecond…
        clock[0] += 0.01
        return clock[0]

    encoder = StreamEncoder()
    encoder.compress_ram(1)
    sender = RamSender(
        BitmapRam(bytearray(TEXT * PAGES)).stream_view(), encoder, Compression.ADAPTIVE, now_ms
    )
    sizes = []
    for _ in range(20):
        sending = sender.send(1, one_run(0, FRAME_PAGES), lambda: False)
        sizes.append(sum(view.nbytes for view in views(next(sending))))
        # … but for the link.
        clock[0] += send_ms / FRAME_PAGES * sizes[-1] / PAGE_BYTES
        with suppress(StopIteration):
            next(sending)
    assert (sizes[-1] < sizes[0] // 100) is is_less


#: A page.
TEXT = b"text " * 819 + b"\n"


def scattered() -> Runs:
    """Every other page: more runs in a frame than are copied one by one."""
    return np.array([[page, page + 1] for page in range(0, PAGES, 2)], dtype=np.int64)


@pytest.mark.parametrize("which", [one_run(0, PAGES), one_run(5, 6), scattered()], ids=len)
@pytest.mark.parametrize("piece_bytes", [1000, 1 << 20])
@pytest.mark.parametrize("in_place", [False, True])
def test_what_is_sent_is_what_arrives(which: Runs, piece_bytes: int, in_place: bool) -> None:
    source, target = filled(1), filled(2)
    encoder = StreamEncoder()
    sender = RamSender(source.stream_view(), encoder, in_place=in_place)
    stream, sent = written(sender.send(3, which, lambda: False))
    end = b"".join(bytes(piece) for piece in encoder.encode(Commit()))
    assert sent.wire_bytes == len(stream)
    indexes = np.concatenate([np.arange(first, after) for first, after in which.tolist()])
    assert sent.zero_pages == int(np.count_nonzero(indexes % 3 == 0))
    assert sent.normal_pages == len(indexes) - sent.zero_pages
    assert receive(encoder.header() + stream + end, target, piece_bytes) == Commit()
    here, there = (
        np.frombuffer(ram.view(), dtype=np.uint8).reshape(-1, PAGE_BYTES)
        for ram in (source, target)
    )
    assert (here[indexes] == there[indexes]).all()
    others = np.setdiff1d(np.arange(PAGES), indexes)
    before = np.frombuffer(filled(2).view(), dtype=np.uint8).reshape(-1, PAGE_BYTES)
    assert (there[others] == before[others]).all()


@pytest.mark.parametrize("which", [one_run(0, PAGES), one_run(5, 6), scattered()], ids=len)
@pytest.mark.parametrize("piece_bytes", [1000, 5000, 1 << 20])
@pytest.mark.parametrize("in_place", [False, True])
def test_pages_are_read_straight_into_ram_where_it_says_so(
    which: Runs, piece_bytes: int, in_place: bool
) -> None:
    source, target = filled(1), LandingRam(bytearray(b"x" * PAGES * PAGE_BYTES))
    encoder = StreamEncoder()
    sender = RamSender(source.stream_view(), encoder, in_place=in_place)
    stream, sent = written(sender.send(3, which, lambda: False))
    end = b"".join(bytes(piece) for piece in encoder.encode(Commit()))
    assert receive(encoder.header() + stream + end, target, piece_bytes) == Commit()
    # Unless it was whole before it was known what it is.
    assert target.landed_pages == sent.normal_pages or len(stream) < min(piece_bytes, AHEAD_BYTES)
    expected = np.full((PAGES, PAGE_BYTES), ord("x"), dtype=np.uint8)
    indexes = np.concatenate([np.arange(first, after) for first, after in which.tolist()])
    here = np.frombuffer(source.view(), dtype=np.uint8).reshape(-1, PAGE_BYTES)
    expected[indexes] = here[indexes]
    assert target.view() == expected.tobytes()


@pytest.mark.parametrize("place", [60, 3000, 2 * PAGE_BYTES, -1])
def test_damage_to_what_is_read_straight_into_ram_is_the_end_of_the_stream(place: int) -> None:
    encoder = StreamEncoder()
    stream, _ = written(
        RamSender(filled(1).stream_view(), encoder).send(1, one_run(1, 3), lambda: False)
    )
    damaged = bytearray(stream)
    damaged[place] ^= 1
    decoder = StreamDecoder("from_source", lends=True)
    target = LandingRam(bytearray(PAGES * PAGE_BYTES))
    with pytest.raises(ChecksumMismatch, match=r"frame 0 \(RamPages\)"):
        received(decoder, encoder.header() + damaged, target, 1000)
    assert target.landed_pages == 2
    with pytest.raises(ChecksumMismatch):
        decoder.next()


def test_a_frame_out_of_turn_is_refused_when_its_pages_are_in_place() -> None:
    encoder = StreamEncoder()
    first, second = (
        written(
            RamSender(filled(1).stream_view(), encoder).send(1, one_run(at, at + 2), lambda: False)
        )[0]
        for at in (1, 4)
    )
    with pytest.raises(UnexpectedMessage, match="frame 1"):
        receive(encoder.header() + second + first, LandingRam(bytearray(1 << 23)), 1000)


def test_a_stream_that_ends_among_the_pages_is_cut() -> None:
    encoder = StreamEncoder()
    stream, _ = written(
        RamSender(filled(1).stream_view(), encoder).send(1, one_run(1, 3), lambda: False)
    )
    decoder = StreamDecoder("from_source", lends=True)
    target = LandingRam(bytearray(PAGES * PAGE_BYTES))
    assert received(decoder, encoder.header() + stream[:-1], target, 1000) is None
    with pytest.raises(Truncated):
        decoder.eof()


def test_what_is_written_after_a_frame_was_made_is_not_in_it() -> None:
    ram = filled(1)
    frames = RamSender(ram.stream_view(), StreamEncoder()).send(1, one_run(1, 2), lambda: False)
    pieces = next(frames)
    before = b"".join(bytes(view) for view in views(pieces))
    ram.write(PAGE_BYTES, b"changed")
    assert b"".join(bytes(view) for view in views(pieces)) == before


def test_it_stops_between_frames() -> None:
    answers: Iterator[bool] = iter([False, False, True])
    ram = BitmapRam(bytearray(b"x" * (PAGES * PAGE_BYTES)))
    sending = RamSender(ram.stream_view(), StreamEncoder()).send(
        1, one_run(0, PAGES), lambda: next(answers)
    )
    assert written(sending)[1].normal_pages == 2 * FRAME_PAGES


def test_a_gigabyte_of_zeros_is_a_handful_of_bytes() -> None:
    ram = BitmapRam(np.zeros(1 << 26, dtype=np.uint8))
    stream, sent = written(
        RamSender(ram.stream_view(), StreamEncoder()).send(1, one_run(0, 1 << 14), bool)
    )
    assert sent.zero_pages == 1 << 14
    assert len(stream) < 64


def test_the_end_of_the_stream_ends_it() -> None:
    assert receive(stream_header(), filled(1), 100) is None


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (packed(0x02, [1, runs((PAGES - 1, 2)), bytes(2 * PAGE_BYTES)]), MalformedMessage),
        (packed(0x02, [1, runs((3, 2), (4, 1)), bytes(3 * PAGE_BYTES)]), MalformedMessage),
        (packed(0x02, [1, runs((3, 2)), bytes(2 * 512)]), MalformedMessage),
        (packed(0x02, ["1", runs((3, 2)), bytes(2 * PAGE_BYTES)]), MalformedMessage),
        (packed(0x02, [1, runs((3, 2))]), MalformedMessage),
        (packed(0x02, [1, runs((3, 2)), bytes(2 * PAGE_BYTES), 5]), MalformedMessage),
        (packed(0x02, [1, "runs", bytes(2 * PAGE_BYTES)]), MalformedMessage),
        (packed(0x02, {"runs": 1}), MalformedMessage),
        (packed(0x02, []), MalformedMessage),
        (packed(0x03, [runs((1 << 40, 1))]), MalformedMessage),
        (packed(0x02, [1, runs((0, 1)), b"a" * PAGE_BYTES])[:-1] + b"b", ChecksumMismatch),
    ],
)
def test_what_cannot_be_changes_nothing(frame: bytes, error: type[Exception]) -> None:
    ram = filled(1)
    before = bytes(ram.view())
    with pytest.raises(error):
        receive(stream_header() + frame, ram, 1 << 20)
    assert bytes(ram.view()) == before


@pytest.mark.parametrize(
    "fields",
    [
        [1, runs((PAGES - 1, 2)), bytes(2 * PAGE_BYTES)],
        [1, runs((3, 2), (4, 1)), bytes(3 * PAGE_BYTES)],
        [1, runs((3, 2)), bytes(2 * 512)],
        [-1, runs((3, 2)), bytes(2 * PAGE_BYTES)],
        [1 << 32, runs((3, 2)), bytes(2 * PAGE_BYTES)],
        ["1", runs((3, 2)), bytes(2 * PAGE_BYTES)],
        [1, runs((3, 2))[:-1], bytes(2 * PAGE_BYTES)],
        [1, b"", bytes(2 * PAGE_BYTES)],
        [1, runs((3, 2)), bytes(2 * PAGE_BYTES), 5],
        [1, "runs", bytes(2 * PAGE_BYTES)],
    ],
)
def test_what_cannot_be_is_not_read_into_ram_either(fields: list[object]) -> None:
    ram = LandingRam(bytearray(PAGES * PAGE_BYTES))
    with pytest.raises(MalformedMessage):
        receive(stream_header() + packed(0x02, fields), ram, 100)
    assert not any(ram.view())


@pytest.mark.parametrize("target_is", [BitmapRam, LandingRam])
def test_every_piece_that_comes_is_heard(target_is: type[BitmapRam]) -> None:
    encoder = StreamEncoder()
    sender = RamSender(filled(1).stream_view(), encoder)
    stream, _ = written(sender.send(1, one_run(1, 3), lambda: False))
    decoder = StreamDecoder("from_source", lends=True)
    target, pieces = target_is(bytearray(PAGES * PAGE_BYTES)), list[None]()
    received(decoder, encoder.header() + stream, target, 100, heard=lambda: pieces.append(None))
    assert len(pieces) >= len(stream) / 100

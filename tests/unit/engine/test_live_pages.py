"""Pages that are sent from where they are: what changed on its way comes again, or was damaged."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from devices.guest_memory import WORKLOAD_FIRST_PAGE
from devices.page_runs import indexes_of, one_run, page_count, runs_of
from devices.ram import PAGE_BYTES, BitmapRam
from engine.codec import StreamDecoder, StreamEncoder
from engine.driver.channel import views
from engine.errors import ChecksumMismatch, MalformedMessage, StreamError
from engine.live_pages import PagesInPlace
from engine.ram_sending import RamSender
from engine.suspect_pages import SuspectPages
from tests.unit.engine.documented_frames import packed, runs, stream_header
from tests.unit.engine.ram_streams import GUESTS, PAGES, LandingRam, filled, received, written


def test_pages_that_only_the_guest_writes_are_not_copied_where_the_channel_takes_them() -> None:
    ram = BitmapRam(bytearray(b"x" * PAGES * PAGE_BYTES))
    sender = RamSender(ram.stream_view(), StreamEncoder(), in_place=True)
    frames = list(sender.send(1, one_run(0, PAGES), lambda: False))
    # Below there, devices and a reset write even when nothing comes again.
    copied, *others = frames
    assert not any(isinstance(piece, PagesInPlace) for piece in copied)
    in_place = [piece for frame in others for piece in frame if isinstance(piece, PagesInPlace)]
    assert in_place[0].runs[0, 0] == WORKLOAD_FIRST_PAGE
    memory = np.frombuffer(ram.view(), dtype=np.uint8)
    assert all(np.shares_memory(piece.rows, memory) for piece in in_place)
    assert sum(page_count(piece.runs) for piece in in_place) == PAGES - WORKLOAD_FIRST_PAGE


def changed_under_way(ram: BitmapRam, page: int, encoder: StreamEncoder) -> bytes:
    """Send three pages in place, of which one changes after the sums were taken."""
    sender = RamSender(ram.stream_view(), encoder, in_place=True)
    sending = sender.send(1, one_run(page - 1, page + 2), lambda: False)
    frame = next(sending)
    ram.write(page * PAGE_BYTES + 9, b"changed")
    return b"".join(bytes(view) for view in views(frame))


@pytest.mark.parametrize("target_is", [BitmapRam, LandingRam])
@pytest.mark.parametrize("comes_again_as", ["contents", "zeros", "nothing"])
def test_a_page_that_changed_on_its_way_has_to_come_again(
    target_is: type[BitmapRam], comes_again_as: str
) -> None:
    page, encoder, suspects = GUESTS + 1, StreamEncoder(), SuspectPages()
    source = BitmapRam(bytearray(b"x" * PAGES * PAGE_BYTES))
    target = target_is(bytearray(PAGES * PAGE_BYTES))
    decoder = StreamDecoder("from_source", lends=True)
    first = changed_under_way(source, page, encoder)
    assert received(decoder, encoder.header() + first, target, 1 << 20, suspects) is None
    assert suspects.pages == 1
    if comes_again_as == "nothing":
        with pytest.raises(
            ChecksumMismatch, match=f"1 that are not, the first of them page {page}"
        ):
            suspects.check()
        return
    if comes_again_as == "zeros":
        source.zero_pages(np.array([page]))
    sender = RamSender(source.stream_view(), encoder, in_place=True)
    again, _ = written(sender.send(2, one_run(page, page + 1), lambda: False))
    assert received(decoder, again, target, 1 << 20, suspects) is None
    suspects.check()
    sent = slice((page - 1) * PAGE_BYTES, (page + 2) * PAGE_BYTES)
    assert bytes(target.view()[sent]) == bytes(source.view()[sent])


@pytest.mark.parametrize("target_is", [BitmapRam, LandingRam])
@pytest.mark.parametrize("place", [-1, -PAGE_BYTES, -PAGE_BYTES - 1])
def test_damage_to_pages_in_place_is_known_by_their_sums(
    target_is: type[BitmapRam], place: int
) -> None:
    encoder, suspects = StreamEncoder(), SuspectPages()
    sender = RamSender(filled(1).stream_view(), encoder, in_place=True)
    stream, _ = written(sender.send(1, one_run(GUESTS + 1, GUESTS + 3), lambda: False))
    damaged = bytearray(encoder.header() + stream)
    damaged[place] ^= 1
    decoder = StreamDecoder("from_source", lends=True)
    target = target_is(bytearray(PAGES * PAGE_BYTES))
    assert received(decoder, bytes(damaged), target, 1000, suspects) is None
    with pytest.raises(
        ChecksumMismatch, match=f"page {GUESTS + (2 if place >= -PAGE_BYTES else 1)}"
    ):
        suspects.check()


@pytest.mark.parametrize("target_is", [BitmapRam, LandingRam])
def test_damage_to_what_says_where_pages_belong_is_the_end_of_the_stream(
    target_is: type[BitmapRam],
) -> None:
    encoder = StreamEncoder()
    sender = RamSender(filled(1).stream_view(), encoder, in_place=True)
    stream, _ = written(sender.send(1, one_run(GUESTS + 1, GUESTS + 3), lambda: False))
    head_bytes = len(stream) - 2 * PAGE_BYTES
    for place in range(head_bytes):
        damaged = bytearray(stream)
        damaged[place] ^= 1
        decoder = StreamDecoder("from_source", lends=True)
        target = target_is(bytearray(PAGES * PAGE_BYTES))
        with suppress(StreamError):
            received(decoder, encoder.header() + damaged, target, 1000, SuspectPages())
        with pytest.raises(StreamError):
            decoder.eof()


@pytest.mark.parametrize("share_filled", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("is_scattered", [False, True])
def test_whatever_is_zero_is_told_and_the_rest_arrives(
    share_filled: float, is_scattered: bool
) -> None:
    random = np.random.default_rng(5)
    pages = 5000
    contents = random.integers(1, 256, (pages, PAGE_BYTES), dtype=np.uint8)
    contents[random.random(pages) >= share_filled] = 0
    contents[contents.any(axis=1)] &= random.integers(0, 2, (PAGE_BYTES,), dtype=np.uint8) * 255
    source = BitmapRam(contents.reshape(-1))
    target = BitmapRam(bytearray(b"x" * contents.nbytes))
    which = runs_of(np.flatnonzero(random.random(pages) < 0.9)) if is_scattered else None
    which = one_run(0, pages) if which is None else which
    encoder, suspects = StreamEncoder(), SuspectPages()
    sender = RamSender(source.stream_view(), encoder, in_place=True)
    stream, sent = written(sender.send(1, which, lambda: False))
    decoder = StreamDecoder("from_source", lends=True)
    assert received(decoder, encoder.header() + stream, target, 1 << 20, suspects) is None
    suspects.check()
    indexes = indexes_of(which)
    there = np.frombuffer(target.view(), dtype=np.uint8).reshape(-1, PAGE_BYTES)
    assert (there[indexes] == contents[indexes]).all()
    assert sent.normal_pages == np.count_nonzero(contents[indexes].any(axis=1))
    assert sent.normal_pages + sent.zero_pages == len(indexes)


def test_a_page_with_the_sum_of_zeros_is_sent_with_its_contents() -> None:
    source = BitmapRam(bytearray(b"x" * PAGES * PAGE_BYTES))
    words = np.zeros(PAGE_BYTES // 8, dtype="<u8")
    words[:2] = 1 << 62
    source.write(GUESTS * PAGE_BYTES, words.tobytes())
    sender = RamSender(source.stream_view(), StreamEncoder(), in_place=True)
    _, sent = written(sender.send(1, one_run(GUESTS - 5, GUESTS + 5), lambda: False))
    assert (sent.normal_pages, sent.zero_pages) == (10, 0)


def test_a_page_is_suspect_until_it_comes_again_right() -> None:
    suspects = SuspectPages()
    wrong = np.array([False, True, True, False])
    suspects.came(one_run(10, 14), wrong)
    assert suspects.pages == 2
    suspects.came(one_run(12, 14))
    assert suspects.pages == 1
    suspects.came(one_run(11, 12), np.array([True]))
    assert suspects.pages == 1
    suspects.came(one_run(0, 100), np.zeros(100, dtype=np.bool_))
    suspects.check()


SUMS = bytes(2 * 8)
DATA = bytes(2 * PAGE_BYTES)


@pytest.mark.parametrize("target_is", [BitmapRam, LandingRam])
@pytest.mark.parametrize(
    ("fields", "has_head"),
    [
        pytest.param([1, runs((3, 2)), SUMS[8:], DATA], True, id="a sum too few"),
        pytest.param([1, runs((3, 2)), SUMS + SUMS, DATA], True, id="sums too many"),
        pytest.param([1, runs((PAGES - 1, 2)), SUMS, DATA], True, id="outside"),
        pytest.param([1, runs((3, 2)), SUMS, DATA[PAGE_BYTES:]], True, id="a page too few"),
        pytest.param([1, runs((3, 2)), SUMS[1:], DATA], False, id="no whole sums"),
        pytest.param([1, runs((3, 2)), b"", DATA], False, id="no sums"),
        pytest.param([1, runs((3, 2)), "sums", DATA], False, id="text as sums"),
        pytest.param([1, runs((3, 2)), SUMS, DATA, DATA], False, id="data twice"),
        pytest.param([1, runs((3, 2)), DATA], False, id="no field for sums"),
        pytest.param(["1", runs((3, 2)), SUMS, DATA], False, id="text as the pass"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [100, 1 << 20])
def test_what_cannot_be_changes_nothing(
    target_is: type[BitmapRam], fields: list[object], has_head: bool, piece_bytes: int
) -> None:
    """Where no data can be made out, the checksum has to be that of all."""
    ram, suspects = target_is(bytearray(b"x" * PAGES * PAGE_BYTES)), SuspectPages()
    data = fields[-1]
    assert isinstance(data, bytes)
    unsummed_bytes = len(data) if has_head else 0
    stream = stream_header() + packed(0x0C, fields, unsummed_bytes=unsummed_bytes)
    with pytest.raises(MalformedMessage):
        received(StreamDecoder("from_source", lends=True), stream, ram, piece_bytes, suspects)
    assert bytes(ram.view()) == b"x" * PAGES * PAGE_BYTES
    suspects.check()

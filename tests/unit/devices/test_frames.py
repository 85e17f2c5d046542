"""devices.frames: the layouts byte by byte, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.frames import (
    FRAME_BYTES_MAX,
    FRAME_BYTES_MIN,
    AnnounceFrame,
    ControlFrame,
    ControlOperation,
    Frame,
    FrameError,
    NumberedFrame,
    PlainFrame,
    build,
    header,
    is_group,
    mac_bytes,
    mac_text,
    parse,
)

ONE = mac_bytes("52:54:00:6f:55:cc")
TWO = mac_bytes("52:54:00:00:00:02")

macs = st.binary(min_size=6, max_size=6)
words = st.integers(0, 2**64 - 1)
frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(NumberedFrame, macs, macs, words, st.integers(0, 255), words),
    st.builds(AnnounceFrame, macs),
    st.builds(ControlFrame, st.sampled_from(ControlOperation), macs),
    st.builds(PlainFrame, macs, macs, st.just(0x0800), st.binary(min_size=46, max_size=100)),
)


@given(frames)
def test_what_was_built_is_read_back(frame: Frame) -> None:
    packed = build(frame)
    assert len(packed) >= FRAME_BYTES_MIN
    assert parse(packed) == frame


@given(frames, st.integers(0, 200))
def test_a_frame_cut_short_is_refused_or_still_whole(frame: Frame, length: int) -> None:
    cut = build(frame)[:length]
    try:
        read = parse(cut)
    except FrameError:
        return
    assert read == frame or isinstance(read, PlainFrame)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    for ethertype in (b"\x88\xb5", b"\x80\x35", b"\x89\x40"):
        try:
            frame = parse(noise[:12] + ethertype + noise[12:])
        except FrameError:
            continue
        assert parse(build(frame)) == frame


def test_the_numbered_layout() -> None:
    packed = build(NumberedFrame(TWO, ONE, 0x0102, 7, 9))
    assert packed == (
        bytes.fromhex("525400000002 5254006f55cc 88b5 0000000000000102 07 0000000000000009")
        + bytes(60 - 31)
    )


def test_the_announcement_is_the_one_qemu_sends() -> None:
    # net/announce.c: RARP, Ethernet and IPv4, request reverse, one's own address twice.
    assert build(AnnounceFrame(ONE)) == (
        bytes.fromhex(
            "ffffffffffff 5254006f55cc 8035 0001 0800 06 04 0003"
            "5254006f55cc 00000000 5254006f55cc 00000000"
        )
        + bytes(60 - 42)
    )


def test_the_control_layout() -> None:
    assert build(ControlFrame(ControlOperation.DEASSOCIATED, ONE)) == (
        bytes.fromhex("0180c2000000 5254006f55cc 8940 01 04 5254006f55cc") + bytes(60 - 22)
    )


def test_the_header_alone() -> None:
    assert header(build(NumberedFrame(TWO, ONE, 1, 0))) == (TWO, ONE, 0x88B5)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        bytes(13),
        bytes(FRAME_BYTES_MAX + 1),
        bytes(12) + b"\x88\xb5" + bytes(16),
        build(AnnounceFrame(ONE)).replace(b"\x00\x03", b"\x00\x04", 1),
        build(AnnounceFrame(ONE)).replace(ONE, TWO, 1),
        build(ControlFrame(ControlOperation.ASSOCIATE, ONE)).replace(
            b"\x89\x40\x01", b"\x89\x40\x02"
        ),
        build(ControlFrame(ControlOperation.ASSOCIATE, ONE)).replace(
            b"\x40\x01\x01", b"\x40\x01\x00"
        ),
        build(ControlFrame(ControlOperation.ASSOCIATE, ONE)).replace(
            b"\x40\x01\x01", b"\x40\x01\x05"
        ),
    ],
    ids=[
        "empty",
        "no header",
        "too long",
        "numbered, cut",
        "RARP of another kind",
        "announced for somebody else",
        "control version 2",
        "operation 0",
        "operation 5",
    ],
)
def test_a_malformed_frame_is_refused(packed: bytes) -> None:
    with pytest.raises(FrameError):
        parse(packed)


@pytest.mark.parametrize(
    "frame",
    [
        NumberedFrame(ONE[:5], TWO, 0, 0),
        NumberedFrame(ONE, TWO, 2**64, 0),
        NumberedFrame(ONE, TWO, 0, 256),
        NumberedFrame(ONE, TWO, 0, 0, -1),
        AnnounceFrame(b""),
        ControlFrame(ControlOperation.ASSOCIATE, bytes(7)),
        PlainFrame(ONE, TWO, 0x10000, b""),
        PlainFrame(ONE, TWO, 0x0800, bytes(FRAME_BYTES_MAX)),
    ],
)
def test_what_does_not_fit_is_not_built(frame: Frame) -> None:
    with pytest.raises(FrameError):
        build(frame)


def test_addresses_as_text() -> None:
    assert mac_text(ONE) == "52:54:00:6f:55:cc"
    assert mac_bytes("52:54:00:6F:55:CC") == ONE
    assert is_group(b"\xff" * 6)
    assert not is_group(ONE)


@pytest.mark.parametrize(
    "text", ["", "52:54:00:6f:55", "52-54-00-6f-55-cc", "52:54:00:6f:55:cg", "a" * 999]
)
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(FrameError, match="an address is written like"):
        mac_bytes(text)

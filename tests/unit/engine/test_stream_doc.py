"""docs/stream.md says what the code does: its table has every message, and its example decodes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from engine.codec import StreamDecoder
from engine.framing import FRAME_HEADER_BYTES, STREAM_HEADER_BYTES, write_stream_header
from engine.messages import (
    MESSAGES,
    Commit,
    DeviceEntry,
    Message,
    PairEntry,
)

DOCUMENT = (Path(__file__).parents[3] / "docs" / "stream.md").read_text(encoding="utf-8")

SENDERS = {
    "source": {"from_source"},
    "target": {"from_target"},
    "both": {"from_source", "from_target"},
}


def rows() -> dict[int, list[str]]:
    """The cells of the table of messages, by code."""
    found = re.findall(r"^\| `0x([0-9a-f]{2})` \|(.*)\|$", DOCUMENT, re.MULTILINE)
    assert len(found) == len({code for code, _cells in found}), "a code has two rows"
    return {int(code, 16): [cell.strip() for cell in cells.split(" |")] for code, cells in found}


def test_the_table_has_every_message_and_no_other() -> None:
    documented = {code: cells[0] for code, cells in rows().items()}
    assert documented == {code: f"`{kind.__name__}`" for code, kind in MESSAGES.items()}


@pytest.mark.parametrize("kind", MESSAGES.values(), ids=lambda kind: kind.__name__)
def test_a_row_says_who_sends_it_its_bound_and_its_fields_in_order(kind: type[Message]) -> None:
    _name, version, sender, when, bound, fields = rows()[kind.code]
    assert int(version) == kind.version
    assert kind.senders == SENDERS[sender]
    assert when
    assert int(bound) == kind.body_bytes_max
    names = [name for name in re.findall(r"`(\w+)`", fields) if not name[0].isupper()]
    assert names == [field.name for field in dataclasses.fields(kind)]


@pytest.mark.parametrize(("record", "opening"), [(DeviceEntry, "device"), (PairEntry, "pair")])
def test_the_records_are_described_field_by_field(record: type, opening: str) -> None:
    (sentence,) = re.findall(rf"A {opening} record is (.*?)\.(?:\s|$)", DOCUMENT, re.DOTALL)
    assert re.findall(r"`(\w+)`", sentence) == [field.name for field in dataclasses.fields(record)]


def test_the_example_is_a_stream() -> None:
    lines = re.findall(r"^    ((?:[0-9a-f]{2} +)+[0-9a-f]{2})$", DOCUMENT, re.MULTILINE)
    header, frame = (bytes.fromhex(line) for line in lines)
    assert header == write_stream_header()
    decoder = StreamDecoder("from_source")
    decoder.feed(header + frame)
    assert decoder.next() == (0, Commit())
    assert decoder.next() is None
    decoder.eof()


def test_the_headers_have_the_sizes_their_titles_say() -> None:
    assert f"## Stream header: {STREAM_HEADER_BYTES} bytes" in DOCUMENT
    assert f"a header of {FRAME_HEADER_BYTES} bytes" in DOCUMENT

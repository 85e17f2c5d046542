"""Laws of the QMP stream: how bytes are cut does not matter, and nothing in them breaks it."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.qmp.errors import QmpError
from engine.qmp.framing import Item, JsonStream
from engine.qmp.session import Outcome, QmpSession, Request

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
REQUESTS = st.fixed_dictionaries(
    {
        "execute": st.sampled_from(["query-status", "stop", "device_add", "migrate", "nope"]),
        "arguments": st.dictionaries(
            st.sampled_from(["driver", "id", "uri", "mac"]) | st.text(), VALUES, max_size=4
        ),
    },
    optional={"id": VALUES},
)
SEPARATORS = st.sampled_from([b"", b"\n", b"\r\n", b"  ", b"\n\n\t"])
#: Pieces that are wrong on their own or together, mixed with bytes of any kind.
GARBAGE = st.lists(
    st.binary(max_size=8)
    | st.sampled_from([b"{", b"}", b"[", b"]", b'"', b"\\", b"\n", b"\xff", b"{}", b"nul", b"1"])
    | VALUES.map(lambda value: json.dumps(value).encode()),
    max_size=30,
).map(b"".join)


@st.composite
def sequences(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bytes]:
    """Requests, and bytes that carry them."""
    requests = draw(st.lists(REQUESTS, max_size=5))
    data = b""
    for request in requests:
        text = json.dumps(
            request,
            ensure_ascii=draw(st.booleans()),
            indent=draw(st.sampled_from([None, 1])),
        )
        data += text.encode() + draw(SEPARATORS)
    return requests, data


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def plain(items: list[Item]) -> list[object]:
    """Errors have no equality of their own."""
    return [item.as_member() if isinstance(item, QmpError) else item for item in items]


CUTS = st.lists(st.integers(0, 2**16), max_size=12)


@given(sequences(), CUTS)
def test_any_split_of_valid_messages_yields_the_same_messages(
    sequence: tuple[list[dict[str, Any]], bytes], cuts: list[int]
) -> None:
    requests, data = sequence
    stream = JsonStream()
    assert [item for piece in pieces(data, cuts) for item in stream.feed(piece)] == requests


@given(GARBAGE, CUTS)
def test_any_split_of_anything_yields_the_same_items(data: bytes, cuts: list[int]) -> None:
    limits = {"message_bytes_max": 24, "nesting_max": 3}
    cut = JsonStream(**limits)
    items = [item for piece in pieces(data, cuts) for item in cut.feed(piece)]
    assert plain(items) == plain(JsonStream(**limits).feed(data))


@given(GARBAGE)
def test_after_anything_the_stream_recovers(data: bytes) -> None:
    """0xFF ends whatever was going on."""
    stream = JsonStream()
    stream.feed(data + b"\xff")
    assert stream.feed(b'{"execute": "stop"}') == [{"execute": "stop"}]


@given(GARBAGE, CUTS)
def test_a_session_answers_anything_with_lines_of_json(data: bytes, cuts: list[int]) -> None:
    session = QmpSession({"major": 7, "minor": 2, "micro": 22}, "")
    outcomes: list[Outcome] = session.receive(b'{"execute":"qmp_capabilities"}')
    for piece in pieces(data, cuts):
        outcomes += session.receive(piece)
    for outcome in outcomes:
        if isinstance(outcome, Request):
            continue
        assert outcome.endswith(b"\r\n")
        assert outcome.count(b"\n") == 1
        assert json.loads(outcome).keys() & {"return", "error"}


@given(st.lists(REQUESTS, max_size=5), CUTS)
def test_every_request_is_answered_or_handed_on_in_order(
    requests: list[dict[str, Any]], cuts: list[int]
) -> None:
    numbered = [{**request, "id": number} for number, request in enumerate(requests)]
    session = QmpSession({"major": 7, "minor": 2, "micro": 22}, "")
    session.receive(b'{"execute":"qmp_capabilities"}')
    data = b"".join(json.dumps(request).encode() for request in numbered)
    outcomes = [outcome for piece in pieces(data, cuts) for outcome in session.receive(piece)]
    ids = [
        outcome.id if isinstance(outcome, Request) else json.loads(outcome)["id"]
        for outcome in outcomes
    ]
    assert ids == list(range(len(requests)))

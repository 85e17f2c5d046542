"""What JsonStream makes of bytes; complaints are held against those of QEMU 7.2.22.

The pairs in RECORDED were read off the monitor of Debian's qemu-system-x86_64 7.2.22.
"""

from __future__ import annotations

import pytest

from engine.qmp.errors import ErrorClass, QmpError
from engine.qmp.framing import MESSAGE_BYTES_MAX, NESTING_MAX, JsonStream

NOT_AN_OBJECT = "QMP input must be a JSON object"
RECORDED = [
    (b"42\n", NOT_AN_OBJECT),
    (b"null\n", NOT_AN_OBJECT),
    (b'"x"\n', NOT_AN_OBJECT),
    (b"[]\n", NOT_AN_OBJECT),
    (b'{"a":1,"a":1}\n', "JSON parse error, duplicate key"),
    (b'{"a" 1}\n', "JSON parse error, missing : in object pair"),
    (b'{"a":}\n', "JSON parse error, expecting value"),
    (b"{1:2}\n", "JSON parse error, key is not a string in object"),
    (b'{"a":1,}\n', "JSON parse error, expecting value"),
    (b'{"a":1 "b":2}\n', "JSON parse error, expected separator in dict"),
    (b"[1,]\n", "JSON parse error, expecting value"),
    (b"[1 2]\n", "JSON parse error, expected separator in list"),
    (b'{"a":["]",{}] 1}\n', "JSON parse error, expected separator in dict"),
    (b'{"a":tru}\n', "JSON parse error, invalid keyword 'tru'"),
    (b"}\n", "JSON parse error, expecting value"),
    (b"{]\n", "JSON parse error, expecting value"),
    (b"nope\n", "JSON parse error, invalid keyword 'nope'"),
    (b"\xff\n", "JSON parse error, stray '\ufffd'"),
    (b"%d\n", "JSON parse error, stray '%'"),
    (b"\x01\n", "JSON parse error, stray '\x01'"),
    (b'{"a":"\\x"}\n', "JSON parse error, invalid escape sequence in string"),
    (b'{"a":"\\ud800"}\n', "JSON parse error, \\ud800 is not a valid Unicode character"),
    (b"[" * 1025 + b"\n", "JSON nesting depth limit exceeded"),
]


def descriptions(stream: JsonStream, data: bytes) -> list[str]:
    items = stream.feed(data)
    assert all(isinstance(item, QmpError) for item in items)
    return [item.description for item in items if isinstance(item, QmpError)]


@pytest.mark.parametrize(("data", "description"), RECORDED)
def test_complaints_are_those_of_qemu(data: bytes, description: str) -> None:
    stream = JsonStream()
    (item,) = stream.feed(data)
    assert isinstance(item, QmpError)
    assert (item.error_class, item.description) == (ErrorClass.GENERIC_ERROR, description)
    assert stream.feed(b'{"after": 1}\n') == [{"after": 1}]


def test_objects_may_follow_each_other_without_anything_between() -> None:
    assert JsonStream().feed(b'{"a":1}{"b":[{}]} \t{"c":"}{"}') == [
        {"a": 1},
        {"b": [{}]},
        {"c": "}{"},
    ]


def test_an_object_may_span_lines() -> None:
    stream = JsonStream()
    assert stream.feed(b'{\r\n  "a":\n') == []
    assert stream.feed(b"1\n}") == [{"a": 1}]


def test_quotes_and_backslashes_inside_strings_do_not_end_them() -> None:
    stream = JsonStream()
    assert stream.feed(b'{"a": "\\') == []
    assert stream.feed(b'"\\') == []
    assert stream.feed(b'\\"}') == [{"a": '"\\'}]


def test_what_is_wrong_inside_balanced_brackets_costs_only_that_message() -> None:
    first, second = JsonStream().feed(b'{"a" 1}{"b":2}')
    assert isinstance(first, QmpError)
    assert second == {"b": 2}


def test_an_unbalanced_message_costs_the_rest_of_its_line() -> None:
    stream = JsonStream()
    assert len(descriptions(stream, b'{"a": ] {"b":2} }')) == 1
    assert stream.feed(b' {"c":3}\n{"d":4}') == [{"d": 4}]


def test_a_line_of_prose_is_one_complaint() -> None:
    stream = JsonStream()
    assert descriptions(stream, b"GET / HTTP/1.1\r\n") == [
        "JSON parse error, invalid keyword 'GET'"
    ]
    assert stream.feed(b'{"a":1}') == [{"a": 1}]


def test_a_string_ends_with_its_line() -> None:
    stream = JsonStream()
    assert len(descriptions(stream, b'{"a": "never closed\n')) == 1
    assert stream.feed(b'{"b": 2}\n') == [{"b": 2}]


def test_the_byte_ff_abandons_an_unfinished_object() -> None:
    stream = JsonStream()
    assert stream.feed(b'{"a": {"b": ') == []
    assert descriptions(stream, b"\xff") == ["JSON parse error, stray '\ufffd'"]
    assert stream.feed(b'{"c": 3}') == [{"c": 3}]


def test_invalid_utf_8_in_a_string() -> None:
    stream = JsonStream()
    assert descriptions(stream, b'{"a":"\x80"}') == ["JSON parse error, stray '\ufffd'"]
    assert stream.feed(b'{"b":2}') == [{"b": 2}]


def test_nesting_is_bounded_and_the_bound_is_reached() -> None:
    deep = b'{"a":' + b"[" * (NESTING_MAX - 1) + b"]" * (NESTING_MAX - 1) + b"}"
    (item,) = JsonStream().feed(deep)
    assert isinstance(item, dict)
    too_deep = b'{"a":' + b"[" * NESTING_MAX
    stream = JsonStream()
    assert descriptions(stream, too_deep) == ["JSON nesting depth limit exceeded"]
    assert stream.feed(b']]]}\n{"b":2}') == [{"b": 2}]


def test_brackets_in_strings_do_not_count_as_nesting() -> None:
    text = "[" * (2 * NESTING_MAX)
    assert JsonStream().feed(b'{"a":"' + text.encode() + b'"}') == [{"a": text}]


def test_length_is_bounded_and_the_bound_is_reached() -> None:
    frame = b'{"a":""}'
    longest = b'{"a":"' + b"x" * (MESSAGE_BYTES_MAX - len(frame)) + b'"}'
    stream = JsonStream()
    (item,) = stream.feed(longest)
    assert isinstance(item, dict)
    longer = b'{"a":"' + b"x" * (MESSAGE_BYTES_MAX - len(frame) + 1) + b'"}'
    assert descriptions(stream, longer) == ["JSON token size limit exceeded"]
    assert stream.feed(b' {"lost":1}\n{"b":2}\n') == [{"b": 2}]


@pytest.mark.parametrize("start", [b'{"a":"', b"{", b"1", b'"', b"[ "])
def test_no_message_is_collected_beyond_the_bound(start: bytes) -> None:
    stream = JsonStream(message_bytes_max=16)
    filler = b"1" if start in (b"1", b'"', b'{"a":"') else b" "
    assert descriptions(stream, start + filler * 9) == []
    assert descriptions(stream, filler * 10) == ["JSON token size limit exceeded"]
    assert descriptions(stream, filler * 1000) == []
    assert stream.feed(b'\n{"b":2}') == [{"b": 2}]


def test_blanks_between_messages_do_not_count_against_the_bound() -> None:
    assert JsonStream(message_bytes_max=8).feed(b" " * 100 + b'{"a":12}') == [{"a": 12}]


def test_integers_keep_64_bits_and_become_floats_beyond() -> None:
    stream = JsonStream()
    data = b'{"low":-9223372036854775808,"high":18446744073709551615,"over":18446744073709551616}'
    (item,) = stream.feed(data)
    assert item == {"low": -(2**63), "high": 2**64 - 1, "over": float(2**64)}
    assert isinstance(item, dict)
    assert [type(value) for value in item.values()] == [int, int, float]


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"9" * 5000, b"NaN", b"Infinity"])
def test_numbers_that_json_cannot_give_back_are_refused(number: bytes) -> None:
    (description,) = descriptions(JsonStream(), b'{"a":' + number + b"}")
    assert description.startswith("JSON parse error, stray '")
    assert len(description) < 80


def test_surrogate_pairs_are_characters() -> None:
    assert JsonStream().feed(b'{"a":"\\ud83d\\ude00"}') == [{"a": "\U0001f600"}]

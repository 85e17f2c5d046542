"""From the bytes of one framed message to a JSON object.

The caller has bounded length and nesting; this decodes, and refuses what the json module would
let through: duplicate keys, NaN and infinities, halves of surrogate pairs. Complaints are put into
the words of QEMU's parser.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from engine.qmp import texts
from engine.qmp.errors import generic_error

_INTEGER_MIN = -(2**63)
_INTEGER_MAX = 2**64 - 1
#: Longer than any integer that is kept as one; spares int() from digits without end.
_INTEGER_DIGITS_MAX = 20
_WORD = re.compile(r"[a-zA-Z]+")
_SHOWN_CHARACTERS_MAX = 32


def decode(message: bytes) -> dict[str, Any]:
    """Decode one message.

    Integers outside -2^63 .. 2^64-1 become floats, as in QEMU (qobject/json-parser.c).
    Raises GenericError if the message is not JSON, or not an object.
    """
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError:
        raise generic_error(texts.json_stray("\ufffd")) from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise generic_error(_explain(text, error)) from None
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    if not isinstance(value, dict):
        raise generic_error(texts.INPUT_NOT_AN_OBJECT)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise generic_error(texts.JSON_DUPLICATE_KEY)
    return members


def _integer(digits: str) -> int | float:
    if len(digits) <= _INTEGER_DIGITS_MAX:
        value = int(digits)
        if _INTEGER_MIN <= value <= _INTEGER_MAX:
            return value
    return _float(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        # QEMU takes it as infinity and then echoes `inf`, which is not JSON.
        raise generic_error(texts.json_stray(digits[:_SHOWN_CHARACTERS_MAX]))
    return value


def _constant(name: str) -> NoReturn:
    raise generic_error(texts.json_stray(name))


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        escape = f"\\u{ord(str(error.object)[error.start]):04x}"
        raise generic_error(texts.json_not_unicode(escape)) from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)


def _explain(text: str, error: json.JSONDecodeError) -> str:
    """Put the json module's complaint into QEMU's words (qobject/json-parser.c)."""
    rest = text[error.pos :].lstrip()
    reason = error.msg
    if reason.startswith("Expecting property name"):
        closes = rest.startswith("}")
        return texts.JSON_EXPECTING_VALUE if closes else texts.JSON_KEY_NOT_A_STRING
    if reason.startswith("Expecting ':'"):
        return texts.JSON_MISSING_COLON
    if reason.startswith("Expecting ','"):
        if _inside_list(text[: error.pos]):
            return texts.JSON_MISSING_SEPARATOR_IN_LIST
        return texts.JSON_MISSING_SEPARATOR_IN_DICT
    if reason.startswith("Invalid \\uXXXX"):
        return texts.json_not_unicode("\\u" + text[error.pos + 1 : error.pos + 5])
    if reason.startswith("Invalid \\escape"):
        return texts.JSON_INVALID_ESCAPE
    word = _WORD.match(rest)
    if reason.startswith("Expecting value") and word:
        return texts.json_invalid_keyword(word.group()[:_SHOWN_CHARACTERS_MAX])
    if rest and rest[0] not in "{}[]:,":
        return texts.json_stray(rest[0])
    return texts.JSON_EXPECTING_VALUE


def _inside_list(before: str) -> bool:
    """Whether the innermost bracket that is open at the end of `before` is that of a list."""
    without_strings = re.sub(r'"(?:[^"\\]|\\.)*"', "", before)
    depth = 0
    for character in reversed(without_strings):
        if character in "]}":
            depth += 1
        elif character in "[{":
            if depth == 0:
                return character == "["
            depth -= 1
    return False

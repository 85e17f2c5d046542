"""QEMU option text: `driver,key=value,...` or one JSON object, and the values written in it.

What may live here: the grammar, and readers for single values that any command line uses (sizes,
on/off, MAC and host PCI addresses, durations). What a key means is for the catalogue.

Rules kept (QEMU: util/qemu-option.c, qobject/json-*.c):
- text that starts with `{` is JSON and keeps its types; everything else is key=value, all strings;
- a comma in a value is written `,,`; a leading value without a key belongs to the implied key;
- `key` alone means key=on and `nokey` means key=off;
- of a repeated key the last value counts, except `id`, of which the first does;
- length, nesting and number of keys are bounded before or while decoding, never after use.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from devices import texts
from devices.errors import DeviceError

#: A value as text or JSON can hold it. Key=value text only ever yields str.
OptionValue: TypeAlias = (
    "str | int | float | bool | list[OptionValue] | dict[str, OptionValue] | None"
)

#: Longest option text, in bytes of UTF-8.
TEXT_BYTES_MAX = 64 * 1024
#: Deepest nesting of JSON objects and arrays.
JSON_DEPTH_MAX = 16
#: Most keys in one option text; in JSON, members and elements at all depths together.
KEYS_MAX = 1024

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9\-._]*")
_KEY_END = re.compile(r"[=,]")
_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))?([bBkKmMgGtTpPeE]?)")
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s)")
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}")
_HOST_ADDRESS = re.compile(
    r"(?:([0-9A-Fa-f]{1,4}):)?([0-9A-Fa-f]{1,2}):([01]?[0-9A-Fa-f])\.([0-7])"
)
_SIZE_UNITS = "BKMGTPE"


class OptionError(DeviceError):
    """Option text, or one value in it, does not say what it must."""


class Options(Mapping[str, OptionValue]):
    """An immutable ordered mapping of option names to values, equal by value and type.

    `from_json` says that the values carry JSON types. True, 1 and "1" are three different values
    here, unlike in Python's own `==`; the order of keys does not take part in equality.
    """

    __slots__ = ("_values", "from_json")

    def __init__(
        self, values: Mapping[str, OptionValue] | None = None, *, from_json: bool = False
    ) -> None:
        """Copy `values` in their order."""
        self._values: dict[str, OptionValue] = dict(values or {})
        #: True if the values carry JSON types, False if all are text from a key=value string.
        self.from_json = from_json

    def __getitem__(self, key: str) -> OptionValue:
        """Return the value of `key`; KeyError if it is not there."""
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys in the order they were written."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        """Compare keys, values and value types, and `from_json`."""
        if not isinstance(other, Options):
            return NotImplemented
        return self.from_json == other.from_json and _typed(self._values) == _typed(other._values)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show the values and where they came from."""
        return f"Options({self._values!r}, from_json={self.from_json})"

    def without(self, *keys: str) -> Options:
        """Return the same options less `keys`; keys that are not there do not matter."""
        kept = {key: value for key, value in self._values.items() if key not in keys}
        return Options(kept, from_json=self.from_json)


def _typed(value: OptionValue) -> object:
    """Return a value whose `==` also tells bool, int, float and str apart."""
    if isinstance(value, dict):
        return {key: _typed(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_typed(member) for member in value]
    return (type(value).__name__, value)


def parse_options(
    text: str, *, implied: str | None = None, flags: frozenset[str] = frozenset()
) -> Options:
    """Read one option text, key=value or JSON.

    `implied` names the key of a leading value without `=` (`driver` for -device, `type` for
    -netdev). `flags` names options that a bare word switches on even though they begin with "no".
    Raises OptionError; a text without keys is an empty Options.
    Source: util/qemu-option.c opts_do_parse, softmmu/vl.c (JSON form of -device, -netdev).
    """
    _check_length(text)
    if text.startswith("{"):
        value = decode_json(text)
        assert isinstance(value, dict)  # text that begins with a brace decodes to an object
        return Options(value, from_json=True)
    values: dict[str, OptionValue] = {}
    position = 0
    while position < len(text):
        if len(values) >= KEYS_MAX:
            raise OptionError(f"Expected at most {KEYS_MAX} options, got more: split the text")
        key, value_text, position = _read_option(
            text, position, implied if position == 0 else None, flags
        )
        if key == "id" and key in values:
            continue  # opts_parse_id stops at the first; later ones are read and ignored
        values[key] = value_text
    return Options(values)


def _check_length(text: str) -> None:
    size = len(text)
    if size <= TEXT_BYTES_MAX:
        size = len(text.encode("utf-8", "surrogatepass"))
    if size > TEXT_BYTES_MAX:
        raise OptionError(f"Expected option text of at most {TEXT_BYTES_MAX} bytes, got {size}")


def _read_option(
    text: str, position: int, implied: str | None, flags: frozenset[str]
) -> tuple[str, str, int]:
    """Read the option at `position`; return key, value and the position behind its comma."""
    key_end = _KEY_END.search(text, position)
    end = key_end.start() if key_end else len(text)
    if end < len(text) and text[end] == "=":
        key = text[position:end]
        value, after = _read_value(text, end + 1)
    elif implied is not None:
        key = implied
        value, after = _read_value(text, position)
    else:
        key, value, after = text[position:end], "on", end + 1
        if key not in flags and key.startswith("no"):
            key, value = key[2:], "off"
    _check_key(key)
    return key, value, after


def _read_value(text: str, position: int) -> tuple[str, int]:
    """Read up to the next single comma, turning double ones into commas."""
    parts: list[str] = []
    while True:
        comma = text.find(",", position)
        if comma < 0:
            parts.append(text[position:])
            return "".join(parts), len(text)
        parts.append(text[position:comma])
        if text[comma + 1 : comma + 2] != ",":
            return "".join(parts), comma + 1
        parts.append(",")
        position = comma + 2


def _check_key(key: str) -> None:
    # A key that began with a brace would make the text look like JSON once it is written first.
    if not key or "=" in key or "," in key or key.startswith("{"):
        raise OptionError(texts.PARAMETER_INVALID % key)


def format_options(options: Options, implied: str | None = None) -> str:
    """Write options so that `parse_options` with the same `implied` reads them back equal.

    Options from JSON become compact JSON. Raises OptionError for what key=value text cannot hold:
    a value that is not text, or a key with `=`, `,` or a leading brace.
    """
    if options.from_json:
        text = json.dumps(dict(options), separators=(",", ":"), allow_nan=False)
        _check_length(text)
        return text
    parts: list[str] = []
    for key, value in options.items():
        _check_key(key)
        if not isinstance(value, str):
            raise OptionError(
                f"Expected text as value of '{key}', got {type(value).__name__}: "
                "typed values need the JSON form"
            )
        bare = key == implied and not parts and value != ""
        if bare and not any(sign in value for sign in "=,{"):
            parts.append(value)
        else:
            parts.append(f"{key}={value.replace(',', ',,')}")
    text = ",".join(parts)
    _check_length(text)
    return text


def decode_json(text: str, *, keys_max: int = KEYS_MAX) -> OptionValue:
    """Decode bounded JSON: nesting, number of members, number range and duplicate keys.

    The caller bounds the length. Raises OptionError. Integers must fit 64 bits (-2^63..2^64-1),
    as in QEMU's own JSON; NaN, infinities and lone surrogates are refused.
    """
    _check_depth(text)
    try:
        value: OptionValue = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
            parse_float=_finite_number,
        )
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise OptionError(texts.JSON_ONE_VALUE) from None
        cut_short = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        detail = "premature EOI" if cut_short else f"{error.msg} at character {error.pos}"
        raise OptionError(texts.JSON_PARSE_ERROR % detail) from None
    if _count_members(value) > keys_max:
        raise OptionError(f"Expected JSON with at most {keys_max} members, got more")
    return value


def _check_depth(text: str) -> None:
    # A loop and no regular expression: on a string that never ends those take quadratic time.
    depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
        if depth > JSON_DEPTH_MAX:
            raise OptionError(f"Expected JSON nested at most {JSON_DEPTH_MAX} deep, got deeper")


def _object_without_duplicates(
    pairs: list[tuple[str, OptionValue]],
) -> dict[str, OptionValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise OptionError(texts.JSON_PARSE_ERROR % "duplicate key")
    return members


def _refuse_constant(name: str) -> OptionValue:
    raise OptionError(texts.JSON_PARSE_ERROR % f"invalid keyword '{name}'")


def _bounded_integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**64:
        raise OptionError(texts.JSON_PARSE_ERROR % "expected an integer of at most 64 bits")
    return value


def _finite_number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise OptionError(texts.JSON_PARSE_ERROR % "expected a finite number")
    return value


def _count_members(value: OptionValue) -> int:
    if isinstance(value, dict):
        for key in value:
            _refuse_surrogates(key)
        return len(value) + sum(_count_members(member) for member in value.values())
    if isinstance(value, list):
        return len(value) + sum(_count_members(member) for member in value)
    if isinstance(value, str):
        _refuse_surrogates(value)
    return 0


def _refuse_surrogates(text: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise OptionError(texts.JSON_PARSE_ERROR % "invalid Unicode escape in a string")


def check_identifier(name: str, value: str) -> str:
    """Return `value` if it is a QEMU identifier; raise OptionError naming parameter `name`.

    Source: util/id.c id_wellformed.
    """
    if _IDENTIFIER.fullmatch(value) is None:
        raise OptionError(
            texts.PARAMETER_EXPECTS % (name, texts.EXPECTED_IDENTIFIER),
            hint=texts.HINT_IDENTIFIER,
        )
    return value


def parse_bool(name: str, text: str) -> bool:
    """Read on/off (also yes/no, true/false, y/n); raise OptionError naming parameter `name`.

    Source: qapi/qapi-util.c qapi_bool_parse. Case matters.
    """
    if text in ("on", "yes", "true", "y"):
        return True
    if text in ("off", "no", "false", "n"):
        return False
    raise OptionError(texts.PARAMETER_EXPECTS % (name, texts.EXPECTED_ON_OFF))


def parse_size(text: str, *, default_unit: str = "B", name: str = "size") -> int:
    """Read a size in bytes: "64M", "1.5G", or a plain number of `default_unit` (B, K, M, ...).

    Units are powers of 1024, in either case. Raises OptionError naming parameter `name`.
    Source: util/cutils.c do_strtosz.
    """
    match = _SIZE.fullmatch(text) if len(text) <= 64 else None
    unit = (match[3] or default_unit).upper() if match else ""
    # A fraction of a byte has no meaning, as in do_strtosz.
    if match is None or (match[2] and unit == "B"):
        raise OptionError(
            texts.PARAMETER_EXPECTS % (name, texts.EXPECTED_SIZE), hint=texts.HINT_SIZE
        )
    scale: int = 1024 ** _SIZE_UNITS.index(unit)
    size_bytes: int = int(match[1]) * scale
    if match[2]:
        size_bytes += int(match[2]) * scale // 10 ** len(match[2])
    if size_bytes >= 2**64:
        raise OptionError(texts.VALUE_OUT_OF_RANGE % (text, name))
    return size_bytes


def parse_duration(text: str, *, name: str = "duration") -> float:
    """Read "5s", "500ms" or "1.5s" as milliseconds; raise OptionError naming parameter `name`."""
    match = _DURATION.fullmatch(text) if len(text) <= 32 else None
    if match is None:
        raise OptionError(
            texts.PARAMETER_EXPECTS % (name, f"a duration such as 5s or 500ms, got '{text}'")
        )
    return float(match[1]) * (1000.0 if match[2] == "s" else 1.0)


def parse_mac(text: str) -> str:
    """Return a MAC address as lower-case 52:54:00:12:34:56; `-` may separate the bytes too.

    Raises OptionError. Source: hw/core/qdev-properties-system.c set_mac.
    """
    if _MAC.fullmatch(text) is None:
        raise OptionError(f"Expected a MAC address such as 52:54:00:12:34:56, got '{text}'")
    return text.lower().replace("-", ":")


def parse_host_address(text: str) -> str:
    """Return a host PCI address as 0000:5e:00.2; the domain may be left out.

    Raises OptionError. Source: hw/core/qdev-properties-system.c set_pci_host_devaddr.
    """
    match = _HOST_ADDRESS.fullmatch(text)
    if match is None:
        raise OptionError(
            f"Expected a host PCI address such as 5e:00.2 or 0000:5e:00.2, got '{text}'"
        )
    domain, bus, slot, function = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"

"""The shapes a field of a wire message can have, each with its bounds.

What may live here: shapes, and nothing that knows a particular message. Rules:

- a shape is used both ways: `write` turns a Python value into plain msgpack data, `read` turns
  plain msgpack data back; both apply the same bounds, so that an encoder never sends what a
  decoder refuses;
- `read` is given only what msgpack produces (None, bool, int, float, bytes, str, list, dict);
- a value that does not fit raises `Mismatch`; the path to it is collected on the way up, so a
  good value pays nothing for it;
- lengths of text are bytes of UTF-8, as on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol, TypeAlias, get_args, get_type_hints

#: What the encoder takes where the wire has bytes. A memoryview must be C-contiguous.
BytesLike: TypeAlias = bytes | bytearray | memoryview

U16_MAX = 2**16 - 1
U32_MAX = 2**32 - 1
U64_MAX = 2**64 - 1
I64_MIN = -(2**63)


class Mismatch(ValueError):
    """A value does not fit its shape; `path` leads to it from the outermost one."""

    def __init__(self, expected: str, came: str) -> None:
        super().__init__(expected, came)
        self.expected = expected
        self.came = came
        self.path = ""

    def inside(self, step: str) -> Mismatch:
        """Say where the mismatch was: put `step` in front of the path."""
        self.path = step + self.path
        return self


class Shape(Protocol):
    """What one field may hold."""

    def write(self, value: Any) -> Any:
        """Return `value` as plain msgpack data, or raise Mismatch."""

    def read(self, value: Any) -> Any:
        """Return what the plain msgpack data `value` stands for, or raise Mismatch."""


def size_bytes(value: BytesLike) -> int:
    """Return how many bytes `value` has, whatever its items are."""
    return value.nbytes if isinstance(value, memoryview) else len(value)


def named(value: object) -> str:
    """Describe a value that does not fit in a few words, however large it is."""
    if isinstance(value, bool | None):
        return repr(value)
    if isinstance(value, int):
        return (
            str(value) if value.bit_length() <= 64 else f"an integer of {value.bit_length()} bits"
        )
    if isinstance(value, memoryview):
        return f"memoryview of {value.nbytes} bytes"
    if isinstance(value, str | bytes | bytearray | list | tuple | dict):
        return f"{type(value).__name__} of length {len(value)}"
    return type(value).__name__


def utf8_bytes(value: str) -> int:
    """Return the length of `value` in UTF-8, or raise Mismatch if it has none."""
    try:
        return len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError:
        raise Mismatch("text that UTF-8 can carry", "text with a lone surrogate") from None


@dataclass(frozen=True)
class Integer:
    """A whole number from `minimum` to `maximum`; True and False are not numbers."""

    #: The smallest value.
    minimum: int
    #: The largest value.
    maximum: int

    def write(self, value: Any) -> int:
        """Return `value` itself."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise Mismatch("an integer", named(value))
        if not self.minimum <= value <= self.maximum:
            raise Mismatch(f"an integer from {self.minimum} to {self.maximum}", named(value))
        return value

    read = write


@dataclass(frozen=True)
class Text:
    """Text of at most `bytes_max` bytes of UTF-8."""

    #: The longest text, in bytes.
    bytes_max: int

    def write(self, value: Any) -> str:
        """Return `value` itself."""
        if not isinstance(value, str):
            raise Mismatch("text", named(value))
        if utf8_bytes(value) > self.bytes_max:
            raise Mismatch(f"text of at most {self.bytes_max} bytes", named(value))
        return value

    read = write


@dataclass(frozen=True)
class Octets:
    """Bytes, from `bytes_min` to `bytes_max` of them."""

    #: The fewest bytes.
    bytes_min: int
    #: The most bytes.
    bytes_max: int

    def write(self, value: Any) -> BytesLike:
        """Return `value`, a memoryview as one of single bytes; nothing is copied."""
        if isinstance(value, memoryview):
            if not value.c_contiguous:
                raise Mismatch("contiguous bytes", "a memoryview with gaps")
            octets: BytesLike = value.cast("B")
        elif isinstance(value, bytes | bytearray):
            octets = value
        else:
            raise Mismatch("bytes", named(value))
        if not self.bytes_min <= len(octets) <= self.bytes_max:
            raise Mismatch(f"{self.bytes_min} to {self.bytes_max} bytes", named(value))
        return octets

    read = write


@dataclass(frozen=True)
class Maybe:
    """None, or what `shape` takes."""

    #: The shape of anything but None.
    shape: Shape

    def write(self, value: Any) -> Any:
        """Return None for None."""
        return None if value is None else self.shape.write(value)

    def read(self, value: Any) -> Any:
        """Return None for nil."""
        return None if value is None else self.shape.read(value)


@dataclass(frozen=True)
class ListOf:
    """A list of at most `items_max` items of one shape; a tuple is written as a list."""

    #: The shape of every item.
    item: Shape
    #: The most items.
    items_max: int

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise Mismatch("a list", named(value))
        if len(value) > self.items_max:
            raise Mismatch(f"at most {self.items_max} items", named(value))
        return value

    def write(self, value: Any) -> list[Any]:
        """Return the items, written."""
        return [_at(f"[{n}]", self.item.write, v) for n, v in enumerate(self._checked(value))]

    def read(self, value: Any) -> list[Any]:
        """Return the items, read."""
        return [_at(f"[{n}]", self.item.read, v) for n, v in enumerate(self._checked(value))]


@dataclass(frozen=True)
class DictOf:
    """A dict of at most `items_max` entries, from text to one shape."""

    #: The shape of every key.
    key: Text
    #: The shape of every value.
    value: Shape
    #: The most entries.
    items_max: int

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise Mismatch("a map", named(value))
        if len(value) > self.items_max:
            raise Mismatch(f"at most {self.items_max} entries", named(value))
        for key in value:
            _at(" key", self.key.write, key)
        return value

    def write(self, value: Any) -> dict[str, Any]:
        """Return the entries with their values written."""
        return {k: _at(f"[{k!r}]", self.value.write, v) for k, v in self._checked(value).items()}

    def read(self, value: Any) -> dict[str, Any]:
        """Return the entries with their values read."""
        return {k: _at(f"[{k!r}]", self.value.read, v) for k, v in self._checked(value).items()}


@dataclass(frozen=True)
class RecordOf:
    """A dataclass whose fields carry shapes; on the wire the list of them, in order."""

    #: The dataclass; each field is annotated with its shape: ``Annotated[int, Integer(0, 7)]``.
    record: type[Any]

    @cached_property
    def shapes(self) -> tuple[tuple[str, Shape], ...]:
        """The name and shape of every field, in the order of the wire."""
        hints = get_type_hints(self.record, include_extras=True)
        return tuple((field.name, get_args(hints[field.name])[1]) for field in fields(self.record))

    def write(self, value: Any) -> list[Any]:
        """Return the list of the written fields."""
        if type(value) is not self.record:
            raise Mismatch(self.record.__name__, named(value))
        return [_at(f".{name}", shape.write, getattr(value, name)) for name, shape in self.shapes]

    def read(self, value: Any) -> Any:
        """Return the dataclass built from the list of its fields."""
        if not isinstance(value, list) or len(value) != len(self.shapes):
            raise Mismatch(f"a list of {len(self.shapes)} fields", named(value))
        pairs = zip(self.shapes, value, strict=True)
        return self.record(*(_at(f".{name}", shape.read, item) for (name, shape), item in pairs))


# Tuples: a union would be built anew for every value that is looked at.
_LEAVES = (bool, bytes, bytearray)
_PLAIN = frozenset({bool, bytes, type(None)})
_BRANCHES = (list, tuple, dict)


@dataclass(frozen=True)
class Tree:
    """Plain nested data: None, bool, integers of 64 bits, bytes, text, lists, dicts by text.

    Real numbers are left out because state must arrive exactly as it left.
    """

    #: How many lists and dicts may lie inside each other.
    depth_max: int
    #: The most values in all: dict keys, list items, dict values.
    values_max: int
    #: The most items one list or dict may have.
    items_max: int
    #: The longest text, in bytes.
    text_bytes_max: int

    def write(self, value: Any) -> Any:
        """Return `value` itself; every value below it has been looked at, none copied."""
        values = 1
        level: list[Any] = [value]
        for _depth in range(self.depth_max + 1):
            below: list[Any] = []
            for item in level:
                kind = type(item)
                # Most of it by far, and not worth a call each.
                if kind in _PLAIN or (kind is int and I64_MIN <= item <= U64_MAX):
                    continue
                if kind is str and item.isascii() and len(item) <= self.text_bytes_max:
                    continue
                below.extend(self._inside(item))
                # Counted here, not after the level: the same list may be in many places.
                if values + len(below) > self.values_max:
                    raise Mismatch(f"at most {self.values_max} values", "more")
            if not below:
                return value
            values += len(below)
            level = below
        raise Mismatch(f"at most {self.depth_max} levels of nesting", "more")

    read = write

    def _inside(self, value: Any) -> Iterable[Any]:
        if value is None or isinstance(value, _LEAVES):
            return ()
        if isinstance(value, str):
            if utf8_bytes(value) > self.text_bytes_max:
                raise Mismatch(f"text of at most {self.text_bytes_max} bytes", named(value))
        elif isinstance(value, int):
            if not I64_MIN <= value <= U64_MAX:
                raise Mismatch("an integer of 64 bits", named(value))
        elif isinstance(value, _BRANCHES):
            if len(value) > self.items_max:
                raise Mismatch(f"at most {self.items_max} items", named(value))
            if isinstance(value, dict):
                for key in value:
                    if not isinstance(key, str):
                        raise Mismatch("text as the key of a map", named(key))
                return (*value, *value.values())
            return value
        else:
            raise Mismatch("None, bool, int, bytes, text, list or dict", named(value))
        return ()


def _at(step: str, convert: Any, value: Any) -> Any:
    try:
        return convert(value)
    except Mismatch as mismatch:
        raise mismatch.inside(step) from None

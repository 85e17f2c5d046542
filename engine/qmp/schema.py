"""The mechanism of the schema: types, and the validation of values against them.

What may live here: kinds of types and how a value is checked. What the monitor serves is declared
elsewhere (`declared`, `commands`, `events`). Rules:

- a type is a frozen value with a QAPI name; equal names mean equal types;
- `check` returns the value as the engine is to see it, or raises a GenericError in QEMU's words:
  members in declared order first, then what is left over (qapi/qobject-input-visitor.c);
- wrong types are reported by the whole path (`capabilities[0].state`), enumeration values and
  integer widths by the innermost name, which for an element of a list is `null`: QEMU does so;
- booleans are never numbers, floats are never integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias, cast

from engine.qmp import texts
from engine.qmp.errors import generic_error

_INT64_MIN = -(2**63)
_INT64_MAX = 2**63 - 1
_UINT64_MAX = 2**64 - 1


@dataclass(frozen=True)
class Builtin:
    """A type that JSON itself has, or any value at all."""

    #: The QAPI name: str, int, number, bool, null or any.
    name: str
    #: What the JSON value is called in the schema (SchemaInfoBuiltin json-type).
    json_type: str
    #: What the value is called in a complaint.
    expected: str
    #: What a value must be to pass; empty for any.
    accepted: tuple[type, ...]

    def check(self, value: object, path: str) -> object:
        """Return `value`; raise GenericError if it is of another type."""
        if self.accepted and type(value) not in self.accepted:
            _wrong_type(path, self.expected)
        if self is INT and not _INT64_MIN <= cast(int, value) <= _INT64_MAX:
            _wrong_type(path, self.expected)
        return value


@dataclass(frozen=True)
class Unsigned:
    """An unsigned integer of limited width; the schema shows it as `int`, as QEMU's does."""

    #: How many bits it has: 8, 16, 32 or 64.
    bits: int

    def check(self, value: object, path: str) -> int:
        """Return `value`; negative 64-bit values wrap around, as they do in QEMU.

        Raises GenericError naming uint64 for what is no such integer, else the width.
        """
        if type(value) is not int or not _INT64_MIN <= value <= _UINT64_MAX:
            raise generic_error(texts.parameter_expects(path, "uint64"))
        wrapped = value & _UINT64_MAX
        if wrapped >> self.bits:
            expected = f"uint{self.bits}_t"
            raise generic_error(texts.parameter_expects(_innermost(path), expected))
        return wrapped


@dataclass(frozen=True)
class Enumeration:
    """One of a fixed set of words."""

    #: The QAPI name.
    name: str
    #: The words, in the order they are shown.
    values: tuple[str, ...]

    def check(self, value: object, path: str) -> str:
        """Return `value`; raise GenericError if it is no string or not one of the words."""
        if not isinstance(value, str):
            _wrong_type(path, STR.expected)
        if value not in self.values:
            text = texts.parameter_value_not_accepted(_innermost(path), value)
            raise generic_error(text)
        return value


@dataclass(frozen=True)
class ListOf:
    """Any number of values of one type."""

    #: The type of each element.
    element: QmpType

    @property
    def name(self) -> str:
        """The QAPI name, made from that of the element."""
        return f"[{schema_name(self.element)}]"

    def check(self, value: object, path: str) -> list[Any]:
        """Return the checked elements; raise GenericError on the first that does not fit."""
        if not isinstance(value, list):
            _wrong_type(path, "array")
        return [self.element.check(each, f"{path}[{index}]") for index, each in enumerate(value)]


@dataclass(frozen=True)
class Alternate:
    """A value of one of several types that JSON can tell apart."""

    #: The QAPI name, which is also what a complaint calls it.
    name: str
    #: The types, none of them structured.
    branches: tuple[Builtin, ...]

    def check(self, value: object, path: str) -> object:
        """Return `value`; raise GenericError if it is of none of the types."""
        if not any(type(value) in branch.accepted for branch in self.branches):
            _wrong_type(path, self.name)
        return value


@dataclass(frozen=True)
class Member:
    """One member of a structure."""

    #: The name on the wire.
    name: str
    #: What its value must be.
    type: QmpType
    #: Whether it may be left out.
    optional: bool = False


@dataclass(frozen=True)
class Struct:
    """An object with named members."""

    #: The QAPI name.
    name: str
    #: Its members; optional ones may be left out of a value.
    members: tuple[Member, ...] = ()
    #: Whether members that are not declared pass unchecked (device_add's properties).
    open: bool = False
    #: The member, an enumeration, that decides which further members there are; "" for none.
    tag: str = ""
    #: The further members for each value of the tag.
    variants: Mapping[str, Struct] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Raise ValueError unless the variants are exactly those of the tag."""
        tags = [member.type for member in self.members if member.name == self.tag]
        words = tags[0].values if tags and isinstance(tags[0], Enumeration) else ()
        if set(words) != set(self.variants):
            raise ValueError(f"{self.name}: variants {set(self.variants)}, tag has {set(words)}")

    def check(self, value: object, path: str) -> dict[str, Any]:
        """Return a copy with every member checked.

        Raises GenericError for no object, a missing, wrong or undeclared member.
        """
        if not isinstance(value, dict):
            _wrong_type(path, "object")
        checked: dict[str, Any] = {}
        declared = self._check_members(value, path, checked)
        for name in value:
            if name in declared:
                continue
            if not self.open:
                raise generic_error(texts.parameter_unexpected(_join(path, name)))
            checked[name] = value[name]
        return checked

    def _check_members(self, value: dict[str, Any], path: str, checked: dict[str, Any]) -> set[str]:
        for member in self.members:
            where = _join(path, member.name)
            if member.name in value:
                checked[member.name] = member.type.check(value[member.name], where)
            elif not member.optional:
                raise generic_error(texts.parameter_missing(where))
        declared = {member.name for member in self.members}
        if self.tag:
            further = self.variants[checked[self.tag]]
            declared |= further._check_members(value, path, checked)
        return declared


@dataclass(frozen=True)
class Recursive:
    """A structure inside itself, named rather than held.

    Only answers contain these, so its contents are not checked.
    """

    #: The QAPI name of the structure that is meant.
    name: str

    def check(self, value: object, path: str) -> dict[str, Any]:
        """Return `value`; raise GenericError if it is no object."""
        if not isinstance(value, dict):
            _wrong_type(path, "object")
        return value


QmpType: TypeAlias = Builtin | Unsigned | Enumeration | ListOf | Alternate | Struct | Recursive

STR = Builtin("str", "string", "string", (str,))
INT = Builtin("int", "int", "integer", (int,))
NUMBER = Builtin("number", "number", "number", (int, float))
BOOL = Builtin("bool", "boolean", "boolean", (bool,))
NULL = Builtin("null", "null", "null", (type(None),))
ANY = Builtin("any", "value", "value", ())
UINT8 = Unsigned(8)
UINT16 = Unsigned(16)
UINT32 = Unsigned(32)
UINT64 = Unsigned(64)
EMPTY = Struct("q_empty")


@dataclass(frozen=True)
class CommandSpec:
    """One command as clients see it."""

    #: What it takes; `EMPTY` for nothing.
    arguments: Struct = EMPTY
    #: What its success reply carries; `EMPTY` for `{}`.
    returns: QmpType = EMPTY
    #: Whether exec-oob may be used for it.
    allow_oob: bool = False
    #: Whether it is allowed before the machine has been built.
    allow_preconfig: bool = False
    #: The GenericError it is always refused with, once its arguments are right; "" if served.
    refusal: str = ""
    #: Names of features that clients look for.
    features: tuple[str, ...] = ()
    #: What it does, in one sentence.
    doc: str = ""

    def check_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the checked arguments; raise GenericError if they do not fit."""
        return self.arguments.check(arguments, "")


@dataclass(frozen=True)
class EventSpec:
    """One event as clients see it."""

    #: What its `data` holds; `EMPTY` for events without data.
    data: Struct = EMPTY
    #: When it is emitted, in one sentence.
    doc: str = ""


def schema_name(kind: QmpType) -> str:
    """The name under which the schema lists this type."""
    return INT.name if isinstance(kind, Unsigned) else kind.name


def required(name: str, kind: QmpType) -> Member:
    """A member that every value has."""
    return Member(name, kind)


def optional(name: str, kind: QmpType) -> Member:
    """A member that may be left out."""
    return Member(name, kind, optional=True)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _innermost(path: str) -> str:
    return "null" if path.endswith("]") else path.rpartition(".")[2]


def _wrong_type(path: str, expected: str) -> NoReturn:
    raise generic_error(texts.parameter_wrong_type(path, expected))

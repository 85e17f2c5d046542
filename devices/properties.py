"""Property types of device models: how one value is declared, read and described.

What may live here: the kinds of value a device property has, and reading one value from an option.
Which model has which property is in `property_tables`; whether a netdev exists is the catalogue's
question.

Two ways of reading, as in QEMU:
- lenient: the value is text (or a JSON scalar turned into text first, as QEMU 7.2 does with what
  comes over QMP) and is read as text: "on", "0x10", "06.0";
- strict: the value came from JSON and must have the property's JSON type ("on" for a bool is an
  error). The command line's `-device {...}` is always read so, QMP since QEMU 9.2.
null, lists and objects are refused in both; QEMU 7.2 drops them silently from QMP arguments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from devices import texts
from devices.options import (
    OptionError,
    OptionValue,
    parse_bool,
    parse_host_address,
    parse_mac,
    parse_size,
)

#: A property as the rest of replug uses it.
PropertyValue: TypeAlias = str | int | bool | None

#: Value of `addr` that leaves the choice of slot to the bus.
ADDRESS_AUTO = -1
#: Functions in one PCI slot.
FUNCTIONS = 8
#: Slots on one PCI bus.
SLOTS = 32

_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9A-Fa-f]{1,16}|[0-9]{1,22})")
_ADDRESS = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,4})(?:\.(?:0[xX])?([0-9A-Fa-f]{1,4}))?")


class Kind(Enum):
    """What a property holds; the value is the type name of QMP device-list-properties."""

    #: On or off.
    BOOL = "bool"
    #: 0 to 2^8-1.
    UINT8 = "uint8"
    #: 0 to 2^16-1.
    UINT16 = "uint16"
    #: 0 to 2^32-1.
    UINT32 = "uint32"
    #: 0 to 2^64-1.
    UINT64 = "uint64"
    #: -2^31 to 2^31-1.
    INT32 = "int32"
    #: Bytes, 0 to 2^64-1; text may carry a unit.
    SIZE = "size"
    #: Any text.
    TEXT = "str"
    #: Six bytes, kept as lower-case 52:54:00:12:34:56.
    MAC = "str (mac)"
    #: Id of a network backend.
    NETDEV = "str (netdev)"
    #: Host PCI address, kept as 0000:5e:00.2.
    HOST_ADDRESS = "str (host)"
    #: Slot and function on the bus, kept as slot * 8 + function; ADDRESS_AUTO if not given.
    PCI_ADDRESS = "int32 (addr)"
    #: One of a few words.
    CHOICE = "enum"
    #: Shown to clients, never set by them.
    READ_ONLY = "read-only"


_INTEGER_BOUNDS = {
    Kind.UINT8: (0, 2**8 - 1, "uint8_t"),
    Kind.UINT16: (0, 2**16 - 1, "uint16_t"),
    Kind.UINT32: (0, 2**32 - 1, "uint32_t"),
    Kind.UINT64: (0, 2**64 - 1, "uint64"),
    Kind.INT32: (-(2**31), 2**31 - 1, "int32_t"),
}


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a device model."""

    #: Name as written in options.
    name: str
    #: What it holds.
    kind: Kind
    #: Value if the options do not name it; None if there is none.
    default: PropertyValue = None
    #: Shown by device-list-properties; None if QEMU shows none.
    description: str | None = None
    #: QOM type that errors about the value name, where it is not the device's own.
    owner: str | None = None
    #: Words accepted, for CHOICE.
    choices: tuple[str, ...] = ()
    #: QMP type name, where it is not the kind's own.
    type_name: str | None = None


def describe(declared: Property) -> dict[str, PropertyValue]:
    """Return the property in the shape of one entry of QMP device-list-properties.

    `default-value` and `description` are there only if the property has one.
    """
    shown: dict[str, PropertyValue] = {
        "name": declared.name,
        "type": declared.type_name or declared.kind.value.split(" ")[0],
    }
    if declared.description is not None:
        shown["description"] = declared.description
    if declared.default is not None:
        shown["default-value"] = declared.default
    return shown


def read_value(
    declared: Property, value: OptionValue, *, device_type: str, strict: bool
) -> PropertyValue:
    """Read one option value as the property's own type.

    `device_type` is what errors call the device; `strict` demands the JSON type (see above).
    Raises OptionError with QEMU's text. Source: hw/core/qdev-properties*.c and the input visitors.
    """
    owner = declared.owner or device_type
    if declared.kind is Kind.READ_ONLY:
        raise OptionError(texts.PROPERTY_NOT_WRITABLE % (device_type, declared.name))
    if value is None or isinstance(value, list | dict):
        raise _type_error(declared)
    if not strict:
        return _read_text(declared, _as_text(value), owner)
    if declared.kind is Kind.PCI_ADDRESS:
        return _read_typed_address(declared, value, owner)
    if declared.kind is Kind.BOOL:
        if not isinstance(value, bool):
            raise _type_error(declared)
        return value
    if declared.kind in _INTEGER_BOUNDS or declared.kind is Kind.SIZE:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _type_error(declared)
        return _bounded(declared, value)
    if not isinstance(value, str):
        raise _type_error(declared)
    return _read_text(declared, value, owner)


def _as_text(value: str | int | float | bool) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _type_error(declared: Property) -> OptionError:
    """Return QEMU's error for a value of the wrong JSON type."""
    name = declared.name
    if declared.kind is Kind.BOOL:
        return OptionError(texts.TYPE_INVALID % (name, "boolean"))
    if declared.kind is Kind.PCI_ADDRESS:
        return OptionError(texts.ADDRESS_TYPE_INVALID % name)
    if declared.kind is Kind.INT32:
        return OptionError(texts.TYPE_INVALID % (name, "integer"))
    if declared.kind in _INTEGER_BOUNDS or declared.kind is Kind.SIZE:
        # Every unsigned width is read by one 64-bit visitor, whose word this is.
        return OptionError(texts.PARAMETER_EXPECTS % (name, "uint64"))
    return OptionError(texts.TYPE_INVALID % (name, "string"))


def _read_text(declared: Property, text: str, owner: str) -> PropertyValue:
    match declared.kind:
        case Kind.BOOL:
            return parse_bool(declared.name, text)
        case Kind.PCI_ADDRESS:
            return _read_address(declared, text, owner)
        case Kind.SIZE:
            return _read_size(declared, text)
        case Kind.MAC | Kind.HOST_ADDRESS:
            reader = parse_mac if declared.kind is Kind.MAC else parse_host_address
            try:
                return reader(text)
            except OptionError:
                raise _refused(declared, text, owner) from None
        case Kind.CHOICE:
            if text not in declared.choices:
                raise OptionError(texts.VALUE_NOT_ACCEPTED % (declared.name, text))
            return text
        case Kind.TEXT | Kind.NETDEV:
            return text
        case _:
            return _read_integer(declared, text)


def _refused(declared: Property, text: str, owner: str) -> OptionError:
    return OptionError(texts.PROPERTY_VALUE_REFUSED % (owner, declared.name, text))


def _read_integer(declared: Property, text: str) -> int:
    stripped = text.strip(" ")
    if _INTEGER.fullmatch(stripped) is None:
        raise OptionError(texts.PARAMETER_EXPECTS % (declared.name, "integer"))
    digits = stripped.lstrip("+-")
    # C's rule: a leading zero means octal.
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10
    try:
        number = int(digits, base)
    except ValueError:
        raise OptionError(texts.PARAMETER_EXPECTS % (declared.name, "integer")) from None
    if number >= 2**64:
        raise OptionError(texts.PARAMETER_EXPECTS % (declared.name, "integer"))
    return _bounded(declared, -number if stripped.startswith("-") else number)


def _bounded(declared: Property, number: int) -> int:
    lowest, highest, word = _INTEGER_BOUNDS.get(declared.kind, _INTEGER_BOUNDS[Kind.UINT64])
    if not lowest <= number <= highest:
        raise OptionError(texts.PARAMETER_EXPECTS % (declared.name, word))
    return number


def _read_size(declared: Property, text: str) -> int:
    try:
        return parse_size(text, name=declared.name)
    except OptionError:
        raise OptionError(texts.PARAMETER_EXPECTS % (declared.name, "size")) from None


def _read_address(declared: Property, text: str, owner: str) -> int:
    """Read "0x2", "2.0" or "02.1" (hexadecimal slot and function) as slot * 8 + function."""
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise _refused(declared, text, owner)
    slot, function = int(match[1], 16), int(match[2] or "0", 16)
    if slot >= SLOTS or function >= FUNCTIONS:
        raise _refused(declared, text, owner)
    return slot * FUNCTIONS + function


def _read_typed_address(declared: Property, value: str | int | float | bool, owner: str) -> int:
    if isinstance(value, str):
        return _read_address(declared, value, owner)
    if isinstance(value, bool):
        raise _type_error(declared)
    if not isinstance(value, int):
        raise OptionError(texts.TYPE_INVALID % (declared.name, "integer"))
    # An integer is slot * 8 + function, unlike the same digits in a string, which are a slot.
    highest = SLOTS * FUNCTIONS - 1
    if not ADDRESS_AUTO <= value <= highest:
        raise OptionError(texts.VALUE_NOT_BETWEEN % (declared.name, ADDRESS_AUTO, highest))
    return value

"""The shapes that a device's streamed fields may have, and the error that names a wrong one.

What may live here: one frozen dataclass per kind of field (an unsigned register, a flag, bytes,
text, a list of those, a nested section) and `VmStateError`. Nothing here knows a device, or how a
section is laid out: that is `devices.vmstate`.

Rules kept here:

* A kind checks in both directions with the same rule. What a source may write is exactly what a
  target may read, so a source with a broken device fails at home instead of on the target.
* Everything is bounded before it is walked or copied: a list by its count, bytes and text by their
  length, an unknown value by never being looked into.
* No coercion. True is not 1, 1.0 is not 1, text is not bytes: a section is either what its
  description says or it is refused.
* An error quotes what came only in a bounded form, so that hostile input cannot fill a log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from devices.vmstate import VmStateDescription

#: Longest quotation of a refused value in an error, in characters.
QUOTATION_LENGTH_MAX = 64


class VmStateError(Exception):
    """A device's state cannot be written, or what arrived does not fit the device.

    Raised before anything on a device has changed. `lines()` is what QEMU would print on its error
    output for the same failure; `str()` says what was expected, what came and what to do.
    """

    def __init__(
        self,
        device: str,
        field: str,
        expected: str,
        got: str,
        advice: str,
        *,
        text: str | None = None,
    ) -> None:
        #: The device's section, such as "virtio-net" or "0000:00:01.0:00.0/virtio-net".
        self.device = device
        #: Path of the field within the section, such as "virtio.queues[1].size"; "" for the whole.
        self.field = field
        #: What the description allows there.
        self.expected = expected
        #: What was there, shortened to a bounded quotation.
        self.got = got
        #: What whoever reads the error can do about it.
        self.advice = advice
        #: QEMU's own words for this failure, where it has any.
        self.text = text
        #: The enclosing fields, innermost first, in the words of vmstate_load_state.
        self.trail: list[str] = []
        where = f"{device}: {field}" if field else device
        opening = f"{text}; {where}" if text else where
        super().__init__(f"{opening}: expected {expected}, got {got}; {advice}")

    def lines(self) -> list[str]:
        """The failure as QEMU prints it: its cause, then one line per enclosing level."""
        return [self.text or str(self), *self.trail]


@dataclass(frozen=True)
class Place:
    """Where in which device's section a value stands, to raise errors that name it."""

    #: Section name of the device.
    device: str
    #: Path of the field so far; "" at the section itself.
    path: str = ""

    def at(self, name: str) -> Place:
        """The place of the field `name` below this one."""
        return Place(self.device, f"{self.path}.{name}" if self.path else name)

    def item(self, index: int) -> Place:
        """The place of element `index` of the list at this place."""
        return Place(self.device, f"{self.path}[{index}]")

    def error(
        self, expected: str, got: object, advice: str, text: str | None = None
    ) -> VmStateError:
        """An error for the value `got` at this place; it is quoted in a bounded form."""
        return VmStateError(self.device, self.path, expected, quote(got), advice, text=text)


class Quoted(str):
    """A description of what came, to be put in an error as it stands."""


def quote(value: object) -> str:
    """Name any value, whatever it is, in few characters and without walking into it."""
    if isinstance(value, Quoted):
        return str(value)
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 128 else f"a {value.bit_length()}-bit integer"
    if isinstance(value, str):
        return repr(value[:QUOTATION_LENGTH_MAX]) + (
            "…" if len(value) > QUOTATION_LENGTH_MAX else ""
        )
    if isinstance(value, (bytes, bytearray, list, tuple)):
        return f"{type(value).__name__} of length {len(value)}"
    if isinstance(value, dict):
        return f"a map of {len(value)} entries"
    return f"a {type(value).__name__}"[:QUOTATION_LENGTH_MAX]


#: Advice for a value that no correct source writes.
CORRUPT_ADVICE = "the stream is damaged or its writer is faulty; migrate again"


class PlainKind(Protocol):
    """A kind whose values are self-contained: checked alike on the way out and on the way in."""

    def checked(self, value: object, place: Place) -> Any:
        """`value` as both the device and the stream hold it; VmStateError if it does not fit."""
        ...


@dataclass(frozen=True)
class Unsigned:
    """An unsigned integer of a fixed width."""

    #: Width of the register, in bits.
    bits: int

    def checked(self, value: object, place: Place) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise place.error(f"an unsigned {self.bits}-bit integer", value, CORRUPT_ADVICE)
        if not 0 <= value < 1 << self.bits:
            raise place.error(
                f"an integer from 0 to 0x{(1 << self.bits) - 1:x}", value, CORRUPT_ADVICE
            )
        # A register kept as an IntFlag goes out as the plain number it is.
        return int(value)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def checked(self, value: object, place: Place) -> bool:
        if not isinstance(value, bool):
            raise place.error("true or false", value, CORRUPT_ADVICE)
        return value


@dataclass(frozen=True)
class Bytes:
    """Bytes of a length within bounds."""

    #: Longest allowed, in bytes.
    length_max: int
    #: Shortest allowed, in bytes.
    length_min: int = 0

    def checked(self, value: object, place: Place) -> bytes:
        if not isinstance(value, (bytes, bytearray)):
            raise place.error("bytes", value, CORRUPT_ADVICE)
        if not self.length_min <= len(value) <= self.length_max:
            if self.length_min == self.length_max:
                raise place.error(f"{self.length_max} bytes", value, CORRUPT_ADVICE)
            raise place.error(
                f"{self.length_min} to {self.length_max} bytes", value, CORRUPT_ADVICE
            )
        return bytes(value)


@dataclass(frozen=True)
class Text:
    """Text of a bounded length."""

    #: Longest allowed, in UTF-8 bytes.
    length_max: int

    def checked(self, value: object, place: Place) -> str:
        if not isinstance(value, str):
            raise place.error("text", value, CORRUPT_ADVICE)
        # Characters first: encoding is only paid for text that can possibly fit.
        if len(value) > self.length_max:
            raise place.error(f"text of at most {self.length_max} bytes", value, CORRUPT_ADVICE)
        try:
            length = len(value.encode())
        except UnicodeEncodeError:
            raise place.error("text that UTF-8 can encode", value, CORRUPT_ADVICE) from None
        if length > self.length_max:
            raise place.error(f"text of at most {self.length_max} bytes", value, CORRUPT_ADVICE)
        return value


@dataclass(frozen=True)
class ListOf:
    """A list of plain values of one kind, of a count within bounds."""

    #: The kind of every element.
    element: PlainKind
    #: Most elements allowed.
    count_max: int
    #: Fewest elements allowed.
    count_min: int = 0

    def checked(self, value: object, place: Place) -> list[Any]:
        if not isinstance(value, (list, tuple)):
            raise place.error("a list", value, CORRUPT_ADVICE)
        if not self.count_min <= len(value) <= self.count_max:
            raise place.error(
                f"{self.count_min} to {self.count_max} elements", value, CORRUPT_ADVICE
            )
        return [self.element.checked(item, place.item(i)) for i, item in enumerate(value)]


@dataclass(frozen=True)
class Part:
    """A nested section that describes the very same object: a base class's share of its state."""

    #: Lays out the nested section.
    description: VmStateDescription[Any]


@dataclass(frozen=True)
class StructureList:
    """A list of nested sections, one per object that the device already has.

    The objects are the device's own (its queues): a section with another number of them was written
    by a device of another shape and is refused.
    """

    #: Lays out each element's section.
    description: VmStateDescription[Any]
    #: Most elements allowed.
    count_max: int


Kind = PlainKind | Part | StructureList

U8 = Unsigned(8)
U16 = Unsigned(16)
U32 = Unsigned(32)
U64 = Unsigned(64)
BOOL = Flag()


def fixed_bytes(length: int) -> Bytes:
    """Bytes of exactly `length`."""
    return Bytes(length_max=length, length_min=length)

"""The lines of a journal, read and bounded: text from outside becomes entries of known shape.

Rules kept here:
1. A line is somebody else's input: its length, its keys and the type of every value are checked
   before it is believed; what is wrong is said with the line's number.
2. What a line means is judged in `conformance.py`; here nothing knows a table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from statemachines.effects import Command, Message
from statemachines.events import E

#: The longest line, in characters.
LINE_CHARACTERS_MAX = 1 << 20
#: Failover devices of one VM.
DEVICES_MAX = 64
#: The latest time: no clock of a process goes on for so long.
TIME_MS_MAX = 1 << 53

_REQUIRED = ("sequence", "event", "instance", "sent", "commands", "raised", "state")
_OPTIONAL = ("process", "time_ms", "devices", "policies", "latched")
_MESSAGES = {message.value: message for message in Message}
_COMMANDS = {command.value: command for command in Command}


class LineError(ValueError):
    """A line is no entry of a journal; says what was expected and what came."""

    def __init__(self, line: int, expected: str, came: str) -> None:
        super().__init__(f"line {line}: expected {expected}, got {came}")
        self.line = line
        self.expected = expected
        self.came = came


@dataclass(frozen=True)
class Device:
    """One failover device of a VM: a standby, or a primary of one."""

    #: Its id.
    id: str
    #: Its index at run time: it grows with each device, and none is used again.
    index: int
    #: The id of its standby; None for a standby.
    standby: str | None


@dataclass(frozen=True)
class Entry:
    """One line of a journal."""

    #: Number of the line, from 1.
    line: int
    #: Number of the step, from 0.
    sequence: int
    #: What happened.
    event: E
    #: Id of the device it is about; None for the VM.
    instance: str | None
    #: Messages that were sent, in order.
    sent: tuple[Message, ...]
    #: Commands given to the world, in order.
    commands: tuple[Command, ...]
    #: Events raised, in order.
    raised: tuple[E, ...]
    #: Machine -> its state after the step, or -> {device id: state}.
    state: Mapping[str, str | Mapping[str, str]]
    #: The failover devices, oldest first, where they are others than at the line before.
    devices: tuple[Device, ...] | None
    #: The policies, in a first line.
    policies: Mapping[str, str] | None
    #: What the message received carried: machine -> state, or -> {device id: state}.
    latched: Mapping[str, str | Mapping[str, str]] | None
    #: By its process's clock; None where it does not say.
    time_ms: float | None


@dataclass(frozen=True)
class CutShort:
    """The journal ends in the middle of a line."""

    #: Number of the line, from 1.
    line: int


def entries_of(lines: Iterable[str]) -> Iterator[Entry | CutShort]:
    """Read a journal's lines, each with its line feed; the last may lack it, and be cut short.

    :raise LineError: for a line that is no entry.
    """
    for number, text in enumerate(lines, 1):
        if len(text) > LINE_CHARACTERS_MAX:
            raise LineError(number, f"at most {LINE_CHARACTERS_MAX} characters", "a longer line")
        if not text.endswith("\n"):
            yield CutShort(number)
            return
        yield entry_of(number, text)


def entry_of(number: int, text: str) -> Entry:
    """Read one line.

    :raise LineError: if it is no entry.
    """
    try:
        fields = json.loads(text, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
        raise LineError(number, "one JSON object", reason) from error
    if not isinstance(fields, dict):
        raise LineError(number, "one JSON object", type(fields).__name__)
    reader = _Reader(number, fields)
    reader.keys(fields, _REQUIRED, _OPTIONAL, "an entry")
    return Entry(
        line=number,
        sequence=reader.count("sequence"),
        event=reader.event("event", fields["event"]),
        instance=reader.name_or_none("instance"),
        sent=tuple(reader.among("sent", _MESSAGES)),
        commands=tuple(reader.among("commands", _COMMANDS)),
        raised=tuple(reader.event("raised", name) for name in reader.list_of("raised")),
        state=reader.states("state"),
        devices=reader.devices() if "devices" in fields else None,
        policies=reader.texts("policies") if "policies" in fields else None,
        latched=reader.states("latched") if "latched" in fields else None,
        time_ms=reader.time("time_ms") if "time_ms" in fields else None,
    )


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


class _Reader:
    """Takes the values of one line, each with its type."""

    def __init__(self, line: int, fields: dict[str, Any]) -> None:
        self._line = line
        self._fields = fields

    def _wrong(self, key: str, expected: str, came: object) -> LineError:
        return LineError(self._line, f"{expected} as {key}", f"{came!r}"[:200])

    def keys(
        self,
        found: Mapping[str, Any],
        required: tuple[str, ...],
        optional: tuple[str, ...],
        what: str,
    ) -> None:
        """Check which keys an object has."""
        missing = [key for key in required if key not in found]
        unknown = [key for key in found if key not in required + optional]
        if missing or unknown:
            came = f"none of {', '.join(missing)}" if missing else f"{unknown[0]!r}"[:200]
            raise LineError(self._line, f"the keys of {what}", came)

    def count(self, key: str) -> int:
        """Return a number from 0."""
        value = self._fields[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(key, "a number from 0", value)
        return value

    def time(self, key: str) -> float:
        """Return a time."""
        value = self._fields[key]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= TIME_MS_MAX:
            raise self._wrong(key, f"a number from 0 to {TIME_MS_MAX}", value)
        return float(value)

    def name_or_none(self, key: str) -> str | None:
        """Return a device id, or None."""
        value = self._fields[key]
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a device id or null", value)
        return value

    def event(self, key: str, name: object) -> E:
        """Return an event by its name."""
        if not isinstance(name, str) or name not in E.__members__:
            raise self._wrong(key, "an event", name)
        return E[name]

    def list_of(self, key: str) -> list[Any]:
        """Return a list."""
        value = self._fields[key]
        if not isinstance(value, list):
            raise self._wrong(key, "a list", value)
        return value

    def among(self, key: str, known: Mapping[str, Any]) -> Iterator[Any]:
        """Return a list of known words."""
        for word in self.list_of(key):
            if not isinstance(word, str) or word not in known:
                raise self._wrong(key, f"known {key}", word)
            yield known[word]

    def texts(self, key: str) -> Mapping[str, str]:
        """Return an object whose values are texts."""
        value = self._fields[key]
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise self._wrong(key, "an object of texts", value)
        return value

    def states(self, key: str) -> Mapping[str, str | Mapping[str, str]]:
        """Return states by machine, and by device where there are several."""
        value = self._fields[key]
        if not isinstance(value, dict):
            raise self._wrong(key, "an object", value)
        for state in value.values():
            inner = state.values() if isinstance(state, dict) else (state,)
            if not all(isinstance(one, str) for one in inner):
                raise self._wrong(key, "states", state)
        return value

    def devices(self) -> tuple[Device, ...]:
        """Return the failover devices: every id once per kind, the oldest first."""
        found: list[Device] = []
        listed = self.list_of("devices")
        if len(listed) > DEVICES_MAX:
            raise self._wrong("devices", f"at most {DEVICES_MAX} devices", len(listed))
        for item in listed:
            if not isinstance(item, dict):
                raise self._wrong("devices", "objects", item)
            self.keys(item, ("id", "index"), ("standby",), "a device")
            name, index, standby = item["id"], item["index"], item.get("standby")
            if not isinstance(name, str) or type(index) is not int:
                raise self._wrong("devices", "an id and an index", item)
            if found and index <= found[-1].index:
                raise self._wrong("devices", "indexes that grow", item)
            if any(d.id == name and (d.standby is None) is (standby is None) for d in found):
                raise self._wrong("devices", "every id once", item)
            if standby is not None and not any(
                d.standby is None and d.id == standby for d in found
            ):
                raise self._wrong("devices", "a standby that is listed before", item)
            found.append(Device(name, index, standby))
        return tuple(found)

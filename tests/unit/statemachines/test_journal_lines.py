"""Lines of a journal from outside: whatever is in one, it is read or refused with its number."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachines.checker.conformance import check_journals
from statemachines.checker.journal_lines import (
    DEVICES_MAX,
    LINE_CHARACTERS_MAX,
    CutShort,
    Device,
    Entry,
    LineError,
    entries_of,
)
from statemachines.effects import Command, Message
from statemachines.events import E

LINE: dict[str, Any] = {
    "process": "source",
    "time_ms": 1.5,
    "sequence": 0,
    "event": "DEVICE_ADD",
    "instance": "hostdev0",
    "sent": ["hello"],
    "commands": ["connect"],
    "raised": ["ABANDON"],
    "state": {"migration": "none", "primary": {"hostdev0": "hidden"}},
    "devices": [{"id": "net1", "index": 0}, {"id": "hostdev0", "index": 3, "standby": "net1"}],
    "policies": {"hotplug": "acpi"},
    "latched": {"resume": "run"},
}


def read(text: str) -> Entry:
    (entry,) = entries_of([text])
    assert isinstance(entry, Entry)
    return entry


def test_everything_in_a_line_is_read() -> None:
    entry = read(json.dumps(LINE) + "\n")
    assert (entry.line, entry.sequence, entry.event) == (1, 0, E.DEVICE_ADD)
    assert entry.instance == "hostdev0"
    assert (entry.sent, entry.commands) == ((Message.HELLO,), (Command.CONNECT,))
    assert entry.raised == (E.ABANDON,)
    assert entry.devices == (Device("net1", 0, None), Device("hostdev0", 3, "net1"))
    assert entry.policies == {"hotplug": "acpi"}
    assert entry.latched == {"resume": "run"}
    assert entry.state["primary"] == {"hostdev0": "hidden"}


def test_what_need_not_be_there() -> None:
    needed = ("sequence", "event", "instance", "sent", "commands", "raised", "state")
    entry = read(json.dumps({key: LINE[key] for key in needed}) + "\n")
    assert (entry.devices, entry.policies, entry.latched) == (None, None, None)


def test_the_last_line_may_be_cut_short() -> None:
    whole = json.dumps(LINE) + "\n"
    assert list(entries_of([whole, whole[:-1]]))[1:] == [CutShort(2)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"sequence": -1}, "a number from 0 as sequence, got -1"),
        ({"sequence": True}, "a number from 0 as sequence"),
        ({"sequence": "0"}, "a number from 0 as sequence"),
        ({"event": "NOTHING"}, "an event as event, got 'NOTHING'"),
        ({"event": ["BOOT"]}, "an event as event"),
        ({"instance": 1}, "a device id or null as instance"),
        ({"sent": "hello"}, "a list as sent"),
        ({"sent": ["HELLO"]}, "known sent as sent"),
        ({"commands": [["connect"]]}, "known commands as commands"),
        ({"raised": [None]}, "an event as raised"),
        ({"state": []}, "an object as state"),
        ({"state": {"migration": 1}}, "states as state"),
        ({"state": {"primary": {"hostdev0": None}}}, "states as state"),
        ({"latched": {"resume": {"a": {}}}}, "states as latched"),
        ({"policies": {"hotplug": 1}}, "an object of texts as policies"),
        ({"policies": None}, "an object of texts as policies"),
        ({"devices": {}}, "a list as devices"),
        ({"devices": ["net1"]}, "objects as devices"),
        ({"devices": [{"id": "net1"}]}, "the keys of a device, got none of index"),
        ({"devices": [{"id": "net1", "index": 0, "mac": ""}]}, "the keys of a device, got 'mac'"),
        ({"devices": [{"id": "net1", "index": False}]}, "an id and an index"),
        ({"devices": [{"id": 1, "index": 0}]}, "an id and an index"),
        ({"devices": [{"id": "a", "index": 1}, {"id": "b", "index": 1}]}, "indexes that grow"),
        ({"devices": [{"id": "a", "index": 1}, {"id": "a", "index": 2}]}, "every id once"),
        ({"devices": [{"id": "a", "index": 1, "standby": "b"}]}, "a standby that is listed before"),
        ({"devices": [{"id": "a", "index": 1}] * (DEVICES_MAX + 1)}, "at most 64 devices"),
        ({"else": 1}, "the keys of an entry, got 'else'"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(LineError) as refused:
        read(json.dumps({**LINE, **change}) + "\n")
    assert str(refused.value).startswith("line 1: expected ")
    assert complaint in str(refused.value)


@pytest.mark.parametrize("key", ["sequence", "event", "sent", "state"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(LineError, match=f"none of {key}"):
        read(json.dumps({name: LINE[name] for name in LINE if name != key}) + "\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("\n", "one JSON object"),
        ("[]\n", "one JSON object, got list"),
        ("[" * 100_000 + "\n", "one JSON object"),
        ('{"sequence": 0, "sequence": 0}\n', "stands twice"),
        ("x" * LINE_CHARACTERS_MAX + "\n", "a longer line"),
        ("9" * 10_000 + "\n", "one JSON object"),
    ],
)
def test_what_is_no_object_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(LineError, match=complaint):
        read(text)


@given(st.lists(st.text(max_size=40) | st.just(json.dumps(LINE)), max_size=4))
def test_no_line_is_too_strange_to_be_judged(lines: list[str]) -> None:
    found = check_journals([f"{line}\n" for line in lines]).disagreement
    assert (found is None) is (not lines)

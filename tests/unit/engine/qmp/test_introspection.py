"""query-qmp-schema: complete, closed, and of the shape it declares for itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import engine as engine_package
from engine.qmp import introspection
from engine.qmp.commands import COMMANDS
from engine.qmp.events import EVENTS
from engine.qmp.schema import INT, STR, CommandSpec, Struct, required

SCHEMA = introspection.query_qmp_schema()
BY_NAME = {entry["name"]: entry for entry in SCHEMA}


def references(entry: dict[str, Any]) -> list[str]:
    """Every type that one entry names."""
    named = [entry[key] for key in ("arg-type", "ret-type", "element-type") if key in entry]
    if entry["meta-type"] in ("object", "alternate"):
        named += [member["type"] for member in entry["members"]]
    return named + [variant["type"] for variant in entry.get("variants", [])]


def test_every_named_type_is_listed_and_every_name_is_unique() -> None:
    named = {name for entry in SCHEMA for name in references(entry)}
    assert named <= set(BY_NAME)
    assert len(SCHEMA) == len(BY_NAME)


def test_every_listed_type_is_used() -> None:
    kinds = ("command", "event")
    types = {entry["name"] for entry in SCHEMA if entry["meta-type"] not in kinds}
    assert types == {name for entry in SCHEMA for name in references(entry)}


def test_every_event_is_emitted_somewhere() -> None:
    """A client that finds an event listed may wait for it."""
    engine = Path(engine_package.__file__).parent
    declared = engine / "qmp" / "events.py"
    written = "".join(path.read_text() for path in engine.rglob("*.py") if path != declared)
    assert [name for name in EVENTS if not re.search(rf'mit\(\s*"{name}"', written)] == []


def test_the_schema_has_the_shape_it_declares() -> None:
    assert COMMANDS["query-qmp-schema"].returns.check(SCHEMA, "schema") == SCHEMA


def test_it_lists_what_is_served_and_nothing_else() -> None:
    listed = {
        kind: {entry["name"] for entry in SCHEMA if entry["meta-type"] == kind}
        for kind in ("command", "event")
    }
    assert listed == {"command": set(COMMANDS), "event": set(EVENTS)}
    assert {entry["name"] for entry in introspection.query_commands()} == set(COMMANDS)
    assert {entry["name"] for entry in introspection.query_events()} == set(EVENTS)


def test_only_the_commands_that_qemu_says_so_of_are_allowed_out_of_band() -> None:
    allowed = {entry["name"] for entry in SCHEMA if entry.get("allow-oob")}
    assert allowed == {"migrate-pause", "migrate-recover"}


def test_optional_members_are_marked_as_qemu_marks_them() -> None:
    members = {member["name"]: member for member in BY_NAME["q_obj_migrate-arg"]["members"]}
    assert members["uri"] == {"name": "uri", "type": "str"}
    assert members["resume"] == {"name": "resume", "type": "bool", "default": None}


def test_a_bus_may_hold_bridges_that_hold_buses() -> None:
    described = {member["name"]: member["type"] for member in BY_NAME["PciBridgeInfo"]["members"]}
    assert described["devices"] == "[PciDeviceInfo]"
    assert BY_NAME["[PciDeviceInfo]"]["element-type"] == "PciDeviceInfo"


def test_two_types_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clashing = {
        "a": CommandSpec(Struct("Same", (required("x", INT),))),
        "b": CommandSpec(Struct("Same", (required("x", STR),))),
    }
    monkeypatch.setattr(introspection, "COMMANDS", clashing)
    with pytest.raises(ValueError, match="two different types are called Same"):
        introspection.query_qmp_schema()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("query-version", {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}),
        ("query-status", {"running": True, "singlestep": False, "status": "running"}),
        ("query-migrate", {}),
        ("query-migrate", {"status": "wait-unplug"}),
        ("query-migrate", {"socket-address": [{"type": "unix", "path": "/run/m"}]}),
        ("query-name", {}),
        ("query-uuid", {"UUID": "00000000-0000-0000-0000-000000000000"}),
    ],
)
def test_answers_seen_from_qemu_fit_the_declared_types(command: str, answer: Any) -> None:
    assert COMMANDS[command].returns.check(answer, command) == answer


def test_every_command_and_event_says_what_it_is() -> None:
    docs = {name: command.doc for name, command in COMMANDS.items()}
    docs |= {name: event.doc for name, event in EVENTS.items()}
    assert [name for name, doc in docs.items() if not doc.endswith(".")] == []

"""What the monitor says about itself: the answers of three queries, made from the declarations.

Nothing is written down twice here: what COMMANDS and EVENTS declare is what clients are told
(qapi/introspect.json). Types keep their names; QEMU replaces them by numbers, so no client may
rely on either.
"""

from __future__ import annotations

from typing import Any

from engine.qmp.commands import COMMANDS
from engine.qmp.events import EVENTS
from engine.qmp.schema import (
    INT,
    Alternate,
    Builtin,
    Enumeration,
    ListOf,
    QmpType,
    Recursive,
    Struct,
    Unsigned,
    schema_name,
)


def query_commands() -> list[dict[str, Any]]:
    """What query-commands answers."""
    return [{"name": name} for name in COMMANDS]


def query_events() -> list[dict[str, Any]]:
    """What query-events answers."""
    return [{"name": name} for name in EVENTS]


def query_qmp_schema() -> list[dict[str, Any]]:
    """What query-qmp-schema answers: SchemaInfo of each command, event and type they lead to.

    Every type that is named is also listed, once. Raises ValueError if two different types are
    declared under one name.
    """
    entries: list[dict[str, Any]] = []
    listed: dict[str, QmpType] = {}
    for name, command in COMMANDS.items():
        entry: dict[str, Any] = {
            "name": name,
            "meta-type": "command",
            "arg-type": schema_name(command.arguments),
            "ret-type": schema_name(command.returns),
        }
        if command.allow_oob:
            entry["allow-oob"] = True
        if command.features:
            entry["features"] = list(command.features)
        entries.append(entry)
        _collect(command.arguments, listed)
        _collect(command.returns, listed)
    for name, event in EVENTS.items():
        entries.append({"name": name, "meta-type": "event", "arg-type": schema_name(event.data)})
        _collect(event.data, listed)
    return entries + [_describe(kind) for kind in listed.values()]


def _collect(kind: QmpType, listed: dict[str, QmpType]) -> None:
    """Put `kind` and every type it leads to into `listed`."""
    if isinstance(kind, Recursive):
        return
    if isinstance(kind, Unsigned):
        kind = INT
    known = listed.setdefault(kind.name, kind)
    if known is not kind:
        # Compared as clients see them: a list of X is one type, however its X is written down.
        if _describe(known) != _describe(kind):
            raise ValueError(f"two different types are called {kind.name}")
        return
    if isinstance(kind, ListOf):
        _collect(kind.element, listed)
    elif isinstance(kind, Alternate):
        for branch in kind.branches:
            _collect(branch, listed)
    elif isinstance(kind, Struct):
        for member in kind.members:
            _collect(member.type, listed)
        for variant in kind.variants.values():
            _collect(variant, listed)


def _describe(kind: QmpType) -> dict[str, Any]:
    """The SchemaInfo of one type."""
    entry: dict[str, Any] = {"name": schema_name(kind)}
    if isinstance(kind, Builtin):
        return {**entry, "meta-type": "builtin", "json-type": kind.json_type}
    if isinstance(kind, Enumeration):
        values = [{"name": value} for value in kind.values]
        return {**entry, "meta-type": "enum", "members": values, "values": list(kind.values)}
    if isinstance(kind, ListOf):
        return {**entry, "meta-type": "array", "element-type": schema_name(kind.element)}
    if isinstance(kind, Alternate):
        branches = [{"type": branch.name} for branch in kind.branches]
        return {**entry, "meta-type": "alternate", "members": branches}
    assert isinstance(kind, Struct)
    return {**entry, "meta-type": "object", **_describe_members(kind)}


def _describe_members(kind: Struct) -> dict[str, Any]:
    described: dict[str, Any] = {
        "members": [
            {
                "name": member.name,
                "type": schema_name(member.type),
                **({"default": None} if member.optional else {}),
            }
            for member in kind.members
        ]
    }
    if kind.tag:
        described["tag"] = kind.tag
        described["variants"] = [
            {"case": case, "type": schema_name(variant)} for case, variant in kind.variants.items()
        ]
    return described

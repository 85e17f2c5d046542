"""Every event that a session may emit.

A session refuses an event that is not declared here, or that carries other members, so this table
and the schema stay true. Names and members of the first part are QEMU 7.2's.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.qmp.declared import MIGRATION_STATUS, SHUTDOWN_CAUSE
from engine.qmp.schema import BOOL, INT, STR, EventSpec, Member, Struct, optional, required


def _event(name: str, doc: str, *members: Member) -> tuple[str, EventSpec]:
    if not members:
        return name, EventSpec(doc=doc)
    return name, EventSpec(Struct(f"q_obj_{name}-arg", members), doc)


_DEVICE = required("device-id", STR)
_CAUSE = (required("guest", BOOL), required("reason", SHUTDOWN_CAUSE))

EVENTS: Mapping[str, EventSpec] = dict(
    (
        _event(
            "MIGRATION",
            "The migration's status has changed (capability events).",
            required("status", MIGRATION_STATUS),
        ),
        _event(
            "MIGRATION_PASS",
            "A pass over RAM begins (capability events).",
            required("pass", INT),
        ),
        _event("UNPLUG_PRIMARY", "The guest has been asked to give up this primary.", _DEVICE),
        _event("FAILOVER_NEGOTIATED", "The guest's driver of this standby took it on.", _DEVICE),
        _event(
            "DEVICE_DELETED",
            "The device is gone.",
            optional("device", STR),
            required("path", STR),
        ),
        _event("STOP", "The guest's processors have stopped."),
        _event("RESUME", "The guest's processors run again."),
        _event("RESET", "The machine has been reset.", *_CAUSE),
        _event("SHUTDOWN", "The VM is about to end.", *_CAUSE),
        _event(
            "X_REPLUG_IN_DOUBT",
            "Nobody here knows which side runs the VM; x-replug-resolve ends it.",
            optional("reason", STR),
        ),
        _event(
            "X_REPLUG_PRIMARY_LOST",
            "This primary could not be plugged back in.",
            _DEVICE,
            required("reason", STR),
        ),
        _event(
            "X_REPLUG_FIRST_FRAME",
            "The first frame since RESUME has been carried on this path.",
            required("path", STR),
        ),
    )
)

"""The errors of the monitor.

`QmpError` is the one exception that becomes an error reply; whoever raises it decides what the
client reads. Its wording comes from `engine.qmp.texts`. `UndeclaredEvent` is for our own
mistakes and never reaches a client.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorClass(StrEnum):
    """The classes an error reply may carry (QAPI QapiErrorClass)."""

    #: Everything that a client can only show to its user.
    GENERIC_ERROR = "GenericError"
    #: No such command, or not now: before negotiation, or a second negotiation.
    COMMAND_NOT_FOUND = "CommandNotFound"
    #: The device exists but is not active.
    DEVICE_NOT_ACTIVE = "DeviceNotActive"
    #: No device, object or net client of that name.
    DEVICE_NOT_FOUND = "DeviceNotFound"
    #: The host's KVM lacks a capability; part of the enumeration, never raised here.
    KVM_MISSING_CAP = "KVMMissingCap"


class QmpError(Exception):
    """A refusal that the client is told about.

    `error_class` is the machine-readable part, `description` the sentence; a reply carries both
    and nothing else.
    """

    def __init__(self, error_class: ErrorClass, description: str) -> None:
        super().__init__(description)
        self.error_class = error_class
        self.description = description

    def __repr__(self) -> str:
        return f"QmpError({self.error_class.value}, {self.description!r})"

    def as_member(self) -> dict[str, str]:
        """The value of an error reply's `error` member."""
        return {"class": self.error_class.value, "desc": self.description}


class UndeclaredEvent(Exception):
    """An event was about to be emitted that EVENTS does not declare, or with other members."""


def generic_error(description: str) -> QmpError:
    """A GenericError with this description."""
    return QmpError(ErrorClass.GENERIC_ERROR, description)


def command_not_found(description: str) -> QmpError:
    """A CommandNotFound with this description."""
    return QmpError(ErrorClass.COMMAND_NOT_FOUND, description)


def device_not_active(description: str) -> QmpError:
    """A DeviceNotActive with this description."""
    return QmpError(ErrorClass.DEVICE_NOT_ACTIVE, description)


def device_not_found(name: str) -> QmpError:
    """A DeviceNotFound for this device id, net client name, type name or object path."""
    return QmpError(ErrorClass.DEVICE_NOT_FOUND, f"Device '{name}' not found")

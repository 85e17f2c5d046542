"""One client's session, sans-IO: greeting, negotiation, requests in, replies and events out.

What may live here: the order of things on one connection. Rules:

- what comes out of `receive` is in the order of what went in; a finished reply must not overtake
  the answer to a request before it, unless that request was out-of-band;
- a Request has passed negotiation, look-up and validation; nothing else has been decided;
- before negotiation every other command is refused and no event goes out;
- every line ends with CR LF and is ASCII, as QEMU's (monitor/qmp.c).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from engine.qmp import texts
from engine.qmp.commands import COMMANDS
from engine.qmp.errors import QmpError, UndeclaredEvent, command_not_found, generic_error
from engine.qmp.events import EVENTS
from engine.qmp.framing import JsonStream

_NEGOTIATE = "qmp_capabilities"
_OUT_OF_BAND = "oob"


class NoId(Enum):
    """What stands for the id of a request that has none; null is an id."""

    #: The only value.
    NO_ID = "no id"


NO_ID: Final = NoId.NO_ID


@dataclass(frozen=True)
class Request:
    """A command that is to be carried out."""

    #: Its name, a key of COMMANDS.
    command: str
    #: Its arguments, validated; optional ones may be missing.
    arguments: dict[str, Any]
    #: What the client calls it: any JSON value, or NO_ID. Goes back with the reply.
    id: Any = NO_ID
    #: Whether it may overtake the requests before it.
    oob: bool = False


#: What `receive` hands out: a request to carry out, or a reply that is ready to be sent.
Outcome: TypeAlias = Request | bytes


class QmpSession:
    """The protocol as one client sees it, from its connection to its end.

    `version` is query-version's `qemu` member, {"major", "minor", "micro"}; `package` what
    follows it.
    """

    def __init__(self, version: Mapping[str, int], package: str) -> None:
        #: What the greeting says and query-version answers.
        self.version_info: dict[str, Any] = {"qemu": dict(version), "package": package}
        #: Whether the client has left negotiation.
        self.negotiated = False
        #: Whether the client has asked for exec-oob.
        self.oob_enabled = False
        self._stream = JsonStream()

    def greeting(self) -> bytes:
        """What the server says first."""
        capabilities = [_OUT_OF_BAND]
        return _line({"QMP": {"version": self.version_info, "capabilities": capabilities}})

    def receive(self, data: bytes) -> list[Outcome]:
        """Take the next bytes from the client; return what they ask for, in order.

        Never raises because of what the client sent: whatever is wrong with it is an error reply.
        """
        outcomes: list[Outcome] = []
        for item in self._stream.feed(data):
            if isinstance(item, QmpError):
                outcomes.append(self.error(NO_ID, item))
                continue
            request_id = item.get("id", NO_ID)
            try:
                outcomes.append(self._accept(item, request_id))
            except QmpError as error:
                outcomes.append(self.error(request_id, error))
        return outcomes

    def reply(self, request_id: Any, value: Any) -> bytes:
        """The success reply to the request with this id; `value` is {} where nothing is said.

        Raises ValueError or TypeError if `value` is not JSON.
        """
        message = {"return": value}
        if request_id is not NO_ID:
            message["id"] = request_id
        return _line(message)

    def error(self, request_id: Any, error: QmpError) -> bytes:
        """The error reply to the request with this id."""
        message = {} if request_id is NO_ID else {"id": request_id}
        message["error"] = error.as_member()
        return _line(message)

    def event(
        self, name: str, data: Mapping[str, Any] | None, timestamp: tuple[int, int]
    ) -> bytes | None:
        """An event for this client, or None while it has not negotiated.

        `timestamp` is (seconds, microseconds) since the epoch. Raises UndeclaredEvent if EVENTS
        has no such event, or one with other members; even where None would be the answer.
        """
        checked = _check_event(name, dict(data or {}))
        has_data = EVENTS[name].data.members
        if not self.negotiated:
            return None
        message: dict[str, Any] = {"event": name}
        if has_data:
            message["data"] = checked
        seconds, microseconds = timestamp
        message["timestamp"] = {"seconds": seconds, "microseconds": microseconds}
        return _line(message)

    def _accept(self, message: dict[str, Any], request_id: Any) -> Outcome:
        """Turn an object into a request, or carry out the negotiation."""
        name, oob, arguments = self._take_apart(message)
        # The order of refusals is QEMU's (qapi/qmp-dispatch.c, monitor/qmp.c).
        if not self.negotiated and name != _NEGOTIATE:
            raise command_not_found(texts.EXPECTING_NEGOTIATION)
        command = COMMANDS.get(name)
        if command is None:
            raise command_not_found(texts.no_such_command(name))
        if oob and not command.allow_oob:
            raise generic_error(texts.no_out_of_band(name))
        checked = command.check_arguments(arguments)
        if command.refusal:
            raise generic_error(command.refusal)
        if name != _NEGOTIATE:
            return Request(name, checked, request_id, oob)
        if self.negotiated:
            raise command_not_found(texts.ALREADY_NEGOTIATED)
        self.negotiated = True
        self.oob_enabled = _OUT_OF_BAND in checked.get("enable", ())
        return self.reply(request_id, {})

    def _take_apart(self, message: dict[str, Any]) -> tuple[str, bool, dict[str, Any]]:
        """Return name, oob and arguments; raise GenericError for anything but a request."""
        name: str | None = None
        oob = False
        arguments: dict[str, Any] = {}
        for member, value in message.items():
            if member == "execute" or (member == "exec-oob" and self.oob_enabled):
                if not isinstance(value, str):
                    raise generic_error(texts.input_member_not_a_string(member))
                if name is not None:
                    raise generic_error(texts.input_members_clash("execute", "exec-oob"))
                name, oob = value, member == "exec-oob"
            elif member == "arguments":
                if not isinstance(value, dict):
                    raise generic_error(texts.ARGUMENTS_NOT_AN_OBJECT)
                arguments = value
            elif member != "id":
                raise generic_error(texts.input_member_unexpected(member))
        if name is None:
            raise generic_error(texts.INPUT_LACKS_EXECUTE)
        return name, oob, arguments


def _check_event(name: str, data: dict[str, Any]) -> dict[str, Any]:
    event = EVENTS.get(name)
    if event is None:
        raise UndeclaredEvent(f"{name}: declare it in engine.qmp.events")
    try:
        return event.data.check(data, "")
    except QmpError as error:
        raise UndeclaredEvent(f"{name} with {data}: {error.description}") from error


def _line(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, allow_nan=False).encode("ascii") + b"\r\n"

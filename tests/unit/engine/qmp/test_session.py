"""One client's session; replies are held against those of QEMU 7.2.22 to the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.qmp.commands import COMMANDS
from engine.qmp.errors import (
    UndeclaredEvent,
    device_not_active,
    device_not_found,
    generic_error,
)
from engine.qmp.schema import CommandSpec
from engine.qmp.session import NO_ID, QmpSession, Request

VERSION = {"major": 7, "minor": 2, "micro": 22}
NEGOTIATE = b'{"execute": "qmp_capabilities"}\r\n'


def new_session() -> QmpSession:
    return QmpSession(VERSION, "replug 0.1.0")


def negotiated(oob: bool = False) -> QmpSession:
    session = new_session()
    enable = '"oob"' if oob else ""
    line = f'{{"execute": "qmp_capabilities", "arguments": {{"enable": [{enable}]}}}}'
    (reply,) = replies(session, line.encode())
    assert reply == {"return": {}}
    return session


def replies(session: QmpSession, data: bytes) -> list[dict[str, Any]]:
    outcomes = session.receive(data)
    assert all(isinstance(outcome, bytes) for outcome in outcomes)
    return [json.loads(outcome) for outcome in outcomes if isinstance(outcome, bytes)]


def refused(error_class: str, description: str, **others: Any) -> dict[str, Any]:
    return {"error": {"class": error_class, "desc": description}, **others}


def test_greeting() -> None:
    line = new_session().greeting()
    assert line.endswith(b"}\r\n")
    assert json.loads(line) == {
        "QMP": {
            "version": {"qemu": VERSION, "package": "replug 0.1.0"},
            "capabilities": ["oob"],
        }
    }


EXPECTING = "Expecting capabilities negotiation with 'qmp_capabilities'"


@pytest.mark.parametrize("command", ["query-status", "nonexistent", "migrate"])
def test_before_negotiation_everything_else_is_refused(command: str) -> None:
    session = new_session()
    line = json.dumps({"execute": command, "id": [1, {"a": None}]}).encode()
    assert replies(session, line) == [refused("CommandNotFound", EXPECTING, id=[1, {"a": None}])]
    assert not session.negotiated


def test_a_failed_negotiation_may_be_tried_again() -> None:
    session = new_session()
    unknown = b'{"execute":"qmp_capabilities","arguments":{"enable":["nope"]}}'
    assert replies(session, unknown) == [
        refused("GenericError", "Parameter 'null' does not accept value 'nope'")
    ]
    assert not session.negotiated
    assert replies(session, NEGOTIATE) == [{"return": {}}]
    assert session.negotiated


def test_a_second_negotiation_is_refused() -> None:
    text = "Capabilities negotiation is already complete, command ignored"
    line = b'{"execute":"qmp_capabilities","id":7}'
    assert replies(negotiated(), line) == [refused("CommandNotFound", text, id=7)]


#: bytes, reply; QEMU 7.2.22's own, after negotiation without oob.
RECORDED: list[tuple[bytes, dict[str, Any]]] = [
    (b"{}\n", refused("GenericError", "QMP input lacks member 'execute'")),
    (b'{"id":5}', refused("GenericError", "QMP input lacks member 'execute'", id=5)),
    (b'{"execute":1}', refused("GenericError", "QMP input member 'execute' must be a string")),
    (
        b'{"execute":"query-status","foo":1,"id":3}',
        refused("GenericError", "QMP input member 'foo' is unexpected", id=3),
    ),
    (
        b'{"execute":"query-status","exec-oob":"x"}',
        refused("GenericError", "QMP input member 'exec-oob' is unexpected"),
    ),
    (
        b'{"execute":"query-status","arguments":null}',
        refused("GenericError", "QMP input member 'arguments' must be an object"),
    ),
    (
        b'{"execute":"query-status","arguments":{"x":1}}',
        refused("GenericError", "Parameter 'x' is unexpected"),
    ),
    (
        b'{"execute":"no-such-command","id":null}',
        refused("CommandNotFound", "The command no-such-command has not been found", id=None),
    ),
    (
        b'{"execute":"migrate-pause"}',
        refused(
            "GenericError",
            "migrate-pause is currently only supported during postcopy-active state",
        ),
    ),
    (
        b'{"execute":"migrate-recover","arguments":{"uri":"x"}}',
        refused("GenericError", "Migrate recover can only be run when postcopy is paused."),
    ),
    (
        b'{"execute":"migrate-recover"}',
        refused("GenericError", "Parameter 'uri' is missing"),
    ),
    (
        b'{"execute":"migrate-start-postcopy"}',
        refused(
            "GenericError",
            "Enable postcopy with migrate_set_capability before the start of migration",
        ),
    ),
]


@pytest.mark.parametrize(("data", "reply"), RECORDED)
def test_refusals_are_those_of_qemu(data: bytes, reply: dict[str, Any]) -> None:
    session = negotiated()
    assert replies(session, data) == [reply]
    assert session.receive(b'{"execute":"stop"}') == [Request("stop", {})]


#: bytes, reply; QEMU 7.2.22's own, after negotiation with oob.
RECORDED_OUT_OF_BAND: list[tuple[bytes, dict[str, Any]]] = [
    (
        b'{"execute":"query-status","exec-oob":"x"}',
        refused("GenericError", "QMP input member 'execute' clashes with 'exec-oob'"),
    ),
    (
        b'{"exec-oob":"query-status","id":1}',
        refused("GenericError", "The command query-status does not support OOB", id=1),
    ),
    (
        b'{"exec-oob":"nope","id":1}',
        refused("CommandNotFound", "The command nope has not been found", id=1),
    ),
    (
        b'{"exec-oob":1,"id":1}',
        refused("GenericError", "QMP input member 'exec-oob' must be a string", id=1),
    ),
    (
        b'{"exec-oob":"migrate-pause","id":1}',
        refused(
            "GenericError",
            "migrate-pause is currently only supported during postcopy-active state",
            id=1,
        ),
    ),
]


@pytest.mark.parametrize(("data", "reply"), RECORDED_OUT_OF_BAND)
def test_out_of_band_refusals_are_those_of_qemu(data: bytes, reply: dict[str, Any]) -> None:
    assert replies(negotiated(oob=True), data) == [reply]


def test_an_out_of_band_request_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    session = negotiated(oob=True)
    monkeypatch.setitem(COMMANDS, "stop", CommandSpec(allow_oob=True))
    (outcome,) = session.receive(b'{"exec-oob":"stop","id":"x"}')
    assert outcome == Request("stop", {}, "x", oob=True)


@pytest.mark.parametrize("request_id", [0, "a", None, False, 1.5, [1, {"b": []}], {"c": "é"}])
def test_any_json_is_an_id_and_comes_back(request_id: Any) -> None:
    session = negotiated()
    line = json.dumps({"execute": "query-status", "id": request_id}).encode()
    (outcome,) = session.receive(line)
    assert outcome == Request("query-status", {}, request_id)
    assert json.loads(session.reply(request_id, {"a": 1})) == {"return": {"a": 1}, "id": request_id}
    error = generic_error("no")
    expected = refused("GenericError", "no", id=request_id)
    assert json.loads(session.error(request_id, error)) == expected


def test_a_request_without_id_has_replies_without_id() -> None:
    session = negotiated()
    (outcome,) = session.receive(b'{"execute":"stop","arguments":{}}')
    assert isinstance(outcome, Request)
    assert outcome.id is NO_ID
    assert session.reply(outcome.id, {}) == b'{"return": {}}\r\n'
    assert json.loads(session.error(outcome.id, device_not_found("x"))) == refused(
        "DeviceNotFound", "Device 'x' not found"
    )
    assert json.loads(session.error(outcome.id, device_not_active("idle"))) == refused(
        "DeviceNotActive", "idle"
    )


def test_requests_and_replies_keep_their_order() -> None:
    session = new_session()
    data = b"nope\n" + NEGOTIATE + b'{"execute":"stop","id":1}{"execute":"x","id":2}\n'
    data += b'{"execute":"device_del","arguments":{"id":"p"},"id":3}'
    bad, ready, stop, unknown, device_del = session.receive(data)
    assert isinstance(bad, bytes)
    assert b"invalid keyword 'nope'" in bad
    assert ready == b'{"return": {}}\r\n'
    assert stop == Request("stop", {}, 1)
    assert isinstance(unknown, bytes)
    assert json.loads(unknown)["id"] == 2
    assert device_del == Request("device_del", {"id": "p"}, 3)


def test_events_wait_for_negotiation() -> None:
    session = new_session()
    assert session.event("STOP", None, (1, 2)) is None
    session.receive(NEGOTIATE)
    line = session.event("STOP", None, (1, 2))
    assert line is not None
    assert line.endswith(b"\r\n")
    assert json.loads(line) == {
        "event": "STOP",
        "timestamp": {"seconds": 1, "microseconds": 2},
    }


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("MIGRATION", {"status": "wait-unplug"}),
        ("MIGRATION_PASS", {"pass": 2}),
        ("UNPLUG_PRIMARY", {"device-id": "pri0"}),
        ("FAILOVER_NEGOTIATED", {"device-id": "net1"}),
        ("DEVICE_DELETED", {"device": "pri0", "path": "/machine/peripheral/pri0"}),
        ("DEVICE_DELETED", {"path": "/machine/peripheral/net1/virtio-backend"}),
        ("RESET", {"guest": False, "reason": "host-qmp-system-reset"}),
        ("SHUTDOWN", {"guest": False, "reason": "host-signal"}),
        ("X_REPLUG_IN_DOUBT", {}),
        ("X_REPLUG_PRIMARY_LOST", {"device-id": "pri0", "reason": "no host device"}),
        ("X_REPLUG_FIRST_FRAME", {"path": "standby"}),
    ],
)
def test_events_carry_their_data(name: str, data: dict[str, Any]) -> None:
    line = negotiated().event(name, data, (5, 6))
    assert line is not None
    assert json.loads(line) == {
        "event": name,
        "data": data,
        "timestamp": {"seconds": 5, "microseconds": 6},
    }


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("NOSUCH", {}),
        ("STOP", {"x": 1}),
        ("MIGRATION", {}),
        ("MIGRATION", {"status": "nope"}),
        ("UNPLUG_PRIMARY", {"device-id": None}),
    ],
)
def test_an_event_that_is_not_declared_is_a_mistake_of_ours(
    name: str, data: dict[str, Any]
) -> None:
    with pytest.raises(UndeclaredEvent, match=name):
        new_session().event(name, data, (1, 2))


def test_what_is_not_json_is_not_sent() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        negotiated().reply(1, {"mbps": float("nan")})


def test_every_command_can_be_reached() -> None:
    for name, command in COMMANDS.items():
        (outcome,) = negotiated().receive(json.dumps({"execute": name}).encode())
        needs_arguments = any(not member.optional for member in command.arguments.members)
        decided = needs_arguments or command.refusal or name == "qmp_capabilities"
        assert isinstance(outcome, bytes if decided else Request), name

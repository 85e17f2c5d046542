"""Validation of values, held against what QEMU 7.2.22 answers to the same arguments."""

from __future__ import annotations

from typing import Any

import pytest

from engine.qmp.commands import COMMANDS
from engine.qmp.errors import ErrorClass, QmpError
from engine.qmp.schema import (
    INT,
    NUMBER,
    STR,
    UINT8,
    UINT64,
    Enumeration,
    QmpType,
    Struct,
    optional,
    required,
)

ANNOUNCE = {"initial": 50, "max": 550, "rounds": 5, "step": 50}
#: command, arguments, description; all of them QEMU 7.2.22's own.
RECORDED: list[tuple[str, dict[str, Any], str]] = [
    ("migrate", {}, "Parameter 'uri' is missing"),
    ("migrate", {"uri": 1}, "Invalid parameter type for 'uri', expected: string"),
    ("migrate", {"uri": None}, "Invalid parameter type for 'uri', expected: string"),
    ("migrate", {"uri": "x", "blk": "a"}, "Invalid parameter type for 'blk', expected: boolean"),
    ("migrate", {"uri": "x", "foo": 1}, "Parameter 'foo' is unexpected"),
    ("migrate_cancel", {"x": 1}, "Parameter 'x' is unexpected"),
    ("migrate-continue", {"state": "nope"}, "Parameter 'state' does not accept value 'nope'"),
    ("migrate-continue", {"state": 1}, "Invalid parameter type for 'state', expected: string"),
    ("migrate-set-capabilities", {}, "Parameter 'capabilities' is missing"),
    (
        "migrate-set-capabilities",
        {"capabilities": 1},
        "Invalid parameter type for 'capabilities', expected: array",
    ),
    (
        "migrate-set-capabilities",
        {"capabilities": [1]},
        "Invalid parameter type for 'capabilities[0]', expected: object",
    ),
    (
        "migrate-set-capabilities",
        {"capabilities": [{"capability": "events"}]},
        "Parameter 'capabilities[0].state' is missing",
    ),
    (
        "migrate-set-capabilities",
        {"capabilities": [{"capability": "events", "state": "on"}]},
        "Invalid parameter type for 'capabilities[0].state', expected: boolean",
    ),
    (
        "migrate-set-capabilities",
        {"capabilities": [{"capability": "nosuch", "state": True}]},
        "Parameter 'capability' does not accept value 'nosuch'",
    ),
    (
        "migrate-set-capabilities",
        {"capabilities": [{"capability": "events", "state": True, "x": 1}]},
        "Parameter 'capabilities[0].x' is unexpected",
    ),
    (
        "migrate-set-parameters",
        {"tls-creds": 1},
        "Invalid parameter type for 'tls-creds', expected: StrOrNull",
    ),
    ("migrate-set-parameters", {"nosuch": 1}, "Parameter 'nosuch' is unexpected"),
    (
        "migrate-set-parameters",
        {"announce-max": "x", "zzz": 1},
        "Parameter 'announce-max' expects uint64",
    ),
    (
        "migrate-set-parameters",
        {"multifd-compression": "lzma"},
        "Parameter 'multifd-compression' does not accept value 'lzma'",
    ),
    (
        "qmp_capabilities",
        {"enable": ["nope"]},
        "Parameter 'null' does not accept value 'nope'",
    ),
    (
        "qmp_capabilities",
        {"enable": [1]},
        "Invalid parameter type for 'enable[0]', expected: string",
    ),
    ("device_add", {}, "Parameter 'driver' is missing"),
    ("device_del", {}, "Parameter 'id' is missing"),
    ("netdev_add", {}, "Parameter 'id' is missing"),
    ("netdev_add", {"id": "a", "type": "nope"}, "Parameter 'type' does not accept value 'nope'"),
    ("qom-set", {"path": "/machine", "property": "mac"}, "Parameter 'value' is missing"),
    (
        "announce-self",
        {**ANNOUNCE, "initial": True},
        "Invalid parameter type for 'initial', expected: integer",
    ),
    (
        "announce-self",
        {**ANNOUNCE, "initial": 2**63},
        "Invalid parameter type for 'initial', expected: integer",
    ),
    (
        "announce-self",
        {**ANNOUNCE, "interfaces": [1]},
        "Invalid parameter type for 'interfaces[0]', expected: string",
    ),
]


@pytest.mark.parametrize(("command", "arguments", "description"), RECORDED)
def test_refusals_are_those_of_qemu(
    command: str, arguments: dict[str, Any], description: str
) -> None:
    with pytest.raises(QmpError) as refusal:
        COMMANDS[command].check_arguments(arguments)
    assert refusal.value.error_class is ErrorClass.GENERIC_ERROR
    assert refusal.value.description == description


#: value, what QEMU says to it for an 8-bit parameter (multifd-channels), None if it is taken.
WIDTHS: list[tuple[Any, str | None]] = [
    (255, None),
    (256, "expects uint8_t"),
    (-1, "expects uint8_t"),
    (2**63, "expects uint8_t"),
    (2**64, "expects uint64"),
    (1.0, "expects uint64"),
    ("1", "expects uint64"),
    (True, "expects uint64"),
    (None, "expects uint64"),
]


@pytest.mark.parametrize(("value", "complaint"), WIDTHS)
def test_integer_widths(value: Any, complaint: str | None) -> None:
    kind = Struct("S", (required("n", UINT8),))
    if complaint is None:
        assert kind.check({"n": value}, "") == {"n": value}
        return
    with pytest.raises(QmpError) as refusal:
        kind.check({"n": value}, "")
    assert refusal.value.description == f"Parameter 'n' {complaint}"


def test_negative_64_bit_values_wrap_around() -> None:
    assert UINT64.check(-1, "n") == 2**64 - 1


def test_members_of_an_open_structure_pass_with_their_json_types() -> None:
    arguments = {"driver": "e1000e", "id": "p", "rombar": 0, "failover": True, "x": {"y": [None]}}
    assert COMMANDS["device_add"].check_arguments(arguments) == arguments


def test_what_is_checked_is_a_copy() -> None:
    inner = {"capability": "events", "state": True}
    arguments = {"capabilities": [inner]}
    checked = COMMANDS["migrate-set-capabilities"].check_arguments(arguments)
    inner["state"] = False
    assert checked == {"capabilities": [{"capability": "events", "state": True}]}


def test_a_missing_optional_member_stays_missing() -> None:
    assert COMMANDS["migrate"].check_arguments({"uri": "tcp:h:1"}) == {"uri": "tcp:h:1"}


TAGGED = Struct(
    "Tagged",
    (required("kind", Enumeration("Kind", ("a", "b"))),),
    tag="kind",
    variants={"a": Struct("A", (required("n", INT),)), "b": Struct("B", (optional("s", STR),))},
)


@pytest.mark.parametrize(
    ("value", "description"),
    [
        ({"kind": "a", "n": 1}, None),
        ({"kind": "b"}, None),
        ({"kind": "a"}, "Parameter 'n' is missing"),
        ({"kind": "b", "n": 1}, "Parameter 'n' is unexpected"),
        ({"kind": "c"}, "Parameter 'kind' does not accept value 'c'"),
    ],
)
def test_the_tag_decides_which_members_there_are(
    value: dict[str, Any], description: str | None
) -> None:
    if description is None:
        assert TAGGED.check(value, "") == value
        return
    with pytest.raises(QmpError, match=description):
        TAGGED.check(value, "")


def test_variants_must_be_those_of_the_tag() -> None:
    with pytest.raises(ValueError, match="variants"):
        Struct("T", TAGGED.members, tag="kind", variants={"a": Struct("A")})


@pytest.mark.parametrize(
    ("kind", "value"),
    [(NUMBER, True), (INT, 1.0), (STR, None), (Struct("S"), []), (Struct("S"), None)],
)
def test_json_types_are_not_mixed_up(kind: QmpType, value: Any) -> None:
    with pytest.raises(QmpError, match="Invalid parameter type"):
        kind.check(value, "p")

"""Option text and the single values written in it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from devices.errors import DeviceError
from devices.options import (
    JSON_DEPTH_MAX,
    KEYS_MAX,
    TEXT_BYTES_MAX,
    OptionError,
    Options,
    check_identifier,
    decode_json,
    format_options,
    parse_bool,
    parse_duration,
    parse_host_address,
    parse_mac,
    parse_options,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("virtio-net-pci", {"driver": "virtio-net-pci"}),
        ("virtio-net-pci,netdev=x", {"driver": "virtio-net-pci", "netdev": "x"}),
        ("driver=e1000e,id=a", {"driver": "e1000e", "id": "a"}),
        ("e1000e,", {"driver": "e1000e"}),
        ("e1000e,romfile=", {"driver": "e1000e", "romfile": ""}),
        ("e1000e,romfile=/a,,b,,,id=c", {"driver": "e1000e", "romfile": "/a,b,", "id": "c"}),
        ("hub,,port,id=a", {"driver": "hub,port", "id": "a"}),
        ("e1000e,x=a=b", {"driver": "e1000e", "x": "a=b"}),
        ("e1000e,failover,nomq", {"driver": "e1000e", "failover": "on", "mq": "off"}),
        (",id=a", {"driver": "", "id": "a"}),
        ("[1]", {"driver": "[1]"}),
    ],
)
def test_key_value_text(text: str, expected: dict[str, str]) -> None:
    options = parse_options(text, implied="driver")
    assert dict(options) == expected
    assert list(options) == list(expected)
    assert options.from_json is False


def test_first_word_is_a_flag_without_an_implied_key() -> None:
    assert dict(parse_options("server,nowait")) == {"server": "on", "wait": "off"}


def test_declared_flag_beginning_with_no_is_switched_on() -> None:
    text = "d,notify_on_empty"
    assert parse_options(text, implied="driver")["tify_on_empty"] == "off"
    flags = frozenset({"notify_on_empty"})
    assert parse_options(text, implied="driver", flags=flags)["notify_on_empty"] == "on"


def test_last_value_counts_except_for_id() -> None:
    options = parse_options("mac=1,id=a,mac=2,id=b")
    assert dict(options) == {"mac": "2", "id": "a"}


def test_json_keeps_types_and_nesting() -> None:
    options = parse_options('{"a": true, "b": 1, "c": null, "d": [1.5], "e": {"f": "on"}}')
    assert options.from_json is True
    assert dict(options) == {"a": True, "b": 1, "c": None, "d": [1.5], "e": {"f": "on"}}
    assert options["a"] is True


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ('{"driver":', "JSON parse error, premature EOI"),
        ('{"driver":"x', "JSON parse error, premature EOI"),
        ('{"a":1,"a":2}', "JSON parse error, duplicate key"),
        ('{"a":{"b":1,"b":2}}', "JSON parse error, duplicate key"),
        ('{"driver":"e1000e"} x', "Expecting at most one JSON value"),
        ('{"a":NaN}', "JSON parse error, invalid keyword 'NaN'"),
        ('{"a":1e999}', "JSON parse error, expected a finite number"),
        ('{"a":18446744073709551616}', "JSON parse error, expected an integer of at most 64 bits"),
        ('{"a":"\\ud800"}', "JSON parse error, invalid Unicode escape in a string"),
        ("a=1,=x", "Invalid parameter ''"),
        ("a=1,,,{b=x", "Invalid parameter '{b'"),
    ],
)
def test_malformed_text(text: str, description: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse_options(text)
    assert refused.value.description == description
    assert refused.value.error_class == "GenericError"


def test_integers_reach_the_ends_of_64_bits() -> None:
    assert decode_json("[-9223372036854775808, 18446744073709551615]") == [-(2**63), 2**64 - 1]
    with pytest.raises(OptionError, match="64 bits"):
        decode_json("[-9223372036854775809]")


def test_text_length_is_bounded_in_bytes() -> None:
    assert parse_options("a=" + "x" * (TEXT_BYTES_MAX - 2))["a"] == "x" * (TEXT_BYTES_MAX - 2)
    with pytest.raises(OptionError, match="at most 65536 bytes, got 65537"):
        parse_options("a=" + "x" * (TEXT_BYTES_MAX - 1))
    with pytest.raises(OptionError, match="at most 65536 bytes"):
        parse_options("a=" + "é" * (TEXT_BYTES_MAX // 2))


def test_nesting_is_bounded_and_brackets_in_strings_do_not_count() -> None:
    at_the_bound = '{"a":' + "[" * (JSON_DEPTH_MAX - 1) + "]" * (JSON_DEPTH_MAX - 1) + "}"
    assert parse_options(at_the_bound).from_json
    with pytest.raises(OptionError, match="nested at most 16 deep"):
        parse_options('{"a":' + "[" * JSON_DEPTH_MAX + "]" * JSON_DEPTH_MAX + "}")
    with pytest.raises(OptionError, match="nested at most 16 deep"):
        parse_options('{"a":' * 5000)
    brackets = '\\"' + "[" * 100
    assert parse_options('{"a":"' + brackets + '"}')["a"] == '"' + "[" * 100


def test_number_of_keys_is_bounded() -> None:
    most = ",".join(f"k{number}=v" for number in range(KEYS_MAX))
    assert len(parse_options(most)) == KEYS_MAX
    with pytest.raises(OptionError, match="at most 1024"):
        parse_options(most + ",more=v")
    with pytest.raises(OptionError, match="at most 1024"):
        parse_options(json.dumps({"a": [0] * KEYS_MAX}))


def test_options_equal_by_value_type_and_origin() -> None:
    assert Options({"a": "1", "b": "2"}) == Options({"b": "2", "a": "1"})
    assert Options({"a": True}, from_json=True) != Options({"a": 1}, from_json=True)
    assert Options({"a": [1]}, from_json=True) != Options({"a": [1.0]}, from_json=True)
    assert Options({"a": "1"}) != Options({"a": "1"}, from_json=True)
    assert Options({"a": "1"}) != {"a": "1"}


def test_without_leaves_the_original_alone() -> None:
    options = Options({"a": True, "b": 2}, from_json=True)
    assert options.without("a", "absent") == Options({"b": 2}, from_json=True)
    assert set(options) == {"a", "b"}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"driver": "e1000e", "id": "a"}, "e1000e,id=a"),
        ({"driver": "a,b", "id": "c,"}, "driver=a,,b,id=c,,"),
        ({"driver": "{x", "id": ""}, "driver={x,id="),
        ({"id": "a", "driver": "x"}, "id=a,driver=x"),
        ({"driver": ""}, "driver="),
    ],
)
def test_format(values: dict[str, str], text: str) -> None:
    assert format_options(Options(values), implied="driver") == text


@pytest.mark.parametrize("key", ["", "a=b", "a,b", "{a"])
def test_format_refuses_keys_the_text_cannot_hold(key: str) -> None:
    with pytest.raises(OptionError, match="Invalid parameter"):
        format_options(Options({key: "v"}))


def test_format_refuses_typed_values_without_json() -> None:
    with pytest.raises(OptionError, match="got bool"):
        format_options(Options({"a": True}))
    assert format_options(Options({"a": True}, from_json=True)) == '{"a":true}'


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1G", 2**30), ("64m", 64 * 2**20), ("128", 128 * 2**20), ("1.5K", 1536), ("7B", 7)],
)
def test_size(text: str, size_bytes: int) -> None:
    assert parse_size(text, default_unit="M") == size_bytes


@pytest.mark.parametrize("text", ["", "zz", "-1", "1Q", "1.5B", "1..5G", "٣", "9" * 100])
def test_size_refused(text: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse_size(text)
    expected = "Parameter 'size' expects a non-negative number below 2^64"
    assert refused.value.description == expected
    assert refused.value.hint is not None


def test_size_out_of_range() -> None:
    assert parse_size("15E") == 15 * 2**60
    with pytest.raises(OptionError, match="Value '16E' is out of range for parameter 'm'"):
        parse_size("16E", name="m")


def test_bool() -> None:
    assert all(parse_bool("x", text) is True for text in ("on", "yes", "true", "y"))
    assert all(parse_bool("x", text) is False for text in ("off", "no", "false", "n"))
    for text in ("ON", "1", "", "maybe"):
        with pytest.raises(OptionError) as refused:
            parse_bool("failover", text)
        assert refused.value.description == "Parameter 'failover' expects 'on' or 'off'"


@pytest.mark.parametrize(("text", "ms"), [("5s", 5000.0), ("500ms", 500.0), ("1.5s", 1500.0)])
def test_duration(text: str, ms: float) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["5", "s", "-1s", "1e3s", "infs", "1 s", "5m"])
def test_duration_refused(text: str) -> None:
    with pytest.raises(OptionError, match="such as 5s or 500ms"):
        parse_duration(text)


def test_mac_and_host_address_have_one_form() -> None:
    assert parse_mac("52-54-00-6F-55-CC") == "52:54:00:6f:55:cc"
    assert parse_host_address("5e:00.2") == parse_host_address("0000:5E:00.2") == "0000:5e:00.2"
    assert parse_host_address("10:1f.7") == "0000:10:1f.7"


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (parse_mac, "52:54:00"),
        (parse_mac, "52:54:0:12:34:56"),
        (parse_host_address, "zzz"),
        (parse_host_address, "5e:00.8"),
        (parse_host_address, "5e:20.0"),
        (parse_host_address, "5e:00"),
    ],
)
def test_addresses_refused(reader: Callable[[str], str], text: str) -> None:
    with pytest.raises(OptionError, match="got '"):
        reader(text)


@pytest.mark.parametrize("text", ["", "1a", "a/b", "ä", "a b"])
def test_identifier_refused(text: str) -> None:
    assert check_identifier("id", "a-1._b") == "a-1._b"
    with pytest.raises(DeviceError) as refused:
        check_identifier("id", text)
    assert refused.value.description == "Parameter 'id' expects an identifier"
    assert "starting with a letter" in (refused.value.hint or "")

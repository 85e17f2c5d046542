"""Capabilities and parameters, held against what QEMU 7.2.22 shows and answers."""

from __future__ import annotations

from typing import Any

import pytest

from engine.parameters import (
    PARAMETERS,
    SERVED_CAPABILITIES,
    SHOWN_PARAMETERS,
    Capabilities,
    Capability,
    Parameters,
)
from engine.qmp.errors import ErrorClass, QmpError

#: QEMU 7.2.22's query-migrate-capabilities, all of them off.
QEMU_CAPABILITIES = [
    "xbzrle",
    "rdma-pin-all",
    "auto-converge",
    "zero-blocks",
    "compress",
    "events",
    "postcopy-ram",
    "x-colo",
    "release-ram",
    "block",
    "return-path",
    "pause-before-switchover",
    "multifd",
    "dirty-bitmaps",
    "postcopy-blocktime",
    "late-block-activate",
    "x-ignore-shared",
    "validate-uuid",
    "background-snapshot",
    "zero-copy-send",
    "postcopy-preempt",
]

#: Those of our own, after them.
OURS = ["x-verify-ram", "x-adaptive", "x-share-memory"]

#: QEMU 7.2.22's query-migrate-parameters of a fresh VM.
QEMU_PARAMETERS = {
    "announce-initial": 50,
    "announce-max": 550,
    "announce-rounds": 5,
    "announce-step": 100,
    "block-incremental": False,
    "compress-level": 1,
    "compress-threads": 8,
    "compress-wait-thread": True,
    "cpu-throttle-increment": 10,
    "cpu-throttle-initial": 20,
    "cpu-throttle-tailslow": False,
    "decompress-threads": 2,
    "downtime-limit": 300,
    "max-bandwidth": 134217728,
    "max-cpu-throttle": 99,
    "max-postcopy-bandwidth": 0,
    "multifd-channels": 2,
    "multifd-compression": "none",
    "multifd-zlib-level": 1,
    "multifd-zstd-level": 1,
    "throttle-trigger-threshold": 50,
    "tls-authz": "",
    "tls-creds": "",
    "tls-hostname": "",
    "x-checkpoint-delay": 20000,
    "xbzrle-cache-size": 67108864,
}
OWN_PARAMETERS = {"x-unplug-timeout-ms": 30000, "x-heartbeat-ms": 5000}


def turn(*names: str, state: bool = True) -> list[dict[str, Any]]:
    return [{"capability": name, "state": state} for name in names]


def test_the_capabilities_are_those_of_qemu_and_then_our_own() -> None:
    expected = turn(*QEMU_CAPABILITIES, *OURS, state=False)
    assert Capabilities().query() == expected


@pytest.mark.parametrize(
    "name",
    [
        "auto-converge",
        "events",
        "multifd",
        "return-path",
        "pause-before-switchover",
        "validate-uuid",
        *OURS,
    ],
)
def test_served_capabilities_can_be_turned_on_and_off(name: str) -> None:
    capabilities = Capabilities()
    capabilities.set_all(turn(name))
    assert capabilities.on(Capability(name))
    assert {"capability": name, "state": True} in capabilities.query()
    capabilities.set_all(turn(name, state=False))
    assert not any(each["state"] for each in capabilities.query())


@pytest.mark.parametrize("capability", sorted(set(Capability) - SERVED_CAPABILITIES))
def test_the_others_are_refused_by_name_and_may_stay_off(capability: Capability) -> None:
    capabilities = Capabilities()
    capabilities.set_all(turn(capability.value, state=False))
    with pytest.raises(QmpError) as refusal:
        capabilities.set_all(turn("events", capability.value))
    assert refusal.value.error_class is ErrorClass.GENERIC_ERROR
    assert refusal.value.description.startswith("replug does not do ")
    assert f"leave capability '{capability.value}' off" in refusal.value.description
    assert not capabilities.on(Capability.EVENTS)


def test_postcopy_is_called_by_its_name() -> None:
    with pytest.raises(QmpError, match="replug does not do postcopy"):
        Capabilities().set_all(turn("postcopy-ram"))
    with pytest.raises(QmpError, match="replug does not do COLO"):
        Capabilities().set_all(turn("x-colo"))


def test_an_unknown_capability_leaves_all_as_they_were() -> None:
    capabilities = Capabilities()
    with pytest.raises(QmpError) as refusal:
        capabilities.set_all(turn("events", "nosuch"))
    text = "Parameter 'capability' does not accept value 'nosuch'"
    assert refusal.value.description == text
    assert not capabilities.on(Capability.EVENTS)


def test_of_two_entries_the_later_counts() -> None:
    capabilities = Capabilities()
    capabilities.set_all(turn("events") + turn("events", state=False))
    assert not capabilities.on(Capability.EVENTS)


def test_the_defaults_are_those_of_qemu_and_two_of_our_own() -> None:
    assert Parameters().query() == {**QEMU_PARAMETERS, **OWN_PARAMETERS}


def test_the_answer_has_the_declared_shape() -> None:
    answer = Parameters().query()
    assert SHOWN_PARAMETERS.check(answer, "") == answer


#: What QEMU 7.2.22 says to these; the two compression levels it takes without a word.
RANGES: list[tuple[str, list[int], list[int], str]] = [
    ("announce-initial", [0, 100_000], [-1, 100_001], "a value between 0 and 100000"),
    ("announce-max", [0, 100_000], [-1, 100_001], "a value between 0 and 100000"),
    ("announce-rounds", [0, 1000], [-1, 1001], "a value between 0 and 1000"),
    ("announce-step", [1, 10_000], [-1, 0, 10_001], "a value between 0 and 10000"),
    ("compress-level", [0, 9], [10, 255], "a value between 0 and 9"),
    ("compress-threads", [1, 255], [0], "a value between 1 and 255"),
    ("decompress-threads", [1, 255], [0], "a value between 1 and 255"),
    (
        "throttle-trigger-threshold",
        [1, 100],
        [0, 101, 255],
        "an integer in the range of 1 to 100",
    ),
    ("cpu-throttle-initial", [1, 99], [0, 100], "an integer in the range of 1 to 99"),
    ("cpu-throttle-increment", [1, 99], [0, 100], "an integer in the range of 1 to 99"),
    (
        "downtime-limit",
        [0, 2_000_000],
        [-1, 2_000_001, 2**64 - 1],
        "an integer in the range of 0 to (2000 * 1000) ms",
    ),
    ("multifd-channels", [1, 255], [0], "a value between 1 and 255"),
    ("multifd-zlib-level", [0, 9], [10], "a value between 0 and 9"),
    ("multifd-zstd-level", [0, 20], [21], "a value between 0 and 20"),
    (
        "xbzrle-cache-size",
        [4096, 2**31, 2**63],
        [0, 1, 2048, 4097, 2**64 - 1],
        "a power of two no less than the target page size",
    ),
    (
        "max-cpu-throttle",
        [20, 99],
        [0, 19, 100],
        "an integer in the range of cpu_throttle_initial to 99",
    ),
]


@pytest.mark.parametrize(("name", "good", "bad", "expected"), RANGES)
def test_ranges(name: str, good: list[int], bad: list[int], expected: str) -> None:
    parameters = Parameters()
    for value in good:
        parameters.set_all({name: value})
        assert parameters.query()[name] == value
    for value in bad:
        before = parameters.query()
        with pytest.raises(QmpError) as refusal:
            parameters.set_all({name: value})
        underscored = name.replace("-", "_")
        assert refusal.value.description == f"Parameter '{underscored}' expects {expected}"
        assert parameters.query() == before


def test_every_parameter_with_bounds_is_in_the_table_above() -> None:
    bounded = {each.name for each in PARAMETERS if each.high is not None}
    assert bounded - set(OWN_PARAMETERS) <= {row[0] for row in RANGES}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("x-unplug-timeout-ms", [0, 86_400_000], 86_400_001), ("x-heartbeat-ms", [1, 5], 0)],
)
def test_ranges_of_our_own(name: str, good: list[int], bad: int) -> None:
    parameters = Parameters()
    for value in good:
        parameters.set_all({name: value})
        assert parameters.query()[name] == value
    with pytest.raises(QmpError, match=f"Parameter '{name}' expects a value between"):
        parameters.set_all({name: bad})


def test_one_bad_value_leaves_all_as_they_were() -> None:
    parameters = Parameters()
    with pytest.raises(QmpError, match="multifd_channels"):
        parameters.set_all({"downtime-limit": 5, "multifd-channels": 0})
    assert parameters.downtime_limit_ms == 300


def test_the_throttles_are_held_against_each_other_however_they_are_set() -> None:
    text = "Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial"
    parameters = Parameters()
    parameters.set_all({"max-cpu-throttle": 50})
    with pytest.raises(QmpError, match=text):
        parameters.set_all({"cpu-throttle-initial": 60})
    parameters.set_all({"cpu-throttle-initial": 60, "max-cpu-throttle": 70})
    with pytest.raises(QmpError, match=text):
        parameters.set_all({"max-cpu-throttle": 59})


def test_null_resets_a_string() -> None:
    parameters = Parameters()
    parameters.set_all({"tls-hostname": "h", "tls-creds": None})
    parameters.set_all({"tls-hostname": None})
    assert parameters.query()["tls-hostname"] == ""


def test_tls_is_refused_rather_than_forgotten() -> None:
    parameters = Parameters()
    with pytest.raises(QmpError, match="replug does not do TLS"):
        parameters.set_all({"tls-creds": "tls0", "tls-hostname": "h"})
    assert parameters.query()["tls-hostname"] == ""


def test_block_bitmap_mapping_is_shown_once_it_is_set() -> None:
    parameters = Parameters()
    parameters.set_all({"block-bitmap-mapping": []})
    assert parameters.query()["block-bitmap-mapping"] == []


def test_the_engine_reads_what_was_set() -> None:
    assert Parameters().unplug_timeout_ms == 30_000
    parameters = Parameters()
    parameters.set_all(
        {
            "max-bandwidth": 0,
            "downtime-limit": 7,
            "x-unplug-timeout-ms": 0,
            "x-heartbeat-ms": 11,
            "announce-initial": 1,
            "announce-max": 2,
            "announce-rounds": 3,
            "announce-step": 4,
        }
    )
    assert parameters.max_bandwidth_bytes_per_second == 0
    assert parameters.downtime_limit_ms == 7
    assert parameters.unplug_timeout_ms is None
    assert parameters.heartbeat_ms == 11
    assert parameters.announce == (1, 2, 3, 4)

"""The rows: which figures stand against each other, and when an aim is met."""

from __future__ import annotations

import pytest

from benchmarks.ram.contenders import (
    ADAPTIVE,
    IGNORED,
    MULTIFD,
    PLAIN,
    REPLUG,
    SHARED,
    ZSTD,
    Case,
    Contender,
    Program,
    Settings,
    Way,
    contenders,
)
from benchmarks.ram.contents import Contents
from benchmarks.ram.figures import Figures, Results
from benchmarks.ram.rows import NOT_ABOVE, STILL, Aim, Row, cases_for, faster, row_specs

QEMU = Program("QEMU", "/usr/bin/qemu")
MIB = 1 << 20
KEYS = {"measure", "ours", "qemu", "unit", "ratio", "aim", "met"}


def figures(total_ms: float = 1, downtime_ms: float = 1, cpu: float = 1, mib: int = 1) -> Figures:
    return Figures(total_ms, downtime_ms, cpu, mib * MIB, 2 * mib * MIB, 0, 0)


def row(results: Results, measure: str) -> Row:
    (spec,) = [spec for spec in row_specs("unix") if spec.measure == measure]
    return spec.row(results)


def filled(case: Case, **figures_by_name: Figures) -> Results:
    """Results of one run each, by names such as `ours_plain`."""
    results = Results()
    for name, each in figures_by_name.items():
        results.add(case, named(name), each)
    return results


def named(name: str) -> Contender:
    side, _, setting = name.partition("_")
    settings: dict[str, Settings] = {"plain": PLAIN, "multifd": MULTIFD, "zstd": ZSTD}
    settings |= {"adaptive": ADAPTIVE, "shared": SHARED, "ignored": IGNORED}
    return Contender(REPLUG if side == "ours" else QEMU, settings[setting])


@pytest.mark.parametrize(
    ("aim", "ours", "qemu", "is_met"),
    [
        (faster(10), 10, 100, True),
        (faster(10), 10, 99, False),
        (faster(10), None, 100, False),
        (faster(10), 10, None, False),
        (NOT_ABOVE, 5, 5, True),
        (NOT_ABOVE, 0, 0, True),
        (NOT_ABOVE, 6, 5, False),
        (STILL, 19.9, 200, True),
        (STILL, 20, 500, False),
        (STILL, 19, 180, False),
        (Aim("under 50 ms", below=50), 49, None, True),
        (Aim("under 50 ms", below=50), 50, None, False),
    ],
)
def test_when_an_aim_is_met(aim: Aim, ours: float | None, qemu: float | None, is_met: bool) -> None:
    assert aim.is_met(ours, qemu) == is_met


def test_every_row_has_the_same_keys_and_what_was_not_measured_is_null() -> None:
    shown = [spec.row(Results()).as_json() for spec in row_specs("unix")]
    assert all(each.keys() == KEYS for each in shown)
    assert {(each["ours"], each["qemu"], each["ratio"], each["met"]) for each in shown} == {
        (None, None, None, False)
    }
    names = [each["measure"] for each in shown]
    assert len(set(names)) == len(names)


def test_ours_is_the_faster_setting_in_every_row_of_a_case_and_qemu_its_best_in_each() -> None:
    results = filled(
        Case(Way.IDLE, Contents.RANDOM),
        ours_plain=figures(100, 1, 1),
        ours_multifd=figures(50, 2, 3),
        qemu_plain=figures(200, 30, 5),
        qemu_multifd=figures(80, 40, 7),
        qemu_zstd=figures(70, 50, 9),
    )
    total = row(results, "total time, random")
    assert total.as_json() == {
        "measure": "total time, random",
        "ours": 50,
        "qemu": 70,
        "unit": "ms",
        "ratio": 1.4,
        "aim": "1.2 times faster",
        "met": True,
    }
    assert total.qemu is not None
    assert total.qemu.contender == named("qemu_zstd")
    downtime = row(results, "downtime, idle guest, random").as_json()
    assert (downtime["ours"], downtime["qemu"], downtime["met"]) == (2, 30, True)
    cpu = row(results, "CPU of both sides, random").as_json()
    assert (cpu["ours"], cpu["qemu"], cpu["met"]) == (3, 5, True)


def test_compressing_settings_stand_against_each_other() -> None:
    case = Case(Way.IDLE, Contents.MIXED)
    results = filled(
        case,
        ours_plain=figures(1),
        ours_zstd=figures(40),
        ours_adaptive=figures(10),
        qemu_plain=figures(20),
        qemu_zstd=figures(100),
    )
    results.wire_bytes |= {
        (case, named("ours_zstd")): 5 * MIB,
        (case, named("ours_adaptive")): 7 * MIB,
        (case, named("qemu_zstd")): 6 * MIB,
    }
    assert row(results, "total time, mixed, uncompressed").as_json()["ratio"] == 20
    compressed = row(results, "total time, mixed, zstd").as_json()
    # The faster one puts more on the wire than QEMU.
    assert (compressed["ours"], compressed["qemu"], compressed["met"]) == (40, 100, True)
    wire = row(results, "bytes on the wire, mixed, zstd").as_json()
    assert (wire["ours"], wire["qemu"], wire["met"]) == (5, 6, True)
    results.wire_bytes[case, named("ours_zstd")] = 8 * MIB
    assert row(results, "total time, mixed, zstd").as_json()["ours"] == 10
    assert not row(results, "bytes on the wire, mixed, zstd").is_met


def test_memory_is_the_largest_of_ours_over_all_contents_and_qemus_with_its_best_setting() -> None:
    results = Results()
    for contents, ours, plain, multifd in (
        (Contents.ZERO, 40, 30, 20),
        (Contents.RANDOM, 60, 35, 45),
    ):
        case = Case(Way.IDLE, contents)
        results.add(case, named("ours_plain"), figures(mib=ours))
        results.add(case, named("ours_multifd"), figures(mib=ours + 1))
        results.add(case, named("qemu_plain"), figures(mib=plain))
        results.add(case, named("qemu_multifd"), figures(mib=multifd))
    source = row(results, "memory beyond guest RAM, source").as_json()
    assert (source["ours"], source["qemu"], source["met"]) == (61, 35, True)
    target = row(results, "memory beyond guest RAM, target").as_json()
    assert (target["ours"], target["qemu"], target["met"]) == (122, 70, False)


def test_a_hand_over_is_measured_against_a_number_whatever_qemu_does() -> None:
    case = Case(Way.HAND_OVER, Contents.RANDOM)
    results = filled(case, ours_shared=figures(49, 9), qemu_ignored=figures(5, 2))
    total = row(results, "total time, local hand-over").as_json()
    assert (total["ours"], total["qemu"], total["met"]) == (49, 5, True)
    assert row(results, "downtime, local hand-over").is_met


def test_every_row_is_read_from_a_case_that_is_measured() -> None:
    specs = row_specs("unix") + row_specs("tcp")
    cases = cases_for(specs)
    assert len(cases) == len(set(cases)) == 2 * len(Contents) + 2 + 1
    assert all(spec.measure.endswith("over tcp") for spec in row_specs("tcp"))
    for case in cases:
        found = contenders(case, [QEMU])
        assert {each.is_ours for each in found} == {True, False}
        assert len(found) == len(set(found))

"""Medians, the best of several, and a fitted line."""

from __future__ import annotations

import pytest

from benchmarks.ram.contenders import MULTIFD, PLAIN, REPLUG, Case, Contender, Program, Way
from benchmarks.ram.contents import Contents
from benchmarks.ram.figures import Best, Figures, Results, fitted_line, smallest
from benchmarks.ram.scale import sizes_bytes

GIB = 1 << 30
CASE = Case(Way.IDLE, Contents.RANDOM)
OURS = Contender(REPLUG, PLAIN)
QEMU = Program("QEMU", "/usr/bin/qemu")


def figures(total_ms: float) -> Figures:
    return Figures(total_ms, 1.0, 1.0, 0, 0, total_ms, 1.0)


def test_the_best_is_the_smallest_median() -> None:
    results = Results()
    for contender, totals in (
        (OURS, (1, 2, 3)),
        (Contender(QEMU, PLAIN), (10, 1, 100)),
        (Contender(QEMU, MULTIFD), (9, 9, 1000)),
    ):
        for total_ms in totals:
            results.add(CASE, contender, figures(total_ms))
    best = results.best(CASE, lambda each: not each.is_ours, lambda run: run.total_ms)
    assert best == Best(9, Contender(QEMU, MULTIFD))
    assert results.of(CASE, OURS, lambda run: run.total_ms) == Best(2, OURS)


def test_there_is_no_best_of_nothing() -> None:
    assert smallest({}) is None
    assert Results().best(CASE, lambda _: True, lambda run: run.total_ms) is None


def test_a_line_through_points_that_are_on_one() -> None:
    line = fitted_line([(GIB // 4, 20.0), (GIB, 50.0), (2 * GIB, 90.0)])
    assert line.base_ms == pytest.approx(10)
    assert line.per_gib_ms == pytest.approx(40)
    assert line.fit == pytest.approx(1)


def test_a_line_says_how_well_it_fits() -> None:
    assert fitted_line([(GIB, 1.0), (2 * GIB, 5.0), (3 * GIB, 1.0)]).fit == pytest.approx(0)
    assert fitted_line([(GIB, 7.0), (2 * GIB, 7.0)]).fit == 1


def test_sizes_double_up_to_the_largest() -> None:
    assert [size >> 20 for size in sizes_bytes(8 * GIB)] == [256, 512, 1024, 2048, 4096, 8192]
    assert sizes_bytes(3 * GIB)[-1] == 2 * GIB

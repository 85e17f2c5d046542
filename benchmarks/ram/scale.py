"""What a migration costs against how much of RAM is dirty.

What may live here: the sizes, their runs, and the line through them. RAM has one size, the largest;
so many bytes of it hold random contents, the rest was never touched. So what the line's base holds
is the cost of RAM that nobody uses. Compression has nothing to do with it and is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.ram.campaign import Note, rotated, warm_up
from benchmarks.ram.contenders import Case, Contender, Program, Way, contenders
from benchmarks.ram.contents import Contents
from benchmarks.ram.figures import Figures, Line, fitted_line, median
from benchmarks.ram.migration import Bench, NotServed

SMALLEST_BYTES = 256 << 20
LARGEST_BYTES = 8 << 30


def sizes_bytes(largest_bytes: int) -> list[int]:
    """Return the sizes up to the largest: each twice the one before, SMALLEST_BYTES the first."""
    found = [SMALLEST_BYTES]
    while found[-1] * 2 <= largest_bytes:
        found.append(found[-1] * 2)
    return found


def measure_scale(
    bench: Bench, rivals: Sequence[Program], rounds: int, note: Note
) -> list[tuple[Contender, list[tuple[int, float]], Line]]:
    """Measure every contender at every size; return its (bytes, median ms) and the line.

    :raise RunFailed: with the first run that fails, or when there is too little memory.
    """
    warm_up(2 * bench.ram_bytes)
    case = Case(Way.IDLE, Contents.RANDOM)
    entrants = [each for each in contenders(case, rivals) if not each.settings.compresses]
    costs: dict[Contender, dict[int, list[Figures]]] = {}
    for number in range(rounds):
        for size_bytes in sizes_bytes(bench.ram_bytes):
            filled = dataclasses.replace(bench, filled_bytes_max=size_bytes)
            for contender in rotated(entrants, number):
                try:
                    figures = filled.run(case, contender)
                except NotServed as reason:
                    entrants = [each for each in entrants if each != contender]
                    note(case, contender, number + 1, str(reason))
                    continue
                costs.setdefault(contender, {}).setdefault(size_bytes, []).append(figures)
                note(case, contender, number + 1, figures)
    found = []
    for contender, by_size in costs.items():
        points = [
            (size_bytes, median(runs, lambda run: run.total_ms))
            for size_bytes, runs in sorted(by_size.items())
        ]
        found.append((contender, points, fitted_line(points)))
    return found

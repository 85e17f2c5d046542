"""The rows of the result: what is measured, what it is compared with, what is aimed at.

What may live here: the aims, and the rows made of medians; pure. The rules:

1. A ratio is QEMU's figure over ours: above 1, ours is the better one, for every row.
2. QEMU's figure is the best that any of its settings and versions has in that row.
3. Ours, in one case, are all those of one setting: the one with the shortest total time.
4. Where contents are compressed, compressing settings are compared with one another, and ours is
   one that puts no more on the wire than QEMU's, if there is one; elsewhere ours do not compress,
   QEMU's may.
5. Memory is the largest over all contents, and with a guest that writes: of ours with any setting,
   of QEMU's with its best.
6. What could not be measured is null, and its aim not met.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from benchmarks.ram.contenders import LIMITED_BYTES_PER_SECOND, Case, Contender, Way
from benchmarks.ram.contents import Contents
from benchmarks.ram.figures import Best, Figures, Read, Results, median, smallest

MIB = 1 << 20
Sides: TypeAlias = tuple[Best | None, Best | None]


@dataclass(frozen=True)
class Aim:
    """What a row should come to."""

    text: str
    #: QEMU's figure over ours is to be this or more.
    times_min: float | None = None
    #: Ours is to be less than this.
    below: float | None = None

    def is_met(self, ours: float | None, qemu: float | None) -> bool:
        """Say whether it is; never, when a figure that it needs is missing."""
        if ours is None or (self.below is not None and ours >= self.below):
            return False
        return self.times_min is None or (qemu is not None and qemu >= ours * self.times_min)


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    measure: str
    unit: str
    aim: Aim
    ours: Best | None
    qemu: Best | None

    @property
    def is_met(self) -> bool:
        """Whether the aim is met."""
        return self.aim.is_met(_value(self.ours), _value(self.qemu))

    @property
    def ratio(self) -> float | None:
        """QEMU's figure over ours; None without one of them."""
        ours, qemu = _value(self.ours), _value(self.qemu)
        return qemu / ours if ours and qemu is not None else None

    def as_json(self) -> dict[str, Any]:
        """Return the row as it is printed with --json."""
        return {
            "measure": self.measure,
            "ours": _rounded(_value(self.ours)),
            "qemu": _rounded(_value(self.qemu)),
            "unit": self.unit,
            "ratio": _rounded(self.ratio),
            "aim": self.aim.text,
            "met": self.is_met,
        }


@dataclass(frozen=True)
class RowSpec:
    """A row before anything was measured."""

    measure: str
    unit: str
    aim: Aim
    #: What has to be measured for it.
    cases: tuple[Case, ...]
    #: Reads both sides out of what was measured.
    read: Callable[[Results], Sides]

    def row(self, results: Results) -> Row:
        """Fill it in."""
        return Row(self.measure, self.unit, self.aim, *self.read(results))


def faster(times: float) -> Aim:
    """So many times faster."""
    return Aim(f"{times:g} times faster", times)


NOT_ABOVE = Aim("not above QEMU's", 1.0)
STILL = Aim("under a tenth of QEMU's and under 20 ms", 10.0, 20.0)


def row_specs(transport: str) -> list[RowSpec]:
    """Return every row, over one transport."""
    over = "" if transport == "unix" else f", over {transport}"
    found = [*_idle_rows(transport), *_busy_rows(transport), *_memory_rows(transport)]
    if transport == "unix":
        found += _hand_over_rows()
    return [
        RowSpec(f"{each.measure}{over}", each.unit, each.aim, each.cases, each.read)
        for each in found
    ]


def cases_for(specs: Iterable[RowSpec]) -> list[Case]:
    """Return what has to be measured for these rows, each case once."""
    return list(dict.fromkeys(case for spec in specs for case in spec.cases))


def _idle_rows(transport: str) -> Iterator[RowSpec]:
    totals = {
        Contents.UNTOUCHED: faster(10),
        Contents.ZERO: faster(10),
        Contents.RANDOM: faster(1.2),
        Contents.MIXED: faster(1.2),
    }
    rows = [(contents, False, contents.value, aim) for contents, aim in totals.items()]
    rows[-1:] = [
        (Contents.MIXED, False, "mixed, uncompressed", totals[Contents.MIXED]),
        (Contents.MIXED, True, "mixed, zstd", faster(2.5)),
    ]
    for contents, compressed, name, aim in rows:
        case = Case(Way.IDLE, contents, transport)
        sides = partial(_sides, case, compressed)
        yield RowSpec(f"total time, {name}", "ms", aim, (case,), partial(sides, _total))
        if compressed:
            wire = partial(_wire, case)
            yield RowSpec(f"bytes on the wire, {name}", "MiB", NOT_ABOVE, (case,), wire)
        still = partial(sides, _downtime)
        yield RowSpec(f"downtime, idle guest, {name}", "ms", STILL, (case,), still)
        yield RowSpec(f"CPU of both sides, {name}", "s", NOT_ABOVE, (case,), partial(sides, _cpu))


def _busy_rows(transport: str) -> Iterator[RowSpec]:
    case = Case(Way.DIRTY, Contents.RANDOM, transport)
    for name, read in (("downtime", _downtime), ("total time", _total)):
        measure = f"{name}, {Way.DIRTY.value}"
        yield RowSpec(measure, "ms", NOT_ABOVE, (case,), partial(_sides, case, False, read))
    yield _cpu_row(case)
    aim = Aim("under 5 %", below=5)
    sides = partial(_sides, case, False, _beside_limit)
    yield RowSpec(f"off max-bandwidth, {Way.DIRTY.value}", "%", aim, (case,), sides)


def _cpu_row(case: Case) -> RowSpec:
    measure = f"CPU of both sides, {case.way.value}"
    return RowSpec(measure, "s", NOT_ABOVE, (case,), partial(_sides, case, False, _cpu))


def _hand_over_rows() -> Iterator[RowSpec]:
    case = Case(Way.HAND_OVER, Contents.RANDOM)
    for name, read, below in (("total time", _total, 50), ("downtime", _downtime, 10)):
        aim = Aim(f"under {below} ms", below=below)
        measure = f"{name}, {Way.HAND_OVER.value}"
        yield RowSpec(measure, "ms", aim, (case,), partial(_sides, case, False, read))
    yield _cpu_row(case)


def _memory_rows(transport: str) -> Iterator[RowSpec]:
    idle = (Case(Way.IDLE, contents, transport) for contents in Contents)
    cases = (*idle, Case(Way.DIRTY, Contents.RANDOM, transport))
    reads: tuple[tuple[str, Read], ...] = (
        ("source", lambda run: run.source_bytes / MIB),
        ("target", lambda run: run.target_bytes / MIB),
    )
    for name, read in reads:
        aim = Aim("under 100 MiB", below=100)
        memory = partial(_memory, cases, read)
        yield RowSpec(f"memory beyond guest RAM, {name}", "MiB", aim, cases, memory)


def _total(run: Figures) -> float:
    return run.total_ms


def _downtime(run: Figures) -> float:
    return run.downtime_ms


def _cpu(run: Figures) -> float:
    return run.cpu_seconds


def _beside_limit(run: Figures) -> float:
    """Return by how much of max-bandwidth the rate was above or below it, in percent."""
    rate = run.limited_bytes_per_second
    return abs(rate / LIMITED_BYTES_PER_SECOND - 1) * 100 if rate is not None else math.inf


def _wire_mib(case: Case, results: Results) -> dict[Contender, float]:
    """Return what each compressing contender put on the wire."""
    return {
        contender: size_bytes / MIB
        for (counted_case, contender), size_bytes in results.wire_bytes.items()
        if counted_case == case and contender.settings.compresses
    }


def _ours(case: Case, compressed: bool, results: Results) -> Contender | None:
    """Choose the setting that stands for ours in a case; None when none was measured."""
    totals = results.medians(
        case, lambda each: each.is_ours and each.settings.compresses == compressed, _total
    )
    if compressed:
        wire_mib = _wire_mib(case, results)
        rival_mib = min((mib for each, mib in wire_mib.items() if not each.is_ours), default=0.0)
        frugal = {each: ms for each, ms in totals.items() if wire_mib.get(each, 0.0) <= rival_mib}
        totals = frugal or totals
    best = smallest(totals)
    return best.contender if best else None


def _sides(case: Case, compressed: bool, read: Read, results: Results) -> Sides:
    ours = _ours(case, compressed, results)
    rival = results.best(
        case,
        lambda each: not each.is_ours and (each.settings.compresses or not compressed),
        read,
    )
    return results.of(case, ours, read) if ours else None, rival


def _wire(case: Case, results: Results) -> Sides:
    ours = _ours(case, True, results)
    wire_mib = _wire_mib(case, results)
    rival = smallest({each: mib for each, mib in wire_mib.items() if not each.is_ours})
    return Best(wire_mib[ours], ours) if ours in wire_mib else None, rival


def _memory(cases: Iterable[Case], read: Read, results: Results) -> Sides:
    largest: dict[Contender, float] = {}
    for case in cases:
        for contender, runs in results.timed.get(case, {}).items():
            largest[contender] = max(largest.get(contender, 0.0), median(runs, read))
    ours = {each: mib for each, mib in largest.items() if each.is_ours}
    worst = max(ours, key=lambda each: ours[each], default=None)
    rival = smallest({each: mib for each, mib in largest.items() if not each.is_ours})
    return Best(ours[worst], worst) if worst else None, rival


def _value(best: Best | None) -> float | None:
    return None if best is None else best.value


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")

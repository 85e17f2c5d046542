"""What runs have shown, and what is made of it: medians, the best of several, a fitted line.

What may live here: pure arithmetic over what was measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.ram.contenders import Case, Contender

GIB = 1 << 30


@dataclass(frozen=True)
class Figures:
    """What one run has shown."""

    total_ms: float
    downtime_ms: float
    #: User and system time of source and target together.
    cpu_seconds: float
    #: Peaks beyond guest RAM.
    source_bytes: int
    target_bytes: int
    #: What query-migrate on the source says.
    reported_total_ms: float
    reported_downtime_ms: float
    #: What the guest really wrote while it was migrated; None: it idles.
    dirty_bytes_per_second: float | None = None
    #: What the stream took of a limited bandwidth, until the guest stopped; None: it idles.
    limited_bytes_per_second: float | None = None
    #: Bytes that went to the target; None: they were not counted.
    wire_bytes: int | None = None


#: Reads one quantity out of a run.
Read = Callable[[Figures], float]


@dataclass(frozen=True)
class Best:
    """A figure and whose it is."""

    value: float
    contender: Contender


@dataclass
class Results:
    """All runs of a measurement."""

    #: The timed runs.
    timed: dict[Case, dict[Contender, list[Figures]]] = field(default_factory=dict)
    #: What went over the wire in a run that was not timed.
    wire_bytes: dict[tuple[Case, Contender], int] = field(default_factory=dict)

    def add(self, case: Case, contender: Contender, figures: Figures) -> None:
        """Add a timed run."""
        self.timed.setdefault(case, {}).setdefault(contender, []).append(figures)

    def medians(
        self, case: Case, among: Callable[[Contender], bool], read: Read
    ) -> dict[Contender, float]:
        """Return each contender's median over its runs in a case."""
        return {
            contender: median(runs, read)
            for contender, runs in self.timed.get(case, {}).items()
            if among(contender)
        }

    def best(self, case: Case, among: Callable[[Contender], bool], read: Read) -> Best | None:
        """Return the smallest of the medians; None when nobody was measured."""
        return smallest(self.medians(case, among, read))

    def of(self, case: Case, contender: Contender, read: Read) -> Best:
        """Return one contender's median."""
        return Best(median(self.timed[case][contender], read), contender)


def median(runs: Iterable[Figures], read: Read) -> float:
    """Return the median of one quantity."""
    return statistics.median(read(each) for each in runs)


def smallest(values: dict[Contender, float]) -> Best | None:
    """Return the smallest value, the first of several equal ones; None if there is none."""
    if not values:
        return None
    contender = min(values, key=lambda each: values[each])
    return Best(values[contender], contender)


@dataclass(frozen=True)
class Line:
    """A cost as a straight line over dirty memory."""

    #: What it costs without any.
    base_ms: float
    #: What each gibibyte adds.
    per_gib_ms: float
    #: The share of the variance that the line explains.
    fit: float


def fitted_line(points: Sequence[tuple[int, float]]) -> Line:
    """Fit a line by least squares to (bytes, milliseconds); needs two different sizes."""
    sizes = [size_bytes / GIB for size_bytes, _ in points]
    costs = [cost_ms for _, cost_ms in points]
    slope, intercept = statistics.linear_regression(sizes, costs)
    is_flat = len(set(costs)) == 1
    fit = 1.0 if is_flat else statistics.correlation(sizes, costs) ** 2
    return Line(intercept, slope, fit)

"""What is printed: a line for each run as it ends, and the table of rows.

What may live here: text for people and the objects of --json. Nothing is computed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from benchmarks.ram.contenders import Case, Contender
from benchmarks.ram.figures import Best, Figures, Line
from benchmarks.ram.rows import MIB, Row

_HEADINGS = ("measure", "ours", "QEMU", "unit", "ratio", "aim", "met", "measured with")


def run_line(case: Case, contender: Contender, number: int, outcome: Figures | str) -> str:
    """Return one line about a run; round 0 is one that is not timed."""
    when = f"round {number}" if number else "untimed"
    return f"{when:8} {case.name} | {contender.name} | {_figures_text(outcome)}"


def run_json(
    case: Case, contender: Contender, number: int, outcome: Figures | str
) -> dict[str, Any]:
    """Return the object of a run; round 0 is one that is not timed."""
    known = {"case": case.name, "contender": contender.name, "round": number}
    if isinstance(outcome, str):
        return {"run": {**known, "not-served": outcome}}
    return {"run": {**known, **_plain(outcome)}}


def _figures_text(outcome: Figures | str) -> str:
    if isinstance(outcome, str):
        return f"not measured: {outcome}"
    parts = [
        f"total {outcome.total_ms:.0f} ms, downtime {outcome.downtime_ms:.1f} ms",
        f"CPU {outcome.cpu_seconds:.2f} s",
        f"memory {outcome.source_bytes / MIB:.0f} and {outcome.target_bytes / MIB:.0f} MiB",
    ]
    if outcome.dirty_bytes_per_second is not None:
        parts.append(f"guest wrote {outcome.dirty_bytes_per_second / MIB:.0f} MiB/s")
    if outcome.limited_bytes_per_second is not None:
        parts.append(f"{outcome.limited_bytes_per_second / MIB:.0f} MiB/s sent")
    if outcome.wire_bytes is not None:
        parts.append(f"{outcome.wire_bytes / MIB:.1f} MiB on the wire")
    return ", ".join(parts)


def _plain(figures: Figures) -> dict[str, Any]:
    return {
        name.replace("_", "-"): round(value, 3) if isinstance(value, float) else value
        for name, value in dataclasses.asdict(figures).items()
    }


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table of text."""
    lines = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    shown = row.as_json()
    return (
        row.measure,
        _number(shown["ours"]),
        _number(shown["qemu"]),
        row.unit,
        _number(shown["ratio"]),
        row.aim.text,
        "yes" if row.is_met else "no",
        f"{_name(row.ours)}; {_name(row.qemu)}",
    )


def _name(best: Best | None) -> str:
    return best.contender.name if best else "nothing"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def scale_text(ram_bytes: int, name: str, points: Sequence[tuple[int, float]], line: Line) -> str:
    """Return what one contender costs at each size, and the line through it."""
    measured = ", ".join(f"{size_bytes / MIB:.0f} MiB {ms:.0f} ms" for size_bytes, ms in points)
    return (
        f"{name}, RAM of {ram_bytes / MIB:.0f} MiB: {measured}\n"
        f"    {line.base_ms:.1f} ms + {line.per_gib_ms:.1f} ms for each GiB that is dirty, "
        f"R² {line.fit:.4f}"
    )


def scale_json(name: str, points: Sequence[tuple[int, float]], line: Line) -> dict[str, Any]:
    """Return the object of one contender's line."""
    return {
        "contender": name,
        "points": [[size_bytes, round(ms, 3)] for size_bytes, ms in points],
        "base-ms": round(line.base_ms, 3),
        "per-gib-ms": round(line.per_gib_ms, 3),
        "fit": round(line.fit, 5),
    }

"""`python -m benchmarks.ram`: the options, and what is done with them.

Progress goes to stderr. Without --json a table is printed; with it, one object for each run and,
as the last line, one with all rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.ram.campaign import measure
from benchmarks.ram.contenders import Case, Contender, Program, qemu
from benchmarks.ram.contents import BLOCK_BYTES
from benchmarks.ram.figures import GIB, Figures
from benchmarks.ram.migration import Bench, RunFailed
from benchmarks.ram.report import run_json, run_line, scale_json, scale_text, table
from benchmarks.ram.rows import RowSpec, cases_for, row_specs
from benchmarks.ram.scale import LARGEST_BYTES, SMALLEST_BYTES, measure_scale

PROGRAM = "qemu-system-x86_64"
_RAM_BYTES_MIN = 64 << 20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.ram", description=__doc__)
    add = parser.add_argument
    add("--json", action="store_true", help="print objects; the last line has the rows")
    add("--gib", type=float, help="RAM of each VM; 4, with --scale 8")
    add("--rounds", type=int, default=5, help="runs of each contender; medians are shown")
    add("--measure", action="append", metavar="NAME", help="only rows with NAME in their name")
    add("--transport", choices=("unix", "tcp", "both"), default="unix", help="what streams go over")
    add("--stopped", action="store_true", help="guests that would idle do not run at all")
    add(
        "--qemu", action="append", default=[], metavar="PATH", help="another rival; may be repeated"
    )
    add("--scale", action="store_true", help="lines through cost against dirty memory; no rows")
    return parser


def main() -> int:
    """Measure as the command line says; return 0, or 1 when a run failed."""
    given = _parser().parse_args()
    # A signal ends it like an error does, so that everything is cleaned up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        specs = _selected(given.transport, given.measure or [""])
        # A line takes two sizes.
        bytes_min = 2 * SMALLEST_BYTES if given.scale else _RAM_BYTES_MIN
        ram_bytes = _ram_bytes(given.gib or (LARGEST_BYTES / GIB if given.scale else 4), bytes_min)
        rivals = [qemu(path) for path in dict.fromkeys([_installed(), *given.qemu])]
        with tempfile.TemporaryDirectory(prefix="replug-benchmark-") as folder:
            bench = Bench(Path(folder), ram_bytes, given.stopped)
            if given.scale:
                _scale(bench, rivals, given)
            else:
                _rows(bench, specs, rivals, given)
    except (RunFailed, OSError) as error:
        print(f"benchmarks.ram: {error}", file=sys.stderr)
        return 1
    return 0


def _rows(
    bench: Bench, specs: list[RowSpec], rivals: list[Program], given: argparse.Namespace
) -> None:
    results = measure(bench, cases_for(specs), rivals, given.rounds, _Noted(given.json))
    rows = [spec.row(results) for spec in specs]
    if given.json:
        print(json.dumps({"rows": [row.as_json() for row in rows]}))
    else:
        loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
        print(table(rows))
        print(
            f"\n{bench.ram_bytes >> 20} MiB of RAM, medians of {given.rounds} rounds, "
            f"{os.cpu_count()} processors, load averages at the end {loads}"
        )


def _scale(bench: Bench, rivals: list[Program], given: argparse.Namespace) -> None:
    lines = measure_scale(bench, rivals, given.rounds, _Noted(given.json))
    if given.json:
        objects = [scale_json(each.name, points, line) for each, points, line in lines]
        print(json.dumps({"scale": objects}))
    else:
        for contender, points, line in lines:
            print(scale_text(bench.ram_bytes, contender.name, points, line))


class _Noted:
    """Tells of each run as it ends."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(
        self, case: Case, contender: Contender, number: int, outcome: Figures | str
    ) -> None:
        print(run_line(case, contender, number, outcome), file=sys.stderr, flush=True)
        if self._as_json:
            print(json.dumps(run_json(case, contender, number, outcome)), flush=True)


def _selected(transport: str, names: list[str]) -> list[RowSpec]:
    """Return the rows whose names hold one of these."""
    transports = ("unix", "tcp") if transport == "both" else (transport,)
    specs = [spec for each in transports for spec in row_specs(each)]
    found = [spec for spec in specs if any(name in spec.measure for name in names)]
    if not found:
        known = "\n  ".join(spec.measure for spec in specs)
        raise RunFailed(f"no row is called {' or '.join(names)}; there are\n  {known}")
    return found


def _ram_bytes(gib: float, bytes_min: int) -> int:
    size_bytes = int(gib * GIB)
    if size_bytes < bytes_min or size_bytes % BLOCK_BYTES:
        raise RunFailed(f"--gib expects {bytes_min / GIB} or more, in steps of {BLOCK_BYTES / GIB}")
    return size_bytes


def _installed() -> str:
    path = shutil.which(PROGRAM)
    if path is None:
        raise RunFailed(f"no {PROGRAM} here: install qemu-system-x86")
    return path


if __name__ == "__main__":
    sys.exit(main())

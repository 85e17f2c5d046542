"""The benchmark against QEMU runs: every row, small and once, and QEMU's guest writes as it should.

What is measured is judged by nobody here; that nothing is left out, and nothing left behind, is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ram.contenders import DIRTY_BYTES_PER_SECOND, Case, Way, contenders, qemu
from benchmarks.ram.contents import Contents
from benchmarks.ram.migration import Bench
from benchmarks.ram.rows import row_specs

pytestmark = pytest.mark.tools

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["measure", "ours", "qemu", "unit", "ratio", "aim", "met"]
RAM_BYTES = 64 << 20


def run(*arguments: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    """Run the benchmark to its end."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.ram", "--gib", str(RAM_BYTES / (1 << 30)), *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_last_line_has_every_row_and_nothing_is_left_behind(tmp_path: Path) -> None:
    ended = run("--json", "--rounds", "1", temporary=tmp_path)
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout.splitlines()[-1])["rows"]
    assert [row["measure"] for row in rows] == [spec.measure for spec in row_specs("unix")]
    for row in rows:
        assert list(row) == KEYS
        assert row["qemu"] is not None
        assert isinstance(row["met"], bool)
    by_name = {row["measure"]: row for row in rows}
    for measure in ("total time, random", "total time, guest dirtying 200 MiB/s"):
        assert by_name[measure]["ours"] > 0
        assert by_name[measure]["ratio"] > 0
    assert list(tmp_path.iterdir()) == []


def test_the_scale_has_a_line_for_each_contender(tmp_path: Path) -> None:
    ended = run("--scale", "--json", "--rounds", "1", "--gib", "0.5", temporary=tmp_path)
    assert ended.returncode == 0, ended.stderr
    lines = json.loads(ended.stdout.splitlines()[-1])["scale"]
    names = [line["contender"] for line in lines]
    assert {name.partition(",")[0].split()[0] for name in names} == {"replug", "QEMU"}
    assert len(set(names)) == len(names) == 4
    for line in lines:
        assert [size_bytes for size_bytes, _ in line["points"]] == [256 << 20, 512 << 20]
        assert all(ms > 0 for _, ms in line["points"])
    assert list(tmp_path.iterdir()) == []


def test_a_scale_of_one_size_is_refused(tmp_path: Path) -> None:
    ended = run("--scale", "--rounds", "1", temporary=tmp_path)
    assert ended.returncode == 1
    assert "--gib expects 0.5 or more" in ended.stderr


def test_a_run_that_fails_is_an_error_that_says_why(tmp_path: Path) -> None:
    # A program that is no QEMU, but says that it is one.
    rival = tmp_path / "rival"
    rival.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exec echo QEMU emulator version 9\necho sorry\nexit 1\n'
    )
    rival.chmod(0o755)
    folder = tmp_path / "sockets"
    folder.mkdir()
    arguments = ("--qemu", str(rival), "--rounds", "1", "--measure", "total time, random")
    ended = run(*arguments, temporary=folder)
    assert ended.returncode == 1
    assert "QEMU 9, plain: idle guest, random: source" in ended.stderr
    assert "sorry" in ended.stderr
    assert list(folder.iterdir()) == []


def test_both_guests_write_at_the_rate_they_were_given(tmp_path: Path) -> None:
    case = Case(Way.DIRTY, Contents.RANDOM)
    bench = Bench(tmp_path, RAM_BYTES)
    plain = [
        c for c in contenders(case, [qemu("qemu-system-x86_64")]) if c.settings.name == "plain"
    ]
    assert [each.is_ours for each in plain] == [True, False]
    for contender in plain:
        rate = bench.run(case, contender).dirty_bytes_per_second
        assert rate is not None
        # A guest that is short of a processor writes less; none writes much more.
        assert 0.2 < rate / DIRTY_BYTES_PER_SECOND < 1.3

"""Spin's verifier of an exported system: made, run, and what it says read.

What may live here: whatever runs `spin`, `gcc` and `pan`. The tests that compare Spin's verdict
with the explorer's, and the measurement beside it, both use this.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("spin", "gcc")
#: Spin prints eight digits.
EXACT_MAX = 99_999_999
_FIGURE = r"([\d.e+]+)"


class SpinFailed(Exception):
    """A program of the chain failed, or did not see everything."""


@dataclass(frozen=True)
class Verified:
    """What a verifier has found."""

    #: States it has stored.
    states: int
    #: Transitions it has followed, its way into the first state among them.
    transitions: int
    #: Constants that an assertion named.
    named: frozenset[str]
    #: Seconds, by its own clock.
    seconds: float


def missing_programs() -> list[str]:
    """Return which programs are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def make_verifier(
    folder: Path, text: str, macros: Iterable[str] = (), optimise: str = "-O2"
) -> Path:
    """Compile a Promela text's verifier and return the program.

    :raise SpinFailed: if a program refuses its input.
    """
    file = folder / "system.pml"
    file.write_text(text, "utf-8")
    _run(["spin", *(f"-D{macro}" for macro in macros), "-a", file.name], folder)
    _run(["gcc", optimise, "-w", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"], folder)
    return folder / "pan"


def verify(verifier: Path, table_bits: int = 24) -> Verified:
    """Run a verifier to its end, through whatever assertions it meets.

    :raise SpinFailed: if it ends early.
    """
    output = _run([str(verifier), "-c0", f"-w{table_bits}"], verifier.parent)
    named = frozenset(re.findall(r"assertion violated (\w+) \(at", output))
    complaints = [
        line
        for line in output.splitlines()
        if line.startswith(("pan:", "error:", "Warning"))
        and not re.match(r"pan:\d+: assertion violated \w+ \(at|pan: (elapsed|rate)", line)
    ]
    if complaints:
        raise SpinFailed("\n".join(complaints))
    seconds = re.search(rf"elapsed time {_FIGURE} seconds", output)
    return Verified(
        _count(output, "states, stored"),
        _count(output, "transitions"),
        named,
        float(seconds[1]) if seconds else 0.0,
    )


def _count(output: str, what: str) -> int:
    found = re.search(rf"^\s*{_FIGURE} {what}", output, re.MULTILINE)
    if found is None:
        raise SpinFailed(f"it does not say how many {what}:\n{output}")
    count = int(float(found[1]))
    if count > EXACT_MAX:
        raise SpinFailed(f"{found[1]} {what}: more than Spin prints exactly")
    return count


def _run(command: list[str], folder: Path) -> str:
    answer = subprocess.run(
        command, cwd=folder, capture_output=True, check=False, encoding="utf-8", errors="replace"
    )
    if answer.returncode:
        raise SpinFailed(
            f"{command[0]} ended with {answer.returncode}:\n{answer.stdout}{answer.stderr}"
        )
    return answer.stdout

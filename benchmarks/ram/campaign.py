"""All runs of a measurement, in an order that is fair.

What may live here: which run comes when. The rules:

1. In a case, contents are made once; then every round runs every contender once, and each round
   begins with another one, so that whatever drifts meets all alike.
2. Afterwards what has to be known without being timed is looked at in runs of their own: bytes on
   the wire, and all RAM of a guest that was writing.
3. There is memory for it, or nothing begins. All of it is written once beforehand: on a virtual
   machine the first touch of a page costs many times what later ones do, and QEMU's target, which
   is preallocated, would be the only one not to pay within the timed window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.ram import contents
from benchmarks.ram.contenders import Case, Contender, Program, Settings, Way, contenders
from benchmarks.ram.contents import Contents
from benchmarks.ram.figures import Figures, Results
from benchmarks.ram.migration import Bench, NotServed, RunFailed
from benchmarks.ram.vms import RamFile

#: Told of each run: the case, the contender, its round (0: not timed), and what came of it.
Note = Callable[[Case, Contender, int, Figures | str], None]

_SPARE_BYTES = 1 << 30


def measure(
    bench: Bench, cases: Iterable[Case], rivals: Sequence[Program], rounds: int, note: Note
) -> Results:
    """Run everything and return what was measured.

    :raise RunFailed: with the first run that fails, or when there is too little memory.
    """
    # The contents that are kept, a source, a target.
    warm_up(3 * bench.ram_bytes)
    results = Results()
    unserved: dict[Settings, str] = {}
    for case in cases:
        entrants = contenders(case, rivals)
        with RamFile(bench.ram_bytes) as master:
            contents.fill(master.fd, case.contents, bench.ram_bytes)
            for number in range(rounds):
                for contender in rotated(entrants, number):
                    if contender.is_ours and contender.settings in unserved:
                        continue
                    try:
                        figures = bench.run(case, contender, master)
                    except NotServed as reason:
                        unserved[contender.settings] = str(reason)
                        note(case, contender, number + 1, str(reason))
                        continue
                    results.add(case, contender, figures)
                    note(case, contender, number + 1, figures)
            for contender in results.timed[case]:
                if case.way is Way.DIRTY or _is_counted(case, contender):
                    figures = bench.run(case, contender, master, is_proof=True)
                    note(case, contender, 0, figures)
                    if figures.wire_bytes is not None:
                        results.wire_bytes[case, contender] = figures.wire_bytes
    return results


def _is_counted(case: Case, contender: Contender) -> bool:
    """Say whether a row asks for this contender's bytes on the wire."""
    return case.contents is Contents.MIXED and contender.settings.compresses


def rotated(entrants: Sequence[Contender], number: int) -> list[Contender]:
    """Return the contenders in the order of one round."""
    first = number % len(entrants)
    return [*entrants[first:], *entrants[:first]]


def available_bytes() -> int:
    """Return how much memory this machine has to spare."""
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RunFailed("/proc/meminfo does not say how much memory is available")


def warm_up(needed_bytes: int) -> None:
    """Touch as much memory as will be needed; RunFailed, and nothing, when there is too little."""
    available = available_bytes()
    if available < needed_bytes + _SPARE_BYTES:
        raise RunFailed(
            f"expected {(needed_bytes + _SPARE_BYTES) >> 20} MiB of memory to be available, found "
            f"{available >> 20}: measure less with --gib"
        )
    with RamFile(needed_bytes) as everything:
        contents.fill(everything.fd, Contents.ZERO, needed_bytes)

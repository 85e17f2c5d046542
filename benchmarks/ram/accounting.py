"""What a process takes of the machine, with whatever it has started, as /proc tells.

What may live here: readers of /proc. The rules:

1. CPU time is user and system time of the process, of its living descendants and of the ones it
   has waited for: utime, stime, cutime and cstime of /proc/PID/stat, in ticks of 10 ms.
2. Memory beyond guest RAM is resident anonymous memory plus resident files (RssAnon + RssFile of
   /proc/PID/status, programs and libraries included). Guest RAM is shared memory on both sides
   (a memfd), which is RssShmem, and nothing else is that. The peak is the larger of what samples
   saw and of VmHWM - RssShmem at the end; the latter alone is too low for a process that had
   touched less of its RAM at its peak.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.02
#: The fields of /proc/PID/stat after the command: utime, stime, cutime, cstime.
_TIMES = slice(11, 15)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and its descendants have used."""
    ticks = 0
    for each in _tree(pid):
        try:
            stat = Path(f"/proc/{each}/stat").read_text("ascii", "replace")
        except OSError:
            continue
        ticks += sum(int(field) for field in stat.rpartition(")")[2].split()[_TIMES])
    return ticks / _TICKS_PER_SECOND


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and its descendants."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text("ascii").split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))


def _status(pid: int) -> dict[str, int]:
    """Return the sizes in /proc/PID/status, in bytes; empty when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value.split()[0]) * 1024
    return found


class MemoryPeak:
    """Watches, from a thread, how much memory some processes take beyond guest RAM."""

    def __init__(self, *pids: int) -> None:
        self._peaks_bytes = dict.fromkeys(pids, 0)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> tuple[int, ...]:
        """Stop watching and return the peaks, in bytes, in the order of the processes."""
        self._is_over.set()
        self._thread.join()
        for pid in self._peaks_bytes:
            status = _status(pid)
            if status:
                self._note(pid, status["VmHWM"] - status["RssShmem"])
        return tuple(self._peaks_bytes.values())

    def _watch(self) -> None:
        while True:
            for pid in self._peaks_bytes:
                statuses = [_status(each) for each in _tree(pid)]
                self._note(pid, sum(s["RssAnon"] + s["RssFile"] for s in statuses if s))
            if self._is_over.wait(_SAMPLE_SECONDS):
                return

    def _note(self, pid: int, size_bytes: int) -> None:
        self._peaks_bytes[pid] = max(self._peaks_bytes[pid], size_bytes)

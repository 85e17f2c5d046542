"""Somebody who goes on when a paused migration loses its driver.

With pause-before-switchover the source stands still until it is told to go on. Should the process
that would tell it be killed, the guest would stand still for good. So a second process, in a
session of its own, holds the other end of a pipe: when the pipe closes, it cancels the migration,
and the guest runs at the source. Who is not needed any more is killed before the pipe closes.

What may live here: both ends of that pipe. `python -m engine.driver.pause_guard ADDRESS` is the
second process.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from engine.driver.qmp_connection import MonitorError, QmpConnection
from engine.migration_observation import ENDED
from engine.migration_reading import mapping, text
from engine.monitor_address import parse_monitor_address
from engine.monitor_options import MonitorEndpoint, UnixEndpoint

#: In `device` the target may have the guest already: whoever cancels then could start it twice.
_TOO_LATE = frozenset({None, "none", "device", "cancelling", *ENDED})


class NoGuard(MonitorError):
    """The second process did not start."""


class PauseGuard:
    """The guard of one migration, from this process's side."""

    def __init__(self, source: MonitorEndpoint) -> None:
        """Start the guard; it acts when this process ends before `dismiss`."""
        self._process = subprocess.Popen(
            # -P: whatever lies about in the present directory is not what is meant.
            [sys.executable, "-P", "-m", "engine.driver.pause_guard", _written(source)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    async def ready(self) -> None:
        """Wait until it is on guard. Raises NoGuard."""
        assert self._process.stdout is not None
        if not await asyncio.to_thread(self._process.stdout.read, 1):
            raise NoGuard(
                "a process that cancels the migration should this one be killed did not start: "
                "leave --pause off, or see what keeps Python from starting"
            )

    def dismiss(self) -> None:
        """End the guard; harmless when it has ended."""
        # Killed first, for a pipe that closes is what it acts on.
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


async def cancel_unattended(source: MonitorEndpoint) -> bool:
    """Cancel the migration of this source, unless it is over or too far; return whether it was.

    Raises MonitorError.
    """
    connection = await QmpConnection.connect(source, lambda _name, _data: None, lambda: None)
    try:
        status = text(mapping(await connection.execute("query-migrate")).get("status"))
        if status in _TOO_LATE:
            return False
        await connection.execute("migrate_cancel")
        return True
    finally:
        await connection.close()


def _written(endpoint: MonitorEndpoint) -> str:
    if isinstance(endpoint, UnixEndpoint):
        # With nothing before it a path is taken whole, commas too.
        return str(Path(endpoint.path).absolute())
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"tcp:{host}:{endpoint.port}"


def main(arguments: list[str]) -> int:
    """Wait for the pipe on standard input; return an exit status."""
    source = parse_monitor_address(arguments[0])
    sys.stdout.write("\n")
    sys.stdout.close()
    sys.stdin.buffer.read()
    try:
        asyncio.run(cancel_unattended(source))
    except MonitorError:
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""A QMP client that blocks: one for replug and QEMU, so that both are timed by the same means.

Rules kept here: no polling. An event's time is the stamp that the VM gave it, on this machine's
clock, so that neither this process nor the wait for a processor is part of a measurement.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: How long a VM may take to start or to answer a command.
ANSWER_SECONDS_MAX = 60.0
_RETRY_SECONDS = 0.01


class MonitorError(Exception):
    """A VM did not answer, ended, or ended its migration otherwise than was waited for."""


class Refused(MonitorError):
    """A command was answered with an error."""


class Monitor:
    """A connection to one VM's monitor."""

    def __init__(self, path: Path, is_alive: Callable[[], bool]) -> None:
        """Connect as soon as it listens; MonitorError if the VM ends before, or takes too long."""
        self._path = path
        self._connection = _connect(path, is_alive)
        self._received = b""
        #: Events so far, in their order.
        self.events: list[dict[str, Any]] = []
        self._message(ANSWER_SECONDS_MAX)
        self.execute("qmp_capabilities")

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Have a command carried out and return what it returns; Refused for an error."""
        request = {"execute": command, "arguments": arguments or {}}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._message(ANSWER_SECONDS_MAX)
            if "error" in answer:
                raise Refused(f"{self._path.stem}: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def stamp_ms(self, name: str, seconds_max: float, status: str | None = None) -> float:
        """Wait for an event, of MIGRATION one with this status, and return when it was.

        Milliseconds since the epoch. MonitorError if it does not come in time, or if the migration
        fails or is cancelled instead.
        """
        seen = 0
        end = time.monotonic() + seconds_max
        while True:
            for event in self.events[seen:]:
                reached = event.get("data", {}).get("status")
                if event["event"] == name and status in (None, reached):
                    return _stamp_ms(event)
                if event["event"] == "MIGRATION" and reached in ("failed", "cancelled"):
                    reason = self.execute("query-migrate").get("error-desc", "without a reason")
                    raise MonitorError(f"{self._path.stem}: migration {reached}: {reason}")
            seen = len(self.events)
            self._message(end - time.monotonic())

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _message(self, seconds_max: float) -> dict[str, Any]:
        """Read one message; events are kept as well."""
        end = time.monotonic() + seconds_max
        while b"\n" not in self._received:
            self._connection.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self._connection.recv(1 << 16)
            except TimeoutError:
                raise MonitorError(
                    f"{self._path.stem}: nothing came for {seconds_max:.0f} s"
                ) from None
            except ConnectionError as error:
                raise MonitorError(f"{self._path.stem}: {error}") from error
            if not data:
                raise MonitorError(f"{self._path.stem}: it ended")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        if "event" in message:
            self.events.append(message)
        return message


def _stamp_ms(event: dict[str, Any]) -> float:
    stamp = event["timestamp"]
    return float(stamp["seconds"]) * 1000 + float(stamp["microseconds"]) / 1000


def _connect(path: Path, is_alive: Callable[[], bool]) -> socket.socket:
    end = time.monotonic() + ANSWER_SECONDS_MAX
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
            return connection
        except (FileNotFoundError, ConnectionRefusedError) as error:
            connection.close()
            if not is_alive() or time.monotonic() > end:
                raise MonitorError(f"{path.stem}: no monitor at {path}: {error}") from error
        time.sleep(_RETRY_SECONDS)

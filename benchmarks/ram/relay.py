"""Counts the bytes of a migration, from between its two ends.

What may live here: the relay. It is for runs that are not timed: QEMU's own counters count pages
before they are compressed, so what is on the wire is counted on the wire, for both sides alike.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

_CHUNK_BYTES = 1 << 20


class Relay:
    """Passes every connection to one unix socket on to another, and counts what goes there."""

    def __init__(self, listen_path: Path, target_path: Path) -> None:
        self._target_path = target_path
        self._counts: list[int] = []
        self._sockets = [socket.socket(socket.AF_UNIX)]
        self._sockets[0].bind(str(listen_path))
        self._sockets[0].listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def forward_bytes(self) -> int:
        """Bytes that went from the source to the target, on all connections."""
        return sum(self._counts)

    def close(self) -> None:
        """End the relay and its connections."""
        for each in self._sockets:
            # Closing alone does not wake the thread that waits for it.
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                source, _ = self._sockets[0].accept()
            except OSError:
                return
            target = socket.socket(socket.AF_UNIX)
            target.connect(str(self._target_path))
            self._sockets += [source, target]
            self._counts.append(0)
            number = len(self._counts) - 1
            for ends in ((source, target, number), (target, source, None)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, near: socket.socket, far: socket.socket, number: int | None) -> None:
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        with suppress(OSError):
            while length := near.recv_into(buffer):
                if number is not None:
                    self._counts[number] += length
                far.sendall(buffer[:length])
        with suppress(OSError):
            far.shutdown(socket.SHUT_WR)

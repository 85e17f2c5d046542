"""Processes of `python -m engine.cli`, without the half second of imports for each.

A nursery is a process that has imported everything and forks one child for each connection to its
socket: `{"arguments": [...], "stderr": PATH}` comes in as one line, the child's number goes out,
and later its exit status, negative for a signal. When the connection ends first, the child is
killed, so nothing outlives a test. The child is a process like any other: its own memory, sockets
and exit.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

_REPOSITORY = Path(__file__).parents[2]


class Process(Protocol):
    """A child, as its test sees it; asyncio's are such as well."""

    #: Its number.
    pid: int

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it lives."""

    async def wait(self) -> int:
        """Wait for its end and return its exit status."""

    def send_signal(self, signal: int) -> None:
        """Send it a signal."""

    def kill(self) -> None:
        """Send it SIGKILL."""


class _Child:
    def __init__(
        self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._writer = writer
        self._ended = asyncio.create_task(self._wait(reader))

    async def _wait(self, reader: asyncio.StreamReader) -> None:
        self.returncode = int(await reader.readline())
        self._writer.close()

    async def wait(self) -> int:
        await asyncio.wait([self._ended])
        self._ended.result()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, signal: int) -> None:
        if self.returncode is None:
            # It may have ended, and been seen off by the nursery, a moment ago.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _nursery() -> str:
    """Start the nursery of this test run and return the path of its socket."""
    folder = tempfile.TemporaryDirectory(prefix="replug-nursery-")
    path = os.path.join(folder.name, "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    command = [sys.executable, "-m", "tests.integration.process_nursery", str(listener.fileno())]
    nursery = subprocess.Popen(
        command, cwd=_REPOSITORY, pass_fds=[listener.fileno()], stdin=subprocess.PIPE
    )
    listener.close()

    def end() -> None:
        assert nursery.stdin is not None
        nursery.stdin.close()
        nursery.wait()
        folder.cleanup()

    atexit.register(end)
    return path


async def spawn(arguments: list[str], stderr: Path) -> Process:
    """Start `python -m engine.cli` with these arguments; its stderr goes to a file."""
    reader, writer = await asyncio.open_unix_connection(_nursery())
    request = {"arguments": arguments, "stderr": str(stderr)}
    writer.write(json.dumps(request).encode() + b"\n")
    return _Child(int(await reader.readline()), reader, writer)


async def execute(arguments: list[str], stderr: Path) -> Process:
    """The same without the nursery, as a person would at a terminal."""
    command = (sys.executable, "-m", "engine.cli", *arguments)
    with stderr.open("wb") as file:
        return await asyncio.create_subprocess_exec(
            *command, cwd=_REPOSITORY, stderr=file, stdin=asyncio.subprocess.DEVNULL
        )


# -- in the nursery


def _serve(listener: socket.socket) -> int:
    """Fork until stdin ends. Returns only in a child: its exit status."""
    import engine.cli.incoming
    import engine.cli.vm  # noqa: F401 - imported once, for all children

    gc.freeze()
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, None)
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                _end(selector, key)
            elif key.fileobj is listener:
                connection, _address = listener.accept()
                request = json.loads(connection.makefile("rb").readline())
                pid = os.fork()
                if not pid:
                    listener.close()
                    connection.close()
                    selector.close()
                    return _be(request)
                pid_fd = os.pidfd_open(pid)
                connection.sendall(f"{pid}\n".encode())
                pair = (connection, pid_fd, pid)
                selector.register(pid_fd, selectors.EVENT_READ, pair)
                selector.register(connection, selectors.EVENT_READ, pair)
            else:
                return 0


def _end(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    connection, pid_fd, pid = key.data
    if pid_fd not in selector.get_map():
        return  # both were ready at once, and the child's end came first
    if key.fileobj is connection:
        # Whoever asked for it has gone: its end comes next.
        os.kill(pid, signal.SIGKILL)
        selector.unregister(connection)
        return
    _, status = os.waitpid(pid, 0)
    selector.unregister(pid_fd)
    os.close(pid_fd)
    if connection in selector.get_map():
        selector.unregister(connection)
        with suppress(OSError):
            connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    connection.close()


def _be(request: dict[str, Any]) -> int:
    from engine.cli import main

    with open(request["stderr"], "wb") as stderr, open(os.devnull) as nothing:
        os.dup2(stderr.fileno(), 2)
        os.dup2(nothing.fileno(), 0)
    os.setsid()
    return main(request["arguments"])


if __name__ == "__main__":
    raise SystemExit(_serve(socket.socket(fileno=int(sys.argv[1]))))

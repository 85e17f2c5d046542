"""A `replug vm` of our own, for a migration that brings its VM along.

What may live here: starting that process, and where it is found. It lives in a session of its own
and writes to a file, so it goes on whatever becomes of this process and of its terminal.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.monitor_options import UnixEndpoint

#: For how long the VM may take to open its monitor.
START_S = 30.0
#: For how long it may take to end once it was told to.
END_S = 10.0

_LOOK_AGAIN_S = 0.02
_LOG_BYTES_MAX = 64 << 10


class ChildFailed(Exception):
    """The VM ended before it opened its monitor; the text is what it said."""

    def __init__(self, text: str, exit_status: int) -> None:
        super().__init__(text)
        #: Its exit status.
        self.exit_status = exit_status


class ChildVm:
    """A running `replug vm`."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Use `start`."""
        self._process = process
        self._folder = folder

    @classmethod
    async def start(cls, options: Sequence[str]) -> ChildVm:
        """Start a VM with QEMU's single-dash options and wait for its monitor.

        Raises ChildFailed.
        """
        folder = Path(tempfile.mkdtemp(prefix="replug-"))
        monitor = f"unix:{folder / 'qmp'},server=on,wait=off"
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine.cli", "vm", *options, "-qmp", monitor],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        child = cls(process, folder)
        try:
            async with asyncio.timeout(START_S):
                await child._wait_for_monitor()
        except TimeoutError:
            process.kill()
            process.wait()
            raise ChildFailed(f"the VM opened no monitor within {START_S:g} s", 1) from None
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def monitor(self) -> UnixEndpoint:
        """Where its monitor listens."""
        return UnixEndpoint(str(self._folder / "qmp"))

    def log_text(self) -> str:
        """Return what the VM has said so far, the end of it if it is long."""
        with (self._folder / "log").open("rb") as log:
            log.seek(0, 2)
            log.seek(max(log.tell() - _LOG_BYTES_MAX, 0))
            return log.read().decode("utf-8", "replace").strip()

    async def ended(self) -> bool:
        """Wait for its end once it was told to, and clean up; False if it goes on."""
        try:
            await asyncio.to_thread(self._process.wait, END_S)
        except subprocess.TimeoutExpired:
            return False
        shutil.rmtree(self._folder, ignore_errors=True)
        return True

    def leave(self) -> None:
        """Let it go on without us."""
        # Popen complains about a child that runs when it is forgotten; this one is meant to.
        if self._process.poll() is None:
            self._process.returncode = 0

    async def _wait_for_monitor(self) -> None:
        while not self._is_listening():
            if (status := self._process.poll()) is not None:
                text = self.log_text() or f"the VM ended with status {status}"
                shutil.rmtree(self._folder, ignore_errors=True)
                raise ChildFailed(text, status)
            await asyncio.sleep(_LOOK_AGAIN_S)

    def _is_listening(self) -> bool:
        # That the socket is there is not enough: it is bound before anybody listens.
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._folder / "qmp"))
            except OSError:
                return False
        return True

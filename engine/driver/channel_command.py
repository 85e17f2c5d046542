"""A channel through a shell command, exec:COMMAND.

What may live here: starting the command in a process group of its own, its pipe, and its end. The
command is waited for through a pidfd on the loop; no thread and no signal handler is involved.

On the way out the stream is the command's standard input and its output is thrown away; on the way
in the stream is its standard output and its input is empty. Its standard error is ours.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

from engine.driver.channel import TransportError, failed
from engine.driver.channel_stream import PipeChannel

#: How long a command has to end after SIGTERM before it is killed.
TERMINATION_S = 1.0


class CommandChannel(PipeChannel):
    """A pipe to or from a command."""

    def __init__(self, command: str, *, writing: bool) -> None:
        """Start `/bin/sh -c command`; TransportError when that fails."""
        read_end, write_end = os.pipe()
        ours, theirs = (write_end, read_end) if writing else (read_end, write_end)
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=theirs if writing else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if writing else theirs,
                # A signal for the terminal's foreground is for us to handle, and a pipeline of
                # several processes must be ended as one.
                process_group=0,
            )
        except OSError as error:
            os.close(ours)
            raise failed("Unable to start command", error) from error
        finally:
            os.close(theirs)
        try:
            self._pid_fd = os.pidfd_open(self._process.pid)
        except OSError as error:
            os.close(ours)
            self._process.kill()
            self._process.wait()
            raise failed("Unable to watch command", error) from error
        self._writing = writing
        self._ended = False
        super().__init__(ours, writing=writing, noun="command")

    def _receive(self, max_bytes: int) -> bytes:
        received = super()._receive(max_bytes)
        self._ended = not received
        return received

    def _receive_into(self, place: memoryview) -> int:
        received = super()._receive_into(place)
        self._ended = not received
        return received

    async def _until_abandoned(self) -> None:
        # The pipe cannot be watched for this: `flushed` closes it.
        await self._until(self._pid_fd, writable=False)

    async def flushed(self) -> None:
        """Wait for the command to end by itself; TransportError when its status is not 0.

        A command that is read from is waited for only once its output has ended.
        """
        await super().flushed()
        if self._write_fd >= 0:
            self._ready(self._write_fd, writable=True)
            os.close(self._write_fd)
            self._write_fd = -1
        elif not self._writing and not self._ended:
            return
        while (status := self._process.poll()) is None:
            if self._stopped:
                raise TransportError("The command was given up before it had ended")
            await self._until(self._pid_fd, writable=False)
        if status < 0:
            raise TransportError(f"The command was ended by {_signal_name(-status)}")
        if status > 0:
            raise TransportError(f"The command ended with status {status}")

    def _close_descriptors(self) -> None:
        super()._close_descriptors()
        if self._process.poll() is not None:
            os.close(self._pid_fd)
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        _Reaper(self._loop, self._process, self._pid_fd)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        # Of the real-time signals only the first and the last have one.
        return f"signal {number}"


class _Reaper:
    """Waits for a command that was told to end, and kills it when it does not."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, process: subprocess.Popen[bytes], pid_fd: int
    ) -> None:
        self._loop = loop
        self._process = process
        self._pid_fd = pid_fd
        self._timer = loop.call_later(TERMINATION_S, self._kill)
        loop.add_reader(pid_fd, self._reap)

    def _kill(self) -> None:
        # Not reaped yet, so the number is still this group's.
        os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        if self._process.poll() is not None:
            self._timer.cancel()
            self._loop.remove_reader(self._pid_fd)
            os.close(self._pid_fd)

"""Reads and writes of one descriptor in a thread of its own, for as long as some RAM takes.

What may live here: the thread, how it waits, how it is told to stop. Rules:

- the descriptor is non-blocking; a call is tried first and waited for only when the system has
  nothing to give;
- `stop` ends it soon, whatever it waits for: a read then says that nothing comes any more, a write
  fails. What it has in hand is not undone;
- the descriptor is not closed before `ended`: its number could be somebody else's by then.

A thread costs a tenth of a millisecond, so it is given work for more than that.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

Result = TypeVar("Result")


class DescriptorThread(Generic[Result]):
    """One piece of work on one descriptor."""

    def __init__(self, fd: int, *, writing: bool) -> None:
        self._fd = fd
        self._events = select.POLLOUT if writing else select.POLLIN
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._loop = asyncio.get_running_loop()
        #: Done once the thread has let go of the descriptor.
        self.ended: asyncio.Future[None] = self._loop.create_future()
        #: Whether it was told to stop.
        self.stopped = False

    def stop(self) -> None:
        """End it soon."""
        if not self.stopped:
            self.stopped = True
            os.eventfd_write(self._stop_fd, 1)

    def wait(self) -> None:
        """In the thread: wait until the descriptor is ready, or `stop`."""
        poll = select.poll()
        poll.register(self._fd, self._events)
        poll.register(self._stop_fd, select.POLLIN)
        poll.poll()

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do `work` in the thread; cancelling this stops it, and waits for that."""
        outcome: list[Result | BaseException] = []

        def do() -> None:
            try:
                outcome.append(work())
            except BaseException as error:
                outcome.append(error)
            # A loop that is closed has nobody left to tell.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end)

        try:
            threading.Thread(target=do, name="migration-ram", daemon=True).start()
        except RuntimeError:
            self._end()
            raise
        try:
            await asyncio.shield(self.ended)
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait([self.ended])
            raise
        (came,) = outcome
        if isinstance(came, BaseException):
            raise came
        return came

    def _end(self) -> None:
        os.close(self._stop_fd)
        self.stopped = True
        self.ended.set_result(None)

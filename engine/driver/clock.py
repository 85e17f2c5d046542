"""Time, as the driver hands it out.

What may live here: the interface `Clock`, and the clock of an asyncio loop. Whoever needs the time
or wants to be called back takes a `Clock`, so that a virtual one can stand in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that is due."""

    def cancel(self) -> None:
        """Forget the call; harmless when it was made or forgotten already."""
        ...


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> float:
        """Milliseconds since some fixed moment, never going back."""
        ...

    def wall(self) -> tuple[int, int]:
        """Seconds and microseconds since 1970, as QMP stamps its events."""
        ...

    def call_later(self, ms: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once, `ms` milliseconds from now; at the next turn for 0 or less."""
        ...


class LoopClock:
    """The clock of a running asyncio loop, and the machine's wall clock."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Use `loop`, or the one that is running (RuntimeError when none is)."""
        self._loop = loop if loop is not None else asyncio.get_running_loop()

    def now_ms(self) -> float:
        return self._loop.time() * 1000.0

    def wall(self) -> tuple[int, int]:
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        return seconds, nanoseconds // 1000

    def call_later(self, ms: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(max(ms, 0.0) / 1000.0, callback)

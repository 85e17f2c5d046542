"""An asyncio loop whose time is virtual: it jumps to whatever is due next.

Rules kept here: no descriptor, no thread, no real clock. When nothing is due nothing can ever
happen again, and that is an error: whoever runs a simulation keeps something due until its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, TypeVarTuple, Unpack

#: So many turns of the loop, and the simulation counts as one that never ends.
TURNS_MAX = 400_000
#: The shortest wait.
SHORTEST_SECONDS = 1e-6

_Arguments = TypeVarTuple("_Arguments")


class EndlessError(Exception):
    """A simulation that goes on for ever, or waits for ever."""


class _Jump:
    """Stands where a selector does: instead of waiting it moves the clock."""

    def __init__(self) -> None:
        self.now_seconds = 0.0
        self.turns = 0

    def select(self, timeout_seconds: float | None) -> list[Any]:
        """Let the time pass for which the loop would have waited."""
        self.turns += 1
        if self.turns > TURNS_MAX:
            raise EndlessError(f"no end after {TURNS_MAX} turns of the loop")
        if timeout_seconds is None:
            raise EndlessError("nothing is due any more")
        self.now_seconds += timeout_seconds
        return []

    def close(self) -> None:
        """Let go of nothing."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop of one simulation; its time begins at 0."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Jump()
        # What a killed process leaves behind is kept: when it is collected would be chance.
        self._pending: set[asyncio.Task[Any]] = set()

    def time(self) -> float:
        return self._selector.now_seconds

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Arguments]], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        # No wait is so short that no time passes: sums of floats would stand still.
        lasting = max(delay, SHORTEST_SECONDS) if delay > 0 else delay
        return super().call_later(lasting, callback, *args, context=context)

    def go_on(self) -> None:
        """Count turns anew."""
        self._selector.turns = 0

    def tell_errors(self, broken: Callable[[str], None]) -> None:
        """Tell, in a sentence, each error that nobody expects, of a task or of a callback."""

        def done(task: asyncio.Task[Any]) -> None:
            self._pending.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                broken(_sentence(error))

        def new_task(loop: asyncio.AbstractEventLoop, work: Any, **how: Any) -> asyncio.Task[Any]:
            task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **how)
            self._pending.add(task)
            task.add_done_callback(done)
            return task

        def raised(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
            error = context.get("exception")
            broken(_sentence(error) if error is not None else str(context.get("message")))

        self.set_task_factory(new_task)
        self.set_exception_handler(raised)

    async def cancel_tasks(self) -> None:
        """Cancel every task but the one that asks, and wait for their end."""
        tasks = asyncio.all_tasks(self) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _process_events(self, event_list: list[Any]) -> None:
        """Do nothing: nothing comes from outside."""

    def _write_to_self(self) -> None:
        """Do nothing: there is no other thread to wake it from."""


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"

"""Tasks that belong to one owner, and what becomes of one that fails as nobody expects.

What may live here: starting them, cancelling them, and telling the owner of a `Defect`. What can
go wrong with a peer, a file or the host is dealt with in the tasks themselves. Whatever else one
raises must not leave a VM waiting, perhaps paused, for what does not come any more: the owner ends
what the task was part of, where nobody else may have the VM, and the loop's exception handler is
given the traceback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from engine import texts


class Defect(Exception):
    """A task failed in a way that is a mistake of this program's, or for want of memory."""


class Tasks:
    """The tasks of one owner."""

    def __init__(self, on_defect: Callable[[Defect], None]) -> None:
        """Begin with none; `on_defect` is called for each that fails."""
        self._on_defect = on_defect
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        """Start one on the running loop."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """Cancel all that still run: whatever they may raise now is no news to the owner."""
        cancelled, self._running = self._running, set()
        for task in cancelled:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        is_news = task in self._running
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        context = {"message": "A task of a migration failed", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)
        if is_news:
            self._on_defect(Defect(texts.DEFECT % f"{type(error).__name__}: {error}"))

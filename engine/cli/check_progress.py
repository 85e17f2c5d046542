"""The one line on a terminal that says how far a check is."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from engine.cli.check_run import Step


class Ticker:
    """Shows states, rate and frontier while topologies are explored; silent where none can see."""

    def __init__(self, stream: TextIO) -> None:
        console = Console(file=stream)
        self._live = Live(console=console, transient=True) if console.is_terminal else None
        self._began = time.perf_counter()
        self._latest: dict[str, Step] = {}

    def __enter__(self) -> Ticker:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, step: Step) -> None:
        """Show how far one topology is, beside the others."""
        self._latest[step.topology] = step
        if self._live is not None:
            states = sum(each.progress.states for each in self._latest.values())
            rate = states / max(time.perf_counter() - self._began, 1e-9)
            self._live.update(
                Text(
                    f"{step.topology}: depth {step.progress.depth}, "
                    f"frontier {step.progress.frontier:,}; "
                    f"{states:,} states, {rate:,.0f} a second"
                )
            )

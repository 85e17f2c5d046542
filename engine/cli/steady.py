"""Output that may fail without anything else failing: nobody reads on, or the disk is full.

What may live here: what stands between a command that has to see something through and what it
writes to meanwhile. Rules: the first write that fails is the last that is tried; a reader that has
gone away (`| head -1`) has seen enough and is told nothing, any other failure is said once on
stderr; what a stream still holds then is dropped, so that its end fails no more than its writing
did.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from rich.console import Console

from engine.cli.progress import Display
from engine.driver.control import MigrationResult
from engine.migration_event import MigrationEvent


class SteadyDisplay:
    """Shows what another display shows, for as long as it can be written."""

    def __init__(self, display: Display) -> None:
        """Show by way of `display`."""
        self._display = display
        self._is_lost = False

    def show(self, event: MigrationEvent) -> None:
        """Show one thing that happened."""
        self._try(lambda: self._display.show(event))

    def stop(self) -> None:
        """Give the terminal back."""
        self._try(self._display.stop)

    def finish(self, result: MigrationResult) -> None:
        """Show how it ended."""
        self._try(lambda: self._display.finish(result))

    def _try(self, write: Callable[[], None]) -> None:
        if self._is_lost:
            return
        try:
            write()
        except OSError as error:
            self._is_lost = True
            drop_stdout()
            if not isinstance(error, BrokenPipeError):
                complain(f"nothing more is shown: {error}")


class SteadyConsole(Console):
    """A console that a reader may leave; rich's own would end the process."""

    def on_broken_pipe(self) -> None:
        """Write nothing any more."""
        self.quiet = True
        drop_stdout()


def complain(sentence: str) -> None:
    """Tell the user on stderr, if anybody listens there."""
    with suppress(OSError):
        print(f"replug migrate: {sentence}", file=sys.stderr)


def drop_stdout() -> None:
    """Let everything that is written to stdout, and what it still holds, go nowhere."""
    _drop(sys.stdout)


def settle_output() -> None:
    """Write out what is still held, or drop it: failing at the end, it would be the exit status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _drop(stream)


def _drop(stream: TextIO) -> None:
    # ValueError: it is none that has a descriptor.
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)

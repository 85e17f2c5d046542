"""What the core asks of whoever drives it: the whole of the outside, as one protocol.

Rules kept here: the core calls these and nothing else; it never waits. A driver answers a command
later, or at once, with `Vm.fire` and one of the events that the row lists as answers. There is a
live driver (asyncio, sockets) and there can be others; each is a driver, never a fork of the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from engine.messages import Message
from statemachines.effects import Command
from statemachines.events import E
from statemachines.runtime import Step
from statemachines.steps import Latched


class World(Protocol):
    """Everything outside one VM's core."""

    def now_ms(self) -> float:
        """Return the monotonic time."""

    def emit(self, name: str, data: Mapping[str, Any]) -> None:
        """Send a QMP event to every monitor."""

    def warn(self, text: str) -> None:
        """Tell the operator on stderr."""

    def record(self, step: Step, latched: Latched | None) -> None:
        """Take note of one joint step before its effects take place; `latched` came with it."""

    def send(self, message: Message) -> None:
        """Put a message on its way to the peer, after everything sent before."""

    def perform(self, command: Command, index: int | None) -> None:
        """Carry out a command of the tables; its answer comes as an event."""

    def start_timer(self, event: E, delay_ms: float) -> None:
        """Fire `event` after `delay_ms`; a newer timer for the same event replaces the older."""

    def stop_timer(self, event: E) -> None:
        """Do not fire `event`; nothing if no timer for it runs."""

    def settled(self) -> None:
        """The machines have come to rest; the guest may have something to do."""

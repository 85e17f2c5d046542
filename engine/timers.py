"""The tables' timers: which event comes after how long, and what a deadline says.

Rules kept here: durations are the profile's timings or the operator's parameters; the world keeps
the time. A timer whose moment has passed fires into an `ignored` cell.
"""

from __future__ import annotations

from engine import texts
from engine.vm import Vm
from statemachines.effects import Command
from statemachines.events import E
from statemachines.states import Migration, Primary


class Timers:
    """The timers of one VM."""

    def __init__(self, vm: Vm) -> None:
        """Take charge of the START commands."""
        self._vm = vm
        timings = vm.profile.timings
        vm.handle(Command.START_POLL, lambda _: self._start(E.POLL, timings.poll_ms))
        vm.handle(
            Command.START_CANCEL_WAIT,
            lambda _: self._start(E.CANCEL_WAIT_OVER, timings.cancel_wait_ms),
        )
        vm.handle(
            Command.START_DEADLINE,
            lambda _: self._start(E.UNPLUG_DEADLINE, vm.parameters.unplug_timeout_ms),
        )

    def _start(self, event: E, delay_ms: float | None) -> None:
        if delay_ms is not None:
            self._vm.world.start_timer(event, delay_ms)
        else:
            # An earlier one may still run, and must not be taken for this.
            self._vm.world.stop_timer(event)

    def expired(self, event: E) -> None:
        """Take a timer's end."""
        if event is E.UNPLUG_DEADLINE and self._vm.migration is Migration.WAIT_UNPLUG:
            waiting = [
                entry.id
                for entry in self._vm.board.primaries.values()
                if self._vm.state(Primary, entry.index) is Primary.UNPLUG_PENDING
            ]
            limit_ms = self._vm.parameters.unplug_timeout_ms or 0
            self._vm.error_description = texts.UNPLUG_TIMED_OUT % (", ".join(waiting), limit_ms)
        self._vm.fire(event)

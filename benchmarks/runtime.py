"""What one joint step of a VM's machines costs, beside one bare trigger of `transitions`.

The walk is a whole migration of one pair on the source: boot, negotiation, unplug, hand-over. The
rival is the library underneath, with one flat machine and no guards: what is above it is the
price of guards, listeners and effects.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from enum import Enum

from transitions import Machine

from statemachines.events import E
from statemachines.policies import NATIVE
from statemachines.runtime import Runtime

ROUNDS = 15
_STANDBY_EVENTS = (
    E.GUEST_ACKNOWLEDGE,
    E.GUEST_DRIVER,
    E.FEATURES_WITH_STANDBY,
)
_PRIMARY_EVENTS = (E.PRIMARY_PLUGGED, E.GUEST_PROBES)
_MIGRATION = (
    (E.MIGRATE, False),
    (E.CONNECTED, False),
    (E.RECV_ACCEPT, False),
    (E.SETUP_DONE, False),
    (E.GUEST_EJECTS, True),
    (E.CONVERGED, False),
    (E.GUEST_STOPPED, False),
    (E.FINAL_SENT, False),
    (E.RECV_LOADED, False),
    (E.RECV_RUNNING, False),
    (E.CHANNEL_CLOSED, False),
)


def _prepared() -> tuple[Runtime, int]:
    runtime = Runtime(NATIVE)
    standby = runtime.add_standby()
    primary = runtime.add_primary(standby)
    for event, index in (
        (E.DEVICE_ADD, primary),
        (E.BOOT, None),
        *((event, standby) for event in _STANDBY_EVENTS),
        *((event, primary) for event in _PRIMARY_EVENTS),
    ):
        list(runtime.fire(event, index))
    return runtime, primary


def joint_steps() -> tuple[int, float]:
    """Run one migration; return its steps and the seconds they took."""
    runtime, primary = _prepared()
    began = time.perf_counter()
    steps = sum(
        len(list(runtime.fire(event, primary if is_primary else None)))
        for event, is_primary in _MIGRATION
    )
    return steps, time.perf_counter() - began


class _Ring(Enum):
    """A ring of states for the rival."""

    A = 0
    B = 1
    C = 2


class _Model:
    """The rival's model."""


def bare_triggers() -> tuple[int, float]:
    """Trigger a flat machine; return the triggers and the seconds they took."""
    states = list(_Ring)
    rows = [{"trigger": "go", "source": states[i], "dest": states[(i + 1) % 3]} for i in range(3)]
    model = _Model()
    Machine(model, states=_Ring, transitions=rows, initial=_Ring.A, auto_transitions=False)
    trigger: Callable[[str], bool] = model.trigger  # type: ignore[attr-defined]
    began = time.perf_counter()
    for _ in range(300):
        trigger("go")
    return 300, time.perf_counter() - began


def main() -> None:
    """Interleave both and print medians in microseconds, and their ratio."""
    costs: dict[str, list[float]] = {"joint step": [], "bare trigger": []}
    for _ in range(ROUNDS):
        for name, run in (("joint step", joint_steps), ("bare trigger", bare_triggers)):
            count, seconds = run()
            costs[name].append(seconds / count * 1e6)
    medians = {name: statistics.median(values) for name, values in costs.items()}
    for name, microseconds in medians.items():
        print(f"{name:14} {microseconds:8.1f} µs")
    print(f"{'ratio':14} {medians['joint step'] / medians['bare trigger']:8.1f}")


if __name__ == "__main__":
    main()

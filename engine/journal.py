"""The journal: one JSON object per joint step, enough to replay it against the tables.

Rules kept here: an entry holds what happened, to whom, which rows moved and the joint state after
the step. It is a record; nothing reads it back to decide anything.
"""

from __future__ import annotations

from typing import Any

from engine.board import Board
from statemachines.effects import Do, Raise, Send
from statemachines.guards import Per, Scope
from statemachines.runtime import Runtime, Step
from statemachines.system import VM_MACHINES


def entry_of(sequence: int, step: Step, runtime: Runtime, board: Board) -> dict[str, Any]:
    """Return a step's entry.

    Keys: `sequence`, `event`, `instance` (device id or null), `sent` (messages), `commands`,
    `raised`, and `state`: machine name -> state, or -> {device id: state} where it exists per
    device.
    """
    kinds: dict[str, list[str]] = {"sent": [], "commands": [], "raised": []}
    for happening in step.effects:
        match happening.effect:
            case Send(message=message):
                kinds["sent"].append(message.value)
            case Do(command=command):
                kinds["commands"].append(command.value)
            case Raise(event=event):
                kinds["raised"].append(event.name)
    return {
        "sequence": sequence,
        "event": step.event.name,
        "instance": _name(step.scope, board),
        **kinds,
        "state": joint_state(runtime, board),
    }


def joint_state(runtime: Runtime, board: Board) -> dict[str, Any]:
    """Return the joint state by machine name, per device by device id."""
    joint = runtime.joint()
    return {
        spec.name: (
            joint[spec.states][0].value
            if spec.per is Per.VM
            else {
                _name(Scope(spec.per, index), board): state.value
                for index, state in joint[spec.states].items()
            }
        )
        for spec in VM_MACHINES
    }


def _name(scope: Scope, board: Board) -> str | None:
    if scope.per is Per.VM:
        return None
    entries = board.standbys if scope.per is Per.STANDBY else board.primaries
    entry = entries.get(scope.index)
    return entry.id if entry else str(scope.index)

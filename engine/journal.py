"""The journal: one JSON object per joint step, enough to replay it against the tables.

Rules kept here: an entry holds what happened, to whom, what came of it and the joint state after
the step; beside that what the tables cannot know: the policies, the failover devices where they
have changed, what a message carried. It is a record; nothing reads it back to decide anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.board import Board
from statemachines.effects import Do, Raise, Send
from statemachines.guards import Per, Scope
from statemachines.runtime import Latched, Runtime, Step
from statemachines.spec import MachineSpec
from statemachines.states import State
from statemachines.system import VM_MACHINES, spec_of


class Journal:
    """One VM's journal: makes the entries, in order."""

    def __init__(self, runtime: Runtime, board: Board, policies: Mapping[str, str]) -> None:
        self._runtime = runtime
        self._board = board
        self._policies = policies
        self._sequence = 0
        self._devices: list[dict[str, Any]] = []

    def entry_of(self, step: Step, latched: Latched | None) -> dict[str, Any]:
        """Return a step's entry; `latched` is what the message received carried.

        Keys: those of `entry_of`; in the first entry `policies`; `devices` where they are others
        than at the entry before; `latched` where something was.
        """
        entry = entry_of(self._sequence, step, self._runtime, self._board)
        if not self._sequence:
            entry["policies"] = dict(self._policies)
        self._sequence += 1
        devices = failover_devices(self._board)
        if devices != self._devices:
            entry["devices"] = self._devices = devices
        if latched is not None:
            entry["latched"] = {
                spec_of(lifecycle).name: _by_name(spec_of(lifecycle), instances, self._board)
                for lifecycle, instances in latched.items()
            }
        return entry


def failover_devices(board: Board) -> list[dict[str, Any]]:
    """Return the devices that have machines: id and index, of a primary its standby's id."""
    found: dict[int, dict[str, Any]] = {}
    for index in board.standbys:
        found[index] = {"id": _name(Scope(Per.STANDBY, index), board), "index": index}
    for index, primary in board.primaries.items():
        standby = _name(Scope(Per.STANDBY, primary.standby), board)
        name = _name(Scope(Per.PRIMARY, index), board)
        found[index] = {"id": name, "index": index, "standby": standby}
    return [found[index] for index in sorted(found)]


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
    return {spec.name: _by_name(spec, joint[spec.states], board) for spec in VM_MACHINES}


def _by_name(
    spec: MachineSpec, instances: Mapping[int, State], board: Board
) -> str | dict[str | None, str]:
    if spec.per is Per.VM:
        return str(instances[0].value)
    return {
        _name(Scope(spec.per, index), board): str(state.value) for index, state in instances.items()
    }


def _name(scope: Scope, board: Board) -> str | None:
    if scope.per is Per.VM:
        return None
    if scope.per is Per.STANDBY and scope.index in board.standbys:
        return board.standbys[scope.index].name
    entry = board.primaries.get(scope.index) if scope.per is Per.PRIMARY else None
    return entry.id if entry else str(scope.index)

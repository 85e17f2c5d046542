"""The system that journals were written in: their devices, and everything its VMs may do.

Rules kept here:
1. The rules are those that a journal is checked by (`journal_run.py`): no budgets, and of permits
   only that the world answers what it was asked, a guest acts while it runs, and a message arrives.
2. A device of one VM and one of the other are the same if id and standby are; so the devices are
   those of both, each VM's in the order of their age. One that a VM lacks stays as it begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from statemachines.actions import (
    ANSWERS_ONLY,
    CHANNEL_COMMANDS,
    Action,
    Environment,
    Toll,
    alive,
)
from statemachines.checker.explore import SIDE_CODE
from statemachines.checker.journal_layout import States, grown_topology
from statemachines.checker.journal_lines import Device
from statemachines.checker.journal_run import LegalStep
from statemachines.checker.page.rules import Json, label_head, label_of_action, model_rules
from statemachines.checker.steps import Stepper
from statemachines.compile import Model
from statemachines.effects import Command
from statemachines.environment import UNFAIR_ORIGINS, Need, Promise, Side, Stage
from statemachines.events import E, Origin
from statemachines.ground import Ground, Happens, Test, both
from statemachines.guards import VM_SCOPE, In, Per
from statemachines.states import Link, RunState
from statemachines.system import VM_MACHINES

#: Everything may happen, and nothing is paid for.
FREE = Environment((), Stage.LIVE, Promise.NONE)
_NEEDS = {
    E.PEER_CONNECTED: Need.WAITING,
    E.PEER_CONNECTED_ONE_WAY: Need.WAITING_ONE_WAY,
}
#: Id of a device, that of its standby, and how many of that name a VM had before it.
Key = tuple[str, str | None, int]


@dataclass(frozen=True)
class Choice:
    """Something that may happen, and the code that stories know it by."""

    #: Its code.
    code: int
    #: What it is.
    action: Action


class JournalSystem:
    """The rules of some VMs, by what their journals say that they have."""

    def __init__(
        self, policies: Mapping[str, str], journals: Sequence[tuple[Side, Sequence[LegalStep]]]
    ) -> None:
        self._keys = {side: _keys(steps) for side, steps in journals}
        self._ranks = {
            key: rank
            for rank, key in enumerate(_union(list(k.values()) for k in self._keys.values()))
        }
        topology = grown_topology(tuple(_standbys(list(self._ranks))))
        self.model = Model(topology, dict(policies), observers=())
        # What a timer or an answer is still owed is not forgotten: a journal says when it comes.
        self.model.forgotten = ()
        self.stepper = Stepper(self.model)
        #: What may happen: side, event and device, and the command that is answered.
        self.choices: dict[tuple[Side, Happens, Command | None], Choice] = {
            (side, action.happens, action.answers): Choice(code, action)
            for side, _ in journals
            for code, action in enumerate(self._actions(side), SIDE_CODE[side])
        }

    # -- whose is what

    def happens(self, side: Side, step: LegalStep) -> Happens:
        """Return what happens, about which device of the system."""
        per = step.event.info.per
        return Happens(step.event, self.rank(side, step.devices, per, step.entry.instance))

    def rank(self, side: Side, devices: Iterable[Device], per: Per, name: str | None) -> int | None:
        """Return the rank of a device that a VM has; None for the VM."""
        if per is Per.VM:
            return None
        keys = self._keys[side]
        return next(
            self._ranks[keys[device.id, device.index]]
            for device in devices
            if device.id == name and (device.standby is None) is (per is Per.STANDBY)
        )

    def fields(self, side: Side, devices: Iterable[Device], states: States) -> dict[int, int]:
        """Return the states of a VM as fields and their values."""
        found: dict[int, int] = {}
        for spec in VM_MACHINES:
            places = {str(state.value): place for place, state in enumerate(spec.states)}
            told = states.get(spec.name, {})
            for name, value in [(None, told)] if isinstance(told, str) else told.items():
                rank = self.rank(side, devices, spec.per, name)
                found[self.model.number(spec.states, rank or 0)] = places[str(value)]
        return found

    def _name(self, rank: int) -> str:
        name, _, before = list(self._ranks)[rank]
        return name + (f" #{before + 1}" if before else "")

    # -- what may happen

    def _actions(self, side: Side) -> Iterable[Action]:
        for happens in self.model.events:
            origin = happens.event.info.origin
            commands: list[Command | None] = list(self.model.answers.get(happens.event, ()))
            if origin is Origin.RAISED or (not commands and happens.event in ANSWERS_ONLY):
                continue
            for command in commands or [None]:
                clears = self._owed(command, happens)
                parts: list[Ground] = [alive(self.model)]
                parts += (Test(field, frozenset({1})) for field in clears[:1])
                if origin is Origin.GUEST:
                    parts.append(self.model.ground(In(RunState.RUNNING), VM_SCOPE))
                if origin is Origin.PEER:
                    parts.append(self.model.ground(In(Link.OPEN, Link.ONE_WAY), VM_SCOPE))
                yield Action(
                    side=side,
                    happens=happens,
                    answers=command,
                    guard=both(parts),
                    peer=True,
                    need=_NEEDS.get(happens.event, Need.ANY),
                    toll=Toll(),
                    clears=clears,
                    fair=origin not in UNFAIR_ORIGINS,
                )

    def _owed(self, command: Command | None, happens: Happens) -> tuple[int, ...]:
        commands = [] if command is None else [command]
        if happens.event is E.CHANNEL_CLOSED:
            commands += CHANNEL_COMMANDS
        owed = (self.model.owed(each, happens.index or 0) for each in commands)
        return tuple(number for number in owed if number is not None)

    # -- for a page

    def as_json(self, absent: Iterable[Side], more: Sequence[Json]) -> dict[str, Json]:
        """Return the rules for the page's stepper.

        :param absent: VMs that no journal speaks of.
        :param more: labels beside those of the VMs.
        """
        labels = [self._label(choice) for choice in self.choices.values()]
        rules = model_rules(self.model, FREE, [*labels, *more])
        rules |= {"absent": [side.value for side in absent], "lingers": True, "forfeits": []}
        rules["devices"] = [self._name(rank) for rank in range(len(self._ranks))]
        for field, told in zip(self.model.fields, rules["fields"], strict=True):
            _, _, index = field.name.removeprefix("owes.").partition(".")
            told["index"] = self._name(int(index)) if index else ""
        rules["system"] |= {"budgets": []}
        rules["system"]["stages"]["LIVE"] = "Whatever the tables allow; nothing is paid for."
        return rules

    def _label(self, choice: Choice) -> Json:
        action = choice.action
        event, index = action.happens.event, action.happens.index
        about = "" if index is None else f" {self._name(index)}"
        answered = f" ({action.answers.name})" if action.answers else ""
        head = label_head(
            choice.code, f"{action.side.value}: {event.name}{about}{answered}", action.toll, action
        )
        words = event.info.meaning + (f" ({about.strip()})" if about else "")
        return (
            head
            | {"words": words, "side": action.side.value, "peer": True, "fair": action.fair}
            | label_of_action(action)
            | {"waits": False}
        )


def _keys(steps: Iterable[LegalStep]) -> dict[tuple[str, int], Key]:
    """Return what each device of a VM is called: id and index -> key, the oldest first."""
    found: dict[tuple[str, int], Key] = {}
    devices = {device.index: device for step in steps for device in step.devices}
    for index, device in sorted(devices.items()):
        before = sum(key[:2] == (device.id, device.standby) for key in found.values())
        found[device.id, index] = (device.id, device.standby, before)
    return found


def _standbys(keys: Sequence[Key]) -> Iterable[int | None]:
    """Yield the rank of each device's standby, the latest before it of that name."""
    known: dict[str, int] = {}
    for rank, (name, standby, _) in enumerate(keys):
        if standby is None:
            known[name] = rank
        yield None if standby is None else known[standby]


def _union(orders: Iterable[Sequence[Key]]) -> list[Key]:
    """Return every key once, in an order that keeps the first order, and others where it can."""
    found: list[Key] = []
    for order in orders:
        place = 0
        for key in order:
            if key in found:
                place = max(place, found.index(key) + 1)
            else:
                found.insert(place, key)
                place += 1
    return found

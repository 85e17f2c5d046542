"""Who acts in a simulation: the operator, the guest's caprices, accidents.

What may live here: carrying out a plan's actions. Rules: an operator only ever gives QMP commands;
a refusal is an answer like any other, an error that QMP does not declare is a defect. What cannot
happen now (a cut without a link) does not happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from engine.driver.simulation.machine import SimulatedVm
from engine.driver.simulation.network import SimulatedNetwork
from engine.driver.simulation.plan import ACCIDENTS, Action
from statemachines.states import Handover, Incoming, Migration, Takeover
from statemachines.tables.conditions import LEAVING_STATUSES

#: Statuses in which another migration may be begun.
_MAY_MIGRATE = (Migration.NONE, Migration.CANCELLED, Migration.FAILED)


class Stage(Protocol):
    """Where they act."""

    source: SimulatedVm
    target: SimulatedVm
    network: SimulatedNetwork
    #: Where the target waits.
    uri: str

    def start_target(self) -> None:
        """Start a new target process in the place of one that has ended."""

    def decided(self, keeper: str) -> None:
        """Take note of whom the operator lets keep the VM."""

    def note(self, who: str, **what: Any) -> None:
        """Write down what was done."""


class Actors:
    """Carries out actions."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._loop = asyncio.get_running_loop()
        self._added = 0
        self._keeper: str | None = None
        #: Migrations that were begun.
        self.migrations = 0
        self._accidents: dict[str, Callable[[Action], None]] = {
            "cut": self._cut,
            "cut-channel": self._cut_channel,
            "stall": self._stall,
            "damage": self._damage,
            "refuse": self._refuse,
            "kill-target": lambda _: self._stage.target.kill(),
            "kill-source": lambda _: self._stage.source.kill(),
            "target-gone": lambda _: self._stage.target.kill(),
        }

    def act(self, action: Action) -> None:
        """Carry out one action."""
        if action.kind in ACCIDENTS:
            self._stage.note("accident", kind=action.kind, **action.values)
            self._accidents[action.kind](action)
            return
        if action.kind == "migrate":
            self.migrate()
            return
        if action.kind == "resolve":
            self.resolve()
            return
        if action.kind == "quit-in-doubt":
            for vm in (self._stage.source, self._stage.target):
                if self._doubts(vm):
                    self.command(vm, "quit")
            return
        vm = self._stage.source if action.vm == "source" else self._stage.target
        if vm.alive:
            command, arguments = self._command(action)
            self.command(vm, command, **arguments)

    # -- the operator

    def command(self, vm: SimulatedVm, command: str, **arguments: Any) -> Any:
        """Give a command; return what it returned, None for a refusal."""
        self._stage.note("operator", vm=vm.name, command=command, arguments=arguments)
        reply = vm.execute(command, **arguments)
        if "error" in reply:
            self._stage.note(vm.name, refused=command, error=reply["error"])
        return reply.get("return")

    def migrate(self) -> None:
        """Begin a migration, to a new target if the old one has ended."""
        stage = self._stage
        if not stage.source.alive:
            return
        if not stage.target.alive and stage.source.is_in(*_MAY_MIGRATE):
            stage.start_target()
        begun = self.command(stage.source, "migrate", uri=stage.uri)
        if begun is not None:
            self._keeper = None
            self.migrations += 1

    def resolve(self) -> bool:
        """End a doubt as an operator does who looks at both sides and keeps to a decision."""
        stage = self._stage
        doubted = [vm for vm in (stage.source, stage.target) if self._doubts(vm)]
        if not doubted:
            return False
        self._keeper = self._keeper or self._decide()
        stage.decided(self._keeper)
        for vm in doubted:
            self.command(vm, "x-replug-resolve", keep=self._keeper)
        return True

    def _doubts(self, vm: SimulatedVm) -> bool:
        """Say whether a VM says of itself that nobody there knows who has it."""
        if not vm.alive or vm.exit_status is not None:
            return False
        report = self.command(vm, "query-migrate")
        return "x-replug-in-doubt" in report

    def _decide(self) -> str:
        source, target = self._stage.source, self._stage.target
        if target.is_in(Incoming.COMPLETED) or source.is_in(Migration.COMPLETED):
            return "target"
        holds = target.alive and target.is_in(Takeover.LOADED, Takeover.IN_DOUBT)
        if not source.alive:
            # Its log says whether the VM had gone on there: what waits at the target is old then.
            return "target" if source.is_in(*LEAVING_STATUSES) else "source"
        if not holds or not source.is_in(Handover.COMMITTED, Handover.IN_DOUBT):
            return "source"
        return self._stage.network.random.choice(("source", "target"))

    def _command(self, action: Action) -> tuple[str, dict[str, Any]]:
        values = action.values
        primary = f"hostdev{values.get('pair', 1)}"
        standby = f"net{values.get('pair', 1)}"
        guest = "/machine/guest"
        match action.kind:
            case "cancel":
                return "migrate_cancel", {}
            case "continue":
                return "migrate-continue", {"state": "pre-switchover"}
            case "reset":
                return "system_reset", {}
            case "device_del":
                return "device_del", {"id": primary}
            case "device_add":
                return "device_add", self._new_primary(action)
            case "capabilities":
                states = [{"capability": values["name"], "state": values["on"]}]
                return "migrate-set-capabilities", {"capabilities": states}
            case "query":
                return "query-migrate", {}
            case "announce":
                return "announce-self", {"initial": 5, "max": 20, "rounds": 3, "step": 5}
            case "set_link":
                return "set_link", {"name": primary, "up": values["up"]}
            case "eject-now":
                return "qom-set", {"path": guest, "property": "eject", "value": primary}
            case "driver-reset":
                return "qom-set", {"path": guest, "property": "driver-reset", "value": standby}
            case "reboot":
                return "qom-set", {"path": guest, "property": "reboot", "value": True}
            case "options":
                ((name, value),) = values.items()
                return "qom-set", {"path": guest, "property": name, "value": value}
            case command:
                return command, {}

    def _new_primary(self, action: Action) -> dict[str, Any]:
        pair = action.values["pair"]
        if not action.values["again"]:
            self._added += 1
        name = f"hostdev{pair}" if action.values["again"] else f"another{self._added}"
        return {
            "driver": "vfio-pci",
            "host": f"5e:00.{pair + 1}" if action.values["again"] else f"5e:01.{self._added % 8}",
            "id": name,
            "bus": "pcie.0" if action.values["misplaced"] else f"root{pair}",
            "failover_pair_id": f"net{pair}",
        }

    # -- accidents

    def _cut(self, action: Action) -> None:
        self._stage.network.cut(**action.values)

    def _cut_channel(self, action: Action) -> None:
        self._stage.network.cut_channel(**action.values)

    def _stall(self, action: Action) -> None:
        self._stage.network.stall(True)
        self._loop.call_later(action.values["for_ms"] / 1000, self.unstall)

    def unstall(self) -> None:
        """Let everything arrive again."""
        if self._stage.network.stalled:
            self._stage.note("accident", kind="stall is over")
            self._stage.network.stall(False)

    def _damage(self, action: Action) -> None:
        for ends in reversed(self._stage.network.ends):
            if ends[action.values["at"] == "target"].damage():
                return

    def _refuse(self, action: Action) -> None:
        self._stage.network.refuses = True
        self._loop.call_later(action.values["for_ms"] / 1000, self.accept_again)

    def accept_again(self) -> None:
        """Let targets be connected to again."""
        self._stage.network.refuses = False

"""One simulation: a plan is let happen, then accidents stop and everything has to come to its end.

What may live here: the stage with both VMs, when actions happen, and what comes of it all. Rules:
the first violation ends a simulation; whatever is raised where nobody expects it is one.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from engine.driver.simulation.actors import Actors
from engine.driver.simulation.loop import EndlessError, VirtualLoop
from engine.driver.simulation.machine import NeighbourVm, SimulatedVm
from engine.driver.simulation.make_up import configuration, uri_of
from engine.driver.simulation.network import SimulatedNetwork
from engine.driver.simulation.plan import START, Action, Plan
from engine.driver.simulation.safety import Safety, Violation
from engine.driver.simulation.settle import Settling
from statemachines.runtime import Step
from statemachines.states import Handover, Incoming, Migration, RunState, State, Takeover

#: How long a plan goes on after its last action that is counted from the start.
_AFTERWARDS_MS = 800.0
#: How often it is looked whether anything is left to happen.
_LOOK_MS = 50.0
_STATUSES = (Migration, Incoming)
_ENDED = (Migration.COMPLETED, Migration.CANCELLED, Migration.FAILED)
#: What `where` says of each VM.
_SHOWN: tuple[type[State], ...] = (Migration, Incoming, RunState, Handover, Takeover)


@dataclass
class Outcome:
    """What came of one simulation."""

    #: The first property that was broken; None if none was.
    violation: Violation | None = None
    #: Migrations that were begun, and that completed.
    migrations: int = 0
    completed: int = 0
    #: The way that RAM went, of those that completed.
    way: str = ""
    #: Every status of query-migrate that was reached at either side, and every doubt.
    reached: set[str] = field(default_factory=set)
    #: Joint steps of all VMs.
    steps: int = 0
    #: How long it took in its own time.
    simulated_ms: float = 0.0
    #: What the profile mirrors of QEMU's defects: property -> how often.
    defects: dict[str, int] = field(default_factory=dict)
    #: The journal, if there is one.
    journal: str | None = None


def simulate(plan: Plan, *, journal: bool = False) -> Outcome:
    """Run a plan and return what came of it, with its journal if that is wanted."""
    loop = VirtualLoop()
    try:
        simulation = Simulation(plan, loop, io.StringIO() if journal else None)
        return simulation.run()
    finally:
        loop.close()


class Simulation:
    """The stage: both VMs, the network between them, and who looks on."""

    source: SimulatedVm
    target: SimulatedVm

    def __init__(self, plan: Plan, loop: VirtualLoop, journal: io.StringIO | None) -> None:
        self.plan = plan
        self._loop = loop
        self._journal = journal
        self.network = SimulatedNetwork(plan.link, Random(plan.seed))
        self.uri = uri_of(plan)
        self.outcome = Outcome(way=str(plan.way))
        self.safety = Safety(native=plan.profile == "native", broken=self._broken)
        self._waiting: dict[str, list[Action]] = {}
        self._due = 0
        self._is_over = False
        self._processes: list[SimulatedVm] = []
        loop.tell_errors(self._broken)

    def run(self) -> Outcome:
        """Let it happen."""
        self._loop.create_task(self._main()).add_done_callback(self._stop)
        try:
            self._loop.run_forever()
        except EndlessError as error:
            self._broken(str(error))
        outcome = self.outcome
        outcome.simulated_ms = self._loop.time() * 1000
        outcome.defects = dict(sorted(self.safety.defects.items()))
        outcome.journal = None if self._journal is None else self._journal.getvalue()
        self._is_over = True
        self._loop.go_on()
        self._loop.run_until_complete(self._clean_up())
        return outcome

    def _stop(self, _main: object) -> None:
        if not self._is_over:
            self._loop.stop()

    async def _clean_up(self) -> None:
        for vm in self._processes:
            vm.kill()
        await self._loop.cancel_tasks()
        self.network.close()
        for vm in self._processes:
            vm.memory.release()

    # -- what nobody expects

    def _broken(self, sentence: str) -> None:
        if self.outcome.violation is None and not self._is_over:
            now_ms = round(self._loop.time() * 1000, 3)
            self.outcome.violation = Violation(sentence, self.where(), now_ms)
            self.note("violation", property=sentence)
            if self._loop.is_running():
                self._loop.stop()

    def where(self) -> str:
        """Say where both VMs stand."""
        told = []
        for name in ("source", "target"):
            vm = getattr(self, name, None)
            if isinstance(vm, SimulatedVm):
                states = " ".join(vm.state(each).value for each in _SHOWN)
                told.append(f"{name}{'' if vm.alive else ' (ended)'}: {states}")
        return "; ".join(told)

    # -- the stage

    def start_target(self) -> None:
        """Start a target process; it waits for a source."""
        self.target = self._process(is_target=True)
        self.safety.new_target(self.target)
        self.target.boot()
        self._set_up(self.target)

    def _process(self, *, is_target: bool) -> SimulatedVm:
        made_of = configuration(self.plan, is_target=is_target)
        kind = NeighbourVm if self.plan.way.shared else SimulatedVm
        self._processes.append(kind(made_of, self.network, self, self._journal))
        return self._processes[-1]

    def _set_up(self, vm: SimulatedVm) -> None:
        states = [{"capability": name, "state": True} for name in self.plan.capabilities]
        vm.execute("migrate-set-capabilities", capabilities=states)
        vm.execute("migrate-set-parameters", **self.plan.parameters)

    def decided(self, keeper: str) -> None:
        """Take note of whom the operator lets keep the VM."""
        self.safety.keeper = keeper

    def note(self, who: str, **what: Any) -> None:
        """Write down what was done."""
        if self._journal is not None:
            entry = {"process": who, "time_ms": round(self._loop.time() * 1000, 3), **what}
            self._journal.write(json.dumps(entry, separators=(",", ":")) + "\n")

    # -- the watcher

    def stepped(self, vm: SimulatedVm, step: Step) -> None:
        """Look at a step, and let what waits for its moment follow."""
        self.outcome.steps += 1
        self.safety.stepped(vm, step)
        for move in step.moves:
            if move.before is not move.after:
                if self._waiting:
                    self._moment(f"{vm.name} {move.machine} {move.after.value}")
                self._reached(vm, move.after)

    def _reached(self, vm: SimulatedVm, state: State) -> None:
        if state is Migration.COMPLETED:
            self.outcome.completed += 1
        if isinstance(state, _STATUSES):
            self.outcome.reached.add(f"{vm.name} {state.value}")
        elif state in (Handover.IN_DOUBT, Takeover.IN_DOUBT):
            self.outcome.reached.add(f"{vm.name} in-doubt")

    def settled(self, vm: SimulatedVm) -> None:
        """Look at a VM at rest."""
        self.safety.settled(vm)

    def emitted(self, vm: SimulatedVm, name: str, data: Mapping[str, Any]) -> None:
        """Look at a QMP event."""
        self.safety.emitted(vm, name, data)

    def ended(self, vm: SimulatedVm) -> None:
        """Look at a VM that quits."""
        self.safety.ended(vm)

    # -- what happens

    async def _main(self) -> None:
        self.actors = Actors(self)
        for action in self.plan.actions:
            self._waiting.setdefault(action.moment, []).append(action)
        self.source = self._process(is_target=False)
        self.safety.source = self.source
        self.source.boot()
        self._set_up(self.source)
        self.start_target()
        ends_ms = _AFTERWARDS_MS + max(
            (action.after_ms for action in self.plan.actions if action.moment == START), default=0
        )
        self._moment(START)
        while self._loop.time() * 1000 < ends_ms and not self._nothing_left():
            await asyncio.sleep(_LOOK_MS / 1000)
        self._waiting.clear()
        await Settling(self, self.actors).run(self._check_end)
        self.outcome.migrations = self.actors.migrations

    def _nothing_left(self) -> bool:
        at_rest = not self.source.alive or self.source.is_in(*_ENDED)
        return not self._due and at_rest

    def _moment(self, moment: str) -> None:
        for action in self._waiting.pop(moment, ()):
            self._due += 1
            self._loop.call_later(action.after_ms / 1000, self._act, action)

    def _act(self, action: Action) -> None:
        self._due -= 1
        self.actors.act(action)

    def _check_end(self, holds: bool, sentence: str) -> None:
        if not holds:
            self._broken(sentence)

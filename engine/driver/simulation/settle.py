"""The end of a simulation: accidents have stopped, and everything must come to its end.

What may live here: what a patient operator does then, how long it may take, and where the VM must
be in the end. Rules: the operator looks every now and then and gives QMP commands; nothing else
helps. Then the VM is tried: it runs, it has its primaries, its memory is sound, it can be migrated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from engine.driver.simulation.actors import Actors, Stage
from engine.driver.simulation.machine import SimulatedVm
from engine.driver.simulation.plan import Plan
from statemachines.states import (
    Blocker,
    Feature,
    Handover,
    Incoming,
    Link,
    Lower,
    Migration,
    Primary,
    Request,
    RunState,
    Standby,
    Takeover,
)

#: How often the operator looks.
_LOOK_MS = 100.0
#: How long everything may take to end by itself. QEMU's waits for an eject are 30 s.
_PATIENCE_MS = 60_000.0
#: After this long QEMU's wait-unplug, which has no end of its own, is cancelled.
_CANCEL_MS = 8_000.0
#: How long the guest is given to take its primaries into use.
_TRIAL_MS = 400.0
_ENDED = (Migration.NONE, Migration.COMPLETED, Migration.CANCELLED, Migration.FAILED)
_HELD = (RunState.PAUSED, RunState.PRELAUNCH)

Check = Callable[[bool, str], None]


class EndingStage(Stage, Protocol):
    """Where it ends."""

    plan: Plan

    def where(self) -> str:
        """Say where both VMs stand."""


class Settling:
    """Brings one simulation to its end."""

    def __init__(self, stage: EndingStage, actors: Actors) -> None:
        self._stage = stage
        self._actors = actors
        self._loop = asyncio.get_running_loop()
        self._is_native = stage.plan.profile == "native"

    async def run(self, check: Check) -> None:
        """End everything, try the VM, migrate it once more, and try it again."""
        self._actors.unstall()
        self._actors.accept_again()
        await self._resolved(check)
        owner = self._owner()
        if owner is None:
            return
        await self._try(owner, check)
        once_more = self._stage.plan.once_more and owner is self._stage.source
        if once_more and owner.alive and self._can_leave(owner):
            await self._leave(check)

    # -- coming to an end

    async def _resolved(self, check: Check) -> None:
        began_ms = self._now_ms()
        if not self._is_over():
            self._guests_cooperate()
        while not self._is_over():
            waited_ms = self._now_ms() - began_ms
            if waited_ms > _PATIENCE_MS:
                check(False, "a migration does not end although nothing disturbs it any more")
                return
            self._help(waited_ms)
            await asyncio.sleep(_LOOK_MS / 1000)

    def _now_ms(self) -> float:
        return self._loop.time() * 1000

    def _guests_cooperate(self) -> None:
        for vm in (self._stage.source, self._stage.target):
            if vm.alive and vm.live.vm.guest.is_running:
                # QEMU's wait for an eject has no end of its own; ours has one, and must reach it.
                self._tell(vm, "dirty=0" if self._is_native else "dirty=0,eject=prompt")

    def _tell(self, vm: SimulatedVm, told: str) -> None:
        self._actors.command(vm, "qom-set", path="/machine/guest", property="options", value=told)

    def _help(self, waited_ms: float) -> None:
        source = self._stage.source
        if source.alive and source.is_in(Migration.PRE_SWITCHOVER):
            self._actors.command(source, "migrate-continue", state="pre-switchover")
        self._actors.resolve()
        endless = not self._is_native and waited_ms > _CANCEL_MS
        if endless and source.alive and source.is_in(Migration.WAIT_UNPLUG, Migration.ACTIVE):
            self._actors.command(source, "migrate_cancel")

    def _is_over(self) -> bool:
        source, target = self._stage.source, self._stage.target
        if source.alive:
            over = (
                source.is_in(*_ENDED) and source.is_in(Handover.IDLE) and source.is_in(Link.CLOSED)
            )
            if not over:
                return False
        if not target.alive:
            return True
        waits = target.is_in(Incoming.SETUP, Incoming.COMPLETED, Incoming.NONE)
        return target.is_in(Takeover.IDLE) and target.exit_status is None and waits

    # -- where the VM is

    def _owner(self) -> SimulatedVm | None:
        """Return the process that has the VM; None if it was killed with it."""
        source, target = self._stage.source, self._stage.target
        owner = target if target.is_in(Incoming.COMPLETED) else source
        return owner if owner.alive else None

    async def _try(self, owner: SimulatedVm, check: Check) -> None:
        """Run the VM and look at it."""
        if owner.is_in(*_HELD):
            self._actors.command(owner, "cont")
        if not self._is_native and not owner.is_in(RunState.RUNNING):
            return  # mirrored, and counted where it happened
        check(owner.is_in(RunState.RUNNING), "the VM cannot be run where it ended up")
        self._tell(owner, "dirty=0,eject=prompt,standby=on")
        await asyncio.sleep(_TRIAL_MS / 1000)
        found = self._actors.command(owner, "qom-get", path="/machine/guest", property="verify")
        check(found is not None and found["count"] == 0, "the guest's memory is not sound")
        if self._is_native:
            self._has_its_primaries(owner, check)

    def _has_its_primaries(self, owner: SimulatedVm, check: Check) -> None:
        for entry in owner.live.vm.board.primaries.values():
            if not self._is_driven(owner, entry.standby):
                continue
            gone = owner.is_in(Primary.ABSENT, index=entry.index)
            leaving = not owner.is_in(Request.NONE, index=entry.index)
            if gone or leaving:
                continue
            check(owner.is_in(Primary.PLUGGED, index=entry.index), "a primary is not plugged")
            in_use = owner.is_in(Lower.IN, index=entry.index)
            check(in_use, "the guest does not use a primary that is plugged")

    def _is_driven(self, vm: SimulatedVm, standby: int) -> bool:
        return vm.is_in(Standby.DRIVER_OK, index=standby) and vm.is_in(Feature.ACKED, index=standby)

    # -- once more

    def _can_leave(self, source: SimulatedVm) -> bool:
        return source.is_in(RunState.RUNNING) and source.is_in(Blocker.CLEAR)

    async def _leave(self, check: Check) -> None:
        source = self._stage.source
        # Long enough for any guest that does its part.
        self._actors.command(source, "migrate-set-parameters", **{"x-unplug-timeout-ms": 30_000})
        self._actors.migrate()
        await self._resolved(check)
        same = _primaries(source) == _primaries(self._stage.target)
        if same and self._is_native:
            check(source.is_in(Migration.COMPLETED), "an undisturbed migration does not complete")
        owner = self._owner()
        if owner is not None:
            await self._try(owner, check)


def _primaries(vm: SimulatedVm) -> list[tuple[Any, ...]]:
    return sorted(
        (entry.id, entry.standby, vm.is_in(Primary.ABSENT, index=entry.index))
        for entry in vm.live.vm.board.primaries.values()
    )

"""Directed scenes of two VMs: a world in which all goes well, but for what a test says.

Rules kept here: a scene offers and answers through `TwoVms`, like a walk. `advance` lets messages
arrive and gives each command its good answer, oldest first, until a condition holds or nothing is
left; timers, the guest and the operator move only when the test says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from statemachines.effects import Command, Do
from statemachines.events import E
from statemachines.policies import VALUATIONS
from statemachines.runtime import Step
from statemachines.states import Migration, State
from tests.model.safety import Safety
from tests.model.two_vms import TIMERS, TwoVms, Vm

DRIVER_BINDS = (
    E.GUEST_ACKNOWLEDGE,
    E.GUEST_DRIVER,
    E.FEATURES_WITH_STANDBY,
    E.GUEST_FEATURES_OK,
    E.GUEST_DRIVER_OK,
)
GOOD = {
    Command.CONNECT: E.CONNECTED,
    Command.LISTEN: E.PEER_CONNECTED,
    Command.SAVE_SETUP: E.SETUP_DONE,
    Command.ITERATE: E.CONVERGED,
    Command.SAVE_FINAL: E.FINAL_SENT,
    Command.FLUSH: E.FLUSHED,
    Command.CHECK_HELLO: E.HELLO_GOOD,
    Command.VERIFY: E.VERIFIED,
    Command.QUIESCE_GUEST: E.GUEST_STOPPED,
    Command.CLOSE_CHANNEL: E.CHANNEL_CLOSED,
    Command.PLUG_PRIMARY: E.PRIMARY_PLUGGED,
    Command.REPLUG_PRIMARY: E.PRIMARY_PLUGGED,
}
STEPS_MAX = 200


class Scene:
    """Two VMs, the source's guest bound and on its primary, the target listening."""

    def __init__(
        self, profile: str, topology: tuple[int, ...] = (1,), *, bound: bool = True, **policies: str
    ) -> None:
        """Set the scene; `policies` are laid over the profile, `bound` says if the guest drives."""
        valuation: Mapping[str, str] = {**VALUATIONS[profile], **policies}
        self.vms = TwoVms(valuation, topology)
        self.source, self.target = self.vms.source, self.vms.target
        self.safety = Safety(self.vms) if profile == "native" else None
        self.done: Counter[tuple[str, Command]] = Counter()
        self.vms.observers.append(self)
        self.vms.boot()
        self.advance()
        if bound:
            self.bind()

    # -- looking on

    def restarted(self) -> None:
        """Nothing is kept of two former processes."""
        self.done.clear()

    def settled(self) -> None:
        """Only steps are looked at."""

    def stepped(self, vm: Vm, step: Step) -> None:
        """Count the commands given."""
        for happening in step.effects:
            if isinstance(happening.effect, Do):
                self.done[vm.name, happening.effect.command] += 1

    def count(self, command: Command, vm: Vm | None = None) -> int:
        """Return how often a VM (the source) gave a command."""
        return self.done[(vm or self.source).name, command]

    # -- moving on

    def advance(self, *states: State, hold: tuple[Command, ...] = ()) -> None:
        """Let all go well until the source is in one of the states, or nothing is left to happen.

        `hold` names commands that are not answered meanwhile.
        """
        for _ in range(STEPS_MAX):
            if states and self.source.is_in(*states):
                return
            if not (self._deliver() or self._answer(hold) or self._notice()):
                assert not states or self.source.is_in(*states), f"never in {states}"
                return
        raise AssertionError("no end")

    def _deliver(self) -> bool:
        return any(
            self.vms.next_for(vm) is not None and self.vms.deliver(vm)
            for vm in (self.source, self.target)
        )

    def _answer(self, hold: tuple[Command, ...]) -> bool:
        for vm in (self.source, self.target):
            for (command, index), owed in vm.outstanding.items():
                waits = command is Command.LISTEN and vm.channel is None
                if command in (*hold, *TIMERS) or waits or owed.overtaken:
                    continue
                plausible = self.vms.plausible(vm, command, index)
                good = GOOD[command]
                self.vms.answer(vm, command, good if good in plausible else plausible[0], index)
                return True
        return False

    def _notice(self) -> bool:
        for vm in (self.source, self.target):
            if self.vms.link_is_broken(vm):
                return self.vms.offer(vm, E.LINK_BROKEN) == "taken"
        return False

    def wait(self, done: Callable[[], bool], polls_max: int = 20) -> bool:
        """Let 250 ms pass again and again, and all go well; say whether it was done in time."""
        for _ in range(polls_max):
            self.advance()
            if done():
                return True
            if not self.source.owed(Command.START_POLL):
                return False
            self.vms.answer(self.source, Command.START_POLL, E.POLL)
        return done()

    def cancel_and_wait(self) -> None:
        """Cancel, and let time pass until the status says cancelled."""
        self.take(E.CANCEL)
        if not self.wait(lambda: self.source.is_in(Migration.CANCELLED)):
            self.vms.answer(self.source, Command.START_CANCEL_WAIT, E.CANCEL_WAIT_OVER)
        self.advance(Migration.CANCELLED)

    # -- what people and guests do

    def take(self, event: E, index: int | None = None, vm: Vm | None = None) -> None:
        """Make an event happen that has to be possible now."""
        outcome = self.vms.offer(vm or self.source, event, index)
        assert outcome == "taken", f"{event.name}: {outcome}"

    def refusal(self, event: E, index: int | None = None, vm: Vm | None = None) -> str:
        """Return the text with which an event is refused now."""
        outcome = self.vms.offer(vm or self.source, event, index)
        assert outcome not in ("taken", "illegal"), f"{event.name}: {outcome}"
        return outcome

    def bind(self, vm: Vm | None = None) -> None:
        """Let the guest's drivers bind, and traffic move to the first primary of each standby."""
        vm = vm or self.source
        for standby in vm.standbys:
            for event in DRIVER_BINDS:
                self.take(event, standby, vm)
        self.advance()
        for standby in vm.standbys:
            primary = next(p for p, mine in vm.standby_of.items() if mine == standby)
            self.use(primary, vm)

    def use(self, primary: int, vm: Vm | None = None) -> None:
        """Let the guest find a primary, enslave it and send through it."""
        vm = vm or self.source
        self.advance()
        self.vms.offer(vm, E.GUEST_PROBES, primary)
        for event in (E.GUEST_ENSLAVES, E.GUEST_LINK_UP):
            self.take(event, primary, vm)

    def eject(self, primary: int) -> None:
        """Let the guest release a primary and eject it."""
        self.vms.offer(self.source, E.GUEST_RELEASES, primary)
        self.take(E.GUEST_EJECTS, primary)

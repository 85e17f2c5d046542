"""Random walks of two VMs, and their fair end.

Rules kept here: every choice comes from one seeded generator. A walk disturbs as it likes; `settle`
takes operator, guest and network away again: messages arrive, commands are answered, the guest
ejects what it is asked to, and timers run out only when nothing else is left to happen.
"""

from __future__ import annotations

from random import Random

from statemachines.effects import Command, Message
from statemachines.events import E, Origin
from statemachines.guards import Per
from statemachines.states import (
    Handover,
    Incoming,
    Link,
    Lower,
    Migration,
    RunState,
    Slot,
    Standby,
    Takeover,
)
from tests.model.safety import Safety
from tests.model.two_vms import CONNECTED_LINKS, TIMERS, TwoVms, Vm

#: What a person may ask for at any time: each must be taken, ignored with its reason, or refused.
COMMANDS = (
    E.MIGRATE,
    E.CANCEL,
    E.CONTINUE,
    E.INCOMING,
    E.STOP,
    E.CONT,
    E.SYSTEM_RESET,
    E.RETURN_PATH_ON,
    E.RETURN_PATH_OFF,
    E.PAUSE_ON,
    E.PAUSE_OFF,
    E.DEVICE_ADD,
    E.DEVICE_ADD_MISPLACED,
    E.DEVICE_DEL,
)
RARE = (E.SYSTEM_RESET, E.DEVICE_DEL, E.STOP, E.DEVICE_ADD_MISPLACED, E.CANCEL)
#: The hypervisor notices these while it plugs and unplugs: they need not be possible.
NOTICED = (E.BLOCK, E.UNBLOCK)
GUEST = tuple(event for event in E if event.info.origin is Origin.GUEST)
#: What a driver does on its way to DRIVER_OK, so that pairs are negotiated most of the time.
BINDING: dict[Standby, tuple[E, ...]] = {
    Standby.RESET: (E.GUEST_ACKNOWLEDGE,),
    Standby.ACKNOWLEDGE: (E.GUEST_DRIVER,),
    Standby.DRIVER: (E.FEATURES_WITH_STANDBY, E.FEATURES_WITH_STANDBY, E.GUEST_FEATURES_OK),
    Standby.FEATURES_OK: (E.GUEST_DRIVER_OK,),
    Standby.DRIVER_OK: (),
    Standby.FAILED: (E.DRIVER_RESET,),
}
USING = (E.GUEST_PROBES, E.GUEST_ENSLAVES, E.GUEST_LINK_UP)
NEGOTIATED = (Standby.FEATURES_OK, Standby.DRIVER_OK)
EJECTING = (E.GUEST_RELEASES, E.GUEST_BLINKS, E.GUEST_POWERS_OFF, E.GUEST_EJECTS)
#: The moments in which what goes wrong is worst.
HANDING_OVER = (Handover.DELIVERED, Handover.COMMITTED, Handover.IN_DOUBT)
SETTLE_MAX = 400
#: So many timers in a row, and only a cancel ends it.
PATIENCE_MAX = 150


class Walk:
    """One walk of one system."""

    def __init__(self, vms: TwoVms, seed: int, safety: Safety | None) -> None:
        self.vms = vms
        self.random = Random(seed)
        self.safety = safety
        #: The walk's temper: how often an answer is a good one, the guest plays along, ...
        self.luck = self.random.choice((0.75, 0.93, 0.99))
        self.order = self.random.choice((0.7, 0.9, 0.97))
        self.hostility = self.random.choice((0, 0.5, 2))
        self.meddling = self.random.choice((4, 12))
        self._boot()

    def _boot(self) -> None:
        self.vms.restart()
        self.vms.boot(
            held=self.random.random() < 0.15,
            held_target=self.random.random() < 0.15,
            adopt=self.random.random() < 0.25,
        )

    # -- disturbed

    def run(self, steps: int) -> None:
        """Take that many random choices; one that is not possible now counts as well."""
        kinds = (
            (self._deliver, 20),
            (self._answer, 30),
            (self._guest, 20),
            (self._operator, self.meddling),
            (self._host, self.hostility),
            (self._notice_link, 6),
            (self._resolve, 2),
            (self._respawn, 6),
        )
        choices, weights = zip(*kinds, strict=True)
        for choice in self.random.choices(choices, weights, k=steps):
            choice()
            if self.vms.source.is_in(*HANDING_OVER) and self.random.random() < 0.06:
                (self._host if self.hostility else self._operator)()

    def _vm(self) -> Vm:
        return self.random.choice((self.vms.source, self.vms.target))

    def _deliver(self) -> None:
        vm = self._vm()
        message = self.vms.next_for(vm)
        if message is Message.STATE and self.random.random() < 0.1:
            self.vms.deliver(vm, E.RECV_BAD_STATE)
        elif message is Message.LOADED and self.random.random() < 0.1:
            self.vms.deliver(vm, E.DIGEST_MISMATCH)
        elif message is not None:
            self.vms.deliver(vm)

    def _answer(self, *, timers: bool | None = None) -> bool:
        patience = 0.02 if timers is None else 0
        owed = [
            (vm, command, index)
            for vm in (self.vms.source, self.vms.target)
            for command, index in vm.outstanding
            if timers is None or (command in TIMERS) is timers
            if command is not Command.LISTEN or vm.channel or self.random.random() < patience
        ]
        if not owed:
            return False
        vm, command, index = self.random.choice(owed)
        if vm.outstanding[command, index].overtaken and self.random.random() < 0.5:
            del vm.outstanding[command, index]
            return True
        slow = command in TIMERS and timers is None and self.random.random() < 0.96
        if slow:
            return False
        answers = self.vms.plausible(vm, command, index)
        self.vms.answer(vm, command, self._likely(answers), index)
        return True

    def _likely(self, answers: list[E]) -> E:
        good = [e for e in answers if not {"FAILED", "BAD", "WAY"} & set(e.name.split("_"))]
        return self.random.choice(good if good and self.random.random() < self.luck else answers)

    def _index(self, vm: Vm, event: E) -> int | None:
        if event.info.per is Per.VM:
            return None
        return self.random.choice(vm.standbys if event.info.per is Per.STANDBY else vm.primaries)

    def _guest(self) -> None:
        running = [vm for vm in (self.vms.source, self.vms.target) if vm.runs]
        if not running:
            return
        vm = self.random.choice(running)
        if self.random.random() > self.order:
            event = self.random.choice(GUEST)
            self.vms.offer(vm, event, self._index(vm, event))
            return
        standby = self.random.choice(vm.standbys)
        status = vm.runtime.state(Standby, standby)
        assert isinstance(status, Standby)
        for event in self.random.sample(BINDING[status], len(BINDING[status])):
            if self.vms.offer(vm, event, standby) == "taken":
                return
        primary = self.random.choice(vm.primaries)
        leaving = vm.is_in(Slot.REQUESTED, Slot.BLINKING, Slot.POWERED_OFF, index=primary)
        if not leaving or self.random.random() < 0.4:
            for event in EJECTING if leaving else USING:
                if self.vms.offer(vm, event, primary) == "taken":
                    return

    def _operator(self) -> None:
        vm = self.vms.source if self.random.random() < 0.75 else self.vms.target
        if not vm.alive:
            return
        event = self.random.choice(COMMANDS + NOTICED)
        if event in RARE and self.random.random() < 0.7:
            return
        if vm.is_in(Migration.NONE, Migration.CANCELLED, Migration.FAILED):
            if self.random.random() < 0.4 and vm.is_in(*NEGOTIATED, index=vm.standbys[0]):
                event = E.MIGRATE
        index = self._index(vm, event)
        outcome = self.vms.offer(vm, event, index)
        assert outcome != "illegal" or event in NOTICED, f"no answer for {event.name} at {vm.name}"
        if index is not None and outcome == "taken":
            if event is E.DEVICE_ADD_MISPLACED:
                self.vms.misplaced.add((vm.name, index))
            if event is E.DEVICE_ADD:
                self.vms.misplaced.discard((vm.name, index))

    def _host(self) -> None:
        source, target = self.vms.source, self.vms.target
        match self.random.randrange(12):
            case 0 | 1 | 6 if source.channel is not None:
                self.vms.cut(self.random.randrange(4), self.random.randrange(2))
            case 2 | 3 if source.channel is not None:
                source.channel.stalled = not source.channel.stalled
            case 4 if target.alive and not target.is_in(Incoming.COMPLETED):
                self.vms.kill_target()
            case 5 if target.alive and target.is_in(*CONNECTED_LINKS):
                self.vms.offer(target, E.STREAM_BAD)

    def _notice_link(self) -> bool:
        for vm in self.random.sample((self.vms.source, self.vms.target), 2):
            if self.vms.link_is_broken(vm):
                return self.vms.offer(vm, E.LINK_BROKEN) == "taken"
            if self.vms.can_be_silent(vm):
                return self.vms.offer(vm, E.LINK_SILENT) == "taken"
        return False

    def _respawn(self) -> None:
        if not self.vms.target.alive and self.vms.source.is_in(
            Migration.NONE, Migration.CANCELLED, Migration.FAILED
        ):
            self.vms.respawn_target()
            self.vms.configure(self.vms.target)
            self.vms.boot_target(held=self.random.random() < 0.2)
        elif self.vms.source.is_in(Migration.COMPLETED) and self.random.random() < 0.2:
            self._boot()

    # -- a doubt and its end

    def _resolve(self) -> bool:
        source, target = self.vms.source, self.vms.target
        doubted = [
            vm
            for vm in (source, target)
            if vm.alive and vm.is_in(Handover.IN_DOUBT if vm is source else Takeover.IN_DOUBT)
        ]
        if not doubted:
            return False
        keeper = self._keeper()
        if self.safety is not None:
            self.safety.keeper = keeper
        vm = self.random.choice(doubted)
        event = E.KEEP_HERE if vm.name == keeper else E.KEEP_THERE
        assert self.vms.offer(vm, event) == "taken"
        return True

    def _keeper(self) -> str:
        """What an operator decides who looks at both sides and keeps to it."""
        source, target = self.vms.source, self.vms.target
        if target.is_in(Incoming.COMPLETED) or source.is_in(Migration.COMPLETED):
            return "target"
        if not target.alive or not source.is_in(Handover.COMMITTED, Handover.IN_DOUBT):
            return "source"
        known = self.safety.keeper if self.safety is not None else None
        return known or self.random.choice(("source", "target"))

    # -- fair

    def settle(self) -> None:
        """Let everything come to its end.

        :raise AssertionError: if it does not within a bound.
        """
        for vm in (self.vms.source, self.vms.target):
            if vm.channel is not None and not vm.is_in(Link.OPEN):
                vm.channel.stalled = False
        timers = 0
        for _ in range(SETTLE_MAX):
            if timers > PATIENCE_MAX:
                assert self.vms.policies["unplug_deadline"] == "off", f"no end: {self.where()}"
                timers -= self.vms.offer(self.vms.source, E.CANCEL) == "taken"
            moved = (
                self._delivered()
                or self._answer(timers=False)
                or self._notice_link()
                or self._guest_ejects()
                or self._resolve()
                or self.vms.offer(self.vms.source, E.CONTINUE) == "taken"
            )
            if not moved:
                timers += 1
                if not self._answer(timers=True):
                    return
        raise AssertionError(f"no end: {self.where()}")

    def _delivered(self) -> bool:
        for vm in (self.vms.source, self.vms.target):
            if self.vms.next_for(vm) is not None and self.vms.deliver(vm):
                return True
        return False

    def _guest_ejects(self) -> bool:
        for vm in (self.vms.source, self.vms.target):
            for primary in vm.primaries if vm.runs else ():
                if vm.is_in(Slot.REQUESTED, Slot.BLINKING, Slot.POWERED_OFF, index=primary):
                    enslaved = vm.is_in(Lower.IN, index=primary)
                    for event in EJECTING if enslaved else EJECTING[1:]:
                        if self.vms.offer(vm, event, primary) == "taken":
                            return True
        return False

    def where(self) -> str:
        """Say where both stand, for a failed assertion."""
        lifecycles = (Migration, Incoming, RunState, Link, Handover, Takeover)
        return "; ".join(
            f"{vm.name}: {' '.join(vm.runtime.state(each).value for each in lifecycles)}"
            f" owes {sorted(command.name for command, _ in vm.outstanding)}"
            for vm in (self.vms.source, self.vms.target)
        )

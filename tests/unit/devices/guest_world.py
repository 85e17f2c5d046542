"""A VM for a guest to live in: the tables' own runtime, a clock that is told the time, a switch.

Here lives the least that a guest needs around it: every effect that concerns it is carried out at
once, commands to the rest of the world only where the test says so. Nothing here knows how a guest
decides; the tables refuse what it must not do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from devices.guest import Guest
from devices.guest_options import parse_guest_options
from devices.guest_view import ClosePrimary, Deed, Fire, OpenPrimary, PrimaryView, StandbyView
from devices.ram import BitmapRam
from statemachines.effects import Command, Do
from statemachines.events import E
from statemachines.policies import NATIVE
from statemachines.runtime import Latched, Runtime
from statemachines.states import Primary, State

RAM_BYTES = 1 << 20
MAC = bytes.fromhex("5254006f55cc")
OTHER_MAC = bytes.fromhex("525400000099")


class World:
    """One VM: a runtime that moves, a guest that observes, and a log of what happened when."""

    def __init__(
        self,
        guest_options: str = "",
        *,
        primary_macs: tuple[bytes, ...] = (MAC,),
        policies: Mapping[str, str] = NATIVE,
        ram: BitmapRam | None = None,
        answers_ports: bool = True,
    ) -> None:
        self.now_ms = 1000.0
        self.runtime = Runtime(policies)
        self.standby = self.runtime.add_standby()
        self.views = [
            PrimaryView(self.runtime.add_primary(self.standby), f"hostdev{i}", mac, self.standby)
            for i, mac in enumerate(primary_macs)
        ]
        self.ram = ram or BitmapRam(bytearray(RAM_BYTES))
        self.guest = Guest(self.ram, parse_guest_options(guest_options), self)
        self.answers_ports = answers_ports
        self.log: list[tuple[float, Deed]] = []
        self.unplug_events = 0

    # -- what the guest sees

    def standbys(self) -> list[StandbyView]:
        return [StandbyView(self.standby, "net1", MAC)]

    def primaries(self) -> list[PrimaryView]:
        return self.views

    def state(self, lifecycle: type[State], index: int) -> State:
        return self.runtime.state(lifecycle, index)

    def hotplug_policy(self) -> str:
        return self.runtime.policy("hotplug")

    # -- what happens

    def fire(self, event: E, index: int | None = None, latched: Latched | None = None) -> None:
        """Make an event happen with all that follows from it at once."""
        inbox: deque[tuple[E, int | None]] = deque()
        current: tuple[E, int | None, Latched | None] | None = (event, index, latched)
        while current:
            for step in self.runtime.fire(*current):
                for happening in step.effects:
                    if isinstance(happening.effect, Do):
                        self._carry_out(happening.effect.command, happening.scope.index, inbox)
                self.guest.observe(self.now_ms)
            current = (*inbox.popleft(), None) if inbox else None

    def _carry_out(self, command: Command, index: int, inbox: deque[tuple[E, int | None]]) -> None:
        match command:
            case Command.RUN_GUEST:
                self.guest.start(self.now_ms)
            case Command.STOP_GUEST:
                self.guest.stop(self.now_ms)
            case Command.QUIESCE_GUEST:
                self.guest.stop(self.now_ms)
                inbox.append((E.GUEST_STOPPED, None))
            case Command.RESET_GUEST:
                self.guest.reset(self.now_ms)
            case Command.PLUG_PRIMARY | Command.REPLUG_PRIMARY:
                inbox.append((E.PRIMARY_PLUGGED, index))
            case Command.CLOSE_CHANNEL:
                inbox.append((E.CHANNEL_CLOSED, None))
            case Command.EMIT_UNPLUG_PRIMARY:
                self.unplug_events += 1
            case _:
                pass

    def settle(self) -> None:
        """Let the guest do all that is due now."""
        for _ in range(1000):
            deeds = self.guest.advance(self.now_ms)
            if not deeds:
                return
            for deed in deeds:
                self.log.append((self.now_ms, deed))
                self._execute(deed)
        raise AssertionError(f"the guest does not come to rest: {self.log[-5:]}")

    def _execute(self, deed: Deed) -> None:
        match deed:
            case Fire(event, index):
                self.fire(event, index)
            case OpenPrimary(index) if self.answers_ports:
                self.guest.primary_opened(index, self.now_ms)
            case ClosePrimary(index) if self.answers_ports:
                self.guest.primary_closed(index, self.now_ms)

    def run_for(self, duration_ms: float) -> None:
        """Let time pass from one due moment to the next."""
        end = self.now_ms + duration_ms
        self.settle()
        while (due := self.guest.due_ms(uplink_ready=False)) is not None and due <= end:
            self.now_ms = max(self.now_ms, due)
            self.settle()
        self.now_ms = end
        self.settle()

    # -- shorthand

    @property
    def primary(self) -> int:
        """The index of the first primary."""
        return self.views[0].index

    def boot(self) -> World:
        """Configure the primaries, start the VM and let the guest come up."""
        for view in self.views:
            if self.runtime.state(Primary, view.index) is Primary.ABSENT:
                self.fire(E.DEVICE_ADD, view.index)
        self.fire(E.BOOT)
        self.run_for(100)
        return self

    def migrate(self) -> World:
        """Begin a migration, up to where primaries are asked to leave."""
        for event in (E.MIGRATE, E.CONNECTED, E.RECV_ACCEPT):
            self.fire(event)
        return self

    def deeds(self, since_ms: float = 0.0) -> list[Deed]:
        """What the guest has done from a moment on."""
        return [deed for at, deed in self.log if at >= since_ms]

    def events(self, since_ms: float = 0.0) -> list[E]:
        """The events the guest has made happen from a moment on."""
        return [deed.event for deed in self.deeds(since_ms) if isinstance(deed, Fire)]

    def moment_of(self, event: E) -> float:
        """When an event last happened."""
        return next(
            at for at, deed in reversed(self.log) if isinstance(deed, Fire) and deed.event is event
        )

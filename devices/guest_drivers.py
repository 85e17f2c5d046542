"""The guest's drivers: what each of them would do next, given the states it observes.

What may live here: virtio-net's bring-up, finding and enslaving primaries, hotplug removal. Each
standby and each primary has at most one next deed, read off the states anew after every step; what
is not in the states (how far a port is, which removal has begun, since when a slot is as it is) is
remembered here, and only while the process lives: a migration begins with every primary ejected.

The rules:

1. A deed that is wanted as before comes no later for it; one no longer wanted is dropped.
2. A primary is enslaved when its permanent address is the standby's, the failover device exists
   and has no primary, and the switch has directed the address to it (net_failover.c).
3. A removal begins when the slot is REQUESTED and the guest's `eject` allows it. From then on it
   goes on to the eject, whether or not the request still stands; only a reset ends it early.
4. ACPI: close the port, release, eject. Native: blink; later close the port, release, cut the
   power; later eject (Linux pciehp_ctrl.c). A delay of `eject` comes last, before the eject.
5. A port that was opened is closed again whenever the failover device no longer has it.
6. While the guest is stopped its time stands still: `shift` moves every moment that is noted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from devices.guest_options import EjectRule, GuestOptions
from devices.guest_view import (
    ClosePrimary,
    Deed,
    Fire,
    GuestView,
    OpenPrimary,
    PrimaryView,
    StandbyView,
)
from statemachines.events import E
from statemachines.states import Feature, Lower, NetFailover, Slot, Standby, State

#: A deed, and the moment it is due in ms.
Planned = tuple[Deed, float]

#: Which device has it: two kinds of index.
_Key = tuple[Literal["standby", "primary"], int]

_BRING_UP: dict[State, E] = {
    Standby.ACKNOWLEDGE: E.GUEST_DRIVER,
    Standby.FEATURES_OK: E.GUEST_DRIVER_OK,
}


class Port(Enum):
    """How far the switch is with directing the standby's address to one primary."""

    #: It goes elsewhere.
    CLOSED = "closed"
    #: OpenPrimary was asked.
    OPENING = "opening"
    #: It goes to the primary.
    OPEN = "open"
    #: It goes, or will go, to a primary that has no use for it: to be closed.
    STALE = "stale"
    #: ClosePrimary was asked.
    CLOSING = "closing"


@dataclass
class _PrimaryMemory:
    """What the drivers remember of one primary."""

    #: The switch's side.
    port: Port = Port.CLOSED
    #: The slot's state when it was last observed.
    slot: Slot = Slot.EMPTY
    #: Since when it has had it.
    slot_since_ms: float = 0.0
    #: When the removal began; None: there is none.
    removal_began_ms: float | None = None
    #: The guest was run again while removal was requested.
    was_resumed: bool = False

    def forget_device(self) -> None:
        """Drop what was about a device that is gone, or was reset."""
        self.removal_began_ms = None
        self.was_resumed = False
        self.leave_port()

    def leave_port(self) -> None:
        """Have no more use for the port: one that was opened is to be closed."""
        if self.port in (Port.OPENING, Port.OPEN):
            self.port = Port.STALE


class Drivers:
    """The drivers' plan: for each device the next deed and when it is due."""

    def __init__(self, view: GuestView, options: GuestOptions) -> None:
        self._view = view
        self._options = options
        #: The plan is what `observe` made of what is so now.
        self._is_planned = False
        self._primaries: dict[int, _PrimaryMemory] = {}
        self._features_written: set[int] = set()
        self._plan: dict[_Key, Planned] = {}

    def use(self, options: GuestOptions) -> None:
        """Behave by other options from now on."""
        self._options = options
        self._is_planned = False

    # -- time

    def due_ms(self) -> float | None:
        """Return when the next deed is due."""
        return min((due_ms for _, due_ms in self._plan.values()), default=None)

    def take(self, now_ms: float) -> Deed | None:
        """Return the deed that has been due longest, if any is due, and note that it is done."""
        key = min(self._plan, key=lambda key: self._plan[key][1], default=None)
        if key is None or self._plan[key][1] > now_ms:
            return None
        deed, _ = self._plan.pop(key)
        self._is_planned = False
        match deed:
            case OpenPrimary():
                self._primaries[deed.index].port = Port.OPENING
            case ClosePrimary():
                self._primaries[deed.index].port = Port.CLOSING
            case Fire(event=E.FEATURES_WITH_STANDBY | E.FEATURES_WITHOUT_STANDBY):
                self._features_written.add(key[1])
            case Fire():
                pass
        return deed

    def shift(self, pause_ms: float) -> None:
        """Move all that is noted by the time the guest stood still."""
        self._plan = {key: (deed, due + pause_ms) for key, (deed, due) in self._plan.items()}
        for memory in self._primaries.values():
            memory.slot_since_ms += pause_ms
            if memory.removal_began_ms is not None:
                memory.removal_began_ms += pause_ms

    # -- what happens to them

    def resume(self) -> None:
        """Note that the guest is run again: requests that stand now have seen that."""
        for primary in self._view.primaries():
            if self._slot(primary) is Slot.REQUESTED:
                self._memory_of(primary).was_resumed = True

    def reset(self) -> None:
        """Forget what a reset ends: plans and removals. Open ports become stale."""
        self._plan.clear()
        self._is_planned = False
        for memory in self._primaries.values():
            memory.forget_device()

    def opened(self, index: int) -> None:
        """Note the answer to OpenPrimary; an answer that came too late changes nothing."""
        memory = self._primaries.get(index)
        if memory is not None and memory.port is Port.OPENING:
            memory.port = Port.OPEN

    def closed(self, index: int) -> None:
        """Note the answer to ClosePrimary."""
        memory = self._primaries.get(index)
        if memory is not None and memory.port is Port.CLOSING:
            memory.port = Port.CLOSED

    def plan(self, now_ms: float) -> None:
        """Plan, unless the plan stands that the last `observe` made."""
        if not self._is_planned:
            self.observe(now_ms)

    def observe(self, now_ms: float) -> None:
        """Read the states and plan anew. It or `plan` must come between two calls of `take`."""
        standbys = {standby.index: standby for standby in self._view.standbys()}
        primaries = self._view.primaries()
        for primary in primaries:
            self._look_at(primary, now_ms)
        present = {primary.index for primary in primaries}
        self._primaries = {i: kept for i, kept in self._primaries.items() if i in present}
        self._features_written &= standbys.keys()
        wanted: dict[_Key, Planned | None] = {
            ("standby", index): self._standby_deed(standby, now_ms)
            for index, standby in standbys.items()
        }
        for primary in primaries:
            wanted["primary", primary.index] = self._primary_deed(primary, standbys, now_ms)
        plan: dict[_Key, Planned] = {}
        for key, planned in wanted.items():
            if planned is not None:
                deed, due_ms = planned
                before = self._plan.get(key)
                if before is not None and before[0] == deed:
                    due_ms = min(before[1], due_ms)
                plan[key] = deed, due_ms
        self._plan = plan
        self._is_planned = True

    # -- the standby's driver

    def _standby_deed(self, standby: StandbyView, now_ms: float) -> Planned | None:
        index = standby.index
        state = self._view.state(Standby, index)
        if state in (Standby.RESET, Standby.ACKNOWLEDGE):
            self._features_written.discard(index)
        if state is Standby.RESET:
            return Fire(E.GUEST_ACKNOWLEDGE, index), now_ms + self._options.negotiate_ms
        if state is Standby.DRIVER:
            return Fire(self._feature_step(index), index), now_ms
        event = _BRING_UP.get(state)
        return None if event is None else (Fire(event, index), now_ms)

    def _feature_step(self, index: int) -> E:
        acked = self._view.state(Feature, index) is Feature.ACKED
        if index in self._features_written or (acked and self._options.standby):
            return E.GUEST_FEATURES_OK
        return E.FEATURES_WITH_STANDBY if self._options.standby else E.FEATURES_WITHOUT_STANDBY

    # -- the primary's driver

    def _look_at(self, primary: PrimaryView, now_ms: float) -> None:
        memory = self._memory_of(primary)
        slot = self._slot(primary)
        if slot is not memory.slot:
            memory.slot, memory.slot_since_ms = slot, now_ms
            if slot in (Slot.EMPTY, Slot.INSERTED):
                memory.forget_device()
        if self._view.state(NetFailover, primary.standby_index) is NetFailover.ABSENT:
            # Noted at once: a driver that comes back meanwhile has the port opened anew.
            memory.leave_port()
        if memory.removal_began_ms is None and self._begins_removal(memory):
            memory.removal_began_ms = now_ms

    def _begins_removal(self, memory: _PrimaryMemory) -> bool:
        if memory.slot in (Slot.BLINKING, Slot.POWERED_OFF):
            return True
        if memory.slot is not Slot.REQUESTED:
            return False
        match self._options.eject.rule:
            case EjectRule.PROMPT | EjectRule.DELAYED:
                return True
            case EjectRule.RESUMED:
                return memory.was_resumed
            case EjectRule.NEVER:
                return False

    def _primary_deed(
        self, primary: PrimaryView, standbys: dict[int, StandbyView], now_ms: float
    ) -> Planned | None:
        memory = self._primaries[primary.index]
        index = primary.index
        if memory.port is Port.CLOSING:
            return None
        if memory.port is Port.STALE:
            return ClosePrimary(index), now_ms
        if memory.slot is Slot.EMPTY:
            return None
        if memory.removal_began_ms is not None:
            if self._view.hotplug_policy() == "native":
                return self._native_removal(primary, memory, now_ms)
            eject_ms = memory.removal_began_ms + self._options.eject.delay_ms
            return self._release(primary, memory, now_ms) or (
                Fire(E.GUEST_EJECTS, index),
                max(now_ms, eject_ms),
            )
        if memory.slot is Slot.INSERTED:
            return Fire(E.GUEST_PROBES, index), memory.slot_since_ms + self._options.probe_delay_ms
        return self._attach(primary, memory, standbys.get(primary.standby_index), now_ms)

    def _native_removal(
        self, primary: PrimaryView, memory: _PrimaryMemory, now_ms: float
    ) -> Planned | None:
        if memory.slot is Slot.BLINKING:
            blinked_ms = max(now_ms, memory.slot_since_ms + self._options.blink_ms)
            return self._release(primary, memory, blinked_ms) or (
                Fire(E.GUEST_POWERS_OFF, primary.index),
                blinked_ms,
            )
        if memory.slot is Slot.POWERED_OFF:
            delay_ms = self._options.power_off_ms + self._options.eject.delay_ms
            return Fire(E.GUEST_EJECTS, primary.index), memory.slot_since_ms + delay_ms
        return Fire(E.GUEST_BLINKS, primary.index), now_ms

    def _release(
        self, primary: PrimaryView, memory: _PrimaryMemory, when_ms: float
    ) -> Planned | None:
        """Return what is left to do before the primary is nobody's lower device."""
        if memory.port in (Port.OPENING, Port.OPEN):
            return ClosePrimary(primary.index), when_ms
        if self._view.state(Lower, primary.index) is Lower.IN:
            return Fire(E.GUEST_RELEASES, primary.index), when_ms
        return None

    def _attach(
        self,
        primary: PrimaryView,
        memory: _PrimaryMemory,
        standby: StandbyView | None,
        now_ms: float,
    ) -> Planned | None:
        if standby is None or memory.slot not in (Slot.OCCUPIED, Slot.REQUESTED):
            return None
        index = primary.index
        driver = self._view.state(NetFailover, standby.index)
        if self._view.state(Lower, index) is Lower.IN:
            if memory.port is Port.CLOSED:  # it came enslaved, from another host's switch
                return OpenPrimary(index), now_ms
            if driver is not NetFailover.PRIMARY_DOWN or not primary.has_carrier:
                return None  # a link that comes up later is told, not looked for
            return Fire(E.GUEST_LINK_UP, index), now_ms + self._options.link_delay_ms
        if memory.port is Port.OPENING:
            return None
        if memory.port is Port.OPEN:
            if driver is NetFailover.STANDBY and memory.slot is Slot.OCCUPIED:
                return Fire(E.GUEST_ENSLAVES, index), now_ms
            return ClosePrimary(index), now_ms  # another primary is there, or this one soon gone
        may_open = (
            memory.slot is Slot.OCCUPIED
            and driver is NetFailover.STANDBY
            and primary.mac == standby.mac
            and not self._is_taken(primary)
        )
        return (OpenPrimary(index), now_ms) if may_open else None

    def _is_taken(self, primary: PrimaryView) -> bool:
        """Say whether another primary of the standby is in use, or about to be."""
        return any(
            self._primaries[other.index].port is not Port.CLOSED
            or self._view.state(Lower, other.index) is Lower.IN
            for other in self._view.primaries()
            if other.standby_index == primary.standby_index and other.index != primary.index
        )

    # -- small things

    def _slot(self, primary: PrimaryView) -> Slot:
        state = self._view.state(Slot, primary.index)
        assert isinstance(state, Slot)
        return state

    def _memory_of(self, primary: PrimaryView) -> _PrimaryMemory:
        return self._primaries.setdefault(primary.index, _PrimaryMemory())

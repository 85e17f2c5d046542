"""A migration as it looks from outside: what events and answers of the two VMs add up to.

What may live here: bookkeeping over what was heard, sans-IO; whoever asks the VMs passes on what
came, and `now_ms`. Rules:

- the source may be any QEMU from 7.2 on or replug: no order of events is taken for granted, no
  status has to come, an unknown one is followed like a known one, and a repeated one is nothing new
  (QEMU before 10.0 shows `device` only with a pause, 11.0 on `failing` before `failed`, every
  version `cancelling` again for each migrate_cancel);
- an answer to a question that was asked before an event came says nothing about the time after it:
  the states in it are left aside (`mark`);
- what is only concluded is concluded here, each time with the reason, and never overrides what
  replug's `/machine/replug` says outright.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.migration_event import Kind, MigrationEvent, RamProgress, Side
from engine.migration_reading import integer, mapping, ram_progress, states_by_device, text, texts

#: Statuses that do not change any more.
ENDED = frozenset({"completed", "failed", "cancelled"})
#: The guest was asked to release its primaries and has not.
PENDING = "unplug-pending"
#: Most states that are kept of one thing: a guest may flap for hours.
STATES_MAX = 1000

_STANDBY_CARRIES = frozenset({"standby", "primary-down"})


@dataclass
class SideView:
    """What was seen of one VM."""

    #: Its migration status; None: none yet.
    status: str | None = None
    #: Every status, in order.
    states: list[str] = field(default_factory=list)
    #: Status -> when it was reached last, in ms.
    stamps_ms: dict[str, float] = field(default_factory=dict)
    #: The last answer of query-migrate.
    information: Mapping[str, Any] = field(default_factory=dict)
    #: Its run state, as query-status says it.
    run_state: str | None = None
    #: When the guest was last stopped, and last run again, in ms.
    stopped_ms: float | None = None
    resumed_ms: float | None = None
    #: Whether it says that it is in doubt.
    in_doubt: bool = False
    #: Whether /machine/replug told its machines' states.
    has_joint_state: bool = False
    #: How many events came.
    events: int = 0


@dataclass
class PrimaryView:
    """What was seen of one primary."""

    #: The id of its standby.
    standby: str | None = None
    #: Its states by side.
    states: dict[Side, list[str]] = field(default_factory=dict)


class Observation:
    """One migration, from when this command began to follow it."""

    def __init__(self, started_ms: float) -> None:
        """Start at `started_ms` of the caller's clock, which every `now_ms` is of."""
        self._started_ms = started_ms
        #: The two VMs.
        self.sides = {Side.SOURCE: SideView(), Side.TARGET: SideView()}
        #: By id, in the order they were met.
        self.primaries: dict[str, PrimaryView] = {}
        #: Which way frames went: "source.primary", ….
        self.path: list[str] = []
        #: Way -> when frames were first seen to go it, in ms.
        self.carried_ms: dict[str, float] = {}
        #: The last that is known of RAM.
        self.ram: RamProgress | None = None

    @property
    def source(self) -> SideView:
        """The VM that has the guest before."""
        return self.sides[Side.SOURCE]

    @property
    def target(self) -> SideView:
        """The VM that shall have it."""
        return self.sides[Side.TARGET]

    @property
    def has_ended(self) -> bool:
        """Whether the source has come to an end, or to a doubt."""
        return self.source.status in ENDED or self.source.in_doubt

    def since_start_ms(self, now_ms: float) -> float:
        """Return how long the migration has been followed."""
        return now_ms - self._started_ms

    def pending(self) -> list[str]:
        """Return the primaries that the guest has been asked to release and has not."""
        return [
            name
            for name, primary in self.primaries.items()
            if primary.states.get(Side.SOURCE, [""])[-1] == PENDING
        ]

    def waited_ms(self, now_ms: float) -> float | None:
        """Return for how long the source has been in wait-unplug; None when it is not."""
        if self.source.status != "wait-unplug":
            return None
        return now_ms - self.source.stamps_ms["wait-unplug"]

    # -- what came

    def event(
        self, side: Side, name: str, data: Mapping[str, Any], now_ms: float
    ) -> list[MigrationEvent]:
        """Take a QMP event."""
        view = self.sides[side]
        view.events += 1
        match name:
            case "MIGRATION":
                return self._status(side, text(data.get("status")), now_ms)
            case "STOP":
                view.stopped_ms, view.resumed_ms = now_ms, None
                return [self._event(Kind.RUN_STATE, now_ms, side, run_state="stopped")]
            case "RESUME":
                view.resumed_ms = now_ms
                return [self._event(Kind.RUN_STATE, now_ms, side, run_state="running")]
            case "MIGRATION_PASS":
                number = integer(data.get("pass"))
                return [self._event(Kind.PASS, now_ms, side, pass_number=number)]
            case "UNPLUG_PRIMARY":
                return self._primary(side, text(data.get("device-id")), PENDING, now_ms)
            case "FAILOVER_NEGOTIATED":
                standby = text(data.get("device-id"))
                return [self._event(Kind.NEGOTIATED, now_ms, side, device=standby)]
            case "X_REPLUG_FIRST_FRAME":
                return self._carries(side, text(data.get("path")), now_ms)
            case "X_REPLUG_IN_DOUBT":
                view.in_doubt = True
                return [self._note("it does not know which side has the guest", now_ms, side)]
            case "X_REPLUG_PRIMARY_LOST":
                device, reason = text(data.get("device-id")), text(data.get("reason"))
                return [self._note(f"{device} could not be plugged: {reason}", now_ms, side)]
        return []

    def mark(self, side: Side) -> int:
        """Return what to hand in with the answer to a question that is asked now."""
        return self.sides[side].events

    def polled(self, side: Side, answer: object, mark: int, now_ms: float) -> list[MigrationEvent]:
        """Take query-migrate's answer."""
        view = self.sides[side]
        view.information = information = mapping(answer)
        happened = []
        # Only a status that is older than an event is worth nothing; its numbers still count.
        if mark == view.events:
            happened += self._status(side, text(information.get("status")), now_ms)
            view.in_doubt = information.get("x-replug-in-doubt") is True
        progress = ram_progress(information) if side is Side.SOURCE else None
        self.ram = progress or self.ram
        waited_ms = self.waited_ms(now_ms)
        if side is Side.SOURCE and (progress or waited_ms is not None):
            happened.append(
                self._event(
                    Kind.PROGRESS,
                    now_ms,
                    side,
                    status=view.status,
                    ram=progress,
                    waited_ms=waited_ms,
                )
            )
        return happened

    def joint_state(
        self, side: Side, answer: object, mark: int, now_ms: float
    ) -> list[MigrationEvent]:
        """Take the property `state` of /machine/replug."""
        view = self.sides[side]
        view.has_joint_state = True
        if mark != view.events:
            return []
        state = mapping(answer)
        happened = []
        for name, primary in states_by_device(state, "primary").items():
            happened += self._primary(side, name, primary, now_ms)
        # With several pairs, the first one's way stands for all.
        carriers = list(states_by_device(state, "net_failover").values())[:1]
        is_here = state.get("run_state") == "running"
        for carrier in carriers if is_here else []:
            if carrier == "primary":
                happened += self._carries(side, "primary", now_ms)
            elif carrier in _STANDBY_CARRIES:
                happened += self._carries(side, "standby", now_ms)
        return happened

    def pairs(self, answer: Mapping[str, str]) -> None:
        """Take which standby each primary has, by the primary's id."""
        for name, standby in answer.items():
            self.primaries.setdefault(name, PrimaryView()).standby = standby

    def states_of(self, side: Side) -> list[str]:
        """Return a VM's statuses: what it tells of itself, and what came since it was asked."""
        view = self.sides[side]
        told = texts(mapping(view.information.get("x-replug")).get("states"))
        told = [state for state in told if state != "none"]
        if not told or told[-1] not in view.states:
            return told or list(view.states)
        newest = len(view.states) - view.states[::-1].index(told[-1])
        return told + view.states[newest:]

    # -- what follows from it

    def _status(self, side: Side, status: str | None, now_ms: float) -> list[MigrationEvent]:
        view = self.sides[side]
        if status is None or status in (view.status, "none"):
            return []
        before, view.status = view.status, status
        if len(view.states) < STATES_MAX:
            view.states.append(status)
        view.stamps_ms[status] = now_ms
        happened = [self._event(Kind.STATUS, now_ms, side, status=status)]
        if side is Side.SOURCE and status == "active" and not view.has_joint_state:
            happened += self._passes_begin(before, now_ms)
        return happened

    def _passes_begin(self, before: str | None, now_ms: float) -> list[MigrationEvent]:
        """Conclude from `active` what QEMU has no event for."""
        happened = []
        for name in self.pending():
            if before == "wait-unplug":
                # QEMU leaves wait-unplug when nothing is pending (savevm.c
                # qemu_savevm_state_guest_unplug_pending).
                happened += self._primary(Side.SOURCE, name, "unplugged", now_ms)
            else:
                happened.append(
                    self._note(
                        f"it asked the guest to release {name} and does not wait for it: the guest "
                        "has no driver on the standby, and may still use the primary",
                        now_ms,
                        Side.SOURCE,
                    )
                )
        return happened

    def _primary(
        self, side: Side, name: str | None, state: str, now_ms: float
    ) -> list[MigrationEvent]:
        if name is None:
            return []
        states = self.primaries.setdefault(name, PrimaryView()).states.setdefault(side, [])
        if (states and states[-1] == state) or len(states) >= STATES_MAX:
            return []
        states.append(state)
        return [self._event(Kind.PRIMARY, now_ms, side, device=name, device_state=state)]

    def _carries(self, side: Side, way: str | None, now_ms: float) -> list[MigrationEvent]:
        path = f"{side.value}.{way}"
        known = way in ("primary", "standby") and len(self.path) < STATES_MAX
        if not known or self.path[-1:] == [path]:
            return []
        self.path.append(path)
        self.carried_ms.setdefault(path, now_ms)
        return [self._event(Kind.PATH, now_ms, side, path=path)]

    def note(self, sentence: str, now_ms: float, side: Side | None = None) -> MigrationEvent:
        """Return an event that tells a person something."""
        return self._note(sentence, now_ms, side)

    def _note(self, sentence: str, now_ms: float, side: Side | None) -> MigrationEvent:
        return self._event(Kind.NOTE, now_ms, side, text=sentence)

    def _event(self, kind: Kind, now_ms: float, side: Side | None, **what: Any) -> MigrationEvent:
        return MigrationEvent(kind, self.since_start_ms(now_ms), side, **what)

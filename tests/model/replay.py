"""A trace's events, replayed on two real runtimes joined by two queues.

Rules kept here: nothing of the checker is asked: an event happens by `Runtime.fire`, a message
comes as it was sent, with what it latched. Only dying processes and losing channels are played.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from statemachines.actions import MESSAGE_OF
from statemachines.effects import Command, Do, Message, Send
from statemachines.environment import Disturbance, Side
from statemachines.events import E, Origin
from statemachines.runtime import Runtime
from statemachines.states import Link
from statemachines.steps import Latched
from statemachines.topology import Topology

Event = Mapping[str, str | int | None]
_OTHER = {Side.SOURCE: Side.TARGET, Side.TARGET: Side.SOURCE}


class Replay:
    """Two VMs, as new."""

    def __init__(self, topology: Topology, policies: Mapping[str, str]) -> None:
        self._topology = topology
        self._policies = {**policies, **topology.policies}
        self.runtimes: dict[Side, Runtime] = {side: self._built() for side in Side}
        #: VMs whose process is no more.
        self.ended: set[Side] = set()
        self._inboxes: dict[Side, deque[tuple[Message, Latched]]] = {s: deque() for s in Side}
        self._lossy = False

    def _built(self) -> Runtime:
        runtime = Runtime(self._policies)
        for count in self._topology.primaries:
            standby = runtime.add_standby()
            for _ in range(count):
                runtime.add_primary(standby)
        return runtime

    def play(self, events: Iterable[Event]) -> None:
        """Let every event happen.

        :raise StateError: if a runtime cannot take one.
        :raise AssertionError: if a message that is received is not the next one.
        """
        for event in events:
            name = str(event["event"])
            if event["side"] is None or name in Disturbance.__members__:
                self._disturb(Disturbance[name])
            else:
                index = event["instance"]
                self._fire(Side(event["side"]), E[name], None if index is None else int(index))

    def _fire(self, side: Side, event: E, index: int | None) -> None:
        latched: Latched | None = None
        if event.info.origin is Origin.PEER:
            message, latched = self._inboxes[side].popleft()
            assert message is MESSAGE_OF[event], f"{message.name} is next, not {event.name}"
        runtime = self.runtimes[side]
        if event is E.CONNECTED or event is E.CONNECTED_ONE_WAY:
            self._lossy = False
        for step in runtime.fire(event, index, latched):
            for happening in step.effects:
                match happening.effect:
                    case Send(message=sent) if not self._lossy:
                        if _OTHER[side] not in self.ended:
                            self._inboxes[_OTHER[side]].append((sent, happening.latched))
                    case Do(command=Command.EXIT):
                        self.ended.add(side)
        if runtime.state(Link) in (Link.LOST, Link.CLOSED):
            self._inboxes[side].clear()

    def _disturb(self, what: Disturbance) -> None:
        match what:
            case Disturbance.KILL_SOURCE | Disturbance.KILL_TARGET:
                side = Side.SOURCE if what is Disturbance.KILL_SOURCE else Side.TARGET
                self.ended.add(side)
                self._inboxes[side].clear()
            case Disturbance.RESPAWN_TARGET:
                self.runtimes[Side.TARGET] = self._built()
                self.ended.discard(Side.TARGET)
            case Disturbance.STALL | Disturbance.UNSTALL:
                pass
            case _:
                self._lossy = True
                if what in (Disturbance.CUT_TO_TARGET, Disturbance.CUT_BOTH):
                    self._inboxes[Side.TARGET].clear()
                if what in (Disturbance.CUT_TO_SOURCE, Disturbance.CUT_BOTH):
                    self._inboxes[Side.SOURCE].clear()

"""Breadth-first exploration of two VMs, their channel and their environment, exact and vectorised.

Rules kept here:
1. A joint state is (source, target, channel, environment), each by number, packed into one 64-bit
   key that is compared whole. Numbers stand for exact states: nothing is hashed away.
2. An edge moves one VM and what it says, takes or pays: it exists where the VM's own edge, the
   other VM, the channel and the budgets allow it.
3. States are numbered level by level, so the parent of a state lies on a shortest path to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from statemachines.actions import (
    TOLL_OF,
    Action,
    Environment,
    checks_hello,
    reads,
)
from statemachines.checker.index import Index, Keys, Numbers
from statemachines.checker.joint import Joint, pack, unpack
from statemachines.checker.local import LocalSpace
from statemachines.checker.rows import Rows
from statemachines.checker.steps import Stepper
from statemachines.checker.surroundings import CLASSES, Channels, Environments
from statemachines.checker.workings import Ops
from statemachines.compile import Model
from statemachines.environment import Disturbance, Side
from statemachines.ground import Ground
from statemachines.spec import MachineSpec
from statemachines.system import VM_MACHINES
from statemachines.topology import Topology
from statemachines.wire import Channel, Op

Array = npt.NDArray[np.int64]

#: Label codes: a side's label, or a disturbance of the channel.
SIDE_CODE = {Side.SOURCE: 0, Side.TARGET: 10_000}
CHANNEL_CODE = 20_000
#: Frontier states that are expanded at a time: bounds the memory of one step.
CHUNK = 1 << 18
_ON_CHANNEL = tuple(d for d in Disturbance if d.name.startswith("CUT") or d.name.endswith("STALL"))


#: Has some work done, in the order given, and returns what waits for it: while one thread takes
#: edges in, another may find the next ones.
Beside: TypeAlias = Callable[[Callable[[], None]], Callable[[], object]]


def at_once(work: Callable[[], None]) -> Callable[[], object]:
    """Do some work before anything else; there is nothing to wait for."""
    work()
    return lambda: None


@dataclass(frozen=True)
class Progress:
    """How far an exploration is."""

    #: Steps from the initial state.
    depth: int
    #: States found.
    states: int
    #: Edges followed.
    transitions: int
    #: States of the last level.
    frontier: int


class Found(NamedTuple):
    """Edges out of some states."""

    #: Place of the state in what was expanded.
    origin: Array
    #: Keys of the successors.
    keys: Keys
    #: Label codes.
    codes: Array
    #: Places of the edges in the side's table; -1 for disturbances.
    edges: Array


class Explorer:
    """One system and all of its reachable states."""

    def __init__(
        self,
        topology: Topology,
        policies: Mapping[str, str],
        machines: tuple[MachineSpec, ...] = VM_MACHINES,
    ) -> None:
        self.topology = topology
        self.model = Model(topology, policies, machines)
        self.stepper = Stepper(self.model)
        self.ops = Ops()
        self.spaces = {side: LocalSpace(self.model, side, self.stepper, self.ops) for side in Side}
        tolls = {label.toll for space in self.spaces.values() for label in space.labels}
        tolls |= {TOLL_OF[disturbance] for disturbance in _ON_CHANNEL}
        self._environments = Environments(self.model, tolls)
        self._label_tolls = {
            side: np.array([self._environments.tolls[label.toll] for label in space.labels])
            for side, space in self.spaces.items()
        }
        self._channels = Channels(self.ops)
        self._prompt_targets = np.zeros((2, 0), np.bool_)
        #: Per state of the source: what is let go there.
        self._lets_go = np.zeros(0, np.int64)
        self._waits = np.array(
            [
                isinstance(label.what, Action) and label.what.waits
                for label in self.spaces[Side.SOURCE].labels
            ]
        )
        self._on_channel = [
            (
                CHANNEL_CODE + place,
                self.ops.number((Op("disturb", None, d),)),
                self._environments.tolls[TOLL_OF[d]],
            )
            for place, d in enumerate(_ON_CHANNEL)
        ]
        self._peers: dict[Side, tuple[list[Ground], Array]] = {
            side: self._number_peers(side) for side in Side
        }
        self._peer_ok = {side: np.zeros((len(self._peers[side][0]), 0), np.bool_) for side in Side}
        self._fair = np.zeros(CHANNEL_CODE + len(_ON_CHANNEL), np.bool_)
        for side, space in self.spaces.items():
            for place, label in enumerate(space.labels):
                self._fair[SIDE_CODE[side] + place] = label.fair
        self.visited = Index()
        self.parents = Rows(("parent",), np.int32)
        self.transitions = 0
        self.depth = 0
        self.levels: list[int] = [0]
        #: Which of each side's edges were followed.
        self.used = {side: np.zeros(0, np.bool_) for side in Side}
        first = np.zeros(1, np.int64)
        sides = [np.array([self.spaces[side].initial]) for side in Side]
        self.visited.intern(pack(Joint(sides[0], sides[1], first, first)))
        self.parents.append(-1)

    # -- what the other VM must allow

    def _number_peers(self, side: Side) -> tuple[list[Ground], Array]:
        guards: list[Ground] = []
        numbers = []
        for label in self.spaces[side].labels:
            if label.peer not in guards:
                guards.append(label.peer)
            numbers.append(guards.index(label.peer))
        return guards, np.array(numbers)

    def _refresh(self) -> None:
        for side in Side:
            other = self.spaces[_OTHER[side]]
            held = self._peer_ok[side]
            first = held.shape[1]
            if first < len(other):
                new = np.stack([other.holds(guard, first) for guard in self._peers[side][0]])
                self._peer_ok[side] = np.concatenate([held, new], axis=1)
        target = self.spaces[Side.TARGET]
        first = self._prompt_targets.shape[1]
        if first < len(target):
            guards = (checks_hello(self.model), reads(self.model))
            new = np.stack([target.holds(guard, first) for guard in guards])
            self._prompt_targets = np.concatenate([self._prompt_targets, new], axis=1)
        source = self.spaces[Side.SOURCE]
        first = len(self._lets_go)
        if first < len(source):
            bits = np.zeros(len(source) - first, np.int64)
            for place, guard in enumerate(self._environments.lets_go):
                bits |= source.holds(guard, first).astype(np.int64) << place
            self._lets_go = np.concatenate([self._lets_go, bits])

    def _source_waits(self, joint: Joint) -> npt.NDArray[np.bool_]:
        """Return where the target has something to do at once."""
        checks, reading = self._prompt_targets
        return checks[joint.target] | (reading[joint.target] & self._channels.prompt[joint.channel])

    # -- parts and keys

    @property
    def channels(self) -> list[Channel]:
        """The states of the channel, by number."""
        return self._channels.states

    @property
    def environments(self) -> list[Environment]:
        """The states of the environment, by number."""
        return self._environments.states

    def unpack(self, keys: Keys) -> Joint:
        """Return the parts of joint states."""
        return unpack(keys)

    # -- edges

    def successors(self, joint: Joint) -> Iterator[Found]:
        """Yield every edge out of some states, side by side, then the channel's disturbances."""
        for side in Side:
            own = joint.source if side is Side.SOURCE else joint.target
            self.spaces[side].expand(own)
            yield self._followed(side, joint, self.spaces[side].spans, own)
        for side in Side:
            own = joint.source if side is Side.SOURCE else joint.target
            heads = self._channels.heads[side][joint.channel]
            at = np.flatnonzero(heads >= 0)
            if not len(at):
                continue
            space = self.spaces[side]
            pairs = space.expand_pairs(own[at].astype(np.int32), heads[at].astype(np.int32))
            yield self._followed(side, joint, space.pair_spans, pairs.astype(np.int64), at)
        yield from self._disturbed(joint)

    def _followed(
        self, side: Side, joint: Joint, spans: Rows, places: Array, at: Array | None = None
    ) -> Found:
        space = self.spaces[side]
        self._refresh()
        origin, edges = self._affordable(
            spans, places, joint.environment if at is None else joint.environment[at]
        )
        if at is not None:
            origin = at[origin]
        labels = space.edges["label"][edges]
        tolls = self._label_tolls[side][labels]
        environment = self._environments.after[tolls, joint.environment[origin]]
        possible = environment >= 0
        if side is Side.SOURCE:
            waiting = self._source_waits(joint)
            if waiting.any():
                possible &= ~(waiting[origin] & self._waits[labels])
        keep = np.flatnonzero(possible)
        origin, edges, labels = origin[keep], edges[keep], labels[keep]
        environment = environment[keep]
        other = joint.target if side is Side.SOURCE else joint.source
        ok = self._peer_ok[side][self._peers[side][1][labels], other[origin]]
        channel = self._channels.after(
            space.edges["op"][edges].astype(np.int64), joint.channel[origin]
        )
        keep = np.flatnonzero(ok & (channel >= 0))
        origin, edges, labels = origin[keep], edges[keep], labels[keep]
        after = space.edges["next"][edges].astype(np.int64)
        mine, others = (
            (after, joint.target[origin]) if side is Side.SOURCE else (joint.source[origin], after)
        )
        environment = environment[keep]
        if side is Side.SOURCE:
            environment = self._environments.kept[self._lets_go[after], environment]
        keys = pack(Joint(mine, others, channel[keep], environment))
        return Found(
            origin, keys, SIDE_CODE[side] + labels.astype(np.int64), edges.astype(np.int64)
        )

    def _affordable(self, spans: Rows, places: Array, environments: Array) -> tuple[Array, Array]:
        """Return the edges that something is left for: places of their states, and their own."""
        origins, edges = [], []
        starts = spans["start"][places]
        for number, name in enumerate(CLASSES):
            counts = spans[name][places]
            at = np.flatnonzero((counts > 0) & self._environments.affords[number][environments])
            sizes = counts[at].astype(np.int64)
            origins.append(np.repeat(at, sizes))
            ends = np.cumsum(sizes)
            within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
            edges.append(np.repeat(starts[at], sizes) + within)
            starts = starts + counts
        return np.concatenate(origins), np.concatenate(edges)

    def _disturbed(self, joint: Joint) -> Iterator[Found]:
        for code, op, toll in self._on_channel:
            environment = self._environments.after[toll, joint.environment]
            at = np.flatnonzero((environment >= 0) & (joint.channel > 0))
            if not len(at):
                continue
            channel = self._channels.after(np.full(len(at), op), joint.channel[at])
            keep = channel >= 0
            at, channel = at[keep], channel[keep]
            if not len(at):
                continue
            keys = pack(Joint(joint.source[at], joint.target[at], channel, environment[at]))
            yield Found(at, keys, np.full(len(at), code), np.full(len(at), -1))

    # -- exploring

    def joint(self, first: int, last: int) -> Joint:
        """Return the states numbered from `first` to before `last`."""
        return unpack(self.visited.keys[first:last])

    def explore(
        self,
        on_level: Callable[[Progress], bool] | None = None,
        on_edges: Callable[[Array, Numbers, Array], None] | None = None,
        beside: Beside = at_once,
    ) -> None:
        """Find every reachable state.

        `on_level` is told of each level and ends the exploration by returning False. `on_edges`
        is given (numbers of the states, numbers of their successors, label codes), by whoever
        `beside` lets do the work.
        """
        first = 0
        while first < len(self.visited):
            last = len(self.visited)
            self.levels.append(last)
            under_way = [
                beside(partial(self._take, found, begin, on_edges))
                for begin in range(first, last, CHUNK)
                for found in self.successors(self.joint(begin, min(begin + CHUNK, last)))
            ]
            for wait in under_way:
                wait()
            if on_level is not None:
                progress = Progress(self.depth, last, self.transitions, last - first)
                if not on_level(progress):
                    return
            first = last
            self.depth += 1
        self.depth -= 1

    def _take(
        self,
        found: Found,
        begin: int,
        on_edges: Callable[[Array, Numbers, Array], None] | None,
    ) -> None:
        """Take in edges out of the states from `begin` on, in the order in which they are found."""
        if not len(found.keys):
            return
        before = len(self.visited)
        numbers = self.visited.intern(found.keys)
        self._note_parents(numbers, before, found.origin + begin)
        self.transitions += len(numbers)
        self._note_used(found)
        if on_edges is not None:
            on_edges(found.origin + begin, numbers, found.codes)

    def _note_parents(self, numbers: Numbers, before: int, origin: Array) -> None:
        new = len(self.visited) - before
        if new:
            parents = np.empty(new, np.int32)
            fresh = np.flatnonzero(numbers >= before)[::-1]
            parents[numbers[fresh] - before] = origin[fresh]
            self.parents.extend(parents)

    def _note_used(self, found: Found) -> None:
        side = Side.SOURCE if found.codes[0] < SIDE_CODE[Side.TARGET] else Side.TARGET
        if found.edges[0] < 0:
            return
        used, edges = self.used[side], self.spaces[side].edges
        if len(used) < len(edges):
            self.used[side] = np.zeros(2 * len(edges), np.bool_)
            self.used[side][: len(used)] = used
        self.used[side][found.edges] = True

    def taken(self) -> set[int]:
        """Return the entries (by number in `stepper.entries`) that some followed edge takes."""
        found: set[int] = set()
        for side, space in self.spaces.items():
            used = np.flatnonzero(self.used[side])
            for outcome in np.unique(space.edges["outcome"][used]).tolist():
                found |= set(space.taken[outcome])
        return found

    # -- names

    def label(self, code: int) -> str:
        """Return what an edge's label code stands for, as a line of a trace."""
        if code >= CHANNEL_CODE:
            return _ON_CHANNEL[code - CHANNEL_CODE].value
        side = Side.TARGET if code >= SIDE_CODE[Side.TARGET] else Side.SOURCE
        return self.spaces[side].labels[code - SIDE_CODE[side]].name

    def is_fair(self, codes: Array) -> npt.NDArray[np.bool_]:
        """Return which label codes go on without operator, guest and faults."""
        return self._fair[codes]


_OTHER = {Side.SOURCE: Side.TARGET, Side.TARGET: Side.SOURCE}

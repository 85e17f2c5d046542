"""One VM's joint states and what can happen to each, found once however often they are met.

Rules kept here:
1. A joint state of one VM is packed into 64-bit words and interned exactly; the explorer speaks of
   it by number.
2. What an action does depends on the fields that its event can touch, and on nothing else: it is
   worked out once for each of their combinations (mask, value -> next) and applied to whole arrays.
3. Here is all that one VM can do; whether the other VM, the channel and the environment let it is
   the explorer's business, by the numbers on each edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from statemachines.actions import RESPAWN_PEER, TOLL_OF, Action, Toll, actions_of
from statemachines.checker.index import Index, Numbers, chain, first_places
from statemachines.checker.layout import Columns, Layout, Part
from statemachines.checker.rows import Rows
from statemachines.checker.steps import Outcome, Stepper
from statemachines.checker.surroundings import CLASSES
from statemachines.checker.workings import DISABLED, ENDS, Cases, Ops, Workings
from statemachines.compile import Model
from statemachines.environment import Budget, Disturbance, Side, Stage
from statemachines.ground import Ground, both, negated
from statemachines.guards import VM_SCOPE, In
from statemachines.observers import Life
from statemachines.states import Incoming, Link
from statemachines.wire import Op

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_ALIVE = In(Life.ALIVE)
_HAS_VM = In(Incoming.COMPLETED)
#: Columns of a span: where its edges begin, and how many there are of each class.
SPAN = ("start", *CLASSES)
#: Columns of the edge table.
EDGE = ("label", "next", "op", "outcome")


@dataclass(frozen=True)
class Label:
    """What an edge is called, and what it asks of the rest of the system."""

    #: The action, or what happens to the process.
    what: Action | Disturbance
    #: What it asks of the environment.
    toll: Toll
    #: What must be so at the other VM.
    peer: Ground
    #: Whether it goes on where operator, guest and faults are taken away.
    fair: bool

    @property
    def name(self) -> str:
        """A line of a trace."""
        return self.what.name if isinstance(self.what, Action) else self.what.value


class LocalSpace:
    """The states of one side, and their edges."""

    def __init__(self, model: Model, side: Side, stepper: Stepper, ops: Ops) -> None:
        self.model = model
        self.side = side
        self.stepper = stepper
        self.ops = ops
        self.layout = Layout(model)
        self.width = self.layout.width
        self.workings = Workings(model, side, stepper, ops)
        self._parts = [Index() for _ in range(2 * self.width - 1)]
        #: The states, by number, one column per word.
        self.words = Rows(tuple(f"word{i}" for i in range(self.width)), np.uint64)
        spent = {b for b in Budget if not model.topology.budgets.get(b)}
        actions = [a for a in actions_of(model, side) if a.toll.cost not in spent]
        self.labels: list[Label] = [
            Label(a, a.toll, a.peer, a.fair) for a in actions if a.receives is None
        ]
        self._unprompted = len(self.labels)
        self.labels += [Label(a, a.toll, a.peer, a.fair) for a in actions if a.receives is not None]
        #: Per label: the fields that its action can touch.
        self.parts = [Part(self.layout, self._touched(label.what)) for label in self.labels]
        self._perishing = self._disturbances()
        self._classes = np.array([_class_of(label.toll) for label in self.labels])
        #: (label, content or -1) -> what the action does, by case.
        self.cases: dict[tuple[int, int], Cases] = {}
        #: Outcome number -> entries taken.
        self.taken = self.workings.taken
        self.edges = Rows(EDGE, np.int32)
        #: Per state: where its edges begin (-1: not yet found) and how many there are.
        self.spans = Rows(SPAN, np.int32)
        self._pairs = Index()
        #: Per (state, content): the same for what it does with that message.
        self.pair_spans = Rows(SPAN, np.int32)
        self.initial = int(self.intern(self.layout.pack([model.initial()]))[0])

    # -- states

    def state(self, number: int) -> tuple[int, ...]:
        """Return a state by its number."""
        return self.layout.unpack([int(self.words[name][number]) for name in self.words.names])

    def intern(self, words: Words) -> Numbers:
        """Return the number of each state, giving new ones to states not met before."""
        before = len(self.words)
        numbers = chain(self._parts, [words[:, i] for i in range(self.width)])
        places = first_places(numbers, before)
        if len(places):
            self.words.extend(*(words[places, i] for i in range(self.width)))
        return numbers

    def __len__(self) -> int:
        return len(self.words)

    def reached(self) -> Mask:
        """Return which states were met in a joint state that was expanded."""
        return self.spans["start"] >= 0

    # -- guards, on arrays

    def holds(self, guard: Ground, first: int = 0) -> Mask:
        """Return where a ground guard holds, for the states from number `first` on."""
        columns = [self.words[name][first:] for name in self.words.names]
        return self.layout.evaluate(guard, columns, Columns())

    # -- actions

    def _touched(self, what: Action | Disturbance) -> set[int]:
        assert isinstance(what, Action)
        touched = set(self.stepper.touched(what.happens)) | set(what.clears)
        return touched | {self.model.number(Link)}

    def _disturbances(self) -> list[tuple[int, Ground, Life | None]]:
        """Add the labels of what happens to the process: (label, guard, how its life ends)."""
        alive = self.model.ground(_ALIVE, VM_SCOPE)
        owner = self.model.ground(_HAS_VM, VM_SCOPE)
        kinds: list[tuple[Disturbance, Ground, Life | None]]
        if self.side is Side.SOURCE:
            kinds = [(Disturbance.KILL_SOURCE, alive, Life.DIED)]
        else:
            kinds = [
                (Disturbance.KILL_TARGET, both((alive, negated(owner))), Life.DIED),
                (Disturbance.KILL_TARGET, both((alive, owner)), Life.DIED_WITH_VM),
                (Disturbance.RESPAWN_TARGET, negated(alive), None),
            ]
        respawn_peer = self.model.ground(RESPAWN_PEER, VM_SCOPE)
        found = []
        for disturbance, guard, life in kinds:
            peer = respawn_peer if life is None else True
            self.labels.append(Label(disturbance, TOLL_OF[disturbance], peer, fair=False))
            found.append((len(self.labels) - 1, guard, life))
        return found

    def expand(self, states: npt.NDArray[np.int64]) -> None:
        """Find the edges of these states, messages apart, where that has not been done yet."""
        missing = len(self.words) - len(self.spans)
        self.spans.extend(np.full(missing, -1), *[np.zeros(missing)] * len(CLASSES))
        asked = np.zeros(len(self.words), np.bool_)
        asked[states] = True
        new = np.flatnonzero(asked & (self.spans["start"] < 0))
        if not len(new):
            return
        columns = [self.words[name][new] for name in self.words.names]
        cache = Columns()
        found: list[tuple[npt.NDArray[Any], ...]] = []
        for number, label in enumerate(self.labels[: self._unprompted]):
            assert isinstance(label.what, Action)
            at = np.flatnonzero(self.layout.evaluate(label.what.guard, columns, cache))
            if len(at):
                found.append(self._apply(number, label.what, columns, at, -1))
        for number, guard, life in self._perishing:
            at = np.flatnonzero(self.layout.evaluate(guard, columns, cache))
            if len(at):
                found.append(self._perish(number, life, at))
        for name, column in zip(SPAN, self._add_edges(found, len(new)), strict=True):
            self.spans[name][new] = column

    def expand_pairs(self, states: Numbers, contents: Numbers) -> Numbers:
        """Return the number of each (state, content) pair, with its edges found."""
        keys = states.astype(np.uint64) << np.uint64(16) | contents.astype(np.uint64)
        numbers = self._pairs.intern(keys)
        first = len(self.pair_spans)
        count = len(self._pairs) - first
        if count:
            fresh = self._pairs.keys[first:]
            self._expand_new_pairs(
                (fresh >> np.uint64(16)).astype(np.int64),
                (fresh & np.uint64(0xFFFF)).astype(np.int64),
            )
        return numbers

    def _expand_new_pairs(
        self, states: npt.NDArray[np.int64], contents: npt.NDArray[np.int64]
    ) -> None:
        columns = [self.words[name][states] for name in self.words.names]
        cache = Columns()
        found: list[tuple[npt.NDArray[Any], ...]] = []
        for content in np.unique(contents):
            message = self.ops.contents[content].message
            here = contents == content
            for number, label in enumerate(self.labels):
                if not isinstance(label.what, Action) or label.what.receives is not message:
                    continue
                allowed = self.layout.evaluate(label.what.guard, columns, cache)
                at = np.flatnonzero(here & allowed)
                if len(at):
                    found.append(self._apply(number, label.what, columns, at, int(content)))
        self.pair_spans.extend(*self._add_edges(found, len(states)))

    def _add_edges(
        self, found: list[tuple[npt.NDArray[Any], ...]], count: int
    ) -> list[npt.NDArray[np.int64]]:
        """Add edges, sorted by state and class; return the columns of the states' spans."""
        base = len(self.edges)
        if not found:
            return [np.full(count, base), *[np.zeros(count, np.int64)] * len(CLASSES)]
        at, words, labels, ops, outcomes = (
            np.concatenate(parts) for parts in zip(*found, strict=True)
        )
        keys = at * len(CLASSES) + self._classes[labels]
        order = np.argsort(keys, kind="stable")
        after = self.intern(words[order])
        self.edges.extend(labels[order], after, ops[order], outcomes[order])
        counts = np.bincount(keys, minlength=count * len(CLASSES)).reshape(count, len(CLASSES))
        sums = counts.sum(axis=1)
        return [base + np.cumsum(sums) - sums, *counts.T]

    # -- one action on many states

    def _apply(
        self,
        number: int,
        action: Action,
        columns: list[Words],
        at: npt.NDArray[np.int64],
        content: int,
    ) -> tuple[npt.NDArray[Any], ...]:
        mask = self.parts[number].mask
        cases = self.cases.get((number, content))
        if cases is None:
            cases = self.cases[number, content] = Cases(mask)
        subset = [column[at] for column in columns]
        before = len(cases.numbers)
        which = cases.which(subset)
        fresh = first_places(which, before)
        if len(fresh):
            rows = np.stack([column[fresh] for column in subset], axis=1).tolist()
            self._work_out(number, action, content, cases, rows)
        status = cases.numbers["status"][which]
        keep = status != DISABLED
        at, which, status = at[keep], which[keep], status[keep]
        words = np.empty((len(at), self.width), np.uint64)
        ends = status == ENDS
        for i, (column, bits) in enumerate(zip(subset, mask, strict=True)):
            rest = column[keep] & ~np.uint64(bits)
            rest[ends] = 0
            words[:, i] = rest | cases.words[f"word{i}"][which]
        return (
            at,
            words,
            np.full(len(at), number, np.int64),
            cases.numbers["op"][which].astype(np.int64),
            cases.numbers["outcome"][which].astype(np.int64),
        )

    def _work_out(
        self, number: int, action: Action, content: int, cases: Cases, rows: list[list[int]]
    ) -> None:
        heard = self.workings.heard(content)
        part = self.parts[number]
        numbers, words = [], []
        for row in rows:
            before = part.unpack(row)
            status, after, op, outcome = self.workings.case(action, before, heard)
            numbers.append((status, op, outcome))
            words.append(self.layout.packed(after) if status == ENDS else part.packed(after))
            cases.before.append(before)
        cases.numbers.extend(*np.array(numbers, np.int32).T)
        cases.words.extend(*np.array(words, np.uint64).T)

    def _perish(
        self, number: int, life: Life | None, at: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[Any], ...]:
        state = self.workings.dead(life) if life is not None else self.model.initial()
        op = self.ops.number((Op("perish", self.side),) if life is not None else ())
        count = len(at)
        outcome = self.workings.taken_number(Outcome([]))
        words = np.repeat(self.layout.pack([state]), count, axis=0)
        return at, words, *(np.full(count, value, np.int64) for value in (number, op, outcome))


def _class_of(toll: Toll) -> int:
    if toll.stage is not Stage.LIVE:
        return CLASSES.index("setting up")
    return CLASSES.index("free" if toll.cost is None else toll.cost.value)

"""Journals as a story: what two VMs wrote down, merged, and stepped through as a trace is.

Rules kept here:
1. The checker's own rules lead from state to state (`steps.py`, `wire.py`); a journal says what
   happened, and after each of its steps the two are compared. Where they part the story ends.
2. What nobody wrote down but must have been (a peer without a journal answers, a process ends) is
   a step of its own, and says that it is inferred.
3. A line that was raised belongs to the step that raised it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from statemachines.actions import MESSAGE_OF, Toll, alive
from statemachines.checker.conformance import (
    Conformance,
    Journal,
    Merged,
    MergedStep,
    is_incoming,
    merge,
)
from statemachines.checker.explore import CHANNEL_CODE, SIDE_CODE
from statemachines.checker.journal_run import LegalStep
from statemachines.checker.page.html import page_of_rules
from statemachines.checker.page.journal_system import JournalSystem
from statemachines.checker.page.rules import Json, guard_json, toll_json
from statemachines.checker.page.stories import Story
from statemachines.checker.steps import State
from statemachines.checker.workings import asked_ops, dead_state, said_ops
from statemachines.environment import Side
from statemachines.events import E, Origin
from statemachines.ground import both, holds
from statemachines.guards import VM_SCOPE, In
from statemachines.observers import Life
from statemachines.states import Incoming, Link
from statemachines.wire import NO_CHANNEL, Content, End, Op, Overflow, apply

_OTHER = {Side.SOURCE: Side.TARGET, Side.TARGET: Side.SOURCE}
#: Label codes of a process that ends, by side, and the first of what happens out of sight.
_END_CODE = 9_000
_UNSEEN_CODE = CHANNEL_CODE
_INFERRED = "inferred: no journal says so"


class _PartedError(Exception):
    """The rules do not lead where a journal says that its VM went."""


@dataclass(frozen=True)
class _Group:
    """A line, and those of what it raised."""

    #: Place of the journal.
    journal: int
    #: The steps, in order.
    steps: tuple[LegalStep, ...]
    #: Whether what it uses of a channel is nobody's who keeps a journal.
    strange: bool


def page_of_journals(
    journals: Sequence[Journal], files: Sequence[str], assets: Mapping[str, str]
) -> tuple[Conformance, str | None]:
    """Check journals, of a VM or of a source and its target, and return the page of their run.

    :param files: what the page calls each of them.
    :param assets: as for `page_of`.
    :return: what came of checking, and the page; None where not one line is a legal step.
    """
    merged = merge(journals)
    policies = next((found for found in merged.policies if found), None)
    if policies is None:
        return merged.conformance, None
    telling = Telling(merged, files, policies)
    telling.run()
    found = merged.conformance.disagreement
    file_of = dict(zip((journal.name for journal in journals), files, strict=True))
    wrong = None
    if found is not None:
        wrong = (
            f"a line that is no step of the tables: line {found.line} of {file_of[found.journal]} "
            f"says {found.came}, expected was {found.expected}"
        )
    rules = telling.system.as_json(telling.absent, telling.labels)
    title = f"replug: {' and '.join(files)}"
    return merged.conformance, page_of_rules(rules, [telling.story(wrong)], assets, title)


@dataclass
class _Unseen:
    """What happens out of sight, each once however often it does."""

    #: What is done to the channel -> the label's code and words.
    found: dict[tuple[Op, ...], tuple[int, str]] = field(default_factory=dict)

    def code(self, ops: tuple[Op, ...], words: str) -> int:
        """Return the label code."""
        code, _ = self.found.setdefault(ops, (_UNSEEN_CODE + len(self.found), words))
        return code


class Telling:
    """Walks along merged journals, with the checker's rules and beside what the journals say."""

    def __init__(self, merged: Merged, names: Sequence[str], policies: Mapping[str, str]) -> None:
        self._merged = merged
        self._names = names
        self._steps = [
            [each.step for each in merged.steps if each.journal == place]
            for place in range(len(names))
        ]
        self._sides = _sides(self._steps)
        journals = list(zip(self._sides, self._steps, strict=True))
        self.system = JournalSystem(policies, journals)
        #: VMs that no journal speaks of.
        self.absent = [side for side in Side if side not in self._sides]
        #: The joint state of each VM, as far as was walked.
        self.states = {side: self.system.model.initial() for side in Side}
        self._channel = NO_CHANNEL
        model = self.system.model
        #: A VM was told to exit.
        self._has_failed = both((alive(model), model.ground(In(Incoming.FAILED), VM_SCOPE)))
        self._unseen = _Unseen()
        self._codes: list[int] = []
        self._notes: list[str] = []
        #: Where the rules and a journal part.
        self._parted: str | None = None

    def run(self) -> None:
        """Walk as far as the rules go along."""
        groups = list(_groups(self._merged.steps))
        last = {group.journal: place for place, group in enumerate(groups)}
        for place, group in enumerate(groups):
            try:
                self._take(group)
            except (_PartedError, Overflow) as error:
                line = group.steps[0].line
                self._parted = f"{self._names[group.journal]}, line {line}: {error}"
                return
            side = self._sides[group.journal]
            if last[group.journal] == place and holds(self._has_failed, self.states[side]):
                self._operate((Op("perish", side),))
                self._tell(SIDE_CODE[side] + _END_CODE, _INFERRED)

    # -- one step

    def _take(self, group: _Group) -> None:
        side, first = self._sides[group.journal], group.steps[0]
        if len(group.steps) <= sum(len(step.entry.raised) for step in group.steps):
            raise _PartedError("the journal ends in the middle of what it raises")
        if group.strange:
            self._infer(side, first)
        choice = self.system.choices[side, self.system.happens(side, first), first.answers]
        action = choice.action
        state = list(self.states[side])
        if not holds(action.guard, state):
            raise _PartedError(f"{first.event.name} cannot happen here")
        heard: dict[int, int] = {}
        if action.receives is not None:
            inbox = self._inbox(side)
            if not inbox or inbox[0].message is not action.receives:
                raise _PartedError(f"{action.receives.name} is not what comes next")
            carried = self.system.model.carried.get(action.receives, ())
            heard = dict(zip(carried, inbox[0].latched, strict=False))
        for owed in action.clears:
            state[owed] = 0
        outcome = self.system.stepper.run(action.happens, tuple(state), heard)
        if outcome is None or outcome.unhandled is not None:
            raise _PartedError(f"no machine that listens to {first.event.name} may refuse it")
        self._compare(side, group.steps[-1], tuple(outcome.state))
        ops = (*asked_ops(action), *said_ops(side, outcome))
        link = tuple(Link)[outcome.state[self.system.model.number(Link)]]
        if link in (Link.LOST, Link.CLOSED):
            ops = (*ops, Op("deafen", side))
        self._operate(ops)
        self.states[side] = tuple(outcome.state)
        self._tell(choice.code, self._note(group))

    def _compare(self, side: Side, step: LegalStep, state: State) -> None:
        told = self.system.fields(side, step.devices, step.entry.state)
        for number, value in told.items():
            if state[number] != value:
                known = self.system.model.fields[number]
                raise _PartedError(
                    f"{known.name} is '{known.values[value]}' there, the rules of this page, which "
                    f"are one set for both VMs, lead to '{known.values[state[number]]}'"
                )

    def _inbox(self, side: Side) -> tuple[Content, ...]:
        return self._channel.to_source if side is Side.SOURCE else self._channel.to_target

    def _operate(self, ops: tuple[Op, ...]) -> None:
        channel = apply(self._channel, ops)
        if channel is None:
            raise _PartedError("the channel is not in a state for that")
        self._channel = channel

    def _tell(self, code: int, note: str) -> None:
        self._codes.append(code)
        self._notes.append(note)

    def _note(self, group: _Group) -> str:
        first, last = group.steps[0], group.steps[-1]
        lines = f"line {first.line}"
        if last is not first:
            lines = f"lines {first.line} to {last.line}"
        began, now = self._steps[group.journal][0].entry.time_ms, first.entry.time_ms
        after = "" if began is None or now is None else f", {now - began:.1f} ms after its first"
        return f"{self._names[group.journal]}, {lines}{after}"

    # -- what nobody wrote down

    def _infer(self, side: Side, step: LegalStep) -> None:
        """Let happen at the other end what a step of this one needs."""
        other = _OTHER[side]
        if step.event in (E.PEER_CONNECTED, E.PEER_CONNECTED_ONE_WAY):
            one_way = step.event is E.PEER_CONNECTED_ONE_WAY
            self._happen((Op("make", other, one_way),), "something connects")
        elif step.received is not None:
            end = self._channel.source if other is Side.SOURCE else self._channel.target
            read = self._inbox(other)
            ops = [Op("accept", other)] if end is End.OFFERED else []
            ops += [Op("pop", other) for _ in read]
            content = Content(step.received.message, self._latched(other, step))
            names = " and ".join(each.message.name for each in read)
            words = f"reads {names} and says" if names else "says"
            self._happen((*ops, Op("send", other, content)), f"{words} {content.message.name}")

    def _latched(self, other: Side, step: LegalStep) -> tuple[int, ...]:
        """Return what a message carries; of what the receiver could not read, anything."""
        assert step.received is not None
        message, model = MESSAGE_OF[step.event], self.system.model
        carried = step.received.carried or {}
        told = self.system.fields(_OTHER[other], step.devices, carried)
        initial = model.initial()
        return tuple(told.get(f, initial[f]) for f in model.carried.get(message, ()))

    def _happen(self, ops: tuple[Op, ...], words: str) -> None:
        self._operate(ops)
        self._tell(
            self._unseen.code(ops, f"the other end, of which no journal is here: {words}"),
            _INFERRED,
        )

    # -- what came of it

    @property
    def labels(self) -> list[Json]:
        """What happens beside what the VMs themselves do."""
        model = self.system.model
        ends = [
            _label(SIDE_CODE[side] + _END_CODE, "its process ends, as it was told", side)
            | {
                "disturbs": True,
                "guard": guard_json(self._has_failed),
                "dies": dead_state(model, Life.EXITED),
            }
            for side in self._sides
        ]
        unseen = [
            _label(code, words, None) | {"ops": [_op(op) for op in ops]}
            for ops, (code, words) in self._unseen.found.items()
        ]
        return [*ends, *unseen]

    def story(self, wrong: str | None) -> Story:
        """Return what was walked; `wrong`: the first line that is no legal step, in words."""
        sentence = "What both VMs wrote down; whatever arrives was sent before."
        if len(self._names) == 1:
            mine = self._sides[0].value
            sentence = f"What the {mine} wrote down; of the other end only its messages are known."
        verdict = "a run of the tables"
        if wrong is not None:
            verdict = f"ends before {wrong}"
        elif self._parted is not None:
            verdict = f"a run of the tables; this page ends before {self._parted}"
        good = wrong is None and self._parted is None
        return Story(
            "the journals", sentence, verdict, good, tuple(self._codes), notes=tuple(self._notes)
        )


def _sides(journals: Sequence[Sequence[LegalStep]]) -> list[Side]:
    """Return whose each journal is: what was started to be migrated into is the target."""
    incoming = [is_incoming(steps) for steps in journals]
    if len(journals) == 1:
        return [Side.TARGET if incoming[0] else Side.SOURCE]
    swapped = incoming[0] and not incoming[1]
    return [Side.TARGET, Side.SOURCE] if swapped else [Side.SOURCE, Side.TARGET]


def _groups(steps: Iterable[MergedStep]) -> Iterable[_Group]:
    held: list[MergedStep] = []
    for each in steps:
        if held and each.step.event.info.origin is not Origin.RAISED:
            yield _group(held)
            held = []
        held.append(each)
    if held:
        yield _group(held)


def _group(steps: Sequence[MergedStep]) -> _Group:
    return _Group(steps[0].journal, tuple(each.step for each in steps), steps[0].strange)


def _label(code: int, words: str, side: Side | None) -> dict[str, Json]:
    return {
        "code": code,
        "name": words,
        "words": words,
        "actor": "host",
        "cost": None,
        "toll": toll_json(Toll()),
        "side": side.value if side else None,
        "peer": True,
        "waits": False,
        "fair": False,
    }


def _op(op: Op) -> Json:
    what = op.what
    if isinstance(what, Content):
        return [op.name, op.side.value if op.side else None, [what.message.name, what.latched]]
    return [op.name, op.side.value if op.side else None, what]

"""What the two VMs do and say in one course of a migration, recorded while the tables run.

Rules kept here:
1. Nothing is drawn that did not happen: two runtimes, source and target, take the scenario's acts,
   and everything else follows from the effects of their rows.
2. A message travels with what was latched when it was sent, and arrives as `RECEIVED_AS` says. A
   command gets its answer from `scenarios.py`; an answer the row does not allow is an error. Who
   has closed the channel hears nothing more from it, and must not send any more.
3. Both VMs have one standby and one primary. Everything waits its turn in one queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from textwrap import wrap

from statemachines.diagram.mermaid import escaped
from statemachines.diagram.scenarios import ANSWERS, AWAITED, TIMERS, Act, Scenario, Side
from statemachines.effects import RECEIVED_AS, Command, Do, Message, Send
from statemachines.events import E, Origin
from statemachines.guards import Per
from statemachines.policies import VALUATIONS
from statemachines.runtime import Happening, Runtime, Step
from statemachines.states import Incoming, Migration, State

TEXT_LETTERS_MAX = 48
#: Machines whose moves are drawn, and what their notes call them.
_NOTED = {"migration": "", "incoming": "", "run_state": "run state ", "primary": "primary "}


class Party(Enum):
    """Who takes part; the value is what a person reads."""

    #: Whoever gives the commands.
    OPERATOR = "operator"
    #: The guest while it is at the source.
    SOURCE_GUEST = "guest at the source"
    #: The source's machines.
    SOURCE = "source"
    #: The target's machines.
    TARGET = "target"
    #: The guest once it is at the target.
    TARGET_GUEST = "guest at the target"


_VM = {Side.SOURCE: Party.SOURCE, Side.TARGET: Party.TARGET}
_GUEST = {Side.SOURCE: Party.SOURCE_GUEST, Side.TARGET: Party.TARGET_GUEST}
_TO_GUEST = {Command.RUN_GUEST, Command.QUIESCE_GUEST, Command.STOP_GUEST, Command.RESET_GUEST}
_TO_OTHER = {Command.ITERATE, Command.SAVE_FINAL, Command.CONNECT, Command.CLOSE_CHANNEL}
_STATUS = {Command.EMIT_MIGRATION: Migration, Command.EMIT_INCOMING: Incoming}


class Kind(Enum):
    """What a line is."""

    #: An event from outside.
    ACT = "act"
    #: A message to the other VM.
    MESSAGE = "message"
    #: A command to the world.
    COMMAND = "command"
    #: A state that was left for another.
    STATUS = "status"


@dataclass(frozen=True)
class Line:
    """One thing that happened."""

    #: What it is.
    kind: Kind
    #: Who did it.
    sender: Party
    #: To whom; for a status the sender itself.
    receiver: Party
    #: What a person reads.
    text: str
    #: The event, message, command or state it is about.
    about: E | Message | Command | State


class ScenarioError(ValueError):
    """A scenario asks for what its machines would never do."""


@dataclass(frozen=True)
class _Arrival:
    side: Side
    event: E
    index: int | None
    latched: Mapping[type[State], Mapping[int, State]] | None = None


class _Play:
    """Two VMs and what is under way between them."""

    def __init__(self, profile: str) -> None:
        self.lines: list[Line] = []
        self._queue: deque[_Arrival] = deque()
        self._pending: set[tuple[Side, E]] = set()
        self._closed: set[Side] = set()
        self._vms = {side: Runtime(VALUATIONS[profile]) for side in Side}
        self._index: dict[Per, int] = {}
        for vm in self._vms.values():
            self._index[Per.STANDBY] = vm.add_standby()
            self._index[Per.PRIMARY] = vm.add_primary(self._index[Per.STANDBY])

    def run(self, acts: Iterable[Act]) -> None:
        """Let each act happen, and all that follows from it."""
        for act in acts:
            self._act(act)
            while self._queue:
                arrival = self._queue.popleft()
                if not self._is_unheard(arrival):
                    self._fire(arrival)

    def _act(self, act: Act) -> None:
        vm, event = _VM[act.side], act.event
        sender = {Origin.OPERATOR: Party.OPERATOR, Origin.GUEST: _GUEST[act.side]}
        if event.info.origin is Origin.TIME:
            if (act.side, event) not in self._pending:
                raise ScenarioError(f"{event.name} at the {act.side.value}: its timer was not set")
            self._pending.remove((act.side, event))
        self._line(Kind.ACT, sender.get(event.info.origin, vm), vm, event.info.meaning, event)
        self._queue.append(_Arrival(act.side, event, self._index.get(event.info.per)))

    def _fire(self, arrival: _Arrival) -> None:
        vm = self._vms[arrival.side]
        for step in vm.fire(arrival.event, arrival.index, arrival.latched):
            self._note(arrival.side, step)
            for happening in step.effects:
                match happening.effect:
                    case Send():
                        self._send(arrival.side, happening, happening.effect.message)
                    case Do():
                        self._do(arrival.side, happening, happening.effect)

    def _note(self, side: Side, step: Step) -> None:
        for move in step.moves:
            if move.machine in _NOTED and move.before is not move.after:
                prefix = _NOTED[move.machine]
                text = f"{prefix}{move.before.value} → {move.after.value}"
                self._line(Kind.STATUS, _VM[side], _VM[side], text, move.after)

    def _send(self, side: Side, happening: Happening, message: Message) -> None:
        carried = ", ".join(
            f"{lifecycle.__name__} {state.value}"
            for lifecycle, states in happening.latched.items()
            for state in states.values()
        )
        text = f"{message.name} ({carried})" if carried else message.name
        if side in self._closed:
            raise ScenarioError(
                f"the {side.value} sends {message.name} after it closed the channel"
            )
        self._line(Kind.MESSAGE, _VM[side], _VM[side.other], text, message)
        event = RECEIVED_AS[message]
        self._queue.append(_Arrival(side.other, event, None, happening.latched))

    def _do(self, side: Side, happening: Happening, effect: Do) -> None:
        command = effect.command
        event = ANSWERS.get(command) or AWAITED.get(command) or TIMERS.get(command)
        if (event is None) != (not effect.answers) or (event and event not in effect.answers):
            raise ScenarioError(f"{effect} is not answered by {event.name if event else 'nothing'}")
        text = self._said(side, command)
        self._line(Kind.COMMAND, _VM[side], self._receiver(side, command), text, command)
        if event is None:
            return
        if command in TIMERS or command in AWAITED:
            self._pending.add((side, event))
            return
        if command is Command.CONNECT:
            self._connect(side)
        if command is Command.CLOSE_CHANNEL:
            self._closed.add(side)
            self._queue.append(_Arrival(side.other, E.LINK_BROKEN, None))
        index = happening.scope.index if event.info.per is not Per.VM else None
        self._queue.append(_Arrival(side, event, index))

    def _connect(self, side: Side) -> None:
        if (side.other, E.PEER_CONNECTED) not in self._pending:
            raise ScenarioError(f"the {side.value} connects, and nobody listens")
        self._pending.remove((side.other, E.PEER_CONNECTED))
        self._queue.append(_Arrival(side.other, E.PEER_CONNECTED, None))

    def _is_unheard(self, arrival: _Arrival) -> bool:
        event, is_closed = arrival.event, arrival.side in self._closed
        return is_closed and (event is E.LINK_BROKEN or event.info.origin is Origin.PEER)

    def _receiver(self, side: Side, command: Command) -> Party:
        if command.name.startswith(("EMIT_", "WARN_")):
            return Party.OPERATOR
        if command in _TO_GUEST:
            return _GUEST[side]
        return _VM[side.other] if command in _TO_OTHER else _VM[side]

    def _said(self, side: Side, command: Command) -> str:
        if command in _STATUS:
            return f"MIGRATION ({self._vms[side].state(_STATUS[command]).value})"
        answer = ANSWERS.get(command)
        text = command.value.removeprefix("emit ")
        return f"{text} ⇒ {answer.name}" if answer else text

    def _line(
        self,
        kind: Kind,
        sender: Party,
        receiver: Party,
        text: str,
        about: E | Message | Command | State,
    ) -> None:
        self.lines.append(Line(kind, sender, receiver, text, about))


#: What draws a line's arrow; what the operator is told is dashed, whatever it is.
_ARROWS = {Kind.ACT: "->>", Kind.MESSAGE: "->>", Kind.COMMAND: "-)"}


def to_mermaid(lines: Iterable[Line], title: str) -> str:
    """Return the Mermaid text of a `sequenceDiagram` of what happened.

    Who has no part in it is left out; moves that follow one another share a note.
    """
    happened = list(lines)
    taking_part = {party for line in happened for party in (line.sender, line.receiver)}
    text = ["sequenceDiagram", f"title {_text(title)}", "autonumber"]
    for party in Party:
        if party in taking_part:
            word = "actor" if party is Party.OPERATOR else "participant"
            text.append(f"{word} {_id(party)} as {party.value}")
    for (is_status, party), group in groupby(
        happened, key=lambda line: (line.kind is Kind.STATUS, line.sender)
    ):
        if is_status:
            moves = "<br/>".join(_text(line.text) for line in group)
            text.append(f"Note over {_id(party)}: {moves}")
        else:
            text += (_drawn(line) for line in group)
    first, *others = text
    return "\n".join((first, *(f"    {line}" for line in others))) + "\n"


def _drawn(line: Line) -> str:
    arrow = "-->>" if line.receiver is Party.OPERATOR else _ARROWS[line.kind]
    text = wrap(line.text, TEXT_LETTERS_MAX, break_long_words=False, break_on_hyphens=False)
    said = "<br/>".join(_text(part) for part in text)
    return f"{_id(line.sender)}{arrow}{_id(line.receiver)}: {said}"


def _text(text: str) -> str:
    return escaped(text).replace("#58;", ":")  # here a colon ends nothing


def _id(party: Party) -> str:
    return party.name.lower()


def record(profile: str, scenario: Scenario) -> list[Line]:
    """Run a scenario under a profile and return what happened, in order.

    :raise KeyError: if there is no such profile, or the scenario has no acts for it.
    :raise ScenarioError: if an act or an answer is none that the machines wait for.
    :raise StateError: if a machine cannot take what comes.
    """
    play = _Play(profile)
    play.run(scenario.before)
    play.lines.clear()
    play.run(scenario.acts[profile])
    return play.lines

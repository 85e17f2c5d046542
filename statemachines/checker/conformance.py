"""Journals against the rules: each a legal run, and together one conversation.

Rules kept here:
1. Nothing is read but lines; whose they are, and whether a process was killed, is the caller's to
   know. A journal alone is checked as a run; what came from a VM without a journal is believed.
2. Journals are merged by what their channels carried: a connection of a source belongs to the one
   of a target with which it agrees best, and what arrives is what was sent, in order, none twice,
   with the states that its sender had. What was sent last may be lost with its channel.
3. No clock is read: of two journals only the messages say what came first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from statemachines.checker.journal_lines import LineError
from statemachines.checker.journal_run import LegalStep, NotLegalError, Parcel, Run, check_run
from statemachines.effects import Message
from statemachines.events import E, Origin

_OPENS_SOURCE = (E.CONNECTED, E.CONNECTED_ONE_WAY)
_OPENS_TARGET = (E.PEER_CONNECTED, E.PEER_CONNECTED_ONE_WAY)


@dataclass(frozen=True)
class Disagreement:
    """The first line of a journal that is no legal step."""

    #: Whose journal, such as "source".
    journal: str
    #: Number of the line, from 1.
    line: int
    #: What the rules expect there.
    expected: str
    #: What the line says.
    came: str

    def __str__(self) -> str:
        return f"{self.journal}, line {self.line}: expected {self.expected}, got {self.came}"


@dataclass(frozen=True)
class Journal:
    """One VM's journal, as it was written."""

    #: What to call it.
    name: str
    #: Its lines, each with its line feed.
    lines: Iterable[str]
    #: Its process may have ended at any moment, even inside a line.
    killed: bool = False


@dataclass(frozen=True)
class Conformance:
    """What came of checking journals."""

    #: The first line that is no legal step; None where every line is one.
    disagreement: Disagreement | None
    #: How many lines are legal steps, by journal.
    lines: Mapping[str, int]
    #: How many connections of a source were found again at a target.
    merged: int


@dataclass(frozen=True)
class MergedStep:
    """One step of journals that were merged."""

    #: Place of the journal whose it is.
    journal: int
    #: The step.
    step: LegalStep
    #: It came from something that keeps no journal, or went there, as far as it used a channel.
    strange: bool


@dataclass(frozen=True)
class Merged:
    """Journals in one order, in which whatever arrives was sent before."""

    #: What came of checking them.
    conformance: Conformance
    #: What each journal says of its VM's policies; empty where nothing is in it.
    policies: tuple[Mapping[str, str], ...]
    #: The legal steps; where a line is none, up to it and to what needs it.
    steps: tuple[MergedStep, ...]


@dataclass(eq=False)
class _Connection:
    """One end of a channel, from its opening to its close."""

    #: Whose: place of the journal.
    owner: int
    #: Whether it is a source's.
    is_source: bool
    #: The policies of its VM.
    policies: Mapping[str, str]
    #: All it sent, and all it received, in order.
    sent: list[Parcel] = field(default_factory=list)
    received: list[Parcel] = field(default_factory=list)
    #: The other end.
    peer: _Connection | None = None
    #: What its peer has sent and it has not received, while the journals are merged.
    inbox: deque[Parcel] = field(default_factory=deque)
    #: Whether it has been opened, while they are merged.
    is_open: bool = False


@dataclass
class _Side:
    """One journal while it is merged."""

    #: Its place.
    place: int
    #: Its name.
    name: str
    #: Its steps.
    run: Run
    #: The connection of each step, and which steps open one.
    connections: list[_Connection | None]
    #: How many steps are behind.
    done: int = 0


def check_journals(
    source: Iterable[str], target: Iterable[str] | None = None, *, killed: bool = True
) -> Conformance:
    """Check the journal of a source, or those of a source and its target, merged.

    `killed`: the processes may have ended at any moment; the last line of each may be cut short.
    """
    journals = [Journal("source", source, killed)]
    if target is not None:
        journals.append(Journal("target", target, killed))
    return check(journals)


def check(journals: Sequence[Journal], *, strangers: bool = False) -> Conformance:
    """Check journals of VMs that may have migrated to each other; one alone is not merged.

    `strangers`: some of their connections may be with something that keeps no journal; of those
    nothing is asked but that they are legal for their own VM.
    """
    return merge(journals, strangers=strangers).conformance


def merge(journals: Sequence[Journal], *, strangers: bool = False) -> Merged:
    """Check journals as `check` does, and put their steps into one order."""
    runs = [Run() for _ in journals]
    wrong: Disagreement | None = None
    for journal, run in zip(journals, runs, strict=True):
        try:
            check_run(journal.lines, run, killed=journal.killed)
        except (LineError, NotLegalError) as error:
            wrong = wrong or Disagreement(journal.name, error.line, error.expected, error.came)
    sides = [
        _Side(place, journal.name, run, _connections(place, run))
        for place, (journal, run) in enumerate(zip(journals, runs, strict=True))
    ]
    alone = len(sides) == 1
    count = 0 if alone else _pair(sides)
    merging = _Merging(sides, strangers or alone)
    unmerged = merging.run()
    lines = {side.name: len(side.run.steps) for side in sides}
    return Merged(
        Conformance(wrong or unmerged, lines, 0 if wrong else count),
        tuple(run.policies for run in runs),
        tuple(merging.steps),
    )


# -- which connection is which


def _connections(owner: int, run: Run) -> list[_Connection | None]:
    found: list[_Connection | None] = []
    present: _Connection | None = None
    for step in run.steps:
        if step.event in _OPENS_SOURCE + _OPENS_TARGET:
            present = _Connection(owner, step.event in _OPENS_SOURCE, run.policies)
        found.append(present)
        if present is not None:
            present.sent += step.sent
            if step.received is not None:
                present.received.append(step.received)
        if step.event is E.CHANNEL_CLOSED:
            present = None
    return found


def _ends(side: _Side, *, is_source: bool) -> list[_Connection]:
    ends = dict.fromkeys(c for c in side.connections if c is not None)
    return [connection for connection in ends if connection.is_source is is_source]


def _pair(sides: list[_Side]) -> int:
    """Give each connection of a target the free one of a source with which it agrees best."""
    count = 0
    for side in sides:
        for end in _ends(side, is_source=False):
            best, most = None, (False, 0)
            for other in sides:
                for candidate in _ends(other, is_source=True) if other is not side else ():
                    agreement = _agreement(candidate, end)
                    if candidate.peer is None and (best is None or agreement > most):
                        best, most = candidate, agreement
            if best is not None and (most[1] or not end.received):
                best.peer, end.peer = end, best
                count += bool(most[1])
    return count


def _agreement(one: _Connection, other: _Connection) -> tuple[bool, int]:
    """Return whether what each received is what the other sent, and how much of it is."""
    there, back = _common(one, other), _common(other, one)
    whole = there == len(other.received) and back == len(one.received)
    return whole, there + back


def _common(sender: _Connection, receiver: _Connection) -> int:
    count = 0
    for sent, received in zip(sender.sent, receiver.received, strict=False):
        if sent.message is not received.message or _difference(sender, sent, receiver, received):
            break
        count += 1
    return count


def _difference(
    sender: _Connection, sent: Parcel, receiver: _Connection, received: Parcel
) -> str | None:
    """Return what the receiver was told other than its sender had, of devices that both have."""
    if sent.message is Message.HELLO and sender.policies != receiver.policies:
        # A target of another profile takes what its own would have asked for, to refuse it.
        return None
    for machine, theirs in (received.carried or {}).items():
        ours = (sent.carried or {}).get(machine)
        if isinstance(theirs, str) or isinstance(ours, str) or ours is None:
            if ours != theirs:
                return f"{machine} {theirs!r}, where its sender had {ours!r}"
            continue
        for name, state in theirs.items():
            if name in ours and ours[name] != state:
                return f"{machine} of {name} {state!r}, where its sender had {ours[name]!r}"
    return None


# -- what came first


class _Merging:
    """Takes the steps of all journals in an order in which whatever arrives was sent before.

    A VM that waits to be migrated into goes first, so that what is sent is read as soon as can be.
    """

    def __init__(self, sides: list[_Side], strangers: bool) -> None:
        self._sides = sides
        self._order = sorted(sides, key=lambda side: not is_incoming(side.run.steps))
        self._strangers = strangers
        #: What was taken so far.
        self.steps: list[MergedStep] = []

    def run(self) -> Disagreement | None:
        """Take all there is, or return the first line that cannot be taken."""
        while (side := self._next()) is not None:
            if isinstance(side, Disagreement):
                return side
            self._take(side)
        for side in self._sides:
            if side.done < len(side.run.steps):
                reason = self._obstacle(side)
                assert isinstance(reason, str)
                step = side.run.steps[side.done]
                return Disagreement(side.name, step.line, reason, step.event.name)
        return None

    def _next(self) -> _Side | Disagreement | None:
        for side in self._order:
            if side.done < len(side.run.steps):
                reason = self._obstacle(side)
                if isinstance(reason, Disagreement):
                    return reason
                if reason is None:
                    return side
        return None

    def _obstacle(self, side: _Side) -> str | Disagreement | None:
        """Return why the next step cannot be taken now: a text while it may yet be possible."""
        step, connection = side.run.steps[side.done], side.connections[side.done]
        if connection is None:
            return None
        peer = connection.peer
        if peer is not None and step.event in _OPENS_TARGET and not peer.is_open:
            return "nobody: no source is connected"
        if step.received is None:
            return None
        if peer is None:
            if self._strangers:
                return None
            others = " or ".join(other.name for other in self._sides if other is not side)
            return f"no message: {others} was not at the other end of this connection"
        other = self._sides[peer.owner]
        if not connection.inbox:
            return f"no message: {other.name} has sent none that is not received"
        sent = connection.inbox[0]
        expected = f"{sent.message.name}, the next that {other.name} sent"
        if sent.message is not step.received.message:
            return Disagreement(side.name, step.line, expected, step.event.name)
        difference = _difference(peer, sent, connection, step.received)
        if difference is not None:
            came = f"{step.event.name} with {difference}"
            return Disagreement(side.name, step.line, expected, came)
        return None

    def _take(self, side: _Side) -> None:
        """Take a step, and what it raises."""
        self._advance(side)
        while (
            side.done < len(side.run.steps)
            and side.run.steps[side.done].event.info.origin is Origin.RAISED
        ):
            self._advance(side)

    def _advance(self, side: _Side) -> None:
        step, connection = side.run.steps[side.done], side.connections[side.done]
        side.done += 1
        strange = connection is not None and connection.peer is None
        self.steps.append(MergedStep(side.place, step, strange))
        if connection is None:
            return
        connection.is_open = True
        if step.received is not None and connection.peer is not None:
            connection.inbox.popleft()
        if connection.peer is not None:
            connection.peer.inbox.extend(step.sent)


def is_incoming(steps: Iterable[LegalStep]) -> bool:
    """Return whether a VM was started to be migrated into."""
    return any(step.event in (E.BOOT_INCOMING, E.BOOT_INCOMING_HELD) for step in steps)

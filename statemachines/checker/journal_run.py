"""One VM's journal against the rules: every line has to be a legal step of the VM that wrote it.

Rules kept here:
1. The rules are the ground rules of the checker, without budgets: the environment may do whatever
   the tables allow. It still answers only what it was asked, a guest acts only while it runs, a
   message needs a connection, and what a step raises follows at once.
2. The VM grows as the journal says: a device that is added begins in its initial states.
3. Everything that an entry says is compared, not believed; the first line that differs is named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from statemachines.actions import CHANNEL_COMMANDS, MESSAGE_OF
from statemachines.checker.journal_layout import SPECS, Layout, States
from statemachines.checker.journal_lines import CutShort, Device, Entry, entries_of
from statemachines.checker.steps import State, Step
from statemachines.effects import Command, Message, Send
from statemachines.events import E, Origin
from statemachines.ground import Asks, Happens, Kind, Says
from statemachines.guards import Per
from statemachines.policies import check_valuation
from statemachines.spec import Refused
from statemachines.states import Link, RunState
from statemachines.states import State as Lifecycle
from statemachines.system import VM_MACHINES

_NAMES = {spec.states: spec.name for spec in VM_MACHINES}
#: Message -> the machines whose states it carries.
CARRIED: Mapping[Message, frozenset[str]] = {
    effect.message: frozenset(_NAMES[lifecycle] for lifecycle in effect.latch)
    for spec in VM_MACHINES
    for row in spec.rows
    for effect in row.then
    if isinstance(effect, Send)
}


class NotLegalError(Exception):
    """A line disagrees with the rules."""

    def __init__(self, line: int, expected: str, came: str) -> None:
        super().__init__(f"line {line}: expected {expected}, got {came}")
        self.line = line
        self.expected = expected
        self.came = came


@dataclass(frozen=True)
class Parcel:
    """A message as one end of a channel has it."""

    #: Which message.
    message: Message
    #: What it carries; None where the receiver could not read it.
    carried: States | None


@dataclass(frozen=True)
class LegalStep:
    """One line that is a legal step, and what it means to the channel."""

    #: What it says.
    entry: Entry
    #: The command that it answers, of those that were owed.
    answers: Command | None
    #: The failover devices that the VM has, oldest first.
    devices: tuple[Device, ...]
    #: What it received.
    received: Parcel | None
    #: What it sent, in order.
    sent: tuple[Parcel, ...]

    @property
    def line(self) -> int:
        """Number of the line."""
        return self.entry.line

    @property
    def event(self) -> E:
        """What happened."""
        return self.entry.event


@dataclass
class Run:
    """A journal that is a run of the rules, line by line; or as much of one as is."""

    #: Its policies; empty where nothing is in it.
    policies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    #: Its lines.
    steps: list[LegalStep] = field(default_factory=list)


def check_run(lines: Iterable[str], run: Run, *, killed: bool = False) -> None:
    """Check one journal; `killed`: its process may have ended at any moment, even inside a line.

    `run`, which is empty, takes what is legal as far as that is found.

    :raise LineError: for a line that is no entry.
    :raise NotLegalError: for the first entry that is no legal step.
    """
    vm: JournaledVm | None = None
    number = 0
    for entry in entries_of(lines):
        number = entry.line
        if isinstance(entry, CutShort):
            if not killed:
                raise NotLegalError(number, "a whole line", "one that ends in its middle")
            return
        if vm is None:
            run.policies = _policies_of(entry)
            vm = JournaledVm(run.policies)
        elif entry.policies is not None:
            raise NotLegalError(number, "the policies in the first line alone", "policies")
        run.steps.append(vm.take(entry))
    if vm is not None and vm.raised and not killed:
        raise NotLegalError(number + 1, _named(*vm.raised[0]), "the end of the journal")


def _policies_of(entry: Entry) -> Mapping[str, str]:
    if entry.policies is None:
        raise NotLegalError(entry.line, "the policies in the first line", "none")
    try:
        check_valuation(entry.policies)
    except ValueError as error:
        raise NotLegalError(entry.line, "a value for every policy", str(error)) from error
    return entry.policies


def _named(event: E, name: str | None) -> str:
    return event.name + (f" of {name}" if name is not None else "")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words) or "nothing"


class JournaledVm:
    """What is known of a VM from its journal so far."""

    def __init__(self, policies: Mapping[str, str]) -> None:
        self._layout = Layout((), policies)
        self._state: State = self._layout.model.initial()
        self._sequence = 0
        #: What must come next, before anything else: event and device.
        self.raised: deque[tuple[E, str | None]] = deque()
        #: Commands that the world has not answered, the latest last, and of which device.
        self._owed: list[tuple[Command, str | None]] = []
        self._has_ended = False

    def take(self, entry: Entry) -> LegalStep:
        """Take one line.

        :raise NotLegalError: if it is no legal step from here.
        """
        if entry.sequence != self._sequence:
            came = f"step {entry.sequence}: lines are missing or out of order"
            raise NotLegalError(entry.line, f"step {self._sequence}", came)
        self._sequence += 1
        if entry.devices is not None:
            self._grow(entry, entry.devices)
        happens = self._happens(entry)
        self._check_turn(entry)
        heard = self._heard(entry)
        answers = self._answer(entry)
        step = self._layout.stepper.step(happens, self._state, heard)
        if isinstance(step, int):
            raise NotLegalError(entry.line, self._allowed(step, happens), _came(entry))
        sent = self._parcels(step)
        self._compare(entry, step)
        self._follow(step)
        message = MESSAGE_OF.get(entry.event)
        received = None if message is None else Parcel(message, self._completed(entry, message))
        return LegalStep(entry, answers, self._layout.devices, received, sent)

    # -- devices

    def _grow(self, entry: Entry, devices: tuple[Device, ...]) -> None:
        if self.raised:
            raise NotLegalError(entry.line, _named(*self.raised[0]), "other devices")
        before = self._layout
        newest = max((device.index for device in before.devices), default=-1)
        for device in devices:
            if device not in before.devices and device.index <= newest:
                expected = f"an index above {newest} for a new device"
                raise NotLegalError(entry.line, expected, f"{device.index} for {device.id}")
        gone = {device.id for device in before.devices if device not in devices}
        self._owed = [key for key in self._owed if key[1] not in gone]
        self._layout = Layout(devices, before.policies)
        self._state = self._layout.moved(self._state, before)

    def _rank(self, per: Per, name: str | None, line: int) -> int | None:
        try:
            return self._layout.rank(per, name)
        except KeyError:
            of = "no device" if per is Per.VM else f"a {per.value} that the VM has"
            raise NotLegalError(line, of, repr(name)) from None

    def _is_in(self, *states: Lifecycle) -> bool:
        number = self._layout.model.number(type(states[0]))
        return self._layout.model.fields[number].values[self._state[number]] in states

    # -- whether it may happen at all

    def _happens(self, entry: Entry) -> Happens:
        rank = self._rank(entry.event.info.per, entry.instance, entry.line)
        happens = Happens(entry.event, rank)
        if happens not in self._layout.model.events:
            raise NotLegalError(entry.line, "an event of a VM", _came(entry))
        return happens

    def _check_turn(self, entry: Entry) -> None:
        came = _came(entry)
        if self.raised:
            expected = self.raised.popleft()
            if expected != (entry.event, entry.instance):
                raise NotLegalError(entry.line, f"{_named(*expected)}, which was raised", came)
            return
        origin = entry.event.info.origin
        if origin is Origin.RAISED:
            raise NotLegalError(entry.line, "what can happen by itself", f"{came}, not raised")
        if self._has_ended and origin is not Origin.ANSWER:
            raise NotLegalError(entry.line, "the end: the process was told to exit", came)
        if origin is Origin.GUEST and not self._is_in(RunState.RUNNING):
            raise NotLegalError(entry.line, "nothing of a guest that does not run", came)
        if origin is Origin.PEER and not self._is_in(Link.OPEN, Link.ONE_WAY):
            raise NotLegalError(entry.line, "no message: there is no connection", came)

    def _answer(self, entry: Entry) -> Command | None:
        """Return the command that is answered, and is owed no longer."""
        commands = self._layout.model.answers.get(entry.event)
        if commands is None:
            return None
        owed = [
            (command, name)
            for command, name in self._owed
            if command in commands and entry.instance in (None, name)
        ]
        if not owed:
            asked = " or ".join(f"'{command.value}'" for command in commands)
            expected = f"no answer to {asked}: none is owed"
            raise NotLegalError(entry.line, expected, _came(entry))
        self._owed.remove(owed[-1])
        if entry.event is E.CHANNEL_CLOSED:
            self._owed = [key for key in self._owed if key[0] not in CHANNEL_COMMANDS]
        return owed[-1][0]

    def _heard(self, entry: Entry) -> dict[int, int]:
        """Return what the message carried, by the number of the sender's field."""
        message = MESSAGE_OF.get(entry.event)
        carried = CARRIED[message] if message else frozenset[str]()
        if not carried or entry.event is E.RECV_BAD_STATE:
            if entry.latched is not None:
                raise NotLegalError(entry.line, "nothing carried", f"{_came(entry)} with states")
            return {}
        if entry.latched is None or not entry.latched.keys() <= carried:
            came = _listed(entry.latched or ())
            raise NotLegalError(entry.line, f"states of {_listed(sorted(carried))} carried", came)
        heard: dict[int, int] = {}
        for machine, latched in entry.latched.items():
            spec = SPECS[machine]
            places = {state.value: place for place, state in enumerate(spec.states)}
            for name, state in _instances(latched):
                rank = self._rank(spec.per, name, entry.line)
                if state not in places:
                    raise NotLegalError(entry.line, f"a state of {machine} carried", repr(state))
                heard[self._layout.model.number(spec.states, rank or 0)] = places[state]
        return heard

    def _completed(self, entry: Entry, message: Message) -> States | None:
        """Return what a message carried: of a device that it does not name, the initial states."""
        if entry.latched is None:
            return None
        model = self._layout.model
        numbers = tuple(
            number
            for number, place in self._layout.places.items()
            if place.spec.name in CARRIED[message]
        )
        found = dict(self._layout.states(model.initial(), numbers))
        for machine, latched in entry.latched.items():
            whole = found.get(machine)
            if isinstance(latched, str) or isinstance(whole, str) or whole is None:
                found[machine] = latched
            else:
                found[machine] = {**whole, **latched}
        return found

    def _allowed(self, number: int, happens: Happens) -> str:
        """Return what the rules say instead of a step: which machine does not take it, and why."""
        place = self._layout.places[number]
        listeners = self._layout.model.events[happens].listeners
        cells = next(listener.cells for listener in listeners if listener.field == number)
        for choice in cells.get(self._state[number], ()):
            if choice.kind is Kind.REFUSED and isinstance(choice.entry, Refused):
                return f"a refusal by {place.text}, '{choice.entry.text}'"
        here = self._layout.value(self._state, number)
        return f"an event that {place.text} can take in '{here}'"

    # -- what comes of it

    def _parcels(self, step: Step) -> tuple[Parcel, ...]:
        """Return the messages of a step, with what the sender had before it."""
        return tuple(
            Parcel(effect.message, self._layout.states(self._state, effect.fields))
            for effect in step.effects
            if isinstance(effect, Says)
        )

    def _compare(self, entry: Entry, step: Step) -> None:
        effects = step.effects
        sent = [effect.message.name for effect in effects if isinstance(effect, Says)]
        asked = [effect.command.value for effect in effects if isinstance(effect, Asks)]
        raised = [event.event.name for event in step.raised]
        for what, ours, theirs in (
            ("sent", sent, [message.name for message in entry.sent]),
            ("commanded", asked, [command.value for command in entry.commands]),
            ("raised", raised, [event.name for event in entry.raised]),
        ):
            if ours != theirs:
                expected = f"{_listed(ours)} {what} at {_came(entry)}"
                raise NotLegalError(entry.line, expected, _listed(theirs))
        self._state = step.state
        expected_state = self._layout.states(step.state)
        for machine in (*SPECS, *sorted(entry.state.keys() - SPECS.keys())):
            mine, other = expected_state.get(machine), entry.state.get(machine)
            if mine != other:
                expected = f"{machine} {_worded(mine)} after {_came(entry)}"
                raise NotLegalError(entry.line, expected, _worded(other))

    def _follow(self, step: Step) -> None:
        for happens in step.raised:
            name = None if happens.index is None else self._layout.devices[happens.index].id
            self.raised.append((happens.event, name))
        for number, choice in step.taken:
            name = self._layout.places[number].name
            for effect in choice.effects:
                if isinstance(effect, Asks):
                    self._has_ended = self._has_ended or effect.command is Command.EXIT
                    if effect.owed is not None:
                        self._ask((effect.command, name))

    def _ask(self, key: tuple[Command, str | None]) -> None:
        """Note that an answer is owed; a command that is given again replaces the first."""
        if key in self._owed:
            self._owed.remove(key)
        self._owed.append(key)


def _came(entry: Entry) -> str:
    return _named(entry.event, entry.instance)


def _instances(states: str | Mapping[str, str]) -> Iterator[tuple[str | None, str]]:
    if isinstance(states, str):
        yield None, states
    else:
        yield from states.items()


def _worded(state: str | Mapping[str, str] | None) -> str:
    if state is None:
        return "no state"
    if isinstance(state, str):
        return f"'{state}'"
    return ", ".join(f"{name} '{one}'" for name, one in state.items()) or "of no device"

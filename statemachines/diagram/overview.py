"""All machines of one VM on one page, and all events: who causes what, and who listens.

Rules kept here: an arrow leads from the machine whose rows cause an event to each machine that
listens to it. Thin arrows are raised within one VM; thick ones are messages and end at the other
VM's machine. Events from outside have no arrow: the table of events names their owners.
"""

from __future__ import annotations

from collections.abc import Iterator

from statemachines.diagram.table import rows_text
from statemachines.effects import RECEIVED_AS, Do, Message, Raise, Send
from statemachines.events import E
from statemachines.guards import Per
from statemachines.spec import MachineSpec
from statemachines.system import ALL_MACHINES, LONE_MACHINES, VM_MACHINES, spec_of

_PER_TITLES = {
    Per.VM: "one per VM",
    Per.STANDBY: "one per standby",
    Per.PRIMARY: "one per primary",
}


def listeners(event: E) -> tuple[MachineSpec, ...]:
    """Return the machines that listen to an event, its owner among them, in their order."""
    return tuple(spec for spec in ALL_MACHINES if event in spec.alphabet)


def raised_by(spec: MachineSpec) -> tuple[E, ...]:
    """Return the events that a machine's rows raise."""
    return tuple(
        dict.fromkeys(e.event for row in spec.rows for e in row.then if isinstance(e, Raise))
    )


def sent_by(spec: MachineSpec) -> tuple[Message, ...]:
    """Return the messages that a machine's rows send."""
    return tuple(
        dict.fromkeys(e.message for row in spec.rows for e in row.then if isinstance(e, Send))
    )


def arrivals(message: Message) -> tuple[E, ...]:
    """Return the events that a message can be where it is received."""
    also = (E.RECV_BAD_STATE,) if message is Message.STATE else ()
    return (RECEIVED_AS[message], *also)


def to_mermaid() -> str:
    """Return the Mermaid text of a flowchart of all machines."""
    lines = ["flowchart LR"]
    for per, title in _PER_TITLES.items():
        lines.append(f'    subgraph per_{per.value}["{title}"]')
        lines += (_node(spec) for spec in VM_MACHINES if spec.per is per)
        lines.append("    end")
    lines.append('    subgraph alone["a system of its own"]')
    lines += (_node(spec) for spec in LONE_MACHINES)
    lines.append("    end")
    for spec in ALL_MACHINES:
        lines += (f'    {spec.name} -->|"{text}"| {other}' for other, text in _raises(spec))
    for spec in ALL_MACHINES:
        lines += (f'    {spec.name} ==>|"{text}"| {other}' for other, text in _sends(spec))
    return "\n".join(lines) + "\n"


def _node(spec: MachineSpec) -> str:
    return f'        {spec.name}["{spec.name}"]'


def _raises(spec: MachineSpec) -> Iterator[tuple[str, str]]:
    heard = {
        other: [event.name for event in raised_by(spec) if event in other.alphabet]
        for other in ALL_MACHINES
        if other is not spec
    }
    yield from ((other.name, "<br/>".join(names)) for other, names in heard.items() if names)


def _sends(spec: MachineSpec) -> Iterator[tuple[str, str]]:
    for other in ALL_MACHINES:
        names = [
            message.name
            for message in sent_by(spec)
            if any(event in other.alphabet for event in arrivals(message))
        ]
        if names:
            yield other.name, "<br/>".join(names)


def events_page() -> str:
    """Return the Markdown page of all events: origin, owner, listeners, and what causes them."""
    rows = (
        (
            f"`{event.name}`",
            event.info.meaning,
            event.info.origin.value,
            event.info.per.value,
            spec_of(event.info.owner).name,
            ", ".join(s.name for s in listeners(event) if s.states is not event.info.owner),
            ", ".join(dict.fromkeys(_causes(event))),
        )
        for event in E
    )
    head = ("event", "meaning", "origin", "about", "owner", "other listeners", "caused by")
    return (
        "# Events\n\nThe owner's table alone decides whether an event can happen; the others "
        "listen. What has no cause within the tables comes from outside.\n\n"
        f"{rows_text(head, rows)}\n"
    )


def _causes(event: E) -> Iterator[str]:
    for spec in ALL_MACHINES:
        for row in spec.rows:
            for effect in row.then:
                match effect:
                    case Raise(event=raised) if raised is event:
                        yield spec.name
                    case Do(command=command, answers=answers) if event in answers:
                        yield f"{spec.name} (do {command.value})"
                    case Send(message=message) if event in arrivals(message):
                        yield f"the other VM's {spec.name} (send {message.name})"

"""The channel between two VMs: what is on the way, and what its end sees of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from statemachines.effects import Message
from statemachines.events import E
from statemachines.states import State

Latched = Mapping[type[State], Mapping[int, State]]


@dataclass
class Wire:
    """One direction of a channel."""

    #: Sent and not yet received.
    parcels: deque[tuple[Message, Latched]] = field(default_factory=deque)
    #: Nothing more will be put in: its receiver sees the end once it has read the rest.
    ended: bool = False


@dataclass
class Channel:
    """What connects the two, from the moment the source is connected."""

    #: Whether the target can answer.
    one_way: bool
    #: Towards the target, or into a file where there is none; towards the source.
    to_target: Wire = field(default_factory=Wire)
    to_source: Wire = field(default_factory=Wire)
    #: Nothing moves, and nobody is told.
    stalled: bool = False


def heard(channel: Channel | None) -> E:
    """Return what a listener hears: a source, a stream that nobody answers, or nothing."""
    if channel is None:
        return E.LISTEN_FAILED
    return E.PEER_CONNECTED_ONE_WAY if channel.one_way else E.PEER_CONNECTED

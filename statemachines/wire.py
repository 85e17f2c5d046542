"""The channel between the two VMs, as the checker sees it.

Rules kept here:
1. Two queues, bounded; an end that is closed sends nothing more, an end that is gone reads nothing
   either. A message that is sent to an end that is gone, or into a cut, is lost.
2. What was sent before a close still arrives, in order; then the end of the stream is noticed.
3. An end that is gone leaves nothing to cut; a channel that is not whole is not disturbed.
4. The operations are what rows and disturbances do to the channel; each is a function of the
   channel alone, or impossible.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from statemachines.effects import Message
from statemachines.environment import Disturbance, Need, Side

#: Messages on the way in one direction; no more are ever sent ahead of an answer.
IN_FLIGHT_MAX = 4


class Content(NamedTuple):
    """A message and what it carries."""

    #: Which message.
    message: Message
    #: Values of the latched fields, in the order of the model's layout for it.
    latched: tuple[int, ...] = ()


class End(Enum):
    """One VM's end of the channel."""

    #: There is no channel.
    NONE = 0
    #: The source has connected; the target has not accepted.
    OFFERED = 1
    #: In use.
    OPEN = 2
    #: Its owner has said its last word, and still holds it.
    CLOSED = 3
    #: Nobody holds it.
    GONE = 4


class Channel(NamedTuple):
    """The state of the channel."""

    #: The source's end.
    source: End = End.NONE
    #: The target's end.
    target: End = End.NONE
    #: Nobody can answer.
    one_way: bool = False
    #: The line is cut.
    cut: bool = False
    #: Nothing moves.
    stalled: bool = False
    #: On the way to the target, oldest first.
    to_target: tuple[Content, ...] = ()
    #: On the way to the source.
    to_source: tuple[Content, ...] = ()


NO_CHANNEL = Channel()


class Op(NamedTuple):
    """One operation on the channel."""

    #: Which: see `apply`.
    name: str
    #: Whose.
    side: Side | None = None
    #: What is sent; what `need` asks for; what disturbs.
    what: Content | Need | Disturbance | bool | None = None


class Overflow(Exception):
    """More messages are on the way than a channel holds: the tables talk without being answered."""


def apply(channel: Channel, ops: tuple[Op, ...]) -> Channel | None:
    """Return the channel after some operations, or None where one of them is impossible.

    :raise Overflow: if a queue would outgrow IN_FLIGHT_MAX.
    """
    for op in ops:
        after = _APPLY[op.name](channel, op)
        if after is None:
            return None
        channel = after
    if channel.source in (End.GONE, End.NONE) and channel.target in (End.GONE, End.NONE):
        return NO_CHANNEL
    if channel.cut and End.GONE in (channel.source, channel.target):
        return channel._replace(cut=False)
    return channel


def _ends(channel: Channel, side: Side) -> tuple[End, End]:
    if side is Side.SOURCE:
        return channel.source, channel.target
    return channel.target, channel.source


def _inbox(channel: Channel, side: Side) -> tuple[Content, ...]:
    return channel.to_source if side is Side.SOURCE else channel.to_target


def _with_inbox(channel: Channel, side: Side, inbox: tuple[Content, ...]) -> Channel:
    if side is Side.SOURCE:
        return channel._replace(to_source=inbox)
    return channel._replace(to_target=inbox)


def _with_end(channel: Channel, side: Side, end: End) -> Channel:
    if side is Side.SOURCE:
        return channel._replace(source=end)
    return channel._replace(target=end)


def _side(op: Op) -> Side:
    assert op.side is not None
    return op.side


def _need(channel: Channel, op: Op) -> Channel | None:
    mine, other = _ends(channel, _side(op))
    gone = channel.cut or other in (End.CLOSED, End.GONE)
    holds = {
        Need.ANY: True,
        Need.NONE: channel == NO_CHANNEL,
        Need.WAITING: mine is End.OFFERED and not channel.one_way,
        Need.WAITING_ONE_WAY: mine is End.OFFERED and channel.one_way,
        Need.ENDED: gone and not channel.stalled and not _inbox(channel, _side(op)),
        Need.PEER_GONE: gone,
        Need.PEER_THERE: not gone,
        Need.STALLED: channel.stalled,
    }[op.what]  # type: ignore[index]
    return channel if holds else None


def _make(_: Channel, op: Op) -> Channel | None:
    channel = Channel(source=End.OFFERED, target=End.OFFERED, one_way=bool(op.what))
    return _with_end(channel, _side(op), End.OPEN)


def _accept(channel: Channel, op: Op) -> Channel | None:
    return _with_end(channel, _side(op), End.OPEN)


def _pop(channel: Channel, op: Op) -> Channel | None:
    inbox = _inbox(channel, _side(op))
    if channel.stalled or not inbox:
        return None
    return _with_inbox(channel, _side(op), inbox[1:])


def _send(channel: Channel, op: Op) -> Channel | None:
    side = _side(op)
    mine, other = _ends(channel, side)
    assert isinstance(op.what, Content)
    if channel.cut or mine is not End.OPEN or other is End.GONE:
        return channel
    peer = Side.TARGET if side is Side.SOURCE else Side.SOURCE
    inbox = (*_inbox(channel, peer), op.what)
    if len(inbox) > IN_FLIGHT_MAX:
        said = ", ".join(content.message.name for content in inbox)
        raise Overflow(f"{side.value} has sent {said}, and none was read")
    return _with_inbox(channel, peer, inbox)


def _close(channel: Channel, op: Op) -> Channel | None:
    mine, _ = _ends(channel, _side(op))
    return _with_end(channel, _side(op), End.CLOSED) if mine is End.OPEN else channel


def _let_go(channel: Channel, op: Op) -> Channel | None:
    mine, _ = _ends(channel, _side(op))
    if mine in (End.NONE, End.OFFERED):
        return channel
    return _with_end(_with_inbox(channel, _side(op), ()), _side(op), End.GONE)


def _perish(channel: Channel, op: Op) -> Channel | None:
    mine, _ = _ends(channel, _side(op))
    if mine is End.NONE:
        return channel
    return _with_end(_with_inbox(channel, _side(op), ()), _side(op), End.GONE)


def _deafen(channel: Channel, op: Op) -> Channel | None:
    return _with_inbox(channel, _side(op), ())


def _disturb(channel: Channel, op: Op) -> Channel | None:
    if op.what is Disturbance.UNSTALL:
        return channel._replace(stalled=False) if channel.stalled else None
    whole = channel.source is End.OPEN and channel.target in (End.OPEN, End.OFFERED)
    if channel.cut or channel.stalled or not whole:
        return None
    if op.what is Disturbance.STALL:
        # What only comes in may take its time: nobody could tell.
        return None if channel.one_way else channel._replace(stalled=True)
    channel = channel._replace(cut=True)
    if op.what in (Disturbance.CUT_TO_TARGET, Disturbance.CUT_BOTH):
        if not channel.to_target:
            return None
        channel = channel._replace(to_target=())
    if op.what in (Disturbance.CUT_TO_SOURCE, Disturbance.CUT_BOTH):
        if not channel.to_source:
            return None
        channel = channel._replace(to_source=())
    return channel


_APPLY = {
    "need": _need,
    "make": _make,
    "accept": _accept,
    "pop": _pop,
    "send": _send,
    "close": _close,
    "let go": _let_go,
    "perish": _perish,
    "deafen": _deafen,
    "disturb": _disturb,
}

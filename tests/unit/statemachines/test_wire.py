"""The channel that the checker explores: order, ends, cuts, and what is impossible."""

from __future__ import annotations

import pytest

from statemachines.effects import Message
from statemachines.environment import Disturbance, Need, Side
from statemachines.wire import IN_FLIGHT_MAX, NO_CHANNEL, Channel, Content, End, Op, Overflow, apply

SOURCE, TARGET = Side.SOURCE, Side.TARGET
HELLO, END, ACCEPT = Content(Message.HELLO), Content(Message.END), Content(Message.ACCEPT)


def after(*ops: Op, channel: Channel = NO_CHANNEL) -> Channel:
    found = apply(channel, ops)
    assert found is not None
    return found


def joined() -> Channel:
    return after(Op("make", SOURCE, False), Op("accept", TARGET))


def disturbed(channel: Channel, what: Disturbance) -> Channel | None:
    return apply(channel, (Op("disturb", None, what),))


def test_messages_arrive_in_order_and_then_the_end() -> None:
    channel = after(
        Op("send", SOURCE, HELLO), Op("send", SOURCE, END), Op("close", SOURCE), channel=joined()
    )
    ended = (Op("need", TARGET, Need.ENDED),)
    assert apply(channel, ended) is None
    assert channel.to_target[0] == HELLO
    channel = after(Op("pop", TARGET), channel=channel)
    assert channel.to_target == (END,)
    channel = after(Op("pop", TARGET), channel=channel)
    assert apply(channel, ended) == channel
    assert apply(channel, (Op("pop", TARGET),)) is None


def test_what_is_sent_after_the_last_word_or_to_nobody_is_lost() -> None:
    closed = after(Op("close", SOURCE), Op("send", SOURCE, END), channel=joined())
    assert closed.to_target == ()
    gone = after(Op("let go", TARGET), Op("send", SOURCE, END), channel=joined())
    assert gone.to_target == ()
    assert apply(gone, (Op("need", SOURCE, Need.ENDED),)) == gone


def test_a_channel_that_both_have_let_go_of_is_none() -> None:
    channel = after(Op("send", SOURCE, END), Op("let go", SOURCE), channel=joined())
    assert channel.to_target == (END,)
    assert after(Op("let go", TARGET), channel=channel) == NO_CHANNEL


def test_an_offer_can_be_accepted_after_its_source_has_gone() -> None:
    offered = after(Op("make", SOURCE, False), Op("let go", SOURCE))
    assert apply(offered, (Op("need", TARGET, Need.WAITING),)) == offered
    assert after(Op("accept", TARGET), channel=offered).target is End.OPEN


@pytest.mark.parametrize(
    ("what", "to_target", "to_source"),
    [
        (Disturbance.CUT, (END,), (ACCEPT,)),
        (Disturbance.CUT_TO_TARGET, (), (ACCEPT,)),
        (Disturbance.CUT_TO_SOURCE, (END,), ()),
        (Disturbance.CUT_BOTH, (), ()),
    ],
)
def test_cuts(
    what: Disturbance, to_target: tuple[Content, ...], to_source: tuple[Content, ...]
) -> None:
    busy = after(Op("send", SOURCE, END), Op("send", TARGET, ACCEPT), channel=joined())
    cut = disturbed(busy, what)
    assert cut is not None
    assert (cut.to_target, cut.to_source) == (to_target, to_source)
    assert after(Op("send", SOURCE, HELLO), channel=cut).to_target == to_target
    assert apply(cut, (Op("need", SOURCE, Need.PEER_GONE),)) == cut


def test_a_cut_that_loses_nothing_is_only_a_cut() -> None:
    assert disturbed(joined(), Disturbance.CUT_TO_TARGET) is None
    assert disturbed(joined(), Disturbance.CUT_BOTH) is None


def test_nothing_moves_while_it_stalls() -> None:
    stalled = disturbed(after(Op("send", SOURCE, END), channel=joined()), Disturbance.STALL)
    assert stalled is not None
    assert apply(stalled, (Op("pop", TARGET),)) is None
    moving = disturbed(stalled, Disturbance.UNSTALL)
    assert moving is not None
    assert after(Op("pop", TARGET), channel=moving).to_target == ()


def test_more_on_the_way_than_it_holds_is_an_error() -> None:
    with pytest.raises(Overflow, match="source has sent"):
        after(*[Op("send", SOURCE, END)] * (IN_FLIGHT_MAX + 1), channel=joined())

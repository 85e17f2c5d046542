"""devices.guest: which way its frames go, when they are due, and what it counts of them."""

from __future__ import annotations

import pytest

from statemachines.events import E
from tests.unit.devices.guest_world import World


@pytest.mark.parametrize(
    ("link_delay", "expected"),
    [("0ms", ("primary", True, False)), ("3600s", ("standby", True, False))],
)
def test_the_paths_of_an_enslaved_primary(
    link_delay: str, expected: tuple[str, bool, bool]
) -> None:
    """The hole in the second case is net_failover's: what arrives on the standby is dropped."""
    world = World(f"link-delay={link_delay}").boot()
    guest, index = world.guest, world.standby
    assert (
        guest.transmit_path(index),
        guest.accepts("primary", index),
        guest.accepts("standby", index),
    ) == expected


def test_the_paths_without_a_primary_and_without_a_driver() -> None:
    world = World(answers_ports=False)
    guest, index = world.guest, world.standby
    assert (guest.transmit_path(index), guest.accepts("standby", index)) == (None, False)
    world.boot()
    assert guest.transmit_path(index) == "standby"
    assert (guest.accepts("standby", index), guest.accepts("primary", index)) == (True, False)


def send_all(world: World) -> int:
    count = world.guest.frames_due(world.now_ms)
    for _ in range(count):
        world.guest.frame_sent(world.now_ms)
    return count


def test_frames_go_out_at_their_interval_and_are_counted_in_ram() -> None:
    """Also when the uplink is only looked after now and then."""
    world = World("frames=1.5ms").boot()
    send_all(world)
    start, sent = world.now_ms, world.guest.next_frame()
    for step in range(1, 301):
        world.now_ms = start + step
        send_all(world)
    assert world.guest.next_frame() == sent + 200
    assert world.guest.statistics()["sent"] == sent + 200


def test_a_frame_the_uplink_did_not_take_stays_due() -> None:
    world = World("frames=10ms").boot()
    send_all(world)
    due = world.guest.due_ms()
    assert due == world.now_ms + 10
    world.now_ms = due
    assert [world.guest.frames_due(world.now_ms) for _ in range(3)] == [1, 1, 1]
    assert world.guest.due_ms(uplink_ready=False) is None


def test_there_is_no_burst_after_a_pause_and_a_small_one_after_a_blockade() -> None:
    world = World("frames=1ms").boot()
    send_all(world)
    world.now_ms += 10_000
    assert send_all(world) == 20
    assert send_all(world) == 0
    world.fire(E.STOP)
    world.now_ms += 10_000
    world.fire(E.CONT)
    assert send_all(world) == 1


def test_no_frame_is_due_without_a_path() -> None:
    world = World("frames=1ms,negotiate=1s")
    world.fire(E.BOOT)
    world.run_for(999)
    assert world.guest.frames_due(world.now_ms) == 0
    world.run_for(1)
    assert world.guest.frames_due(world.now_ms) == 1


def test_arrivals_are_counted_even_while_stopped() -> None:
    world = World().boot()
    for sequence, at_ms in ((10, 0.0), (11, 4.0), (11, 5.0), (14, 30.0)):
        if sequence == 14:
            world.fire(E.STOP)
        world.guest.receive(sequence, world.now_ms + at_ms)
    assert world.guest.statistics() == {
        "sent": 0,
        "received": 4,
        "duplicated": 1,
        "untold": 0,
        "lost_inside": 2,
        "highest": 14,
        "longest_gap_ms": 25.0,
    }


def test_nobody_receives_before_boot() -> None:
    world = World()
    world.guest.receive(1, world.now_ms)
    assert not world.guest.memory.is_booted
    assert world.guest.statistics()["received"] == 0


def test_announcements_follow_qemu() -> None:
    """Defaults of QEMU: 5 rounds, 50 ms first, 100 ms more each time, 550 ms at most."""
    world = World().boot()
    start = world.now_ms
    world.guest.announce(7, 50, 350, 100, start)
    made = []
    while (due := world.guest.due_ms()) is not None:
        world.now_ms = due
        made += [due - start] * world.guest.announcements_due(due)
    assert made == [0, 50, 200, 450, 800, 1150, 1500]
    assert world.guest.memory.announce_rounds_left == 0


def test_announcements_stand_still_while_stopped_and_end_with_a_reset() -> None:
    world = World().boot()
    world.guest.announce(5, 50, 550, 100, world.now_ms)
    assert world.guest.announcements_due(world.now_ms) == 1
    world.fire(E.STOP)
    world.now_ms += 10_000
    world.fire(E.CONT)
    assert world.guest.announcements_due(world.now_ms + 49) == 0
    assert world.guest.announcements_due(world.now_ms + 50) == 1
    world.fire(E.SYSTEM_RESET)
    assert world.guest.announcements_due(world.now_ms + 10_000) == 0

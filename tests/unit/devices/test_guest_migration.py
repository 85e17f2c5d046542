"""devices.guest: what of it is in its RAM, and goes on from there in another VM."""

from __future__ import annotations

import pytest

from devices.guest import Guest
from devices.guest_memory import GuestMemoryError
from devices.guest_options import GuestOptions
from devices.guest_view import Fire, OpenPrimary
from devices.ram import PAGE_BYTES, BitmapRam
from statemachines.events import E
from statemachines.states import Feature, Lower, NetFailover, Standby, State
from tests.unit.devices.guest_world import RAM_BYTES, World


def path(world: World) -> State:
    return world.runtime.state(NetFailover, world.standby)


def moved(source: World, guest_options: str = "") -> World:
    """A target with the source's RAM, told what the guest's own table says, and running."""
    target = World(guest_options)
    target.ram.write(0, source.ram.read(0, source.ram.size_bytes))
    latched: dict[type[State], dict[int, State]] = {
        lifecycle: dict(source.runtime.joint()[lifecycle]) for lifecycle in (Standby, Feature)
    }
    for (lifecycle, name), state in target.guest.latched_states().items():
        index = target.standby if name == "net1" else target.primary
        latched.setdefault(lifecycle, {})[index] = state
    target.fire(E.DEVICE_ADD, target.primary)
    for event in (E.BOOT_INCOMING, E.INCOMING, E.PEER_CONNECTED, E.RECV_HELLO, E.HELLO_GOOD):
        target.fire(event)
    target.fire(E.RECV_STATE, latched=latched)
    for event in (E.RECV_END, E.VERIFIED, E.RECV_COMMIT):
        target.fire(event)
    assert target.guest.is_running
    return target


def test_the_guest_goes_on_from_its_ram_alone() -> None:
    options = "dirty=8M,working-set=256K,frames=1ms,eject=prompt,seed=42"
    source = World(options).boot().migrate()
    source.run_for(300)
    for _ in range(17):
        source.guest.frame_sent(source.now_ms)
    for sequence in (0, 1, 3):
        source.guest.receive(sequence, source.now_ms)
    assert path(source) is NetFailover.STANDBY
    source.fire(E.SETUP_DONE)
    source.fire(E.CONVERGED)
    assert not source.guest.is_running
    at_rest = source.guest.memory.cursor

    target = moved(source)
    assert target.guest.next_frame() == 17
    assert target.guest.options.dirty_per_second_bytes == 8 << 20
    target.guest.receive(3, target.now_ms)
    target.guest.receive(2, target.now_ms)
    counts = target.guest.statistics()
    assert (counts["received"], counts["duplicated"], counts["lost_inside"]) == (5, 1, 0)
    assert path(target) is NetFailover.STANDBY
    assert target.guest.memory.boots == 1
    assert target.guest.workload.verify() == []
    target.run_for(300)
    assert target.guest.memory.cursor != at_rest
    assert target.guest.workload.verify() == []
    assert path(target) is NetFailover.PRIMARY
    assert E.GUEST_ACKNOWLEDGE not in target.events(), "the driver was live already"


def test_options_given_at_the_target_come_first() -> None:
    source = World("dirty=8M,eject=never,link-delay=7ms").boot()
    target = moved(source, "eject=prompt")
    options = target.guest.options
    assert options.eject == GuestOptions().eject
    assert (options.dirty_per_second_bytes, options.link_delay_ms) == (8 << 20, 7.0)
    assert "eject=prompt" in target.guest.memory.options_text


def test_the_driver_table_travels_and_the_target_does_not_overwrite_it() -> None:
    source = World().boot()
    assert path(source) is NetFailover.PRIMARY
    target = World()
    target.ram.write(0, source.ram.read(0, RAM_BYTES))
    target.guest.observe(target.now_ms)
    target.guest.record_driver_states()
    assert target.guest.latched_states() == {
        (NetFailover, "net1"): NetFailover.PRIMARY,
        (Lower, "hostdev0"): Lower.IN,
    }


def test_a_guest_that_never_booted_latches_nothing() -> None:
    assert World().guest.latched_states() == {
        (NetFailover, "net1"): NetFailover.ABSENT,
        (Lower, "hostdev0"): Lower.OUT,
    }


def test_a_flipped_byte_is_found() -> None:
    world = World("working-set=128K").boot()
    offset = 140 * PAGE_BYTES + 1234
    byte = world.ram.read(offset, 1)[0]
    world.ram.write(offset, bytes([byte ^ 0x10]))
    assert world.guest.workload.verify() == [140]


def test_ram_that_came_damaged_is_not_run() -> None:
    world = World().boot()
    target = World()
    target.ram.write(0, world.ram.read(0, RAM_BYTES))
    target.guest.memory.cursor = 1 << 40
    with pytest.raises(GuestMemoryError, match="no workload gets there"):
        target.guest.start(0.0)
    assert not target.guest.is_running


def test_ram_must_have_room_for_what_is_asked() -> None:
    options = GuestOptions(working_set_bytes=RAM_BYTES)
    with pytest.raises(GuestMemoryError, match="working-set expects 4096 to 520192 bytes"):
        Guest(BitmapRam(bytearray(RAM_BYTES)), options, World())


def test_booting_ahead_writes_what_the_start_would_have_written() -> None:
    one, other = World("seed=5"), World("seed=5")
    one.guest.boot()
    before = one.ram.read(0, RAM_BYTES)
    one.fire(E.BOOT)
    other.fire(E.BOOT)
    assert one.ram.read(0, RAM_BYTES) == other.ram.read(0, RAM_BYTES) == before


def test_a_primary_that_came_enslaved_is_opened_on_this_hosts_switch() -> None:
    source = World().boot()
    target = moved(source)
    assert path(target) is NetFailover.PRIMARY
    target.run_for(100)
    assert target.deeds() == [
        Fire(E.GUEST_PROBES, target.primary),
        OpenPrimary(target.primary),
    ]

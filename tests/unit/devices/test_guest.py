"""devices.guest: what its drivers do, and when, against the real tables."""

from __future__ import annotations

from collections.abc import Mapping

from devices.guest_view import ClosePrimary, Fire, OpenPrimary
from statemachines.events import E
from statemachines.policies import NATIVE
from statemachines.states import NetFailover, Primary, Slot, Standby, State
from tests.unit.devices.guest_world import MAC, OTHER_MAC, RAM_BYTES, World

BY_SLOT: Mapping[str, str] = {**NATIVE, "hotplug": "native"}


def path(world: World) -> State:
    return world.runtime.state(NetFailover, world.standby)


def slot(world: World) -> State:
    return world.runtime.state(Slot, world.primary)


# -- coming up


def test_it_negotiates_in_order_and_enslaves_the_primary() -> None:
    world = World("probe-delay=5ms,link-delay=20ms").boot()
    assert world.deeds() == [
        Fire(E.GUEST_ACKNOWLEDGE, world.standby),
        Fire(E.GUEST_DRIVER, world.standby),
        Fire(E.FEATURES_WITH_STANDBY, world.standby),
        Fire(E.GUEST_FEATURES_OK, world.standby),
        Fire(E.GUEST_DRIVER_OK, world.standby),
        Fire(E.GUEST_PROBES, world.primary),
        OpenPrimary(world.primary),
        Fire(E.GUEST_ENSLAVES, world.primary),
        Fire(E.GUEST_LINK_UP, world.primary),
    ]
    assert world.moment_of(E.GUEST_PROBES) == world.moment_of(E.FEATURES_WITH_STANDBY) + 5
    assert world.moment_of(E.GUEST_LINK_UP) == world.moment_of(E.GUEST_ENSLAVES) + 20
    assert path(world) is NetFailover.PRIMARY


def test_a_driver_that_takes_its_time() -> None:
    world = World("negotiate=300ms")
    world.fire(E.DEVICE_ADD, world.primary)
    world.fire(E.BOOT)
    world.run_for(299)
    assert world.events() == []
    assert world.guest.due_ms() == 1300
    world.run_for(1)
    assert world.runtime.state(Standby, world.standby) is Standby.DRIVER_OK


def test_without_standby_the_primary_stays_hidden() -> None:
    world = World("standby=off").boot()
    assert E.FEATURES_WITHOUT_STANDBY in world.events()
    assert world.runtime.state(Standby, world.standby) is Standby.DRIVER_OK
    assert world.runtime.state(Primary, world.primary) is Primary.HIDDEN
    assert world.guest.transmit_path(world.standby) == "standby"
    assert world.guest.accepts("standby", world.standby)
    assert world.guest.due_ms() is None


def test_a_primary_with_another_address_stays_an_ordinary_nic() -> None:
    world = World(primary_macs=(OTHER_MAC,)).boot()
    assert slot(world) is Slot.OCCUPIED
    assert not any(isinstance(deed, OpenPrimary) for deed in world.deeds())
    assert path(world) is NetFailover.STANDBY


def two_primaries() -> World:
    """A standby with two primaries in their slots, for both were there before it."""
    world = World(primary_macs=(MAC, MAC), answers_ports=False)
    for view in world.views:
        world.fire(E.ADOPT, view.index)
    return world.boot()


def test_of_two_primaries_one_is_enslaved() -> None:
    world = two_primaries()
    opened = [deed.index for deed in world.deeds() if isinstance(deed, OpenPrimary)]
    assert len(opened) == 1
    world.guest.primary_opened(opened[0], world.now_ms)
    world.run_for(100)
    assert path(world) is NetFailover.PRIMARY
    assert [deed.index for deed in world.deeds() if isinstance(deed, OpenPrimary)] == opened


def test_enslaving_waits_for_the_switch() -> None:
    world = World(answers_ports=False).boot()
    assert world.deeds()[-1] == OpenPrimary(world.primary)
    world.run_for(1000)
    assert path(world) is NetFailover.STANDBY
    world.guest.primary_opened(world.primary, world.now_ms)
    world.settle()
    assert path(world) is NetFailover.PRIMARY_DOWN


# -- leaving: ACPI


def test_prompt_ejects_at_once_after_the_port_is_closed() -> None:
    world = World().boot().migrate()
    asked = world.now_ms
    world.settle()
    assert world.deeds(asked) == [
        ClosePrimary(world.primary),
        Fire(E.GUEST_RELEASES, world.primary),
        Fire(E.GUEST_EJECTS, world.primary),
    ]
    assert world.runtime.state(Primary, world.primary) is Primary.UNPLUGGED
    assert path(world) is NetFailover.STANDBY


def test_the_release_waits_for_the_switch() -> None:
    world = World(answers_ports=False).boot()
    world.guest.primary_opened(world.primary, world.now_ms)
    world.run_for(50)
    world.migrate().run_for(1000)
    assert world.deeds()[-1] == ClosePrimary(world.primary)
    assert path(world) is NetFailover.PRIMARY
    world.guest.primary_closed(world.primary, world.now_ms)
    world.settle()
    assert slot(world) is Slot.EMPTY


def test_a_port_that_is_being_opened_is_closed_before_the_eject() -> None:
    world = World(answers_ports=False).boot().migrate()
    world.settle()
    assert world.deeds()[-2:] == [OpenPrimary(world.primary), ClosePrimary(world.primary)]
    world.guest.primary_opened(world.primary, world.now_ms)
    world.settle()
    assert slot(world) is Slot.REQUESTED, "a belated answer ends nothing"
    world.guest.primary_closed(world.primary, world.now_ms)
    world.settle()
    assert slot(world) is Slot.EMPTY
    assert world.deeds().count(ClosePrimary(world.primary)) == 1


def test_never_keeps_the_primary() -> None:
    world = World("eject=never").boot().migrate()
    asked = world.now_ms
    world.run_for(3_600_000)
    assert world.events(asked) == []
    assert slot(world) is Slot.REQUESTED


def test_a_delay_counts_from_the_request() -> None:
    world = World("eject=3s").boot().migrate()
    asked = world.now_ms
    world.run_for(2999)
    assert world.events(asked) == [E.GUEST_RELEASES]
    world.run_for(1)
    assert world.moment_of(E.GUEST_EJECTS) == asked + 3000


def test_a_delay_stands_still_while_the_guest_is_stopped() -> None:
    world = World("eject=3s", answers_ports=False).boot()
    world.guest.primary_opened(world.primary, world.now_ms)
    world.run_for(100)
    world.migrate()
    asked = world.now_ms
    world.run_for(1000)
    world.fire(E.STOP)
    world.run_for(10_000)
    world.guest.primary_closed(world.primary, world.now_ms)
    world.run_for(10_000)
    world.fire(E.CONT)
    world.run_for(5000)
    assert world.moment_of(E.GUEST_RELEASES) == asked + 21_000
    assert world.moment_of(E.GUEST_EJECTS) == asked + 23_000


def test_resumed_waits_for_a_stop_and_a_start_after_the_request() -> None:
    world = World("eject=resumed").boot()
    world.fire(E.STOP)
    world.fire(E.CONT)
    world.migrate().run_for(10_000)
    assert slot(world) is Slot.REQUESTED
    world.fire(E.STOP)
    world.run_for(10_000)
    assert slot(world) is Slot.REQUESTED
    world.fire(E.CONT)
    world.settle()
    assert slot(world) is Slot.EMPTY


def test_a_resume_counts_for_the_request_it_followed_only() -> None:
    world = World("eject=resumed").boot().migrate()
    world.fire(E.STOP)
    world.fire(E.CANCEL)
    world.fire(E.CONT)
    world.run_for(100)
    assert slot(world) is Slot.OCCUPIED
    world.migrate().run_for(100)
    assert slot(world) is Slot.REQUESTED


def test_a_removal_that_began_goes_on_when_the_request_is_withdrawn() -> None:
    world = World("eject=3s").boot().migrate()
    world.run_for(1000)
    world.fire(E.CANCEL)
    cancelled = world.now_ms
    assert slot(world) is Slot.OCCUPIED
    world.run_for(1999)
    assert world.events(cancelled) == []
    world.run_for(100)
    assert world.events(cancelled) == [
        E.GUEST_EJECTS,
        E.GUEST_PROBES,
        E.GUEST_ENSLAVES,
        E.GUEST_LINK_UP,
    ]
    assert path(world) is NetFailover.PRIMARY


def test_a_withdrawn_request_that_was_not_acted_on_leaves_the_primary_in_use() -> None:
    world = World("eject=never").boot().migrate()
    world.fire(E.CANCEL)
    world.run_for(10_000)
    assert (slot(world), path(world)) == (Slot.OCCUPIED, NetFailover.PRIMARY)


def test_an_enslaving_whose_precondition_vanished_is_dropped() -> None:
    world = World("link-delay=50ms,eject=never")
    world.fire(E.DEVICE_ADD, world.primary)
    world.fire(E.BOOT)
    world.run_for(20)
    assert path(world) is NetFailover.PRIMARY_DOWN
    world.fire(E.DRIVER_RESET, world.standby)
    world.run_for(20)
    assert E.GUEST_LINK_UP not in world.events()
    assert ClosePrimary(world.primary) in world.deeds()
    world.run_for(200)
    assert path(world) is NetFailover.PRIMARY


# -- leaving: native hotplug


def test_native_hotplug_keeps_its_times() -> None:
    world = World("blink=5s,power-off=1s", policies=BY_SLOT).boot().migrate()
    asked = world.now_ms
    world.run_for(20_000)
    assert [deed for deed in world.log if deed[0] >= asked] == [
        (asked, Fire(E.GUEST_BLINKS, world.primary)),
        (asked + 5000, ClosePrimary(world.primary)),
        (asked + 5000, Fire(E.GUEST_RELEASES, world.primary)),
        (asked + 5000, Fire(E.GUEST_POWERS_OFF, world.primary)),
        (asked + 6000, Fire(E.GUEST_EJECTS, world.primary)),
    ]


def test_native_removal_stands_still_while_the_guest_is_stopped() -> None:
    world = World("blink=5s,power-off=1s", policies=BY_SLOT).boot().migrate()
    asked = world.now_ms
    world.run_for(2000)
    world.fire(E.STOP)
    world.run_for(10_000)
    world.fire(E.CONT)
    world.run_for(20_000)
    assert world.moment_of(E.GUEST_EJECTS) == asked + 10_000 + 6000


def test_a_port_that_is_closed_while_blinking_makes_the_blinking_no_shorter_or_longer() -> None:
    world = World("blink=5s", policies=BY_SLOT, answers_ports=False).boot()
    world.guest.primary_opened(world.primary, world.now_ms)
    world.run_for(100)
    world.migrate()
    asked = world.now_ms
    world.run_for(1000)
    world.fire(E.DRIVER_RESET, world.standby)
    world.settle()
    assert ClosePrimary(world.primary) in world.deeds(asked)
    world.fire(E.STOP)
    world.run_for(10_000)
    world.fire(E.CONT)
    world.guest.primary_closed(world.primary, world.now_ms)
    world.run_for(20_000)
    assert world.moment_of(E.GUEST_POWERS_OFF) == asked + 15_000


def test_a_system_reset_ends_a_native_removal_and_keeps_the_device() -> None:
    world = World("blink=5s", policies=BY_SLOT).boot().migrate()
    world.run_for(1000)
    world.fire(E.SYSTEM_RESET)
    world.run_for(60_000)
    assert world.events().count(E.GUEST_BLINKS) == 1
    assert (slot(world), path(world)) == (Slot.OCCUPIED, NetFailover.PRIMARY)


def test_a_native_removal_is_finished_and_the_primary_comes_back_after_a_cancel() -> None:
    world = World("blink=5s", policies=BY_SLOT).boot().migrate()
    world.run_for(1000)
    world.fire(E.CANCEL)
    world.run_for(20_000)
    assert E.GUEST_EJECTS in world.events()
    assert (slot(world), path(world)) == (Slot.OCCUPIED, NetFailover.PRIMARY)


def test_native_never_does_not_even_blink() -> None:
    world = World("eject=never", policies=BY_SLOT).boot().migrate()
    asked = world.now_ms
    world.run_for(60_000)
    assert world.events(asked) == []


# -- stopping and resetting


def test_nothing_happens_while_stopped() -> None:
    world = World("dirty=1M,frames=1ms").boot()
    world.fire(E.STOP)
    world.migrate()
    before = world.ram.read(0, RAM_BYTES)
    world.now_ms += 60_000
    assert world.guest.due_ms() is None
    assert world.guest.advance(world.now_ms) == []
    assert world.guest.frames_due(world.now_ms) == 0
    assert world.guest.announcements_due(world.now_ms) == 0
    assert world.ram.read(0, RAM_BYTES) == before


def test_a_system_reset_starts_over_and_comes_back() -> None:
    world = World("fill=64K,working-set=64K,dirty=1M,frames=1ms").boot()
    world.guest.frame_sent(world.now_ms)
    world.guest.receive(7, world.now_ms)
    world.fire(E.SYSTEM_RESET)
    assert path(world) is NetFailover.ABSENT
    assert (world.guest.memory.boots, world.guest.next_frame()) == (2, 0)
    assert world.guest.statistics()["received"] == 0
    assert world.guest.memory.drivers() == ()
    world.run_for(200)
    assert path(world) is NetFailover.PRIMARY
    assert world.guest.workload.verify() == []


def test_a_reset_during_a_removal_ends_it() -> None:
    world = World("eject=3600s").boot().migrate()
    world.settle()
    world.fire(E.SYSTEM_RESET)
    world.run_for(1000)
    assert E.GUEST_EJECTS not in world.events()
    assert world.runtime.state(Primary, world.primary) is Primary.UNPLUGGED


def test_it_reboots_once() -> None:
    world = World("reboot-after=500ms").boot()
    world.run_for(5000)
    assert world.events().count(E.SYSTEM_RESET) == 1
    assert world.moment_of(E.SYSTEM_RESET) == 1500
    assert world.guest.memory.boots == 2
    assert path(world) is NetFailover.PRIMARY


def test_the_time_to_a_reboot_stands_still_while_stopped() -> None:
    world = World("reboot-after=500ms").boot()
    world.fire(E.STOP)
    world.run_for(10_000)
    world.fire(E.CONT)
    world.run_for(5000)
    assert world.moment_of(E.SYSTEM_RESET) == 11_500


def test_a_system_reset_starts_the_guests_own_time_over() -> None:
    world = World("reset-after=500ms").boot()
    world.fire(E.SYSTEM_RESET)
    world.run_for(1000)
    assert world.moment_of(E.DRIVER_RESET) == 1600
    world.fire(E.STOP)
    world.run_for(5000)
    world.fire(E.SYSTEM_RESET)
    world.run_for(1000)
    started = world.now_ms
    world.fire(E.CONT)
    world.run_for(1000)
    assert world.moment_of(E.DRIVER_RESET) == started + 500


def test_the_workload_makes_up_for_no_stop() -> None:
    world = World("dirty=4M,working-set=256K").boot()
    written = world.guest.memory.cursor
    world.fire(E.STOP)
    world.run_for(10_000)
    world.fire(E.CONT)
    world.settle()
    assert world.guest.memory.cursor == written > 0
    assert world.guest.due_ms() == world.now_ms + 10


def test_the_driver_resets_once_and_negotiates_again() -> None:
    world = World("reset-after=500ms").boot()
    world.run_for(5000)
    assert world.events().count(E.DRIVER_RESET) == 1
    assert world.events().count(E.FEATURES_WITH_STANDBY) == 2
    assert (path(world), world.guest.memory.boots) == (NetFailover.PRIMARY, 1)

"""engine.commands.guest_object: what the guest did, and what it is told to do."""

from __future__ import annotations

from typing import Any

import pytest

from devices.guest_options import Eject, EjectRule, parse_guest_options, read_guest_options
from devices.options import OptionError
from devices.ram import PAGE_BYTES
from engine.commands.guest_object import BAD_PAGES_MAX, FIXED_OPTIONS, LIVE_OPTIONS
from statemachines.states import Feature, Primary, Standby
from tests.unit.engine.commands.commanded_vm import PAIR, CommandedVm

GUEST = "/machine/guest"


def primary(machine: CommandedVm) -> object:
    (index,) = machine.vm.board.primaries
    return machine.vm.state(Primary, index)


def feature(machine: CommandedVm) -> object:
    (index,) = machine.vm.board.standbys
    return machine.vm.state(Feature, index)


def refused(machine: CommandedVm, name: str, value: Any) -> str:
    return machine.refusal("qom-set", path=GUEST, property=name, value=value)[1]


def test_every_option_is_either_live_or_fixed() -> None:
    with pytest.raises(OptionError) as caught:
        read_guest_options({"nosuch": "1"})
    takes = caught.value.description.partition("it takes ")[2].split(", ")
    assert sorted((*LIVE_OPTIONS, *FIXED_OPTIONS)) == takes
    assert set(FIXED_OPTIONS.values()) <= vars(parse_guest_options("")).keys()


def test_frames() -> None:
    machine = CommandedVm("-guest", "frames=1ms", *PAIR)
    assert machine.vm.guest.frames_due(machine.clock_ms) > 0
    machine.vm.guest.frame_sent(machine.clock_ms)
    assert machine.get(GUEST, "frames") == machine.vm.guest.statistics()
    assert machine.get(GUEST, "frames")["sent"] == 1


def test_memory() -> None:
    machine = CommandedVm("-guest", "dirty=1M", *PAIR)
    assert machine.get(GUEST, "verify") == {"bad-pages": [], "count": 0}
    pages = machine.vm.guest.workload.verify
    first = machine.vm.ram.pages - machine.vm.guest.memory.workload_pages_max
    machine.vm.ram.write(first * PAGE_BYTES + 16, b"\xff")
    assert pages() == [first]
    assert machine.get(GUEST, "verify") == {"bad-pages": [first], "count": 1}


def test_the_list_of_bad_pages_is_bounded() -> None:
    machine = CommandedVm("-guest", f"fill={(BAD_PAGES_MAX + 9) * PAGE_BYTES}", "-m", "4M")
    first = machine.vm.ram.pages - machine.vm.guest.memory.workload_pages_max
    for page in range(first, first + BAD_PAGES_MAX + 9):
        machine.vm.ram.write(page * PAGE_BYTES + 16, b"\xff\xee")
    answer = machine.get(GUEST, "verify")
    assert answer["count"] == BAD_PAGES_MAX + 9
    assert answer["bad-pages"] == list(range(first, first + BAD_PAGES_MAX))


# -- options


def test_options_are_shown_as_they_are_written() -> None:
    machine = CommandedVm("-guest", "eject=never,dirty=64M,seed=7")
    assert parse_guest_options(machine.get(GUEST, "options")) == machine.vm.guest.options
    assert machine.get(GUEST, "eject") == "never"
    assert machine.get(GUEST, "dirty") == "64M"
    assert machine.get(GUEST, "reboot-after") == "off"
    blink = machine.get(GUEST, "blink")
    assert parse_guest_options(f"blink={blink}").blink_ms == 5000


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("eject", "never", "eject", Eject(EjectRule.NEVER)),
        ("standby", False, "standby", False),
        ("dirty", 4096, "dirty_per_second_bytes", 4096),
        ("frames", "5ms", "frame_interval_ms", 5.0),
        ("negotiate", "1s", "negotiate_ms", 1000.0),
    ],
)
def test_an_option_changes_while_the_guest_lives(
    name: str, value: Any, field: str, expected: Any
) -> None:
    machine = CommandedVm(*PAIR)
    machine.set(GUEST, name, value)
    assert getattr(machine.vm.guest.options, field) == expected
    travels = parse_guest_options(machine.vm.guest.memory.options_text)
    assert getattr(travels, field) == expected


def test_several_options_at_once() -> None:
    machine = CommandedVm(*PAIR)
    machine.set(GUEST, "options", "eject=never,frames=2ms")
    assert machine.vm.guest.options.eject == Eject(EjectRule.NEVER)
    assert machine.vm.guest.options.frame_interval_ms == 2
    assert machine.vm.guest.frames_due(machine.clock_ms) > 0


def test_a_guest_that_never_ejects_can_be_told_to() -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR)
    machine.migrate_to_wait_unplug()
    machine.live()
    assert machine.execute("query-migrate")["status"] == "wait-unplug"
    machine.set(GUEST, "eject", "prompt")
    machine.live()
    assert machine.execute("query-migrate")["status"] == "active"


def test_what_is_set_outlives_a_stop() -> None:
    machine = CommandedVm("-guest", "eject=never", *PAIR)
    machine.execute("stop")
    before = machine.vm.guest.memory.options_text
    machine.set(GUEST, "eject", "prompt")
    machine.set(GUEST, "dirty", "1M")
    assert machine.vm.guest.memory.options_text == before
    machine.execute("cont")
    assert machine.vm.guest.options.eject == Eject()
    assert machine.vm.guest.options.dirty_per_second_bytes == 1 << 20
    assert parse_guest_options(machine.vm.guest.memory.options_text) == machine.vm.guest.options


@pytest.mark.parametrize("option", list(FIXED_OPTIONS))
def test_what_is_fixed_at_boot(option: str) -> None:
    machine = CommandedVm(*PAIR)
    text = refused(machine, "options", f"{option}=65536")
    assert text.startswith(f"Guest option '{option}' is fixed when the guest boots")
    assert refused(machine, option, "65536") == f"Property 'replug-guest.{option}' not found"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("eject", "sometimes", "expects prompt, never, resumed or a duration"),
        ("eject", ["prompt"], "expects text"),
        ("frames", "1us", "expects a duration"),
        ("options", "nosuch=1", "no option 'nosuch'"),
        ("options", 5, "takes text"),
    ],
)
def test_a_value_that_will_not_do(name: str, value: Any, said: str) -> None:
    machine = CommandedVm(*PAIR)
    before = machine.vm.guest.options
    assert said in refused(machine, name, value)
    assert machine.vm.guest.options == before


# -- deeds


def test_it_ejects_a_primary_by_surprise() -> None:
    machine = CommandedVm(*PAIR)
    machine.take_events()
    machine.set(GUEST, "eject", "pri0")
    assert [name for name, _ in machine.take_events()] == ["DEVICE_DELETED"]
    assert primary(machine) is Primary.ABSENT
    text = refused(machine, "eject", "pri0")
    assert text.startswith("The guest cannot do this now: eject pri0")


@pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
def test_its_driver_resets_a_standby_and_negotiates_again(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    (standby,) = machine.vm.board.standbys
    machine.take_events()
    machine.set(GUEST, "driver-reset", "net1")
    assert machine.vm.state(Standby, standby) is Standby.RESET
    assert feature(machine) is Feature.NOT_ACKED
    machine.live()
    assert feature(machine) is Feature.ACKED
    negotiated = ("FAILOVER_NEGOTIATED", {"device-id": "net1"})
    assert machine.take_events() == [negotiated] * (2 if profile == "qemu-7.2" else 1)


def test_it_reboots() -> None:
    machine = CommandedVm(*PAIR)
    machine.set(GUEST, "reboot", True)
    assert machine.vm.guest.memory.boots == 2
    assert feature(machine) is Feature.NOT_ACKED
    machine.live()
    assert feature(machine) is Feature.ACKED
    assert refused(machine, "reboot", False) == "Property 'reboot' takes true"


@pytest.mark.parametrize(
    ("name", "value"), [("reboot", True), ("driver-reset", "net1"), ("eject", "pri0")]
)
def test_a_stopped_guest_does_nothing(name: str, value: Any) -> None:
    machine = CommandedVm(*PAIR)
    machine.execute("stop")
    assert refused(machine, name, value).startswith("The guest is stopped")


def test_an_unknown_standby() -> None:
    machine = CommandedVm(*PAIR)
    assert refused(machine, "driver-reset", "net2") == "Device 'net2' not found"
    assert refused(machine, "driver-reset", 1) == "Property 'driver-reset' takes text"


def test_a_deed_is_not_a_value() -> None:
    machine = CommandedVm(*PAIR)
    assert machine.refusal("qom-get", path=GUEST, property="reboot") == (
        "GenericError",
        "Property 'replug-guest.reboot' is not readable",
    )

"""The slot registers of a root port: their values are those of the PCI Express registers."""

from __future__ import annotations

import pytest

from devices.pcie_port import (
    LINK_ACTIVE,
    PCIE_ROOT_PORT,
    PcieRootPort,
    PowerIndicator,
    SlotControl,
    is_powered,
    power_indicator,
    reset_slot_control,
    slot_capability,
    slot_control,
    slot_status,
    written_slot_status,
)
from devices.vmstate import VmStateError, load, save


def test_the_capability_is_that_of_a_qemu_root_port() -> None:
    assert slot_capability(0, native_hotplug=True) == 0x2007B
    assert slot_capability(0, native_hotplug=False) == 0x2007B & ~0x60
    assert slot_capability(3, native_hotplug=True) >> 19 == 3
    with pytest.raises(ValueError, match="8191"):
        slot_capability(8192, native_hotplug=True)


def test_a_reset_leaves_an_empty_slot_off_and_a_populated_one_on() -> None:
    # 0x7c0: power off 0x400, power LED off 0x300, attention LED off 0xc0.
    assert reset_slot_control(populated=False) == 0x7C0
    assert reset_slot_control(populated=True) == 0x1C0


@pytest.mark.parametrize("powered", [True, False])
@pytest.mark.parametrize("indicator", PowerIndicator)
def test_what_is_put_into_slot_control_is_read_back(
    powered: bool, indicator: PowerIndicator
) -> None:
    control = slot_control(powered=powered, indicator=indicator)
    assert is_powered(control) is powered
    assert power_indicator(control) is indicator


def test_the_reserved_indicator_value_is_none() -> None:
    assert power_indicator(int(SlotControl.POWER_OFF)) is None


@pytest.mark.parametrize(
    ("name", "bit"),
    [
        ("button_pressed", 0x01),
        ("presence_changed", 0x08),
        ("command_completed", 0x10),
        ("interlocked", 0x80),
    ],
)
def test_each_bit_of_slot_status_has_its_place(name: str, bit: int) -> None:
    assert slot_status(present=False, **{name: True}) == bit
    assert slot_status(present=True, **{name: True}) == bit | 0x40


def test_the_guest_clears_events_by_writing_ones_and_nothing_else() -> None:
    current = slot_status(present=True, presence_changed=True, button_pressed=True)
    assert written_slot_status(current, 0x01) == slot_status(present=True, presence_changed=True)
    assert written_slot_status(current, 0xFFFF) == slot_status(present=True)
    assert written_slot_status(current, 0) == current


def test_a_hot_plug_shows_presence_link_and_events() -> None:
    port = PcieRootPort()
    port.show(present=True, event=True)
    assert (port.present, port.slot_status, port.link_status) == (True, 0x49, LINK_ACTIVE)
    port.show(present=False, event=True)
    # The press stays pending until the guest clears it.
    assert (port.present, port.slot_status, port.link_status) == (False, 0x09, 0)


def test_a_cold_device_shows_no_event() -> None:
    port = PcieRootPort()
    port.show(present=True, event=False)
    assert port.slot_status == 0x40


def test_a_reset_follows_presence_and_clears_events() -> None:
    port = PcieRootPort()
    port.show(present=True, event=True)
    port.reset()
    assert (port.slot_control, port.slot_status) == (0x1C0, 0x40)


def test_the_registers_travel() -> None:
    source = PcieRootPort()
    source.show(present=True, event=True)
    source.slot_control = slot_control(powered=True, indicator=PowerIndicator.BLINKING)
    section = save(PCIE_ROOT_PORT, source)
    assert section["fields"] == {"slot_control": 0x2C0, "slot_status": 0x49, "link_status": 0x2000}
    target = PcieRootPort()
    load(PCIE_ROOT_PORT, target, section)
    assert target == source


def test_a_register_that_is_too_wide_is_refused() -> None:
    section = save(PCIE_ROOT_PORT, PcieRootPort())
    section["fields"]["slot_status"] = 0x10000
    with pytest.raises(VmStateError, match="0xffff"):
        load(PCIE_ROOT_PORT, PcieRootPort(), section)

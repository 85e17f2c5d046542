"""The hot-plug slot of a PCI Express root port, as its registers show it to the guest.

What may live here: the bits of the slot control, slot status and slot capability registers, the
values they have in given circumstances, and `PcieRootPort`, which holds them, with its vmstate.

Rules kept here:

* No lifecycle. Whether a device is detached, or a request outstanding, is decided by the slot's
  state machine; the functions here turn such answers into register values and read bits back.
* Power control is inverted in PCI Express: the bit says power *off*.

Source: PCI Express Base Specification §7.5.3 (slot registers); hw/pci/pcie.c and
hw/pci-bridge/gen_pcie_root_port.c of QEMU. Configuration space beyond the slot is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from functools import cache
from typing import ClassVar

from devices.vmstate import VmStateDescription, VmStateField
from devices.vmstate_kinds import U16


class SlotControl(IntFlag):
    """Bits of SLTCTL, written by the guest."""

    #: Interrupt on an attention button press.
    ATTENTION_BUTTON_ENABLE = 0x001
    #: Interrupt on a power fault.
    POWER_FAULT_ENABLE = 0x002
    #: Interrupt on a change of presence.
    PRESENCE_CHANGE_ENABLE = 0x008
    #: Interrupt on a completed command.
    COMMAND_COMPLETED_ENABLE = 0x010
    #: Interrupt on any enabled hot-plug event.
    HOTPLUG_INTERRUPT_ENABLE = 0x020
    #: Attention indicator off: both of its two bits.
    ATTENTION_INDICATOR_OFF = 0x0C0
    #: Power is OFF when this is set.
    POWER_OFF = 0x400
    #: Writing it turns the electromechanical interlock over; reads as zero.
    INTERLOCK_CONTROL = 0x800


class PowerIndicator(IntEnum):
    """The power LED: two bits of SLTCTL. Blinking means that a change is under way."""

    #: The slot is powered and in use.
    ON = 0x100
    #: The guest is about to power the slot on or off.
    BLINKING = 0x200
    #: The slot is unpowered; a device in it may be taken out.
    OFF = 0x300


#: The two bits of SLTCTL that hold the power indicator.
POWER_INDICATOR_MASK = 0x300


class SlotStatus(IntFlag):
    """Bits of SLTSTA, set by the port."""

    #: Event: the attention button was pressed.
    BUTTON_PRESSED = 0x01
    #: Event: a power fault.
    POWER_FAULT = 0x02
    #: Event: the retention latch sensor changed.
    LATCH_CHANGED = 0x04
    #: Event: presence changed.
    PRESENCE_CHANGED = 0x08
    #: Event: a command written to SLTCTL is done.
    COMMAND_COMPLETED = 0x10
    #: A device is in the slot.
    PRESENT = 0x40
    #: The interlock holds the device.
    INTERLOCKED = 0x80


#: Event bits of SLTSTA, which the guest clears by writing ones.
SLOT_EVENTS = (
    SlotStatus.BUTTON_PRESSED
    | SlotStatus.POWER_FAULT
    | SlotStatus.LATCH_CHANGED
    | SlotStatus.PRESENCE_CHANGED
    | SlotStatus.COMMAND_COMPLETED
)

#: LNKSTA: the data link layer is active, that is, something answers behind the port.
LINK_ACTIVE = 0x2000

#: SLTCAP without native hot-plug: button, power control, both indicators, interlock.
_CAPABILITY_BASE = 0x2001B

#: SLTCAP: surprise removal is possible and the slot is hot-pluggable, offered in native mode.
_CAPABILITY_HOTPLUG = 0x60

#: Highest number of a slot: 13 bits of SLTCAP.
SLOT_NUMBER_MAX = 2**13 - 1
_PRESENT = int(SlotStatus.PRESENT)


def slot_capability(slot_number: int, native_hotplug: bool) -> int:
    """SLTCAP of a port; the hot-plug bits are absent when ACPI does the hot-plugging.

    Raises ValueError for a slot number that does not fit. Rule: hw/pci/pcie.c pcie_cap_slot_init.
    """
    if not 0 <= slot_number <= SLOT_NUMBER_MAX:
        raise ValueError(f"expected a slot number from 0 to {SLOT_NUMBER_MAX}, got {slot_number}")
    return slot_number << 19 | _CAPABILITY_BASE | (_CAPABILITY_HOTPLUG if native_hotplug else 0)


@cache
def slot_control(*, powered: bool, indicator: PowerIndicator) -> int:
    """SLTCTL with this power state and LED, its interrupts disabled and its attention LED off."""
    power = 0 if powered else SlotControl.POWER_OFF
    return int(SlotControl.ATTENTION_INDICATOR_OFF) | int(indicator) | int(power)


def reset_slot_control(populated: bool) -> int:
    """SLTCTL after a reset: on if there is a device, off if not (pcie_cap_slot_reset)."""
    indicator = PowerIndicator.ON if populated else PowerIndicator.OFF
    return slot_control(powered=populated, indicator=indicator)


@cache
def slot_status(
    *,
    present: bool,
    presence_changed: bool = False,
    button_pressed: bool = False,
    command_completed: bool = False,
    interlocked: bool = False,
) -> int:
    """SLTSTA with these of its bits set."""
    bits = SlotStatus(0)
    bits |= SlotStatus.PRESENT if present else 0
    bits |= SlotStatus.PRESENCE_CHANGED if presence_changed else 0
    bits |= SlotStatus.BUTTON_PRESSED if button_pressed else 0
    bits |= SlotStatus.COMMAND_COMPLETED if command_completed else 0
    bits |= SlotStatus.INTERLOCKED if interlocked else 0
    return int(bits)


def written_slot_status(current: int, written: int) -> int:
    """SLTSTA after the guest wrote `written`: events written as one are cleared, others stay."""
    return current & ~(written & SLOT_EVENTS)


def is_powered(control: int) -> bool:
    """Whether this SLTCTL leaves the slot powered."""
    return not control & SlotControl.POWER_OFF


def power_indicator(control: int) -> PowerIndicator | None:
    """The LED in this SLTCTL; None for the reserved value 0."""
    bits = control & POWER_INDICATOR_MASK
    return PowerIndicator(bits) if bits else None


@dataclass
class PcieRootPort:
    """The slot registers of one pcie-root-port."""

    #: Name of the device model in options and in `devices.sections`.
    driver: ClassVar[str] = "pcie-root-port"

    #: PCI path of the port, which names its section; "" if it has none.
    device_path: str = ""
    #: SLTCTL.
    slot_control: int = reset_slot_control(populated=False)
    #: SLTSTA.
    slot_status: int = 0
    #: LNKSTA; `LINK_ACTIVE` when a device answers.
    link_status: int = 0

    @property
    def present(self) -> bool:
        """Whether the guest sees a device in the slot."""
        return bool(self.slot_status & _PRESENT)

    def show(self, *, present: bool, event: bool) -> None:
        """Show a device as present or gone; with `event`, tell the guest of it too.

        Rule: hw/pci/pcie.c pcie_cap_slot_plug_cb and pcie_cap_slot_do_unplug. A device plugged
        while the guest runs also presses the button.
        """
        held = self.slot_status & ~_PRESENT
        self.slot_status = held | slot_status(
            present=present, presence_changed=event, button_pressed=event and present
        )
        self.link_status = LINK_ACTIVE if present else 0

    def reset(self) -> None:
        """A system reset: power follows presence, events and interlock are cleared."""
        self.slot_control = reset_slot_control(self.present)
        self.slot_status = slot_status(present=self.present)


#: The section of a root port: the slot's share of it.
PCIE_ROOT_PORT = VmStateDescription[PcieRootPort](
    name="pcie-root-port",
    version=1,
    minimum_version=1,
    fields=(
        VmStateField("slot_control", U16),
        VmStateField("slot_status", U16),
        VmStateField("link_status", U16),
    ),
)

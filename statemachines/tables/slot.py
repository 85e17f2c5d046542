"""The PCIe slot of one primary: ACPI hotplug, and the slot's own (native) hotplug.

Rules kept here: policy `hotplug` says which of the two drives the slot; the rows of the other
never fire. An ACPI eject needs no request: a guest may eject whenever it likes.
"""

from __future__ import annotations

from statemachines.events import E
from statemachines.guards import All, In, Per, Policy
from statemachines.spec import Ignored, MachineSpec, Refused, Row
from statemachines.states import Primary, Request, Slot
from statemachines.tables.conditions import REQUEST_REACHES, RESET_EJECTS, SLOT_LETS_GO_AT_ONCE

S = Slot
ACPI = Policy("hotplug", "acpi")
BY_SLOT = Policy("hotplug", "native")
_ASKED_BY_USER = In(Primary.PLUGGED)

SLOT = MachineSpec(
    name="slot",
    states=Slot,
    summary="One primary's slot, as the guest and the hotplug controller see it.",
    initial=S.EMPTY,
    final=frozenset(S),
    per=Per.PRIMARY,
    rows=(
        Row(S.EMPTY, E.PRIMARY_PLUGGED, S.INSERTED, cite="hw/acpi/pcihp.c: up bit; pcie.c: PDS"),
        Row(S.EMPTY, E.ADOPT, S.OCCUPIED),
        Row(S.INSERTED, E.GUEST_PROBES, S.OCCUPIED, cite="Linux acpiphp, pciehp"),
        Row(
            S.INSERTED,
            E.UNPLUG_PRIMARIES,
            S.EMPTY,
            when=All(REQUEST_REACHES, SLOT_LETS_GO_AT_ONCE),
        ),
        Row(
            (S.INSERTED, S.OCCUPIED),
            E.UNPLUG_PRIMARIES,
            S.REQUESTED,
            when=REQUEST_REACHES,
            cite="hw/acpi/pcihp.c: down bit; pcie.c: attention button",
        ),
        Row(
            S.INSERTED,
            E.DEVICE_DEL,
            S.EMPTY,
            when=All(_ASKED_BY_USER, SLOT_LETS_GO_AT_ONCE),
        ),
        Row((S.INSERTED, S.OCCUPIED), E.DEVICE_DEL, S.REQUESTED, when=_ASKED_BY_USER),
        Row(
            (S.INSERTED, S.OCCUPIED, S.REQUESTED),
            E.GUEST_EJECTS,
            S.EMPTY,
            when=ACPI,
            cite="hw/acpi/pcihp.c acpi_pcihp_eject_slot: no request need be outstanding",
        ),
        Row(
            (S.OCCUPIED, S.REQUESTED),
            E.GUEST_BLINKS,
            S.BLINKING,
            when=BY_SLOT,
            cite="Linux pciehp_ctrl.c: will power off in 5 sec",
        ),
        Row(
            S.BLINKING,
            E.GUEST_STOPS_BLINKING,
            S.OCCUPIED,
            cite="Linux pciehp_ctrl.c: a second press cancels; QEMU does not notice",
        ),
        Row(S.BLINKING, E.GUEST_POWERS_OFF, S.POWERED_OFF, cite="pcie.c: PCC off"),
        Row(
            S.POWERED_OFF,
            E.GUEST_EJECTS,
            S.EMPTY,
            cite="pcie.c pcie_cap_slot_write_config: PCC and PIC off detach",
        ),
        Row(
            S.REQUESTED,
            E.ROLLBACK,
            S.OCCUPIED,
            when=All(Policy("cancel_in_wait", "withdraw"), In(Request.MIGRATION)),
        ),
        Row(S.REQUESTED, E.SYSTEM_RESET, S.EMPTY, when=RESET_EJECTS, cite="acpi_pcihp_reset"),
        Row(
            (S.INSERTED, S.REQUESTED, S.BLINKING, S.POWERED_OFF),
            E.SYSTEM_RESET,
            S.OCCUPIED,
            cite="the guest enumerates again; pcie_cap_slot_reset keeps the device",
        ),
    ),
    ignored=(
        Ignored(tuple(S), E.UNPLUG_PRIMARIES, "no request reaches it, or it is requested already"),
        Ignored(tuple(S), E.DEVICE_DEL, "the primary decides"),
        Ignored(tuple(S), E.ROLLBACK, "nothing to take back, or it is left as it is"),
        Ignored((S.EMPTY, S.OCCUPIED), E.SYSTEM_RESET, "as before"),
        Ignored(
            (S.REQUESTED, S.BLINKING, S.POWERED_OFF),
            E.GUEST_PROBES,
            "the guest finds it on its way out",
        ),
    ),
    refused=(
        Refused(
            (S.EMPTY, S.OCCUPIED, S.INSERTED, S.REQUESTED),
            E.GUEST_EJECTS,
            "there is nothing to eject, or the slot still has power",
        ),
    ),
)

"""What must hold between a primary, its flags, its slot, its device and what was asked of it.

Rules kept here: those of `agreements.py`.
"""

from __future__ import annotations

from statemachines.claims import (
    Claim,
    Every,
    Kind,
    Property,
    at_source,
    never,
    never_some,
    on_both,
)
from statemachines.guards import All, Guard, In, Mine, Not, Policy, Sibling, Some
from statemachines.observers import Announced, Asked, EverPlugged, Life, SlotRefused, Wanted
from statemachines.states import (
    Feature,
    Hidden,
    Migration,
    Partial,
    Pending,
    Primary,
    Request,
    RunState,
    Slot,
    Stored,
)
from statemachines.tables.conditions import MIGRATING
from statemachines.witnesses_of_devices import Device, Indicator, PlugReport

_ALIVE = In(Life.ALIVE)
_WITHDRAWS = Policy("cancel_in_wait", "withdraw")
_ATTACHED = In(Primary.PLUGGED, Primary.UNPLUG_PENDING)
_CONFIGURED = All(Not(In(Primary.ABSENT)), Not(In(EverPlugged.ADOPTED)))


def _nowhere(*parts: Guard) -> Claim:
    """Return that no primary of a living VM is all of these at once."""
    return on_both(never_some(*parts))


#: Every agreement of a primary, in the order of reports.
AGREEMENTS_OF_PRIMARIES: tuple[Property, ...] = (
    Property(
        "negotiated-is-shown",
        Kind.ALWAYS,
        "Outside a migration a primary of a guest that negotiated is not hidden.",
        Every(
            tuple(
                on_both(
                    Not(
                        All(
                            _ALIVE,
                            In(Migration.NONE, Migration.CANCELLED, Migration.FAILED),
                            Some(All(In(Feature.ACKED), hidden)),
                        )
                    )
                )
                for hidden in (In(Primary.HIDDEN), In(Hidden.HIDDEN))
            )
        ),
        "hw/net/virtio-net.c virtio_net_set_features, failover_replug_primary",
        covers=(18, 38),
    ),
    Property(
        "asked-is-hidden-again",
        Kind.ALWAYS,
        "During a migration a standby hides primaries again exactly if one was asked to leave.",
        Every(
            (
                never(
                    at_source(
                        _ALIVE,
                        MIGRATING,
                        Some(
                            All(
                                In(Feature.ACKED),
                                In(Hidden.HIDDEN),
                                Not(Mine(In(Asked.ONCE))),
                            )
                        ),
                    )
                ),
                never(
                    at_source(
                        _ALIVE,
                        MIGRATING,
                        Some(
                            All(
                                In(Asked.ONCE),
                                In(Hidden.SHOWN),
                                Not(In(Announced.YES)),
                            )
                        ),
                    )
                ),
            )
        ),
        "hw/net/virtio-net.c virtio_net_handle_migration_primary",
        where=_WITHDRAWS,
    ),
    Property(
        "request-and-slot-agree",
        Kind.ALWAYS,
        "An unplug request is outstanding exactly while an eject is waited for.",
        Every(
            (
                _nowhere(In(Primary.UNPLUG_PENDING), Not(In(Request.MIGRATION, Request.USER))),
                _nowhere(Not(In(Primary.UNPLUG_PENDING)), In(Request.MIGRATION, Request.USER)),
                _nowhere(In(Primary.UNPLUG_PENDING), In(Pending.CLEAR)),
                _nowhere(Not(In(Primary.UNPLUG_PENDING)), In(Pending.SET)),
                _nowhere(In(Request.WITHDRAWN), Not(In(Primary.PLUGGED))),
                _nowhere(In(Slot.REQUESTED), In(Request.NONE)),
                _nowhere(
                    In(Primary.UNPLUGGED, Primary.ABSENT, Primary.HIDDEN), Not(In(Slot.EMPTY))
                ),
            )
        ),
        "hw/acpi/pcihp.c, hw/pci/pcie.c: pending_deleted_event",
        covers=(5, 10, 30),
        where=_WITHDRAWS,
    ),
    Property(
        "pending-is-in-its-slot",
        Kind.ALWAYS,
        "A primary whose eject is waited for is still in its slot.",
        _nowhere(In(Primary.UNPLUG_PENDING), In(Slot.EMPTY)),
        "hw/pci/pcie.c pcie_cap_slot_do_unplug; hw/acpi/pcihp.c acpi_pcihp_eject_slot",
        covers=(5, 32),
        where=_WITHDRAWS,
    ),
    Property(
        "request-reaches-the-slot",
        Kind.ALWAYS,
        "A primary that was asked to leave has its slot's request set.",
        _nowhere(In(Primary.UNPLUG_PENDING), Not(In(Slot.REQUESTED))),
        "hw/acpi/pcihp.c acpi_pcihp_device_unplug_request_cb",
        covers=(1, 32),
        where=All(_WITHDRAWS, Policy("hotplug", "acpi")),
    ),
    Property(
        "indicator-is-seen",
        Kind.ALWAYS,
        "A slot is blinking exactly while its power indicator blinks.",
        Every(
            (
                _nowhere(In(Slot.BLINKING), In(Indicator.STEADY)),
                _nowhere(Not(In(Slot.BLINKING)), In(Indicator.BLINKS)),
                _nowhere(In(Slot.REQUESTED), In(Indicator.GIVEN_UP)),
            )
        ),
        "hw/pci/pcie.c pcie_cap_slot_write_config",
        covers=(30, 51),
    ),
    Property(
        "asked-is-partial",
        Kind.ALWAYS,
        "Exactly the primaries that a migration asked are kept when they leave.",
        Every(
            (
                never(
                    at_source(
                        _ALIVE, MIGRATING, Some(All(In(Asked.ONCE), In(Partial.WHOLE), _ATTACHED))
                    )
                ),
                never(
                    at_source(_ALIVE, MIGRATING, Some(All(In(Asked.NEVER), In(Partial.PARTIAL))))
                ),
            )
        ),
        "hw/net/virtio-net.c failover_unplug_primary",
        covers=(31, 33),
        where=_WITHDRAWS,
    ),
    Property(
        "user-is-heard",
        Kind.ALWAYS,
        "A primary that the user deleted is asked to leave, and no other is on a user's behalf.",
        Every(
            (
                _nowhere(In(Wanted.LEAVING), In(Primary.PLUGGED, Primary.HIDDEN)),
                _nowhere(In(Wanted.YES), In(Request.USER)),
            )
        ),
        "softmmu/qdev-monitor.c qmp_device_del",
        covers=(32, 33),
    ),
    Property(
        "device-follows",
        Kind.ALWAYS,
        "An unplugged primary's device is kept, an absent one's is not there, a plugged one's is.",
        Every(
            (
                _nowhere(In(Primary.UNPLUGGED), Not(In(Device.KEPT))),
                _nowhere(In(Primary.ABSENT, Primary.HIDDEN), Not(In(Device.NONE))),
                _nowhere(_ATTACHED, Not(In(Device.PLACED))),
            )
        ),
        "hw/acpi/pcihp.c acpi_pcihp_eject_slot; hw/net/virtio-net.c failover_replug_primary",
        covers=(6, 33, 34),
        where=_WITHDRAWS,
    ),
    Property(
        "options-follow",
        Kind.ALWAYS,
        "A standby keeps the options of the primaries that were configured and are not deleted.",
        Every(
            (
                _nowhere(In(Primary.ABSENT), In(Stored.KEPT)),
                _nowhere(_CONFIGURED, In(Stored.EMPTY)),
            )
        ),
        "hw/net/virtio-net.c failover_hide_primary_device, failover_add_primary",
        covers=(22, 23),
        where=Policy("user_deleted", "forgotten"),
    ),
    Property(
        "one-configured-primary",
        Kind.ALWAYS,
        "No standby is given a primary while it has another.",
        _nowhere(_CONFIGURED, Sibling(_CONFIGURED)),
        "hw/net/virtio-net.c failover_hide_primary_device: Cannot attach more than one primary",
        where=Policy("user_deleted", "forgotten"),
    ),
    Property(
        "adopted-is-in-its-slot",
        Kind.ALWAYS,
        "A primary that was there before its standby is in its slot when the guest boots.",
        never(
            at_source(
                _ALIVE,
                In(RunState.PRELAUNCH),
                Some(All(In(EverPlugged.ADOPTED), In(Primary.PLUGGED), In(Slot.EMPTY))),
            )
        ),
        "a device plugged before its standby stays visible",
        covers=(25,),
    ),
    Property(
        "given-up-is-gone",
        Kind.ALWAYS,
        "A primary that its guest ejects unasked is deleted, and does not come back.",
        _nowhere(In(Wanted.NO), Not(In(Primary.ABSENT))),
        "hw/acpi/pcihp.c acpi_pcihp_eject_slot",
        where=All(_WITHDRAWS, Policy("hotplug", "acpi")),
    ),
    Property(
        "refusal-is-told",
        Kind.ALWAYS,
        "The operator is told when a slot refuses the unplug request.",
        _nowhere(In(SlotRefused.SILENT)),
        "virtio_net_handle_migration_primary: couldn't unplug primary device",
        covers=(31,),
    ),
    Property(
        "plug-failure-is-told",
        Kind.ALWAYS,
        "A primary that cannot be plugged is reported.",
        _nowhere(In(PlugReport.SILENT)),
        "DESIGN: a primary that cannot come back is reported by name",
        covers=(22, 40),
    ),
)

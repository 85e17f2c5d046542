"""The named policies that a profile fixes, and the values each may take.

Rules kept here:
1. Transitions read a policy through guards alone; a profile is one value for every policy. What
   is no transition (a check made early, a line of a report) may look at one too.
2. `native` is how it should be done; `qemu-7.2` mirrors QEMU 7.2, defects included.
3. Timings, texts and anything that decides no transition belong to the engine's profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

#: name -> (what it decides, {value: what the value means})
POLICIES: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "greeting": (
            "what is asked of the target before anything is unplugged",
            {"asked": "HELLO must be answered by ACCEPT", "none": "nothing"},
        ),
        "leave_wait_unplug": (
            "what ends wait-unplug",
            {"event": "the last eject itself", "poll": "a poll every 250 ms"},
        ),
        "unplug_deadline": (
            "whether wait-unplug has a deadline",
            {"on": "the migration fails and rolls back when it passes", "off": "it may last"},
        ),
        "wait_for": (
            "which primaries are waited for",
            {
                "request": "those with an unplug request outstanding",
                "pending-flag": "those with STANDBY acknowledged and the pending flag set",
            },
        ),
        "peer_loss_in_wait": (
            "when a lost peer is noticed in wait-unplug",
            {"at-once": "at once", "after-eject": "when streaming goes on"},
        ),
        "cancel_in_wait": (
            "what cancel does to an outstanding unplug request",
            {
                "withdraw": "the request is taken back and the cancel ends at once",
                "linger": "the cancel waits for the eject, 30 s at most",
            },
        ),
        "late_eject": (
            "what an eject after a withdrawn request does",
            {"replug": "the primary is plugged again", "delete": "the primary is deleted"},
        ),
        "unplug_refused": (
            "what a slot that refuses the request does to the migration",
            {"fail": "it fails and rolls back", "go-on": "it goes on with the primary attached"},
        ),
        "unplug_scope": (
            "which primaries of a standby are asked to leave",
            {"all": "every plugged one", "oldest": "the oldest, and only if negotiated"},
        ),
        "first_negotiation": (
            "a guest that negotiates STANDBY first during a migration",
            {"defer": "the primary stays hidden until the migration has ended", "drop": "is lost"},
        ),
        "user_deleted": (
            "a primary the user deleted, when the guest renegotiates",
            {"forgotten": "stays deleted", "resurrects": "is created again"},
        ),
        "refused_primary": (
            "the options of a primary whose placement is refused",
            {"forgotten": "are dropped", "poisons": "are kept and block every other id"},
        ),
        "handover": (
            "how the VM changes hands where the target can answer",
            {"two-phase": "LOADED, then COMMIT, then RUNNING", "one-way": "when END is loaded"},
        ),
        "device_status": (
            "when the source shows the status device",
            {"always": "at every switchover", "when-paused": "after pre-switchover only"},
        ),
        "cont_after_completed": (
            "cont on a source whose VM has left",
            {"refused": "is refused", "allowed": "runs the VM a second time"},
        ),
        "reset_on_the_way": (
            "system_reset once the VM's state is on its way, and where it arrives",
            {"refused": "is refused", "allowed": "resets what is here, and that is lost or mixed"},
        ),
        "paused_after_failure": (
            "the run state of a VM that was paused when a migration failed late",
            {"paused": "paused, as before", "postmigrate": "postmigrate"},
        ),
        "hotplug": (
            "how slots are hotplugged",
            {"acpi": "by ACPI (q35's default)", "native": "by the PCIe slot itself"},
        ),
    }
)

NATIVE: Mapping[str, str] = MappingProxyType(
    {
        "greeting": "asked",
        "leave_wait_unplug": "event",
        "unplug_deadline": "on",
        "wait_for": "request",
        "peer_loss_in_wait": "at-once",
        "cancel_in_wait": "withdraw",
        "late_eject": "replug",
        "unplug_refused": "fail",
        "unplug_scope": "all",
        "first_negotiation": "defer",
        "user_deleted": "forgotten",
        "refused_primary": "forgotten",
        "handover": "two-phase",
        "device_status": "always",
        "cont_after_completed": "refused",
        "reset_on_the_way": "refused",
        "paused_after_failure": "paused",
        "hotplug": "acpi",
    }
)

QEMU_7_2: Mapping[str, str] = MappingProxyType(
    {
        "greeting": "none",
        "leave_wait_unplug": "poll",
        "unplug_deadline": "off",
        "wait_for": "pending-flag",
        "peer_loss_in_wait": "after-eject",
        "cancel_in_wait": "linger",
        "late_eject": "delete",
        "unplug_refused": "go-on",
        "unplug_scope": "oldest",
        "first_negotiation": "drop",
        "user_deleted": "resurrects",
        "refused_primary": "poisons",
        "handover": "one-way",
        "device_status": "when-paused",
        "cont_after_completed": "allowed",
        "reset_on_the_way": "allowed",
        "paused_after_failure": "postmigrate",
        "hotplug": "acpi",
    }
)

#: profile name -> its policies
VALUATIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"native": NATIVE, "qemu-7.2": QEMU_7_2}
)


def check_valuation(valuation: Mapping[str, str]) -> None:
    """Check that a valuation gives every policy one of its values.

    :raise ValueError: naming the policies that are missing, unknown or ill-valued.
    """
    _check_choices(frozenset(valuation.items()))


@cache
def _check_choices(choices: frozenset[tuple[str, str]]) -> None:
    valuation = dict(choices)
    wrong = [f"{name}: missing" for name in POLICIES.keys() - valuation.keys()]
    wrong += [f"{name}: no such policy" for name in valuation.keys() - POLICIES.keys()]
    wrong += [
        f"{name}: {value!r} is not one of {', '.join(POLICIES[name][1])}"
        for name, value in valuation.items()
        if name in POLICIES and value not in POLICIES[name][1]
    ]
    if wrong:
        raise ValueError("not a valuation of the policies: " + "; ".join(sorted(wrong)))

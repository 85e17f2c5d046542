"""query-migrate: how the migration stands, in QEMU's keys, and in ours where there are none.

Rules kept here: which keys come with which status is QEMU's (migration.c
fill_destination_migration_info, fill_source_migration_info): the target's part first, the source's
over it. In a `qemu-*` profile no key is added that QEMU lacks, but for a doubt. Nothing here
decides or changes anything.
"""

from __future__ import annotations

from typing import Any

from devices.vfio_pci import migration_blocker
from engine.commands.call import Host
from engine.vm import Vm
from statemachines.states import (
    Blocker,
    Handover,
    Incoming,
    Link,
    Migration,
    Primary,
    Takeover,
)

_LISTENING = (Incoming.SETUP, Incoming.ACTIVE)


def is_in_doubt(vm: Vm) -> bool:
    """Say whether nobody here knows which side has the VM."""
    return vm.state(Handover) is Handover.IN_DOUBT or vm.state(Takeover) is Takeover.IN_DOUBT


def query_migrate(vm: Vm, host: Host) -> dict[str, Any]:
    """Return what query-migrate answers (MigrationInfo); empty before any migration."""
    answer = _target_part(vm, host)
    if vm.state(Blocker) is Blocker.BLOCKED:
        answer["blocked-reasons"] = _blocked_reasons(vm)
    answer |= vm.statistics.query(vm.migration, host.now_ms(), vm.error_description)
    if is_in_doubt(vm):
        answer["x-replug-in-doubt"] = True
    if vm.profile.own_events and "status" in answer:
        answer["x-replug"] = replug_report(vm, host)
    return answer


def _target_part(vm: Vm, host: Host) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    incoming = vm.incoming
    if incoming in _LISTENING and (addresses := host.socket_addresses()):
        answer["socket-address"] = [dict(address) for address in addresses]
    # QEMU 7.2 says `setup` in an event and keeps the status at none until a source connects.
    unseen = incoming is Incoming.SETUP and vm.profile.incoming_setup_always
    if incoming is not Incoming.NONE and not unseen:
        answer["status"] = incoming.value
    return answer


def _blocked_reasons(vm: Vm) -> list[str]:
    reasons = (
        migration_blocker(device.properties)
        for device in vm.board.topology.devices
        if device.model.name == "vfio-pci"
    )
    return [reason for reason in reasons if reason is not None]


def replug_report(vm: Vm, host: Host) -> dict[str, Any]:
    """Return what QEMU has no key for (ReplugReport), of the last migration in either direction.

    Keys: `pending` (ids of primaries whose eject is awaited), `handover` (two-phase or one-way),
    `wait-unplug-ms`, `verify-ms`, `digest-equal` (null: not compared), `states` (statuses in the
    order they were reached), and what the process adds of its own.
    """
    statistics = vm.statistics
    outgoing = vm.migration is not Migration.NONE
    return {
        "pending": [
            entry.id
            for entry in vm.board.primaries.values()
            if vm.state(Primary, entry.index) is Primary.UNPLUG_PENDING
        ],
        "handover": _handover(vm),
        "wait-unplug-ms": round(_wait_unplug_ms(vm, host.now_ms())),
        "verify-ms": round(statistics.verify_ms),
        "digest-equal": statistics.digest_equal,
        "states": list(statistics.outgoing_states if outgoing else statistics.incoming_states),
        **host.details(),
    }


def _wait_unplug_ms(vm: Vm, now_ms: float) -> float:
    if vm.migration is Migration.WAIT_UNPLUG:
        return now_ms - vm.statistics.stamps_ms[Migration.WAIT_UNPLUG.value]
    return vm.statistics.wait_unplug_ms


def _handover(vm: Vm) -> str:
    """Say how the VM changed hands, or is going to as far as is known by now."""
    outgoing = vm.migration is not Migration.NONE
    uri = vm.outgoing_uri if outgoing else vm.incoming_uri
    over = Migration.COMPLETED if outgoing else Incoming.COMPLETED
    proof = "committed" if outgoing else "loaded"
    one_way = (
        vm.profile.policies["handover"] == "one-way"
        or vm.state(Link) is Link.ONE_WAY
        or (uri is not None and uri.reply_path is False)
        or (over in (vm.migration, vm.incoming) and proof not in vm.statistics.stamps_ms)
    )
    return "one-way" if one_way else "two-phase"

"""The VMs of a trace: what their devices are called, what they are made of, and their operator.

Rules kept here: a device has the rank of its instance in the trace. A VM is read from option lines,
as a user writes them, by the production reader; an operator gives QMP commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from devices.guest_options import parse_guest_options
from devices.inventory import Inventory
from engine.command_line import parse_vm_arguments
from engine.configuration import VmConfiguration
from engine.driver.simulation.trace import SIDES, System
from statemachines.events import E

#: Where the target waits.
URI = "tcp:target:4444"
#: A device that forbids migrating, as device_add takes it.
BLOCKING_OPTIONS: dict[str, Any] = {
    "driver": "vfio-pci",
    "host": "5e:01.0",
    "id": "blocker",
    "bus": "spare",
}
_GUEST = "fill=16K,working-set=16K"
#: Silence is noticed when a trace says so, and not before.
_HEARTBEAT_MS = 60_000
_CAPABILITIES = {
    E.RETURN_PATH_ON: ("return-path", True),
    E.RETURN_PATH_OFF: ("return-path", False),
    E.PAUSE_ON: ("pause-before-switchover", True),
    E.PAUSE_OFF: ("pause-before-switchover", False),
}
_COMMANDS = {E.STOP: "stop", E.CONT: "cont", E.SYSTEM_RESET: "system_reset"}


def standby_id(rank: int) -> str:
    """Return what a standby is called."""
    return f"net{rank}"


def primary_id(rank: int) -> str:
    """Return what a primary is called."""
    return f"hostdev{rank}"


def primary_options(system: System, rank: int, *, misplaced: bool = False) -> dict[str, str]:
    """Return the options of a primary, as device_add takes them."""
    return {
        "driver": "vfio-pci",
        "host": f"5e:00.{rank}",
        "id": primary_id(rank),
        "bus": "pcie.0" if misplaced else f"root{rank}",
        "failover_pair_id": standby_id(system.standby_of[rank]),
    }


def make_up(
    system: System,
    profile: str,
    *,
    is_target: bool,
    plugged: Sequence[int | None],
    adopted: Sequence[int | None],
    held: bool,
    differs: bool,
) -> VmConfiguration:
    """Return the make-up of a VM.

    :param plugged: ranks of the primaries on its command line, in order.
    :param adopted: those of them that stand before their standby.
    :param held: it is started with -S.
    :param differs: it is no VM that the other can be migrated into.
    """
    words = ["-m", "2M" if differs else "1M", "-profile", profile]
    words += ["-global", f"replug.heartbeat_interval_ms={_HEARTBEAT_MS}"]
    if system.policies.get("hotplug") == "native":
        words += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
    standbys = sorted(set(system.standby_of.values()))
    for rank in system.standby_of:
        words += ["-device", f"pcie-root-port,id=root{rank},bus=pcie.0,chassis={rank}"]
    words += ["-device", f"pcie-root-port,id={BLOCKING_OPTIONS['bus']},bus=pcie.0,chassis=99"]
    words += _primaries(system, adopted)
    for rank in standbys:
        words += f"-netdev user,id=host{standby_id(rank)}".split()
        words += [
            "-device",
            f"virtio-net-pci,netdev=host{standby_id(rank)},id={standby_id(rank)},"
            f"mac=52:54:00:6f:55:{rank:02x},bus=pcie.0,failover=on",
        ]
    words += _primaries(system, [rank for rank in plugged if rank not in adopted])
    return replace(
        parse_vm_arguments(words, read_file=_no_file).configuration,
        name="target" if is_target else "source",
        guest=parse_guest_options(_GUEST),
        inventory=Inventory(),
        start_paused=held,
        incoming="defer" if is_target else None,
    )


def _primaries(system: System, ranks: Iterable[int | None]) -> list[str]:
    words: list[str] = []
    for rank in dict.fromkeys(ranks):
        if rank is None:
            continue
        options = primary_options(system, rank)
        driver = options.pop("driver")
        words += ["-device", ",".join([driver, *(f"{k}={v}" for k, v in options.items())])]
    return words


def _no_file(path: str) -> str:
    raise OSError(f"a simulation reads no file: {path}")


def operator_command(
    system: System, side: str, what: E, rank: int | None
) -> tuple[str, dict[str, Any]]:
    """Return the QMP command by which an operator lets an event happen, and its arguments.

    :raise KeyError: if there is none.
    """
    match what:
        case E.MIGRATE:
            return "migrate", {"uri": URI}
        case E.INCOMING:
            return "migrate-incoming", {"uri": URI}
        case E.CANCEL:
            return "migrate_cancel", {}
        case E.CONTINUE:
            return "migrate-continue", {"state": "pre-switchover"}
        case E.KEEP_HERE | E.KEEP_THERE:
            keeper = side if what is E.KEEP_HERE else SIDES[side == "source"]
            return "x-replug-resolve", {"keep": keeper}
        case E.BLOCK:
            return "device_add", BLOCKING_OPTIONS
        case E.UNBLOCK:
            return "device_del", {"id": BLOCKING_OPTIONS["id"]}
        case E.DEVICE_ADD | E.DEVICE_ADD_MISPLACED if rank is not None:
            misplaced = what is E.DEVICE_ADD_MISPLACED
            return "device_add", dict(primary_options(system, rank, misplaced=misplaced))
        case E.DEVICE_DEL if rank is not None:
            return "device_del", {"id": primary_id(rank)}
    if what in _CAPABILITIES:
        name, on = _CAPABILITIES[what]
        return "migrate-set-capabilities", {"capabilities": [{"capability": name, "state": on}]}
    return _COMMANDS[what], {}

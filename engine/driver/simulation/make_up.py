"""What the simulated VMs are made of, from a plan.

Rules kept here: it is read from option lines, as a user writes them, by the production reader.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from devices.guest_options import GuestOptions, parse_guest_options
from devices.inventory import Inventory
from devices.options import OptionError
from engine.command_line import parse_vm_arguments
from engine.command_line_error import CommandLineError
from engine.configuration import VmConfiguration
from engine.driver.simulation.plan import Plan, PlanError

#: Where the target waits, by what the link is.
_URIS = {"tcp": "tcp:target:4444", "unix": "unix:/run/target"}
#: So that nobody waits for seconds: they cost time even where they are virtual.
_HEARTBEAT_MS = 200
_RAM = "1M"


def _devices(pairs: int) -> list[str]:
    words: list[str] = []
    for pair in range(1, pairs + 1):
        words += (
            f"-netdev user,id=hostnet{pair} "
            f"-device pcie-root-port,id=root{pair},bus=pcie.0,chassis={pair} "
            f"-device virtio-net-pci,netdev=hostnet{pair},id=net{pair},"
            f"mac=52:54:00:6f:55:c{pair},bus=pcie.0,failover=on "
            f"-device vfio-pci,host=5e:00.{pair + 1},id=hostdev{pair},bus=root{pair},"
            f"failover_pair_id=net{pair}"
        ).split()
    return words


@cache
def template(profile: str, pairs: int, native_hotplug: bool) -> VmConfiguration:
    words = ["-m", _RAM, "-profile", profile]
    words += ["-global", f"replug.heartbeat_interval_ms={_HEARTBEAT_MS}"]
    if native_hotplug:
        words += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]
    return parse_vm_arguments([*words, *_devices(pairs)], read_file=_no_file).configuration


def uri_of(plan: Plan) -> str:
    """Return where the target waits."""
    return _URIS[plan.transport]


def configuration(plan: Plan, *, is_target: bool) -> VmConfiguration:
    """Return the make-up of one of the VMs, new for each process."""
    guest = plan.target_guest if is_target else plan.guest
    return replace(
        template(plan.profile, plan.pairs, plan.native_hotplug),
        name="target" if is_target else "source",
        guest=parse_guest_options(guest) if guest else GuestOptions(),
        inventory=Inventory(),
        start_paused=plan.held[is_target],
        incoming=uri_of(plan) if is_target else None,
    )


def check(plan: Plan) -> None:
    """Check that VMs can be made of a plan.

    :raise PlanError: if they cannot.
    """
    try:
        for is_target in (False, True):
            configuration(plan, is_target=is_target)
    except (OptionError, CommandLineError) as error:
        raise PlanError(f"no VM can be made of this plan: {error}") from error


def _no_file(path: str) -> str:
    raise OSError(f"a simulation reads no file: {path}")

"""What one VM is made of, before it runs: the command line, read and checked.

Rules kept here: plain frozen data. Reading it from a command line is `engine.command_line`.
"""

from __future__ import annotations

from dataclasses import dataclass

from devices.guest_options import GuestOptions
from devices.inventory import Inventory
from devices.netdev import Netdev
from devices.options import Options
from devices.pci import MachineType
from engine.profile import Profile


@dataclass(frozen=True)
class VmConfiguration:
    """One VM's make-up."""

    #: -name; empty without.
    name: str
    #: -uuid; the zero UUID without.
    uuid: str
    #: q35 or pc.
    machine: MachineType
    #: -m, in bytes: whole pages.
    ram_bytes: int
    #: -mem-prealloc.
    ram_preallocated: bool
    #: -netdev, in order.
    netdevs: tuple[Netdev, ...]
    #: -device, in order.
    devices: tuple[Options, ...]
    #: -profile with -global applied.
    profile: Profile
    #: -guest.
    guest: GuestOptions
    #: -host.
    inventory: Inventory
    #: -S.
    start_paused: bool
    #: -incoming: a URI, "defer", or None for a VM that starts by itself.
    incoming: str | None

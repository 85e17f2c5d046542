"""The primary: a passed-through network function, as far as the host can know it.

What may live here: `VfioPci` and the question whether such a device blocks a migration.

Why there is no vmstate. What a passed-through device is to its guest lies in the hardware. QEMU
gives a vfio-pci that has a failover_pair_id no part in migration at all (7.2: hw/vfio/pci.c
vfio_realize probes for migration only without a pair id; 8.1 and later keep the condition): no
section in the stream, no handlers, and no blocker either, since the device is to be gone before the
stream begins. The target's function starts afresh and is set up by the guest's driver. A vfio-pci
without a pair id is not going to be unplugged, and blocks every migration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from devices import vmstate_texts as texts
from devices.frames import MAC_BYTES, is_group
from devices.vmstate import VmStateDescription

#: Most addresses the function's filter takes before the driver must fall back to promiscuous mode.
FILTER_ENTRIES_MAX = 64


def migration_blocker(properties: Mapping[str, object]) -> str | None:
    """Why a vfio-pci with these properties forbids every migration; None if it does not.

    Only the presence of failover_pair_id counts, as in QEMU: it is not asked whether a standby of
    that name exists. Whoever starts a migration has to see to it that the primary is unplugged.
    """
    if properties.get("failover_pair_id"):
        return None
    return texts.VFIO_UNMIGRATABLE


class VfioPci:
    """One host network function given to the guest.

    `host` is its address on the host, such as "0000:5e:00.2", `mac` the address the host's
    administrator gave it. Raises ValueError for a MAC of other than six bytes.
    """

    #: Name of the device model in options and in `devices.sections`.
    driver: ClassVar[str] = "vfio-pci"

    #: A primary leaves nothing in the stream; the module's docstring says why.
    vmstate: ClassVar[VmStateDescription[VfioPci] | None] = None

    def __init__(
        self, host: str, mac: bytes, *, failover_pair_id: str | None = None, device_path: str = ""
    ) -> None:
        if len(mac) != MAC_BYTES:
            raise ValueError(f"expected a MAC address of {MAC_BYTES} bytes, got {len(mac)}")
        #: Address of the function on the host.
        self.host = host
        #: Address the function has after a reset.
        self.permanent_mac = mac
        #: Id of the standby this function is the primary of; None for an ordinary card.
        self.failover_pair_id = failover_pair_id
        #: PCI path of the device in the VM; "" if it has none.
        self.device_path = device_path
        #: Addresses whose frames the function takes in; the guest's driver sets them.
        self.mac_filter: frozenset[bytes] = frozenset({mac})

    @property
    def blocker(self) -> str | None:
        """Why this device forbids a migration; None for one that has a pair id."""
        return migration_blocker({"failover_pair_id": self.failover_pair_id})

    def set_mac_filter(self, addresses: frozenset[bytes]) -> None:
        """The guest's driver chooses the addresses; ValueError if one is malformed or too many."""
        if len(addresses) > FILTER_ENTRIES_MAX:
            raise ValueError(
                f"expected at most {FILTER_ENTRIES_MAX} addresses, got {len(addresses)}"
            )
        if any(len(mac) != MAC_BYTES for mac in addresses):
            raise ValueError(f"expected addresses of {MAC_BYTES} bytes each")
        self.mac_filter = addresses

    def receives(self, destination: bytes) -> bool:
        """Whether the function takes in a frame for `destination`; a group's frames always."""
        return is_group(destination) or destination in self.mac_filter

    def reset(self) -> None:
        """Function-level reset: the filter is back to the permanent address."""
        self.mac_filter = frozenset({self.permanent_mac})

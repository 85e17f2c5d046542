"""The host devices that vfio-pci can be given: which virtual functions exist and who holds them.

What may live here: the inventory file and the claims on its entries. What is behind a function (a
socket, in replug) is named by `uplink` and opened elsewhere.

Without a file the inventory is open: every address exists, is free, has its standby's MAC as its
permanent MAC, and has no uplink. A file lists all there is: a JSON array of objects
    {"address": "5e:00.2", "mac": "52:54:00:6f:55:cc", "uplink": "unix:/run/vf0",
     "available": true, "group": 12}
of which `address` and `mac` must be there. An address may leave out its domain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from devices import texts
from devices.errors import DeviceError
from devices.options import (
    OptionError,
    OptionValue,
    decode_json,
    parse_host_address,
    parse_mac,
)

#: Longest inventory file, in bytes of UTF-8.
INVENTORY_BYTES_MAX = 1024 * 1024
#: Most virtual functions in one inventory.
FUNCTIONS_MAX = 4096
_MEMBERS = ("address", "mac", "uplink", "available", "group")
_UPLINK_LENGTH_MAX = 1024


class InventoryError(DeviceError):
    """A host device is missing or held, or the inventory file is wrong."""


@dataclass(frozen=True, slots=True)
class VirtualFunction:
    """One host function that can be passed through."""

    #: Host PCI address with its domain, 0000:5e:00.2.
    address: str
    #: Permanent MAC address, which is what a guest pairs by.
    mac: str
    #: Where its frames go; None for nowhere.
    uplink: str | None
    #: False if something other than this VM holds it.
    available: bool
    #: IOMMU group, named in the error when it is held.
    group: int


class Inventory:
    """The host's functions and the claims of one VM's devices on them."""

    def __init__(self, functions: Iterable[VirtualFunction] | None = None) -> None:
        """Hold exactly `functions`; without them, be open (see the module's docstring)."""
        self._functions: dict[str, VirtualFunction] | None = None
        if functions is not None:
            self._functions = {function.address: function for function in functions}
        self._owners: dict[str, str] = {}

    def virtual_function(self, address: str, standby_mac: str) -> VirtualFunction:
        """Return what is at `address`; an open inventory gives it the MAC `standby_mac`.

        Raises InventoryError if there is no such device, OptionError if the text is no address.
        """
        canonical = parse_host_address(address)
        if self._functions is None:
            return VirtualFunction(canonical, parse_mac(standby_mac), None, True, 0)
        if canonical not in self._functions:
            raise InventoryError(texts.VFIO_ABSENT % (texts.SYSFS_DEVICE % canonical))
        return self._functions[canonical]

    def check(self, address: str, owner_id: str) -> None:
        """Check that the function exists and that no other device of this VM holds it.

        Raises InventoryError, as `claim` does.
        """
        canonical = parse_host_address(address)
        if self._functions is not None and canonical not in self._functions:
            raise InventoryError(texts.VFIO_ABSENT % (texts.SYSFS_DEVICE % canonical))
        if self._owners.get(canonical, owner_id) != owner_id:
            raise InventoryError(texts.VFIO_ATTACHED % canonical)

    def claim(self, address: str, owner_id: str) -> None:
        """Give the function at `address` to the device `owner_id`; again by the same is no change.

        Raises InventoryError, and changes nothing, if it does not exist, is held outside this VM
        or by another device of it. Source: hw/vfio/pci.c vfio_realize, common.c vfio_get_group.
        """
        self.check(address, owner_id)
        canonical = parse_host_address(address)
        if self._functions is not None and not self._functions[canonical].available:
            function = self._functions[canonical]
            raise InventoryError(texts.VFIO_BUSY % (canonical, function.group))
        self._owners[canonical] = owner_id

    def release(self, address: str) -> None:
        """Take the claim on `address` back; InventoryError if nobody holds one."""
        canonical = parse_host_address(address)
        if canonical not in self._owners:
            raise InventoryError(f"Expected a claim on host device {canonical}, found none")
        del self._owners[canonical]

    def owner(self, address: str) -> str | None:
        """Return the id of the device that holds `address`, or None."""
        return self._owners.get(parse_host_address(address))


def parse_inventory(text: str) -> Inventory:
    """Read an inventory file.

    Raises InventoryError naming the entry and what was expected; JSON errors are OptionError.
    An entry without `group` gets a group of its own, from its place in the file.
    """
    size = len(text)
    if size <= INVENTORY_BYTES_MAX:
        size = len(text.encode("utf-8", "surrogatepass"))
    if size > INVENTORY_BYTES_MAX:
        raise InventoryError(
            f"Expected a host inventory of at most {INVENTORY_BYTES_MAX} bytes, got {size}"
        )
    entries = decode_json(text, keys_max=FUNCTIONS_MAX * (len(_MEMBERS) + 1))
    if not isinstance(entries, list):
        raise InventoryError("Expected the host inventory to be a JSON array of objects")
    if len(entries) > FUNCTIONS_MAX:
        raise InventoryError(f"Expected at most {FUNCTIONS_MAX} host devices, got {len(entries)}")
    functions: dict[str, VirtualFunction] = {}
    for index, entry in enumerate(entries):
        function = _read_entry(entry, index)
        if function.address in functions:
            raise InventoryError(
                f"Host device {index} of the inventory: address {function.address} is listed twice"
            )
        functions[function.address] = function
    return Inventory(functions.values())


def _read_entry(entry: OptionValue, index: int) -> VirtualFunction:
    place = f"Host device {index} of the inventory"
    if not isinstance(entry, dict):
        raise InventoryError(f"{place}: expected an object, got {type(entry).__name__}")
    for name in entry:
        if name not in _MEMBERS:
            expected = ", ".join(_MEMBERS)
            raise InventoryError(f"{place}: expected only {expected}, got '{name}'")
    address, mac = entry.get("address"), entry.get("mac")
    if not isinstance(address, str) or not isinstance(mac, str):
        raise InventoryError(f"{place}: expected 'address' and 'mac', both text")
    uplink, available = entry.get("uplink"), entry.get("available", True)
    if uplink is not None and (not isinstance(uplink, str) or len(uplink) > _UPLINK_LENGTH_MAX):
        raise InventoryError(f"{place}: expected 'uplink' to be text or null")
    if not isinstance(available, bool):
        raise InventoryError(f"{place}: expected 'available' to be true or false")
    group = entry.get("group", index)
    if isinstance(group, bool) or not isinstance(group, int) or not 0 <= group < 2**31:
        raise InventoryError(f"{place}: expected 'group' to be an IOMMU group number")
    try:
        return VirtualFunction(
            parse_host_address(address), parse_mac(mac), uplink, available, group
        )
    except OptionError as error:
        raise InventoryError(f"{place}: {error.description}") from None

"""The texts of device options and device placement that a client or a user of QEMU can see.

These strings are an interface: clients match on them, so they are kept letter for letter and in
this one file. Templates are filled with `%`; the comment above each says with what. They were
observed on QEMU 7.2.22 (and, where said, newer). Texts of QMP and of migration live elsewhere.
"""

from __future__ import annotations

# Options and their values.

#: Parameter name.
PARAMETER_MISSING = "Parameter '%s' is missing"
#: Parameter name.
PARAMETER_INVALID = "Invalid parameter '%s'"
#: Parameter name, dotted if nested.
PARAMETER_UNEXPECTED = "Parameter '%s' is unexpected"
#: Parameter name, what it expects ("integer", "uint16_t", "uint64", "size", ...).
PARAMETER_EXPECTS = "Parameter '%s' expects %s"
#: What a bool parameter in text form expects.
EXPECTED_ON_OFF = "'on' or 'off'"
#: What an `id` expects.
EXPECTED_IDENTIFIER = "an identifier"
#: Most bytes; what an `id` expects that is too long. Ours: QEMU bounds none.
EXPECTED_SHORTER_IDENTIFIER = "an identifier of at most %d bytes"
#: What a size such as `-m` expects.
EXPECTED_SIZE = "a non-negative number below 2^64"
#: Parameter name, offered value.
VALUE_NOT_ACCEPTED = "Parameter '%s' does not accept value '%s'"
#: Parameter name, JSON type ("boolean", "integer", "string", "object").
TYPE_INVALID = "Invalid parameter type for '%s', expected: %s"
#: Parameter name; the one type error QEMU words differently, for a PCI address.
ADDRESS_TYPE_INVALID = "Invalid parameter type for '%s', expected int or str"
#: Offered value, parameter name.
VALUE_OUT_OF_RANGE = "Value '%s' is out of range for parameter '%s'"
#: Parameter name, smallest value, largest value.
VALUE_NOT_BETWEEN = "Parameter '%s' expects a value between %d and %d"
#: What went wrong.
JSON_PARSE_ERROR = "JSON parse error, %s"
#: Text after the JSON object.
JSON_ONE_VALUE = "Expecting at most one JSON value"
#: stderr hint below a bad id.
HINT_IDENTIFIER = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
#: stderr hint below a bad size.
HINT_SIZE = (
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
    "and exabytes, respectively."
)

# Device models and their properties.

#: Driver name.
DRIVER_INVALID = "'%s' is not a valid device model name"
#: Device id, QOM path or type name; QMP error class DeviceNotFound.
DEVICE_NOT_FOUND = "Device '%s' not found"
#: Device type, property.
PROPERTY_NOT_FOUND = "Property '%s.%s' not found"
#: Device type, property.
PROPERTY_NOT_WRITABLE = "Property '%s.%s' is not writable"
#: Device type, property, offered value.
PROPERTY_VALUE_REFUSED = "Property '%s.%s' doesn't take value '%s'"
#: Device type, property, id looked for.
PROPERTY_VALUE_UNKNOWN = "Property '%s.%s' can't find value '%s'"
#: Device type, property, id looked for.
PROPERTY_VALUE_IN_USE = "Property '%s.%s' can't take value '%s', it's in use"

# Placement.

#: Bus name.
BUS_NOT_FOUND = "Bus '%s' not found"
#: Bus name.
BUS_NOT_HOTPLUGGABLE = "Bus '%s' does not support hotplugging"
#: Driver name, bus type ("PCIE", "PCI", "ISA", "System").
BUS_OF_OTHER_TYPE = "Device '%s' can't go on %s bus"
#: Bus type wanted, driver name.
BUS_TYPE_ABSENT = "No '%s' bus found for device '%s'"
#: Device id; a device of that name is realized.
DEVICE_ID_DUPLICATE = "Duplicate device ID '%s'"
#: Device id; said by the command line for key=value options, before any device is looked at.
DEVICE_OPTION_ID_DUPLICATE = "Duplicate ID '%s' for device"
#: Slot, function, driver, driver in the way, its id ("(null)" if it has none).
SLOT_IN_USE = "PCI: slot %d function %d not available for %s, in use by %s,id=%s"
#: What SLOT_IN_USE says of a device without an id.
NO_ID = "(null)"
#: Driver name.
SLOTS_EXHAUSTED = "PCI: no slot/function available for %s, all in use or reserved"
#: Slot of function 0, driver there, driver.
FUNCTION_0_OCCUPIED = (
    "PCI: slot %d function 0 already occupied by %s, new func %s cannot be exposed to guest."
)
#: Slot, function.
FUNCTION_0_SINGLE = "PCI: single function device can't be populated in function %x.%x"
#: Slot, slot, function.
FUNCTION_0_NOT_MULTI = "PCI: %x.0 indicates single function, but %x.%x is already populated."
#: A root port whose (chassis, slot) pair is taken.
CHASSIS_SLOT_TAKEN = "Can't add chassis slot, error -16"
#: acpi-index above its bound.
ACPI_INDEX_TOO_LARGE = "acpi-index should be less or equal to 16383"
#: acpi-index.
ACPI_INDEX_TAKEN = "a PCI device with acpi-index = %d already exist"

# Failover primaries.

#: A failover_pair_id without an id, while a failover standby exists.
PRIMARY_WITHOUT_ID = "Device with failover_pair_id needs to have id"
#: Standby id, id of the primary it has, id of the newcomer.
PRIMARY_SECOND = "Cannot attach more than one primary device to '%s': '%s' and '%s'"
#: A primary on a conventional PCI bus.
PRIMARY_NOT_EXPRESS = "failover primary device must be on PCIExpress bus"
#: A primary whose class is not 0x0200.
PRIMARY_NOT_ETHERNET = "failover primary device is not an Ethernet device"
#: A primary that shares its slot or says that it may.
PRIMARY_NOT_ALONE = "failover: primary device must be in its own PCI slot"
#: Most standbys; ours: QEMU has no such bound.
STANDBYS_EXHAUSTED = "Cannot attach more than %d failover standbys: one guest drives no more"

# Host devices.

#: vfio-pci with neither host= nor sysfsdev=.
VFIO_NO_HOST = "No provided host device"
#: stderr hint below VFIO_NO_HOST.
HINT_VFIO_NO_HOST = (
    "Use -device vfio-pci,host=DDDD:BB:DD.F or -device vfio-pci,sysfsdev=PATH_TO_DEVICE"
)
#: sysfs directory of the host device.
VFIO_ABSENT = "vfio %s: no such host device: No such file or directory"
#: Host address, IOMMU group: something other than this VM holds it.
VFIO_BUSY = "vfio %s: failed to open /dev/vfio/%d: Device or resource busy"
#: Host address: another device of this VM holds it.
VFIO_ATTACHED = "vfio %s: device is already attached"
#: Host address.
SYSFS_DEVICE = "/sys/bus/pci/devices/%s"

# Network backends.

#: Netdev id; for key=value text.
NETDEV_OPTION_ID_DUPLICATE = "Duplicate ID '%s' for netdev"
#: Netdev id; for JSON text and QMP netdev_add.
NETDEV_ID_DUPLICATE = "Duplicate ID '%s'"
#: Netdev type that QEMU knows and replug does not offer.
NETDEV_TYPE_ABSENT = "network backend '%s' is not compiled into this binary"
#: socket with none, or more than one, of its four forms.
NETDEV_SOCKET_FORM = "exactly one of listen=, connect=, mcast= or udp= is required"
#: socket,udp= without localaddr=.
NETDEV_UDP_LOCALADDR = "localaddr= is mandatory with udp="
#: socket,localaddr= with listen= or connect=.
NETDEV_LOCALADDR_INVALID = "localaddr= is only valid with mcast= or udp="
#: Host address text.
NETDEV_ADDRESS_PORT = "host address '%s' doesn't contain ':' separating host from port"
#: File descriptor text.
NETDEV_DESCRIPTOR = "Invalid file descriptor number '%s'"
#: dgram without local.type (unless the remote is multicast).
NETDEV_DGRAM_LOCAL = "dgram requires local= parameter"
#: dgram with a local address only.
NETDEV_DGRAM_REMOTE = "type=inet or type=unix requires remote parameter"
#: dgram with two address types.
NETDEV_DGRAM_TYPES = "remote and local types must be the same"
#: tap given an open descriptor and options that would open one.
NETDEV_TAP_DESCRIPTOR = (
    "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and vhostfds= "
    "are invalid with fd="
)
#: dgram with a multicast remote and a local address of another kind.
NETDEV_DGRAM_MULTICAST_LOCAL = "only support inet or fd type for local"
#: hubport,netdev= that does not exist.
NETDEV_PEER_NOT_FOUND = "netdev '%s' not found"

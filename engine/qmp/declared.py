"""The types that commands and events share, as clients see them.

What may live here: enumerations and structures of the QMP interface. Names and members are those
of QEMU 7.2's schema; members that only concern what replug does not do (disks, XBZRLE, compression,
postcopy) are left out, since the schema tells what is served. replug's own begin with `x-replug-`.
What a lifecycle can be in is read from its Enum; of an enumeration of QEMU's the values that are
never reached here are listed too, for a client compares the whole of it with the one it knows.
"""

from __future__ import annotations

from engine.qmp.schema import (
    ANY,
    BOOL,
    INT,
    NULL,
    NUMBER,
    STR,
    Alternate,
    Enumeration,
    ListOf,
    Recursive,
    Struct,
    optional,
    required,
)
from statemachines.states import Incoming, Migration, RunState, State


def _statuses(name: str, *lifecycles: type[State], never: tuple[str, ...]) -> Enumeration:
    """Return QEMU's enumeration: what the lifecycles can be in, and what is never reached."""
    reached = (state.value for lifecycle in lifecycles for state in lifecycle)
    return Enumeration(name, tuple(dict.fromkeys((*reached, *never))))


MIGRATION_STATUS = _statuses(
    "MigrationStatus",
    Migration,
    Incoming,
    never=("postcopy-active", "postcopy-paused", "postcopy-recover", "colo"),
)

RUN_STATE = _statuses(
    "RunState",
    RunState,
    never=(
        "debug",
        "internal-error",
        "io-error",
        "restore-vm",
        "save-vm",
        "shutdown",
        "suspended",
        "watchdog",
        "guest-panicked",
        "colo",
    ),
)

SHUTDOWN_CAUSE = Enumeration(
    "ShutdownCause",
    (
        "none",
        "host-error",
        "host-qmp-quit",
        "host-qmp-system-reset",
        "host-signal",
        "host-ui",
        "guest-shutdown",
        "guest-reset",
        "guest-panic",
        "subsystem-reset",
        "snapshot-load",
    ),
)

QMP_CAPABILITY = Enumeration("QMPCapability", ("oob",))

VERSION_TRIPLE = Struct(
    "VersionTriple", (required("major", INT), required("minor", INT), required("micro", INT))
)
VERSION_INFO = Struct("VersionInfo", (required("qemu", VERSION_TRIPLE), required("package", STR)))
COMMAND_INFO = Struct("CommandInfo", (required("name", STR),))
EVENT_INFO = Struct("EventInfo", (required("name", STR),))
NAME_INFO = Struct("NameInfo", (optional("name", STR),))
UUID_INFO = Struct("UuidInfo", (required("UUID", STR),))
STATUS_INFO = Struct(
    "StatusInfo",
    (required("running", BOOL), required("singlestep", BOOL), required("status", RUN_STATE)),
)

# -- query-migrate ----------------------------------------------------------------------------

MIGRATION_STATS = Struct(
    "MigrationStats",
    (
        required("transferred", INT),
        required("remaining", INT),
        required("total", INT),
        required("duplicate", INT),
        required("skipped", INT),
        required("normal", INT),
        required("normal-bytes", INT),
        required("dirty-pages-rate", INT),
        required("mbps", NUMBER),
        required("dirty-sync-count", INT),
        required("postcopy-requests", INT),
        required("page-size", INT),
        required("multifd-bytes", INT),
        required("pages-per-second", INT),
        required("precopy-bytes", INT),
        required("downtime-bytes", INT),
        required("postcopy-bytes", INT),
        required("dirty-sync-missed-zero-copy", INT),
    ),
)

_INET = Struct(
    "InetSocketAddress",
    (
        required("host", STR),
        required("port", STR),
        optional("numeric", BOOL),
        optional("to", INT),
        optional("ipv4", BOOL),
        optional("ipv6", BOOL),
        optional("keep-alive", BOOL),
        optional("mptcp", BOOL),
    ),
)
SOCKET_ADDRESS = Struct(
    "SocketAddress",
    (required("type", Enumeration("SocketAddressType", ("inet", "unix", "vsock", "fd"))),),
    tag="type",
    variants={
        "inet": _INET,
        "unix": Struct(
            "UnixSocketAddress",
            (required("path", STR), optional("abstract", BOOL), optional("tight", BOOL)),
        ),
        "vsock": Struct("VsockSocketAddress", (required("cid", STR), required("port", STR))),
        "fd": Struct("String", (required("str", STR),)),
    },
)

_FIRST_FRAMES = Struct(
    "ReplugFirstFrames", (optional("primary", NUMBER), optional("standby", NUMBER))
)
# What QEMU has no key for; also the property `migration` of /machine/replug.
REPLUG_REPORT = Struct(
    "ReplugReport",
    (
        # Primaries whose eject is awaited.
        required("pending", ListOf(STR)),
        required("handover", Enumeration("ReplugHandover", ("two-phase", "one-way"))),
        required("wait-unplug-ms", INT),
        required("verify-ms", INT),
        # Null where the RAM was not compared.
        required("digest-equal", Alternate("BoolOrNull", (BOOL, NULL))),
        # Statuses in the order they were reached.
        required("states", ListOf(MIGRATION_STATUS)),
        # From the guest's last start to the first frame that left on each path.
        optional("first-frames-ms", _FIRST_FRAMES),
    ),
)

MIGRATION_INFO = Struct(
    "MigrationInfo",
    (
        optional("status", MIGRATION_STATUS),
        optional("ram", MIGRATION_STATS),
        optional("vfio", Struct("VfioStats", (required("transferred", INT),))),
        optional("total-time", INT),
        optional("expected-downtime", INT),
        optional("downtime", INT),
        optional("setup-time", INT),
        # While auto-converge slows the guest down.
        optional("cpu-throttle-percentage", INT),
        optional("error-desc", STR),
        optional("blocked-reasons", ListOf(STR)),
        optional("socket-address", ListOf(SOCKET_ADDRESS)),
        # True while the answer to COMMIT, or COMMIT itself, is missing.
        optional("x-replug-in-doubt", BOOL),
        # Of the last migration in either direction; profile native only.
        optional("x-replug", REPLUG_REPORT),
    ),
)

# -- query-rx-filter, query-pci, object properties --------------------------------------------

_RX_STATE = Enumeration("RxState", ("normal", "none", "all"))
RX_FILTER_INFO = Struct(
    "RxFilterInfo",
    (
        required("name", STR),
        required("promiscuous", BOOL),
        required("multicast", _RX_STATE),
        required("unicast", _RX_STATE),
        required("vlan", _RX_STATE),
        required("broadcast-allowed", BOOL),
        required("multicast-overflow", BOOL),
        required("unicast-overflow", BOOL),
        required("main-mac", STR),
        required("vlan-table", ListOf(INT)),
        required("unicast-table", ListOf(STR)),
        required("multicast-table", ListOf(STR)),
    ),
)

_PCI_RANGE = Struct("PciMemoryRange", (required("base", INT), required("limit", INT)))
_PCI_BUS = Struct(
    "PciBusInfo",
    (
        required("number", INT),
        required("secondary", INT),
        required("subordinate", INT),
        required("io_range", _PCI_RANGE),
        required("memory_range", _PCI_RANGE),
        required("prefetchable_range", _PCI_RANGE),
    ),
)
_PCI_BRIDGE = Struct(
    "PciBridgeInfo",
    (required("bus", _PCI_BUS), optional("devices", ListOf(Recursive("PciDeviceInfo")))),
)
_PCI_CLASS = Struct("PciDeviceClass", (optional("desc", STR), required("class", INT)))
_PCI_ID = Struct(
    "PciDeviceId",
    (
        required("device", INT),
        required("vendor", INT),
        optional("subsystem", INT),
        optional("subsystem-vendor", INT),
    ),
)
_PCI_REGION = Struct(
    "PciMemoryRegion",
    (
        required("bar", INT),
        required("type", STR),
        required("address", INT),
        required("size", INT),
        optional("prefetch", BOOL),
        optional("mem_type_64", BOOL),
    ),
)
PCI_DEVICE_INFO = Struct(
    "PciDeviceInfo",
    (
        required("bus", INT),
        required("slot", INT),
        required("function", INT),
        required("class_info", _PCI_CLASS),
        required("id", _PCI_ID),
        optional("irq", INT),
        required("irq_pin", INT),
        required("qdev_id", STR),
        optional("pci_bridge", _PCI_BRIDGE),
        required("regions", ListOf(_PCI_REGION)),
    ),
)
PCI_INFO = Struct("PciInfo", (required("bus", INT), required("devices", ListOf(PCI_DEVICE_INFO))))

OBJECT_PROPERTY_INFO = Struct(
    "ObjectPropertyInfo",
    (
        required("name", STR),
        required("type", STR),
        optional("description", STR),
        optional("default-value", ANY),
    ),
)

# -- query-qmp-schema -------------------------------------------------------------------------

_JSON_TYPE = Enumeration(
    "JSONType",
    ("string", "number", "int", "boolean", "null", "object", "array", "value"),
)
_META_TYPE = Enumeration(
    "SchemaMetaType", ("builtin", "enum", "array", "object", "alternate", "command", "event")
)
_SCHEMA_ENUM_MEMBER = Struct(
    "SchemaInfoEnumMember", (required("name", STR), optional("features", ListOf(STR)))
)
_SCHEMA_MEMBER = Struct(
    "SchemaInfoObjectMember",
    (
        required("name", STR),
        required("type", STR),
        optional("default", ANY),
        optional("features", ListOf(STR)),
    ),
)
_SCHEMA_VARIANT = Struct("SchemaInfoObjectVariant", (required("case", STR), required("type", STR)))
_SCHEMA_ALTERNATE_MEMBER = Struct("SchemaInfoAlternateMember", (required("type", STR),))
SCHEMA_INFO = Struct(
    "SchemaInfo",
    (
        required("name", STR),
        required("meta-type", _META_TYPE),
        optional("features", ListOf(STR)),
    ),
    tag="meta-type",
    variants={
        "builtin": Struct("SchemaInfoBuiltin", (required("json-type", _JSON_TYPE),)),
        "enum": Struct(
            "SchemaInfoEnum",
            (
                required("members", ListOf(_SCHEMA_ENUM_MEMBER)),
                required("values", ListOf(STR)),
            ),
        ),
        "array": Struct("SchemaInfoArray", (required("element-type", STR),)),
        "object": Struct(
            "SchemaInfoObject",
            (
                required("members", ListOf(_SCHEMA_MEMBER)),
                optional("tag", STR),
                optional("variants", ListOf(_SCHEMA_VARIANT)),
            ),
        ),
        "alternate": Struct(
            "SchemaInfoAlternate", (required("members", ListOf(_SCHEMA_ALTERNATE_MEMBER)),)
        ),
        "command": Struct(
            "SchemaInfoCommand",
            (required("arg-type", STR), required("ret-type", STR), optional("allow-oob", BOOL)),
        ),
        "event": Struct("SchemaInfoEvent", (required("arg-type", STR),)),
    },
)

"""Migration capabilities and parameters: which there are, what they may be, what they are.

What may live here: the declarations, and the two stores of one VM. Rules:

- everything QEMU 7.2 lists is listed, with its defaults and ranges (migration/migration.c
  migrate_params_check); replug's own are last, their names begin with `x-`;
- a request is checked whole before any of it is applied; a refusal changes nothing;
- a capability that replug does not serve is shown as off, may be turned off, and is refused when
  turned on, with the reason and what to do instead; so is compression with zlib;
- parameters that only tune something unserved are kept and shown, and do nothing. The exception is
  `tls-creds`: who sets it believes the stream is encrypted, so it is refused.

Whether the moment allows a change (not while a migration runs) is the caller's to decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine.auto_converge import Throttling
from engine.qmp import texts
from engine.qmp.errors import generic_error
from engine.qmp.schema import (
    BOOL,
    NULL,
    STR,
    UINT8,
    UINT32,
    UINT64,
    Alternate,
    Enumeration,
    ListOf,
    QmpType,
    Struct,
    Unsigned,
    optional,
    required,
)

#: The page size of every machine that replug models, in bytes.
PAGE_SIZE_BYTES = 4096


class Capability(StrEnum):
    """What a migration may be asked to do, in QEMU's order (qapi MigrationCapability)."""

    #: Delta compression of RAM pages.
    XBZRLE = "xbzrle"
    #: Pinning of all memory for RDMA.
    RDMA_PIN_ALL = "rdma-pin-all"
    #: Slowing the guest down until it converges.
    AUTO_CONVERGE = "auto-converge"
    #: Short form for zero blocks of migrated disks.
    ZERO_BLOCKS = "zero-blocks"
    #: Compression of RAM pages.
    COMPRESS = "compress"
    #: MIGRATION and MIGRATION_PASS events.
    EVENTS = "events"
    #: Moving RAM after the switchover.
    POSTCOPY_RAM = "postcopy-ram"
    #: Coarse-grained lock-stepping of two VMs.
    X_COLO = "x-colo"
    #: Freeing source RAM during postcopy.
    RELEASE_RAM = "release-ram"
    #: Migration of block devices in the stream.
    BLOCK = "block"
    #: A channel from the target back to the source.
    RETURN_PATH = "return-path"
    #: Stopping before the switchover until migrate-continue.
    PAUSE_BEFORE_SWITCHOVER = "pause-before-switchover"
    #: Several parallel channels.
    MULTIFD = "multifd"
    #: Migration of dirty bitmaps of block devices.
    DIRTY_BITMAPS = "dirty-bitmaps"
    #: Measuring how long postcopy blocks each processor.
    POSTCOPY_BLOCKTIME = "postcopy-blocktime"
    #: Activating block devices only when the target starts.
    LATE_BLOCK_ACTIVATE = "late-block-activate"
    #: Leaving shared memory out of the stream.
    X_IGNORE_SHARED = "x-ignore-shared"
    #: Sending the VM's UUID and refusing a target that has another.
    VALIDATE_UUID = "validate-uuid"
    #: A snapshot of a running VM.
    BACKGROUND_SNAPSHOT = "background-snapshot"
    #: Sending RAM without copying it first.
    ZERO_COPY_SEND = "zero-copy-send"
    #: A second channel for pages that postcopy needs at once.
    POSTCOPY_PREEMPT = "postcopy-preempt"
    #: replug: the target compares a checksum of all RAM before it says that it is loaded.
    X_VERIFY_RAM = "x-verify-ram"
    #: replug: RAM is compressed where that gets it over the link sooner.
    X_ADAPTIVE = "x-adaptive"
    #: replug: the target, on this host, is handed the memory itself.
    X_SHARE_MEMORY = "x-share-memory"


SERVED_CAPABILITIES = frozenset(
    {
        Capability.AUTO_CONVERGE,
        Capability.EVENTS,
        Capability.MULTIFD,
        Capability.RETURN_PATH,
        Capability.PAUSE_BEFORE_SWITCHOVER,
        Capability.VALIDATE_UUID,
        Capability.X_VERIFY_RAM,
        Capability.X_ADAPTIVE,
        Capability.X_SHARE_MEMORY,
    }
)

_POSTCOPY = ("postcopy", "; RAM is always moved before the switchover")
_BLOCK = ("migration of block devices", "; move the storage first")
_BANDWIDTH = "; the stream is bounded by max-bandwidth"

#: Why each of the others is refused: what replug does not do, and what to know instead.
_UNSERVED: Mapping[Capability, tuple[str, str]] = {
    Capability.XBZRLE: ("delta compression of RAM", _BANDWIDTH),
    Capability.RDMA_PIN_ALL: ("RDMA", "; use a tcp: or unix: URI"),
    Capability.ZERO_BLOCKS: _BLOCK,
    Capability.COMPRESS: (
        "compression with compress-threads",
        "; use multifd with multifd-compression=zstd",
    ),
    Capability.POSTCOPY_RAM: _POSTCOPY,
    Capability.X_COLO: ("COLO", "; a VM runs on one side only"),
    Capability.RELEASE_RAM: _POSTCOPY,
    Capability.BLOCK: _BLOCK,
    Capability.DIRTY_BITMAPS: _BLOCK,
    Capability.POSTCOPY_BLOCKTIME: _POSTCOPY,
    Capability.LATE_BLOCK_ACTIVATE: _BLOCK,
    Capability.X_IGNORE_SHARED: (
        "migration without shared memory",
        "; on one host use x-share-memory",
    ),
    Capability.BACKGROUND_SNAPSHOT: (
        "background snapshots",
        "; to save a VM, migrate it to an exec: or file: URI",
    ),
    Capability.ZERO_COPY_SEND: ("zero-copy sending", _BANDWIDTH),
    Capability.POSTCOPY_PREEMPT: _POSTCOPY,
}


class Capabilities:
    """Which capabilities of one VM are on."""

    def __init__(self) -> None:
        self._on: set[Capability] = set()

    def on(self, capability: Capability) -> bool:
        """Whether this capability is on."""
        return capability in self._on

    def set_all(self, requested: Iterable[Mapping[str, Any]]) -> None:
        """Apply migrate-set-capabilities' list of {capability, state}, whole or not at all.

        Of two entries for one capability the later counts. Raises GenericError for an unknown
        capability, for one that is not served, and for an entry of another shape.
        """
        changed = set(self._on)
        for entry in CAPABILITY_LIST.check(list(requested), "capabilities"):
            capability = Capability(entry["capability"])
            if not entry["state"]:
                changed.discard(capability)
            elif capability in SERVED_CAPABILITIES:
                changed.add(capability)
            else:
                reason, remedy = _UNSERVED[capability]
                raise generic_error(texts.capability_not_served(capability, reason, remedy))
        if {Capability.MULTIFD, Capability.X_SHARE_MEMORY} <= changed:
            raise generic_error(texts.SHARING_WITHOUT_CHANNELS)
        self._on = changed

    def query(self) -> list[dict[str, Any]]:
        """What query-migrate-capabilities answers: every capability, in QEMU's order."""
        return [{"capability": each.value, "state": each in self._on} for each in Capability]


CAPABILITY_ENUMERATION = Enumeration(
    "MigrationCapability", tuple(each.value for each in Capability)
)
CAPABILITY_STATUS = Struct(
    "MigrationCapabilityStatus",
    (required("capability", CAPABILITY_ENUMERATION), required("state", BOOL)),
)
CAPABILITY_LIST = ListOf(CAPABILITY_STATUS)


@dataclass(frozen=True)
class ParameterSpec:
    """One migration parameter."""

    #: Its name on the wire.
    name: str
    #: What a request may give.
    type: QmpType
    #: Its value until it is set; None: not shown until it is set.
    default: Any
    #: The smallest value.
    low: int = 0
    #: The largest value; None: whatever the type holds.
    high: int | None = None
    #: What a value out of range should have been; empty: made from the two bounds.
    range_text: str = ""

    def check_range(self, value: int) -> None:
        """Raise GenericError if `value` is out of range.

        QEMU writes the names of parameters with underscores here, and only here.
        """
        if self.high is not None and not self.low <= value <= self.high:
            name = self.name if self.name.startswith("x-") else self.name.replace("-", "_")
            expected = self.range_text or texts.value_between(self.low, self.high)
            raise generic_error(texts.parameter_expects(name, expected))


_STR_OR_NULL = Alternate("StrOrNull", (STR, NULL))
_COMPRESSION = Enumeration("MultiFDCompression", ("none", "zlib", "zstd"))
_BITMAP_TRANSFORM = Struct("BitmapMigrationBitmapAliasTransform", (optional("persistent", BOOL),))
_BITMAP_ALIAS = Struct(
    "BitmapMigrationBitmapAlias",
    (required("name", STR), required("alias", STR), optional("transform", _BITMAP_TRANSFORM)),
)
_NODE_ALIAS = Struct(
    "BitmapMigrationNodeAlias",
    (
        required("node-name", STR),
        required("alias", STR),
        required("bitmaps", ListOf(_BITMAP_ALIAS)),
    ),
)

#: A day: no operator means more, and a slip of the unit shows.
_DAY_MS = 86_400_000
_THROTTLE = texts.IN_THROTTLE_RANGE
_MAXIMUM_THROTTLE = texts.IN_MAXIMUM_THROTTLE_RANGE

#: Every parameter, in QEMU's order; units are part of the meaning, see each comment.
PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec("announce-initial", UINT64, 50, 0, 100_000),  # ms
    ParameterSpec("announce-max", UINT64, 550, 0, 100_000),  # ms
    ParameterSpec("announce-rounds", UINT64, 5, 0, 1000),
    # ms; the text names 0 as the lower bound although 1 is: QEMU's, and so are clients' tests
    ParameterSpec("announce-step", UINT64, 100, 1, 10_000, texts.value_between(0, 10_000)),
    ParameterSpec("compress-level", UINT8, 1, 0, 9),
    ParameterSpec("compress-threads", UINT8, 8, 1, 255),
    ParameterSpec("compress-wait-thread", BOOL, True),
    ParameterSpec("decompress-threads", UINT8, 2, 1, 255),
    ParameterSpec("throttle-trigger-threshold", UINT8, 50, 1, 100, texts.IN_THRESHOLD_RANGE),
    ParameterSpec("cpu-throttle-initial", UINT8, 20, 1, 99, _THROTTLE),  # per cent
    ParameterSpec("cpu-throttle-increment", UINT8, 10, 1, 99, _THROTTLE),  # per cent
    ParameterSpec("cpu-throttle-tailslow", BOOL, False),
    ParameterSpec("tls-creds", _STR_OR_NULL, ""),
    ParameterSpec("tls-hostname", _STR_OR_NULL, ""),
    ParameterSpec("tls-authz", _STR_OR_NULL, ""),
    ParameterSpec("max-bandwidth", UINT64, 134_217_728),  # bytes per second; 0 = no limit
    ParameterSpec("downtime-limit", UINT64, 300, 0, 2_000_000, texts.IN_DOWNTIME_RANGE),  # ms
    ParameterSpec("x-checkpoint-delay", UINT32, 20_000),  # ms
    ParameterSpec("block-incremental", BOOL, False),
    ParameterSpec("multifd-channels", UINT8, 2, 1, 255),
    ParameterSpec("xbzrle-cache-size", UINT64, 67_108_864),  # bytes
    ParameterSpec("max-postcopy-bandwidth", UINT64, 0),  # bytes per second; 0 = no limit
    ParameterSpec("max-cpu-throttle", UINT8, 99, 0, 99, _MAXIMUM_THROTTLE),  # per cent
    ParameterSpec("multifd-compression", _COMPRESSION, "none"),
    ParameterSpec("multifd-zlib-level", UINT8, 1, 0, 9),
    ParameterSpec("multifd-zstd-level", UINT8, 1, 0, 20),
    ParameterSpec("block-bitmap-mapping", ListOf(_NODE_ALIAS), None),
    ParameterSpec("x-unplug-timeout-ms", UINT32, 30_000, 0, _DAY_MS),  # 0 = none
    ParameterSpec("x-heartbeat-ms", UINT32, 5000, 1, _DAY_MS),
)

#: What migrate-set-parameters takes.
SETTABLE_PARAMETERS = Struct(
    "MigrateSetParameters", tuple(optional(each.name, each.type) for each in PARAMETERS)
)
#: What query-migrate-parameters answers.
SHOWN_PARAMETERS = Struct(
    "MigrationParameters",
    tuple(
        optional(each.name, STR if each.type is _STR_OR_NULL else each.type) for each in PARAMETERS
    ),
)


class Parameters:
    """The migration parameters of one VM."""

    def __init__(self) -> None:
        self._values = {each.name: each.default for each in PARAMETERS}

    def set_all(self, requested: Mapping[str, Any]) -> None:
        """Apply the arguments of migrate-set-parameters, whole or not at all.

        Raises GenericError for an unknown parameter, a wrong type, a value out of range or TLS.
        """
        given = SETTABLE_PARAMETERS.check(dict(requested), "")
        # null resets a string (migration/migration.c qmp_migrate_set_parameters).
        given = {name: "" if value is None else value for name, value in given.items()}
        changed = {**self._values, **given}
        for parameter in PARAMETERS:
            if parameter.name in given and isinstance(parameter.type, Unsigned):
                parameter.check_range(given[parameter.name])
        _check_dependent(changed)
        self._values = changed

    def query(self) -> dict[str, Any]:
        """What query-migrate-parameters answers: every parameter that has a value."""
        return {name: value for name, value in self._values.items() if value is not None}

    @property
    def max_bandwidth_bytes_per_second(self) -> int:
        """How fast the stream may go; 0 means as fast as it can."""
        return int(self._values["max-bandwidth"])

    @property
    def downtime_limit_ms(self) -> int:
        """For how long the guest may stand still at the switchover."""
        return int(self._values["downtime-limit"])

    @property
    def channels(self) -> int:
        """How many channels capability multifd has beside the main one."""
        return int(self._values["multifd-channels"])

    @property
    def compresses(self) -> bool:
        """Whether RAM is compressed on multifd's channels."""
        return bool(self._values["multifd-compression"] == "zstd")

    @property
    def zstd_level(self) -> int:
        """How hard RAM is compressed, where it is."""
        return int(self._values["multifd-zstd-level"])

    @property
    def unplug_timeout_ms(self) -> int | None:
        """For how long the guest may take to give up its primaries; None means for ever."""
        return int(self._values["x-unplug-timeout-ms"]) or None

    @property
    def heartbeat_ms(self) -> int:
        """For how long a peer may be silent before it counts as lost."""
        return int(self._values["x-heartbeat-ms"])

    @property
    def throttling(self) -> Throttling:
        """How capability auto-converge slows the guest down."""
        return Throttling(
            initial_percent=int(self._values["cpu-throttle-initial"]),
            increment_percent=int(self._values["cpu-throttle-increment"]),
            percent_max=int(self._values["max-cpu-throttle"]),
            threshold_percent=int(self._values["throttle-trigger-threshold"]),
            is_tailslow=bool(self._values["cpu-throttle-tailslow"]),
        )

    @property
    def announce(self) -> tuple[int, int, int, int]:
        """How a VM announces itself: initial_ms, max_ms, rounds, step_ms."""
        initial_ms, max_ms, rounds, step_ms = (
            int(self._values[f"announce-{part}"]) for part in ("initial", "max", "rounds", "step")
        )
        return initial_ms, max_ms, rounds, step_ms


def _check_dependent(changed: Mapping[str, Any]) -> None:
    """Check what depends on more than one bound."""
    cache_size = changed["xbzrle-cache-size"]
    if cache_size < PAGE_SIZE_BYTES or cache_size & (cache_size - 1):
        raise generic_error(texts.parameter_expects("xbzrle_cache_size", texts.IN_CACHE_SIZES))
    if changed["max-cpu-throttle"] < changed["cpu-throttle-initial"]:
        raise generic_error(texts.parameter_expects("max_cpu_throttle", _MAXIMUM_THROTTLE))
    if changed["multifd-compression"] == "zlib":
        raise generic_error(texts.ZLIB_NOT_SERVED)
    if changed["tls-creds"]:
        raise generic_error(texts.TLS_NOT_SERVED)

"""Every sentence that a client of the monitor may read.

Constants and one-line functions, nothing else. The wording of the first seven parts is QEMU
7.2's, letter for letter, checked against 7.2.22 itself: clients match on it. What replug adds of
its own stands in the last part and says what to do instead. Device placement, too, is refused with
QEMU's words; those are here because device_add hands them to the client.
"""

from __future__ import annotations

# -- the stream -------------------------------------------------------------------------------

INPUT_NOT_AN_OBJECT = "QMP input must be a JSON object"
INPUT_LACKS_EXECUTE = "QMP input lacks member 'execute'"
ARGUMENTS_NOT_AN_OBJECT = "QMP input member 'arguments' must be an object"
MESSAGE_TOO_LONG = "JSON token size limit exceeded"
NESTING_TOO_DEEP = "JSON nesting depth limit exceeded"


def json_error(reason: str) -> str:
    """The bytes are not JSON, for this reason."""
    return f"JSON parse error, {reason}"


def json_stray(token: str) -> str:
    """A token, or a byte, that JSON does not have."""
    return json_error(f"stray '{token}'")


def json_invalid_keyword(word: str) -> str:
    """A bare word other than true, false and null."""
    return json_error(f"invalid keyword '{word}'")


def json_not_unicode(escape: str) -> str:
    """An escape in a string that names no character."""
    return json_error(f"{escape} is not a valid Unicode character")


JSON_EXPECTING_VALUE = json_error("expecting value")
JSON_DUPLICATE_KEY = json_error("duplicate key")
JSON_KEY_NOT_A_STRING = json_error("key is not a string in object")
JSON_MISSING_COLON = json_error("missing : in object pair")
JSON_MISSING_SEPARATOR_IN_DICT = json_error("expected separator in dict")
JSON_MISSING_SEPARATOR_IN_LIST = json_error("expected separator in list")
JSON_INVALID_ESCAPE = json_error("invalid escape sequence in string")


def input_member_not_a_string(member: str) -> str:
    """execute or exec-oob is something else."""
    return f"QMP input member '{member}' must be a string"


def input_member_unexpected(member: str) -> str:
    """A request with a member that requests do not have."""
    return f"QMP input member '{member}' is unexpected"


def input_members_clash(member: str, other: str) -> str:
    """A request with both execute and exec-oob."""
    return f"QMP input member '{member}' clashes with '{other}'"


# -- negotiation and look-up ------------------------------------------------------------------

EXPECTING_NEGOTIATION = "Expecting capabilities negotiation with 'qmp_capabilities'"
ALREADY_NEGOTIATED = "Capabilities negotiation is already complete, command ignored"


def no_such_command(name: str) -> str:
    """CommandNotFound for a name that COMMANDS lacks."""
    return f"The command {name} has not been found"


def no_out_of_band(name: str) -> str:
    """exec-oob of a command that must keep its turn."""
    return f"The command {name} does not support OOB"


# -- arguments --------------------------------------------------------------------------------


def parameter_missing(name: str) -> str:
    """An argument that is not optional was left out; `name` is its path."""
    return f"Parameter '{name}' is missing"


def parameter_unexpected(name: str) -> str:
    """An argument that the command does not have; `name` is its path."""
    return f"Parameter '{name}' is unexpected"


def parameter_wrong_type(name: str, expected: str) -> str:
    """An argument of another JSON type; `name` is its path."""
    return f"Invalid parameter type for '{name}', expected: {expected}"


def parameter_expects(name: str, expected: str) -> str:
    """An argument of the right type whose value will not do."""
    return f"Parameter '{name}' expects {expected}"


def parameter_value_not_accepted(name: str, value: str) -> str:
    """An argument that is none of the enumeration's words."""
    return f"Parameter '{name}' does not accept value '{value}'"


# -- migrate, migrate-incoming and their kin --------------------------------------------------

MIGRATION_IN_PROGRESS = "There's a migration process in progress"
NOTHING_TO_RESUME = "Cannot resume if there is no paused migration"
URI_EXPECTS_PROTOCOL = parameter_expects("uri", "a valid migration protocol")
POSTCOPY_NOT_ENABLED = "Enable postcopy with migrate_set_capability before the start of migration"
PAUSE_ONLY_IN_POSTCOPY = "migrate-pause is currently only supported during postcopy-active state"
RECOVER_ONLY_WHEN_PAUSED = "Migrate recover can only be run when postcopy is paused."


def migration_not_in_state(actual: str) -> str:
    """migrate-continue with another state than this one."""
    return f"Migration not in expected state: {actual}"


# -- migration capabilities and parameters ----------------------------------------------------

IN_DOWNTIME_RANGE = "an integer in the range of 0 to (2000 * 1000) ms"
IN_THRESHOLD_RANGE = "an integer in the range of 1 to 100"
IN_THROTTLE_RANGE = "an integer in the range of 1 to 99"
IN_MAXIMUM_THROTTLE_RANGE = "an integer in the range of cpu_throttle_initial to 99"
IN_CACHE_SIZES = "a power of two no less than the target page size"


def value_between(low: int, high: int) -> str:
    """A plain range, both ends included."""
    return f"a value between {low} and {high}"


# -- devices, objects, net clients, file descriptors ------------------------------------------

DEVICE_ADD_WHILE_MIGRATING = "device_add not allowed while migrating"
DEVICE_DEL_WHILE_MIGRATING = "device_del not allowed while migrating"
NO_DESCRIPTOR_SUPPLIED = "No file descriptor supplied via SCM_RIGHTS"
DESCRIPTOR_NAME_STARTS_WITH_DIGIT = parameter_expects("fdname", "a name not starting with a digit")


def property_not_found(type_name: str, name: str) -> str:
    """A property that the type does not have."""
    return f"Property '{type_name}.{name}' not found"


def unknown_net_client(name: str) -> str:
    """query-rx-filter's wording; set_link and netdev_del say DeviceNotFound."""
    return f"invalid net client name: {name}"


def descriptor_not_found(name: str) -> str:
    """closefd's wording."""
    return f"File descriptor named '{name}' not found"


def descriptor_has_not_been_found(name: str) -> str:
    """The wording of migrate and migrate-incoming with an fd: URI."""
    return f"File descriptor named '{name}' has not been found"


# -- replug's own -----------------------------------------------------------------------------

#: QEMU multifd.c multifd_save_setup, multifd_load_setup.
MULTIFD_NEEDS_SOCKETS = "multifd is not supported by current protocol"
ZLIB_NOT_SERVED = (
    "replug does not compress with zlib: set 'multifd-compression' to 'zstd', which is faster and "
    "compresses more, or to 'none'"
)
SHARING_NEEDS_UNIX = (
    "capability 'x-share-memory' hands the memory itself to a process on this host: use a unix: "
    "URI, or turn it off"
)
SHARING_NEEDS_TWO_PHASES = (
    "capability 'x-share-memory' needs to know whose the memory is: start both VMs with -profile "
    "native, which hands over in two phases, or turn it off"
)
SHARING_WITHOUT_CHANNELS = (
    "capability 'x-share-memory' sends no RAM that 'multifd' could: turn one of them off"
)
TLS_NOT_SERVED = (
    "replug does not do TLS: leave 'tls-creds' empty and carry the stream over a tunnel "
    "(unix: or exec:)"
)
BLOCK_MIGRATION_NOT_SERVED = (
    "replug does not migrate block devices: leave 'blk' and 'inc' off and move the storage first"
)


def capability_not_served(capability: str, reason: str, remedy: str) -> str:
    """A capability that is listed and cannot be turned on."""
    return f"replug does not do {reason}: leave capability '{capability}' off{remedy}"

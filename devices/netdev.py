"""Network backends: `-netdev TYPE,id=...`, checked and kept as plain values.

What may live here: which backend types and parameters exist, and which devices use which backend.
Nothing is opened here: what a `stream` or `tap` backend is connected to is the driver's business.

Rules kept (QEMU: net/net.c and qapi/net.json):
- nested parameters are flat, dotted keys in both forms: `addr.path`, also from JSON;
- text values are read as text, JSON values must have their JSON type;
- an id is an identifier and unique; a backend serves one device at a time.
A repeated `hostfwd` keeps the last value only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from devices import texts
from devices.errors import DeviceError
from devices.options import (
    OptionError,
    Options,
    OptionValue,
    check_identifier,
    parse_bool,
    parse_options,
    parse_size,
)

#: Most backends one VM may have.
NETDEVS_MAX = 256


class _Kind(Enum):
    """How a parameter is read; the value is the JSON type QEMU asks for."""

    TEXT = "string"
    BOOL = "boolean"
    INT64 = "integer"
    UINT64 = "uint64"
    SIZE = "size"


def _kinds(text: str, **others: str) -> dict[str, _Kind]:
    """Return name -> kind: `text` names the strings, each keyword the parameters of that kind."""
    kinds = dict.fromkeys(text.split(), _Kind.TEXT)
    for kind, names in others.items():
        kinds.update(dict.fromkeys(names.split(), _Kind[kind.upper()]))
    return kinds


_USER_TEXT = (
    "hostname net host tftp bootfile dhcpstart dns dnssearch domainname ipv6-prefix ipv6-host "
    "ipv6-dns smb smbserver hostfwd guestfwd tftp-server-name"
)
_TAP_TEXT = "ifname fd fds script downscript br helper vhostfd vhostfds"

#: Parameters of each type, less `type` and `id`; addresses are added below.
_PARAMETERS: dict[str, dict[str, _Kind]] = {
    "user": _kinds(_USER_TEXT, bool="restrict ipv4 ipv6", int64="ipv6-prefixlen"),
    "tap": _kinds(
        _TAP_TEXT, bool="vnet_hdr vhost vhostforce", uint64="queues poll-us", size="sndbuf"
    ),
    "stream": _kinds("", bool="server", uint64="reconnect reconnect-ms"),
    "dgram": {},
    "socket": _kinds("fd listen connect mcast localaddr udp"),
    "hubport": _kinds("netdev", int64="hubid"),
}

#: Types QEMU has that mean nothing to replug.
_TYPES_ABSENT = frozenset({"nic", "l2tpv3", "vde", "bridge", "netmap", "vhost-user", "vhost-vdpa"})

#: Which groups of parameters are socket addresses.
_ADDRESS_GROUPS = {"stream": ("addr",), "dgram": ("local", "remote")}

#: Members of a socket address by its type, and which of them must be there.
_ADDRESS_MEMBERS: dict[str, tuple[dict[str, _Kind], tuple[str, ...]]] = {
    "inet": (
        _kinds("host port", bool="numeric ipv4 ipv6 keep-alive mptcp", uint64="to"),
        ("host", "port"),
    ),
    "unix": (_kinds("path", bool="abstract tight"), ("path",)),
    "vsock": (_kinds("cid port"), ("cid", "port")),
    "fd": (_kinds("str"), ("str",)),
}

_SOCKET_FORMS = ("fd", "listen", "connect", "mcast", "udp")
_TAP_WITHOUT_DESCRIPTOR = (
    *("ifname", "script", "downscript", "vnet_hdr", "helper"),
    *("queues", "fds", "vhostfds"),
)

#: A parameter of a backend as the rest of replug uses it.
NetdevValue = str | int | bool


@dataclass(frozen=True, slots=True)
class Netdev:
    """One network backend, validated and immutable."""

    #: Name that a device's `netdev` option uses.
    id: str
    #: user, tap, stream, dgram, socket or hubport.
    type: str
    #: Its other parameters by dotted name, typed; only those that were given.
    options: Mapping[str, NetdevValue]


def parse_netdev(source: str | Options) -> Netdev:
    """Read one `-netdev` option, as text or as options already parsed.

    Raises OptionError with QEMU's text for a missing or unknown type, a bad id, an unknown or
    missing parameter, and values or combinations the type does not take.
    Source: net/net.c netdev_parse_modern, net_client_init1; net/socket.c, dgram.c, tap.c.
    """
    options = parse_options(source, implied="type") if isinstance(source, str) else source
    identity = _text_member(options, "id")
    kind = _text_member(options, "type")
    check_identifier("id", identity)
    if kind in _TYPES_ABSENT:
        raise OptionError(texts.NETDEV_TYPE_ABSENT % kind)
    if kind not in _PARAMETERS:
        raise OptionError(texts.VALUE_NOT_ACCEPTED % ("type", kind))
    given = _flatten(options, _ADDRESS_GROUPS.get(kind, ()))
    kinds = dict(_PARAMETERS[kind])
    for group in _ADDRESS_GROUPS.get(kind, ()):
        kinds.update(_address_kinds(group, given))
    # QEMU reads stream and dgram with the dotted-key parser, whose word for this differs.
    dotted = options.from_json or kind in _ADDRESS_GROUPS
    unknown = texts.PARAMETER_UNEXPECTED if dotted else texts.PARAMETER_INVALID
    values: dict[str, NetdevValue] = {}
    for name, value in given.items():
        if name not in kinds:
            raise OptionError(unknown % name)
        values[name] = _read(name, kinds[name], value, strict=options.from_json)
    _CHECKS[kind](values)
    return Netdev(identity, kind, MappingProxyType(values))


def _text_member(options: Options, name: str) -> str:
    if name not in options:
        raise OptionError(texts.PARAMETER_MISSING % name)
    value = options[name]
    if not isinstance(value, str):
        raise OptionError(texts.TYPE_INVALID % (name, "string"))
    return value


def _flatten(options: Options, groups: tuple[str, ...]) -> dict[str, OptionValue]:
    """Return the parameters less type and id, with members of nested addresses dotted."""
    flat: dict[str, OptionValue] = {}
    for name, value in options.without("type", "id").items():
        if name not in groups:
            flat[name] = value
        elif isinstance(value, dict):
            flat.update({f"{name}.{member}": inner for member, inner in value.items()})
        else:
            raise OptionError(texts.TYPE_INVALID % (name, "object"))
    return flat


def _address_kinds(group: str, given: Mapping[str, OptionValue]) -> dict[str, _Kind]:
    """Return the kinds of one address's members; raise if the address is incomplete."""
    if not any(name.startswith(f"{group}.") for name in given):
        return {}
    key = f"{group}.type"
    if key not in given:
        raise OptionError(texts.PARAMETER_MISSING % key)
    kind = given[key]
    if not isinstance(kind, str):
        raise OptionError(texts.TYPE_INVALID % (key, "string"))
    if kind not in _ADDRESS_MEMBERS:
        raise OptionError(texts.VALUE_NOT_ACCEPTED % ("type", kind))
    members, needed = _ADDRESS_MEMBERS[kind]
    for member in needed:
        if f"{group}.{member}" not in given:
            raise OptionError(texts.PARAMETER_MISSING % f"{group}.{member}")
    kinds = {f"{group}.{member}": member_kind for member, member_kind in members.items()}
    return {key: _Kind.TEXT, **kinds}


def _read(name: str, kind: _Kind, value: OptionValue, *, strict: bool) -> NetdevValue:
    if strict:
        return _read_typed(name, kind, value)
    if not isinstance(value, str):
        raise OptionError(texts.TYPE_INVALID % (name, "string"))
    if kind is _Kind.TEXT:
        return value
    if kind is _Kind.BOOL:
        return parse_bool(name, value)
    if kind is _Kind.SIZE:
        try:
            return parse_size(value, name=name)
        except OptionError:
            raise OptionError(texts.PARAMETER_EXPECTS % (name, "a size value")) from None
    lowest = -(2**63) if kind is _Kind.INT64 else 0
    digits = value.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and len(digits) <= 20
    if not plain or not lowest <= int(value) < (2**63 if lowest else 2**64):
        word = "an int64 value" if lowest else "a uint64 value"
        raise OptionError(texts.PARAMETER_EXPECTS % (name, word))
    return int(value)


def _read_typed(name: str, kind: _Kind, value: OptionValue) -> NetdevValue:
    if kind is _Kind.TEXT and isinstance(value, str):
        return value
    if kind is _Kind.BOOL and isinstance(value, bool):
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is _Kind.INT64:
        if isinstance(value, int) and whole and -(2**63) <= value < 2**63:
            return value
    elif kind in (_Kind.UINT64, _Kind.SIZE):
        if isinstance(value, int) and whole and 0 <= value < 2**64:
            return value
        raise OptionError(texts.PARAMETER_EXPECTS % (name, "uint64"))
    raise OptionError(texts.TYPE_INVALID % (name, kind.value))


def _check_nothing(values: Mapping[str, NetdevValue]) -> None:
    """Accept every combination."""


def _check_stream(values: Mapping[str, NetdevValue]) -> None:
    if "addr.type" not in values:
        raise OptionError(texts.PARAMETER_MISSING % "addr")


def _check_dgram(values: Mapping[str, NetdevValue]) -> None:
    local, remote = values.get("local.type"), values.get("remote.type")
    if _is_multicast(values):
        if local not in (None, "inet", "fd"):
            raise OptionError(texts.NETDEV_DGRAM_MULTICAST_LOCAL)
        return
    if local is None:
        raise OptionError(texts.NETDEV_DGRAM_LOCAL)
    if local == "fd":
        return
    if remote is None:
        raise OptionError(texts.NETDEV_DGRAM_REMOTE)
    if local != remote:
        raise OptionError(texts.NETDEV_DGRAM_TYPES)


def _is_multicast(values: Mapping[str, NetdevValue]) -> bool:
    first, *_ = str(values.get("remote.host", "")).split(".")
    return values.get("remote.type") == "inet" and first.isdigit() and 224 <= int(first) <= 239


def _check_socket(values: Mapping[str, NetdevValue]) -> None:
    if sum(form in values for form in _SOCKET_FORMS) != 1:
        raise OptionError(texts.NETDEV_SOCKET_FORM)
    _check_descriptor(values)
    for form in ("listen", "connect", "mcast", "udp", "localaddr"):
        if form in values and ":" not in str(values[form]):
            raise OptionError(texts.NETDEV_ADDRESS_PORT % values[form])
    if "udp" in values and "localaddr" not in values:
        raise OptionError(texts.NETDEV_UDP_LOCALADDR)
    if "localaddr" in values and not ("mcast" in values or "udp" in values):
        raise OptionError(texts.NETDEV_LOCALADDR_INVALID)


def _check_descriptor(values: Mapping[str, NetdevValue]) -> None:
    # A name given with QMP getfd cannot begin with a digit; digits are an inherited descriptor.
    descriptor = str(values.get("fd", "0"))
    if not (descriptor.isascii() and descriptor.isdigit() and len(descriptor) < 10):
        raise OptionError(texts.NETDEV_DESCRIPTOR % descriptor)


def _check_tap(values: Mapping[str, NetdevValue]) -> None:
    if "fd" in values and any(name in values for name in _TAP_WITHOUT_DESCRIPTOR):
        raise OptionError(texts.NETDEV_TAP_DESCRIPTOR)
    _check_descriptor(values)


def _check_hubport(values: Mapping[str, NetdevValue]) -> None:
    if "hubid" not in values:
        raise OptionError(texts.PARAMETER_MISSING % "hubid")


_CHECKS = {
    "user": _check_nothing,
    "tap": _check_tap,
    "stream": _check_stream,
    "dgram": _check_dgram,
    "socket": _check_socket,
    "hubport": _check_hubport,
}


class NetdevTable:
    """The backends of one VM, and which device uses each."""

    def __init__(self) -> None:
        """Start without backends."""
        self._netdevs: dict[str, Netdev] = {}
        self._users: dict[str, str | None] = {}

    def __contains__(self, netdev_id: object) -> bool:
        """Say whether a backend of that id exists."""
        return netdev_id in self._netdevs

    def __getitem__(self, netdev_id: str) -> Netdev:
        """Return a backend; KeyError if there is none of that id."""
        return self._netdevs[netdev_id]

    def __iter__(self) -> Iterator[Netdev]:
        """Iterate over the backends, oldest first."""
        return iter(self._netdevs.values())

    def __len__(self) -> int:
        """Return the number of backends."""
        return len(self._netdevs)

    def add(self, netdev: Netdev, *, from_json: bool = False) -> None:
        """Add a backend.

        Raises DeviceError, and changes nothing, if the id is taken (`from_json` picks QEMU's
        wording: the JSON form and QMP say less) or hubport's netdev does not exist.
        """
        if netdev.id in self._netdevs:
            wording = texts.NETDEV_ID_DUPLICATE if from_json else texts.NETDEV_OPTION_ID_DUPLICATE
            raise DeviceError(wording % netdev.id)
        peer = netdev.options.get("netdev")
        if peer is not None and peer not in self._netdevs:
            raise DeviceError(texts.NETDEV_PEER_NOT_FOUND % peer)
        if len(self._netdevs) >= NETDEVS_MAX:
            raise DeviceError(f"Expected at most {NETDEVS_MAX} netdevs, got one more: remove one")
        self._netdevs[netdev.id] = netdev

    def remove(self, netdev_id: str) -> Netdev:
        """Remove and return a backend; DeviceError (DeviceNotFound) if there is none of that id.

        The device that used it, if any, stays without a backend, as after QMP netdev_del.
        """
        if netdev_id not in self._netdevs:
            raise DeviceError(texts.DEVICE_NOT_FOUND % netdev_id, error_class="DeviceNotFound")
        self._users.pop(netdev_id, None)
        return self._netdevs.pop(netdev_id)

    def in_use(self, netdev_id: str) -> bool:
        """Say whether a device uses this backend."""
        return netdev_id in self._users

    def user(self, netdev_id: str) -> str | None:
        """Return the id of the device that uses this backend; None if none, or it has no id."""
        return self._users.get(netdev_id)

    def attach(self, netdev_id: str, device_id: str | None) -> None:
        """Note that a device uses this backend from now on.

        Raises DeviceError, and changes nothing, if the backend does not exist or is in use; the
        catalogue has checked both with the text that names the property.
        """
        if netdev_id not in self._netdevs:
            raise DeviceError(texts.NETDEV_PEER_NOT_FOUND % netdev_id)
        if netdev_id in self._users:
            raise DeviceError(f"Expected netdev '{netdev_id}' to be free, but a device uses it")
        self._users[netdev_id] = device_id

    def detach(self, netdev_id: str) -> None:
        """Note that no device uses this backend any more; nothing happens if none did."""
        self._users.pop(netdev_id, None)

"""Migration URIs: where a stream goes to or comes from, and what is wrong with a bad one.

What may live here: reading the text into a value, without touching anything it names.

    tcp:HOST:PORT    an IPv6 address in brackets; for incoming, an empty host is every address of
                     this machine and port 0 is any free port
    unix:PATH        a stream socket
    exec:COMMAND     run by /bin/sh -c, the stream through its standard input or output
    fd:NAME          a descriptor handed over with getfd; for incoming, also an inherited one by
                     number
    file:PATH[,offset=N]    N in bytes, with a suffix (B K M G T P E, powers of 1024), or hex

What the texts say follows QEMU where it has one to follow (migration.c, util/qemu-sockets.c,
migration/file.c); vsock: and rdma: are not carried and read as unknown protocols. Unlike QEMU, a
bad host, port or path is refused here, at the command, and not by a migration that fails later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

#: The longest URI that is looked at (a shell command may be long).
URI_CHARACTERS_MAX = 64 << 10
#: The longest path of a unix socket in bytes (unix(7): sun_path, with its final zero).
UNIX_PATH_BYTES_MAX = 107
#: The largest offset into a file (off_t).
FILE_OFFSET_MAX = (1 << 63) - 1

_PORT_MAX = 65535
_HOST_CHARACTERS_MAX = 255
_SIZE_PATTERN = re.compile(
    r"(?:(?P<hex>0[xX][0-9a-fA-F]{1,16})|(?P<digits>[0-9]{1,19})(?P<unit>[bBkKmMgGtTpPeE]?))"
)
_UNIT_SHIFTS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


class UriError(ValueError):
    """A migration URI that cannot be used; the text is fit for a QMP error description."""


@dataclass(frozen=True, slots=True)
class TcpUri:
    """A TCP connection."""

    #: A name or a numeric address, without brackets; empty: every address (incoming only).
    host: str
    #: 1..65535; 0: any free one (incoming only).
    port: int

    @property
    def reply_path(self) -> Literal[True]:
        """A socket carries answers back."""
        return True


@dataclass(frozen=True, slots=True)
class UnixUri:
    """A stream socket in the file system."""

    #: Its path, at most UNIX_PATH_BYTES_MAX bytes long.
    path: str

    @property
    def reply_path(self) -> Literal[True]:
        """A socket carries answers back."""
        return True


@dataclass(frozen=True, slots=True)
class ExecUri:
    """A shell command."""

    #: What /bin/sh -c is given.
    command: str

    @property
    def reply_path(self) -> Literal[False]:
        """A pipe through a command goes one way."""
        return False


@dataclass(frozen=True, slots=True)
class FdUri:
    """A descriptor that was passed in."""

    #: The name it was given with getfd, or its number.
    name: str

    @property
    def reply_path(self) -> None:
        """Not known before the descriptor is looked at: only a socket carries answers back."""
        return


@dataclass(frozen=True, slots=True)
class FileUri:
    """A file."""

    #: Its path.
    path: str
    #: Where the stream starts in it.
    offset_bytes: int = 0

    @property
    def reply_path(self) -> Literal[False]:
        """A file does not answer."""
        return False


#: What `parse_uri` returns. Each has `reply_path`: True, False, or None where only the descriptor
#: itself can tell.
Uri: TypeAlias = TcpUri | UnixUri | ExecUri | FdUri | FileUri


def parse_uri(text: str, *, incoming: bool) -> Uri:
    """Read a migration URI; `incoming` is for the side that waits for the stream.

    UriError with QEMU's text for a protocol that is not known (which differs by side), for an
    address that cannot be split and for a bad offset; with a text of our own otherwise.
    """
    if len(text) > URI_CHARACTERS_MAX:
        raise UriError(f"A URI has at most {URI_CHARACTERS_MAX} characters, not {len(text)}")
    if "\0" in text:
        raise UriError("A URI cannot contain a zero character")
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "tcp":
        return _parse_tcp(rest, incoming=incoming)
    if colon and scheme == "unix":
        return _parse_unix(rest)
    if colon and scheme == "exec":
        if not rest.strip():
            raise UriError("exec: needs a command, as in exec:cat > FILE")
        return ExecUri(rest)
    if colon and scheme == "fd":
        if not rest:
            raise UriError("fd: needs the name given to getfd, or a number")
        return FdUri(rest)
    if colon and scheme == "file":
        return _parse_file(rest)
    if incoming:
        raise UriError(f"unknown migration protocol: {text}")
    raise UriError("Parameter 'uri' expects a valid migration protocol")


def _parse_tcp(address: str, *, incoming: bool) -> TcpUri:
    if address.startswith("["):
        host, bracket, port = address[1:].partition("]:")
        if not bracket or not host:
            raise UriError(f"error parsing IPv6 address '{address}'")
    else:
        host, colon, port = address.partition(":")
        if not colon or (host and not port):
            raise UriError(f"error parsing address '{address}'")
        if not port:
            raise UriError(f"error parsing port in address '{address}'")
    if not host and not incoming:
        raise UriError("host and/or port not specified")
    if len(host) > _HOST_CHARACTERS_MAX:
        raise UriError(f"A host has at most {_HOST_CHARACTERS_MAX} characters, not {len(host)}")
    port_min = 0 if incoming else 1
    if not re.fullmatch(r"[0-9]{1,5}", port) or not port_min <= int(port) <= _PORT_MAX:
        raise UriError(
            f"error parsing port in address '{address}': expected a number from {port_min} to "
            f"{_PORT_MAX}, not '{port[:32]}' (an IPv6 address goes in brackets)"
        )
    return TcpUri(host, int(port))


def _parse_unix(path: str) -> UnixUri:
    if not path:
        raise UriError("invalid Unix socket address")
    if len(path.encode("utf-8", "surrogateescape")) > UNIX_PATH_BYTES_MAX:
        raise UriError(f"UNIX socket path '{path[:200]}' is too long")
    return UnixUri(path)


def _parse_file(specification: str) -> FileUri:
    path, option, offset_text = specification.partition(",offset=")
    if not path:
        raise UriError("file: needs a path")
    if not option:
        return FileUri(path)
    match = _SIZE_PATTERN.fullmatch(offset_text)
    if not match:
        raise UriError(f"file URI has bad offset {offset_text[:40]}: Invalid argument")
    if match["hex"]:
        offset_bytes = int(match["hex"], 16)
    else:
        offset_bytes = int(match["digits"]) << _UNIT_SHIFTS[match["unit"].lower()]
    if offset_bytes > FILE_OFFSET_MAX:
        raise UriError(f"file URI has bad offset {offset_text}: Numerical result out of range")
    return FileUri(path, offset_bytes)

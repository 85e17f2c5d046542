"""Where a QMP client finds a VM's monitor, as `--qmp` says it.

What may live here: reading the text. `PATH` is a unix socket and `HOST:PORT` a TCP port; written
with QEMU's prefixes `unix:` and `tcp:` there is no doubt, and what QEMU's option has after the
first comma (`,server=on,wait=off`) may stay: it is the other end's.
"""

from __future__ import annotations

import re

from engine.monitor_options import MonitorEndpoint, TcpEndpoint, UnixEndpoint
from engine.uri import UNIX_PATH_BYTES_MAX

_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]{2,64}\]|[^:/\[\]]{0,255}):(?P<port>[0-9]{1,5})")


class MonitorAddressError(ValueError):
    """A text that names no monitor."""


def parse_monitor_address(text: str) -> MonitorEndpoint:
    """Read PATH, unix:PATH, HOST:PORT or tcp:HOST:PORT; an empty host is this machine.

    Raises MonitorAddressError.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in ("unix", "tcp"):
        address = rest.split(",", 1)[0]
        return _unix(address) if kind == "unix" else _tcp(address, text)
    if "/" not in text and _TCP.fullmatch(text):
        return _tcp(text, text)
    return _unix(text)


def _unix(path: str) -> UnixEndpoint:
    if not path or "\0" in path:
        raise MonitorAddressError("expected PATH or HOST:PORT of a QMP monitor, got nothing")
    if len(path.encode("utf-8", "surrogateescape")) > UNIX_PATH_BYTES_MAX:
        raise MonitorAddressError(
            f"UNIX socket path '{path[:200]}' is too long: at most {UNIX_PATH_BYTES_MAX} bytes"
        )
    return UnixEndpoint(path)


def _tcp(address: str, written: str) -> TcpEndpoint:
    match = _TCP.fullmatch(address)
    if match is None or not 0 < int(match["port"]) <= 65535:
        raise MonitorAddressError(f"expected HOST:PORT with a port from 1, got '{written[:200]}'")
    return TcpEndpoint(match["host"].strip("[]") or "localhost", int(match["port"]))

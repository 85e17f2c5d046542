"""The command line of `replug migrate`.

What may live here: from a list of arguments to what was asked for. Our own options begin with two
dashes and come first; the first argument with a single dash begins QEMU's, which describe a VM of
our own and are handed to it as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from devices.options import OptionError, parse_duration, parse_size
from engine.migration_request import (
    MULTIFD,
    MULTIFD_CHANNELS,
    MULTIFD_COMPRESSION,
    PAUSE,
    SHARE_MEMORY,
    VERIFY_RAM,
    MigrationRequest,
)
from engine.monitor_address import MonitorAddressError, parse_monitor_address
from engine.monitor_options import MonitorEndpoint, UnixEndpoint
from engine.uri import UriError, parse_uri

EPILOG = """\
exit status:
  0    the migration completed
  1    it failed or never began; the guest is at the source as it was
  2    these arguments cannot be used
  3    it was cancelled; the guest is at the source as it was
  4    in doubt: an operator has to say which side has the guest
  5    it failed and the guest does not run at the source, or nobody can say
  124  a deadline passed; the guest is at the source as it was
  130  interrupted twice, before the source said `cancelled`

Ctrl-C cancels, and waits for the source's `cancelled`; a second one does not wait. Once a QEMU has
stopped its guest for the switchover it is too late for that, and for --timeout: the target may run
the guest already. --quit leaves a source whose target cannot be seen to run it. Any other end of
this command leaves the migration running, and --attach takes it over again; with --pause, given
with --attach or without, it is cancelled then, for the source would stand still. Where somebody
else has set pause-before-switchover and --pause is not given, the source is left to whoever that
was: it stands still in pre-switchover until something continues it, or it is cancelled.
Capabilities and parameters stay as they were set.
"""


#: Protocols that replug does not speak and a QEMU may.
_QEMUS_OWN = ("vsock:", "rdma:")


class UsageError(Exception):
    """The arguments cannot be used."""


@dataclass(frozen=True)
class MigrateOptions:
    """What was asked for."""

    #: The migration; its source is a placeholder when `vm` is given.
    request: MigrationRequest
    #: Whether to write JSON.
    json: bool
    #: QEMU's options for a VM of our own; empty: the source is somebody else's.
    vm: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parse_migrate_arguments(arguments: Sequence[str]) -> MigrateOptions:
    """Read the arguments.

    Raises UsageError; SystemExit with 0 once --help was printed.
    """
    own, vm = _split(arguments)
    given = _parser().parse_args(own)
    _check(given, vm)
    request = MigrationRequest(
        source=given.qmp or UnixEndpoint("/"),
        uri=None if given.attach else given.uri,
        target=given.target_qmp,
        timeout_ms=given.timeout,
        unplug_timeout_ms=given.unplug_timeout,
        parameters=_parameters(given),
        capabilities=_capabilities(given),
        pause=given.pause or given.pause_command is not None,
        pause_command=given.pause_command,
        quit_source=given.quit or bool(vm),
    )
    return MigrateOptions(request, given.json, tuple(vm))


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    for position, argument in enumerate(arguments):
        is_single = argument.startswith("-") and not argument.startswith("--")
        if is_single and argument not in ("-", "-h"):
            return list(arguments[:position]), list(arguments[position:])
    return list(arguments), []


def _parser() -> _Parser:
    parser = _Parser(
        prog="replug migrate",
        usage="replug migrate --qmp ADDRESS [options] URI\n"
        "       replug migrate --qmp ADDRESS --attach [options]\n"
        "       replug migrate [options] URI -device ... -m 1G ...",
        description="Migrate a VM: any that has a QMP monitor, replug's or QEMU's, or one of its "
        "own, which is described by QEMU's options after the URI.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("uri", nargs="?", metavar="URI", help="tcp:HOST:PORT, unix:PATH, exec:COMMAND, …")
    add("--qmp", type=_address, metavar="ADDRESS", help="the source's monitor: PATH or HOST:PORT")
    add("--target-qmp", type=_address, metavar="ADDRESS", help="the target's, to see both sides")
    add("--attach", action="store_true", help="take over the migration that is in progress")
    add("--json", action="store_true", help="write one JSON object per line, the report last")
    add("--timeout", type=_duration, metavar="DURATION", help="roll back after 5s, 500ms, …")
    add(
        "--unplug-timeout",
        type=_duration,
        metavar="DURATION",
        help="roll back when the guest has kept a primary for that long",
    )
    add("--downtime-limit", type=_duration, metavar="DURATION", help="how long it may stand still")
    add("--max-bandwidth", type=_size, metavar="SIZE", help="per second: 128M, 1G; 0: no limit")
    add(
        "--capability",
        type=_capability,
        action="append",
        default=[],
        metavar="NAME=on|off",
        help="set a migration capability; may be repeated",
    )
    add(
        "--multifd-channels",
        type=_channels,
        metavar="N",
        help="send RAM through so many connections beside the main one, 1 to 255",
    )
    add(
        "--multifd-compression",
        choices=("none", "zlib", "zstd"),
        help="compress RAM on these; replug knows none and zstd",
    )
    add(
        "--share-memory",
        action="store_true",
        help="hand the memory itself to a replug target on this host, through a unix: URI",
    )
    add("--pause", action="store_true", help=f"set {PAUSE}, and go on from there")
    add("--pause-command", metavar="COMMAND", help="run this while paused; it has to succeed")
    add("--verify-ram", action="store_true", help="compare all RAM before the target runs")
    add("--quit", action="store_true", help="quit the source once the target has the guest")
    return parser


def _check(given: argparse.Namespace, vm: Sequence[str]) -> None:
    if given.attach:
        if given.uri is not None or vm:
            raise UsageError(
                "--attach takes over what is in progress: leave out URI and VM options"
            )
        if given.qmp is None:
            raise UsageError("--attach needs --qmp ADDRESS")
        if given.capability or given.verify_ram or given.multifd_channels or given.share_memory:
            raise UsageError("capabilities cannot be set while a migration runs")
        if given.multifd_compression:
            raise UsageError("how RAM goes cannot be changed while a migration runs")
        return
    if given.uri is None:
        raise UsageError("expected the URI to migrate to, before the options of a VM")
    if not given.uri.startswith(_QEMUS_OWN):
        try:
            parse_uri(given.uri, incoming=False)
        except UriError as error:
            raise UsageError(f"{given.uri!r}: {error}") from error
    _check_ways(given)
    if given.qmp is None and not vm:
        raise UsageError("expected --qmp ADDRESS of a VM, or the options of a VM after the URI")
    if given.qmp is not None and vm:
        raise UsageError(f"expected either --qmp or the options of a VM, got both ({vm[0]})")


def _check_ways(given: argparse.Namespace) -> None:
    """Check that RAM can go the way that was asked for."""
    capabilities = _capabilities(given)
    if given.multifd_compression and not capabilities.get(MULTIFD):
        raise UsageError("--multifd-compression is for channels: add --multifd-channels N")
    if given.share_memory and capabilities.get(MULTIFD):
        raise UsageError("--share-memory sends no RAM that channels could: leave out one of them")
    if given.share_memory and not given.uri.startswith("unix:"):
        raise UsageError(f"--share-memory takes a unix: URI, got {given.uri!r}")


def _parameters(given: argparse.Namespace) -> dict[str, int | str]:
    parameters: dict[str, int | str] = {}
    if given.downtime_limit is not None:
        parameters["downtime-limit"] = round(given.downtime_limit)
    if given.max_bandwidth is not None:
        parameters["max-bandwidth"] = given.max_bandwidth
    if given.multifd_channels is not None:
        parameters[MULTIFD_CHANNELS] = given.multifd_channels
    if given.multifd_compression is not None:
        parameters[MULTIFD_COMPRESSION] = given.multifd_compression
    return parameters


def _capabilities(given: argparse.Namespace) -> dict[str, bool]:
    capabilities = dict(given.capability)
    if given.verify_ram:
        capabilities[VERIFY_RAM] = True
    if given.multifd_channels is not None:
        capabilities[MULTIFD] = True
    if given.share_memory:
        capabilities[SHARE_MEMORY] = True
    return capabilities


def _address(text: str) -> MonitorEndpoint:
    try:
        return parse_monitor_address(text)
    except MonitorAddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _duration(text: str) -> float:
    try:
        duration_ms = parse_duration(text)
    except OptionError as error:
        raise argparse.ArgumentTypeError(error.description) from error
    if not 1 <= duration_ms <= 86_400_000:
        raise argparse.ArgumentTypeError(f"expected from 1ms to a day (86400s), got '{text}'")
    return duration_ms


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except OptionError as error:
        raise argparse.ArgumentTypeError(error.description) from error


def _channels(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 255:
        raise argparse.ArgumentTypeError(
            f"expected a number of connections, 1 to 255, got '{text}'"
        )
    return int(text)


def _capability(text: str) -> tuple[str, bool]:
    name, equals, state = text.partition("=")
    if not (name and equals and state in ("on", "off")):
        raise argparse.ArgumentTypeError(f"expected NAME=on or NAME=off, got '{text}'")
    return name, state == "on"

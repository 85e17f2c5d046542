"""`-qmp`, `-chardev` and `-mon`: where the VM's QMP monitors listen.

What may live here: reading these three into endpoints. Nothing is opened here.

Rules kept (QEMU: chardev/char.c qemu_chr_parse_compat, chardev/char-socket.c, monitor/monitor.c):
- a monitor is plain QMP on a unix path or a TCP port, and replug is the one who listens;
- a character device may be named before it is declared, and by one monitor only;
- `server` and `nowait` alone mean server=on and wait=off;
- what would change the bytes on the wire or who connects is refused; the rest is named as ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from devices import texts
from devices.options import (
    OptionError,
    Options,
    check_identifier,
    parse_bool,
    parse_options,
)
from engine.uri import UNIX_PATH_BYTES_MAX

#: Most monitors of one VM.
MONITORS_MAX = 16
#: Most character devices of one VM.
CHARACTER_DEVICES_MAX = 256

_HOST_CHARACTERS_MAX = 255
_TCP_ADDRESS = re.compile(
    r"tcp:(?P<host>\[[^\],]*\]|[^:,\[]*):(?P<port>[^:,]+)(?:,(?P<rest>.*))?", re.DOTALL
)

_BACKEND_NAMES = """
    braille chardev console dbus file hub memory msmouse mux null parallel parport pipe pty
    qemu-vdagent ringbuf serial socket spiceport spicevmc stdio testdev tty udp vc wctablet
"""
_BACKENDS = frozenset(_BACKEND_NAMES.split())
#: Parameters of a socket that mean something here.
_READ = frozenset({"backend", "id", "path", "host", "port", "server", "wait"})
#: Parameters that change who connects or what is on the wire.
_REFUSED = ("fd", "telnet", "tn3270", "websocket", "tls-creds", "tls-authz", "abstract")
_IGNORED_NAMES = """
    delay ipv4 ipv6 logappend logfile mptcp mux nodelay reconnect reconnect-ms signal tight to
"""
#: Parameters that change nothing a QMP client sees.
_IGNORED = frozenset(_IGNORED_NAMES.split())


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A monitor on a unix stream socket."""

    #: Its path, at most UNIX_PATH_BYTES_MAX bytes long.
    path: str


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A monitor on a TCP port."""

    #: A name or a numeric address, without brackets; empty: every address of this machine.
    host: str
    #: 0 to 65535; 0: any free one.
    port: int


#: Where one monitor listens.
MonitorEndpoint: TypeAlias = UnixEndpoint | TcpEndpoint


@dataclass(frozen=True, slots=True)
class PendingMonitor:
    """A monitor as it was written; its character device may not have been declared yet."""

    #: The id of a declared character device, or the parameters of one of its own.
    device: str | Options


class MonitorOptions:
    """The monitors and character devices of one command line, while it is read.

    Every method raises OptionError, with QEMU's text where QEMU has one.
    """

    def __init__(self) -> None:
        """Start without any."""
        #: What was accepted and has no effect, as "-option parameter", in order.
        self.ignored: list[str] = []
        self._devices: dict[str, Options] = {}
        self._used: set[str] = set()
        self._monitors = 0

    def read_qmp(self, text: str) -> PendingMonitor:
        """Read the argument of `-qmp`: unix:PATH,… or tcp:HOST:PORT,… or chardev:ID."""
        self._count_monitor()
        kind, colon, rest = text.partition(":")
        if colon and kind == "chardev":
            return PendingMonitor(rest)
        if colon and kind == "unix":
            options = parse_text_options(rest, implied="path")
        elif match := _TCP_ADDRESS.fullmatch(text):
            given = parse_text_options(match["rest"] or "")
            address = {"host": match["host"].strip("[]"), "port": match["port"]}
            options = Options({**given, **address})
        else:
            raise OptionError(
                f"parse error: {text[:200]}",
                hint="A monitor here is unix:PATH,server=on,wait=off or "
                "tcp:HOST:PORT,server=on,wait=off",
            )
        _check_socket_parameters(options)
        return PendingMonitor(options)

    def read_chardev(self, text: str) -> None:
        """Read the argument of `-chardev`. Only the id matters unless a monitor uses it."""
        options = parse_text_options(text, implied="backend")
        if "id" not in options:
            raise OptionError("chardev: no id specified")
        identity = check_identifier("id", str(options["id"]))
        backend = options.get("backend")
        if backend is None:
            raise OptionError(f'chardev: "{identity}" missing backend')
        if backend not in _BACKENDS:
            raise OptionError(f"'{backend}' is not a valid char driver name")
        if identity in self._devices:
            raise OptionError(f"Duplicate ID '{identity}' for chardev")
        if len(self._devices) >= CHARACTER_DEVICES_MAX:
            raise OptionError(f"Expected at most {CHARACTER_DEVICES_MAX} character devices")
        if backend == "socket":
            _check_socket_parameters(options)
        self._devices[identity] = options

    def read_mon(self, text: str) -> PendingMonitor | None:
        """Read the argument of `-mon`; None for a human monitor, of which there are none here."""
        options = parse_text_options(text, implied="chardev")
        for name in options:
            if name not in ("chardev", "mode", "pretty", "id"):
                raise OptionError(texts.PARAMETER_INVALID % name)
        if "chardev" not in options:
            raise OptionError(texts.PARAMETER_MISSING % "chardev")
        mode = options.get("mode", "readline")
        if mode not in ("control", "readline"):
            raise OptionError(texts.VALUE_NOT_ACCEPTED % ("mode", mode))
        if "pretty" in options and parse_bool("pretty", str(options["pretty"])):
            self.ignored.append("-mon pretty")
        if mode == "readline":
            self.ignored.append("-mon mode=readline")
            return None
        self._count_monitor()
        return PendingMonitor(str(options["chardev"]))

    def resolve(self, monitor: PendingMonitor) -> MonitorEndpoint:
        """Return where a monitor listens; call it when all options have been read."""
        if isinstance(monitor.device, Options):
            return self._endpoint(monitor.device, "-qmp")
        identity = monitor.device
        options = self._devices.get(identity)
        if options is None:
            raise OptionError(f'chardev "{identity}" not found')
        if identity in self._used:
            raise OptionError(f"Device '{identity}' is in use")
        if options["backend"] != "socket":
            raise OptionError(
                f"chardev '{identity}' is of type {options['backend']}: a monitor here needs a "
                "socket"
            )
        self._used.add(identity)
        return self._endpoint(options, "-chardev")

    def unused(self) -> Iterator[str]:
        """Return the ids of character devices that no resolved monitor uses."""
        return (identity for identity in self._devices if identity not in self._used)

    def _count_monitor(self) -> None:
        if self._monitors >= MONITORS_MAX:
            raise OptionError(f"Expected at most {MONITORS_MAX} monitors, got one more")
        self._monitors += 1

    def _endpoint(self, options: Options, option: str) -> MonitorEndpoint:
        _refuse_other_wires(options)
        if not parse_bool("server", str(options.get("server", "off"))):
            raise OptionError("A monitor here listens and does not connect: add server=on,wait=off")
        if parse_bool("wait", str(options.get("wait", "on"))):
            self.ignored.append(f"{option} wait=on")
        self.ignored.extend(f"{option} {name}" for name in options if name in _IGNORED)
        if "path" in options:
            if "host" in options or "port" in options:
                raise OptionError("Expected either path= or host= and port=, got both")
            return UnixEndpoint(_check_path(str(options["path"])))
        if "port" not in options:
            missing = "port" if "host" in options else "path"
            raise OptionError(f"chardev: socket: no {missing} given")
        return TcpEndpoint(_check_host(str(options.get("host", ""))), _port(str(options["port"])))


def parse_text_options(text: str, *, implied: str | None = None) -> Options:
    """Read an option that is written as key=value only; OptionError for the JSON form."""
    if text.startswith("{"):
        raise OptionError("Expected key=value, got JSON: only -device and -netdev take that form")
    return parse_options(text, implied=implied)


def _check_socket_parameters(options: Options) -> None:
    for name in options:
        if name not in _READ and name not in _REFUSED and name not in _IGNORED:
            raise OptionError(texts.PARAMETER_INVALID % name)
    for name in ("server", "wait"):
        if name in options:
            parse_bool(name, str(options[name]))


def _refuse_other_wires(options: Options) -> None:
    for name in _REFUSED:
        if name in options and options[name] not in ("off", "no", "false", "n"):
            raise OptionError(
                f"'{name}' is not offered: a monitor here is plain QMP on a unix path or TCP port"
            )


def _check_path(path: str) -> str:
    if not path or "\0" in path:
        raise OptionError(f"Expected the path of a socket, got '{path[:200]}'")
    if len(path.encode("utf-8", "surrogateescape")) > UNIX_PATH_BYTES_MAX:
        raise OptionError(
            f"UNIX socket path '{path[:200]}' is too long",
            hint=f"Path must be less than {UNIX_PATH_BYTES_MAX + 1} bytes",
        )
    return path


def _check_host(host: str) -> str:
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if len(bare) > _HOST_CHARACTERS_MAX or "\0" in bare:
        raise OptionError(
            f"Expected a host of at most {_HOST_CHARACTERS_MAX} characters, got '{bare[:64]}…'"
        )
    return bare


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise OptionError(f"Expected a port number from 0 to 65535, got '{text[:32]}'")
    return int(text)

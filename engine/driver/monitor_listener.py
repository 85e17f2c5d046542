"""Where one monitor listens: a unix path, or a TCP port on every address of a host.

What may live here: opening and closing those sockets, and accepting. The rules:

1. A socket at a unix path is replaced only if nobody listens there, and removed at the end.
2. Running out of descriptors is waited out; it neither ends the listening nor spins the loop.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

from engine.driver.channel import TransportError, failed
from engine.driver.clock import Clock, Timer
from engine.driver.listening import UnixListener
from engine.monitor_options import MonitorEndpoint, TcpEndpoint, UnixEndpoint

_BACKLOG = 16
#: After this long the system is asked again for what it did not have.
_ACCEPT_AGAIN_MS = 500.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class MonitorListener:
    """The listening sockets of one endpoint."""

    #: Where it listens, with real port numbers; empty unless it is open.
    addresses: list[MonitorEndpoint]

    def __init__(
        self,
        on_connected: Callable[[socket.socket], None],
        clock: Clock,
        log: Callable[[str], None],
    ) -> None:
        """Listen nowhere yet; `on_connected` takes over each client's socket."""
        self.addresses = []
        self._on_connected = on_connected
        self._clock = clock
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._unix: UnixListener | None = None
        self._sockets: list[socket.socket] = []
        self._again: dict[socket.socket, Timer] = {}

    async def open(self, endpoint: MonitorEndpoint) -> None:
        """Begin to listen; TransportError with QEMU's text where that is not possible.

        A host with several addresses is listened at on all that work, on one port.
        """
        match endpoint:
            case UnixEndpoint(path=path):
                _refuse_if_served(path)
                self._unix = UnixListener(path)
                self._watch(self._unix.socket)
                self.addresses.append(endpoint)
            case TcpEndpoint(host=host, port=port):
                self._open_tcp(host, port, await _resolve(host, port))

    def close(self) -> None:
        """Stop listening; harmless when done already."""
        for timer in self._again.values():
            timer.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening.fileno())
        if self._unix is not None:
            self._unix.close()
        for listening in self._sockets:
            listening.close()
        self._sockets.clear()
        self._again.clear()
        self.addresses.clear()

    def _open_tcp(self, host: str, port: int, found: list[tuple[int, Any]]) -> None:
        refused = OSError("the host has no address")
        shared = port
        for family, address in found:
            try:
                listening = socket.create_server(
                    (address[0], shared, *address[2:]), family=family, backlog=_BACKLOG
                )
            except OSError as error:
                refused = error
                continue
            self._watch(listening)
            name = listening.getsockname()
            # A port that was free at the first address is taken at the others too.
            shared = name[1]
            self.addresses.append(TcpEndpoint(name[0], shared))
        if not self._sockets:
            raise failed(f"Failed to bind socket to {host}:{port}", refused) from refused

    def _watch(self, listening: socket.socket) -> None:
        listening.setblocking(False)
        self._sockets.append(listening)
        self._loop.add_reader(listening.fileno(), self._on_connecting, listening)

    def _on_connecting(self, listening: socket.socket) -> None:
        try:
            connected, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            self._log(f"cannot accept a monitor client: {error.strerror}")
            if error.errno in _EXHAUSTED:
                # The socket stays readable: without looking away the loop would spin.
                self._loop.remove_reader(listening.fileno())
                self._again[listening] = self._clock.call_later(
                    _ACCEPT_AGAIN_MS, lambda: self._accept_again(listening)
                )
            return
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._on_connected(connected)

    def _accept_again(self, listening: socket.socket) -> None:
        del self._again[listening]
        self._loop.add_reader(listening.fileno(), self._on_connecting, listening)


def _refuse_if_served(path: str) -> None:
    """Raise TransportError if somebody listens at a unix path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A full backlog is an answer too; it must not be waited for.
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            # EAGAIN: a full backlog. EPROTOTYPE: a socket of another type. Both are alive.
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):
                raise failed(f"Failed to bind socket to {path}", error) from error
    raise failed(f"Failed to bind socket to {path}", OSError(errno.EADDRINUSE, "in use"))


async def _resolve(host: str, port: int) -> list[tuple[int, Any]]:
    # `Any`: the address is a pair for IPv4 and a quadruple for IPv6, as the socket module says.
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
        raise TransportError(f"address resolution failed for {host}:{port}: {reason}") from error
    return [(family, address) for family, _, _, _, address in found]

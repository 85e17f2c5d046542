"""From a migration URI to a channel.

What may live here: connecting, and listening. What a channel does is in `channel`; how a URI reads
is in `engine.uri`.

Descriptors are looked up by the caller's `resolve_fd` (monitor-passed names, inherited numbers),
whose errors come through unchanged; from then on the descriptor is the channel's and is closed with
it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias, assert_never

from engine.driver.channel import Channel, TransportError, failed
from engine.driver.channel_command import CommandChannel
from engine.driver.channel_file import FileChannel
from engine.driver.channel_stream import PipeChannel, SocketChannel
from engine.driver.listening import UnixListener
from engine.uri import ExecUri, FdUri, FileUri, TcpUri, UnixUri, Uri

#: Finds the descriptor for the name, or the number, in an fd: URI.
ResolveFd: TypeAlias = Callable[[str], int]
#: QMP's SocketAddress: {"type": "inet", "host": …, "port": …, "ipv4" or "ipv6": True} or
#: {"type": "unix", "path": …}.
SocketAddress: TypeAlias = dict[str, str | bool]

_BACKLOG = 16


async def connect(uri: Uri, resolve_fd: ResolveFd) -> Channel:
    """Open the outgoing end of a migration stream; TransportError with QEMU's text on failure."""
    match uri:
        case TcpUri():
            return await _connect_tcp(uri)
        case UnixUri():
            return _connect_unix(uri)
        case ExecUri():
            return CommandChannel(uri.command, writing=True)
        case FdUri():
            taken = _take_fd(resolve_fd(uri.name), uri.name, writing=True)
            if isinstance(taken, Channel):
                return taken
            taken.close()
            raise TransportError(
                f"fd:{uri.name} is a listening socket; an outgoing migration needs a connected one"
            )
        case FileUri():
            return await FileChannel.open(uri.path, uri.offset_bytes, writing=True)
        case _:
            assert_never(uri)


def listen(uri: Uri, resolve_fd: ResolveFd) -> Listener:
    """Open the incoming end of a migration stream; TransportError with QEMU's text on failure.

    When it returns, a source can connect: whoever asked for it may say so at once. A command is
    started, and a file opened; only a source has to be waited for. No guest runs meanwhile, so a
    name may be looked up without a thread.
    """
    match uri:
        case TcpUri():
            return _listen_tcp(uri)
        case UnixUri():
            bound = UnixListener(uri.path)
            return SocketListener([bound.socket], bound.close)
        case ExecUri():
            return OneChannel(CommandChannel(uri.command, writing=False))
        case FdUri():
            taken = _take_fd(resolve_fd(uri.name), uri.name, writing=False)
            return OneChannel(taken) if isinstance(taken, Channel) else SocketListener([taken])
        case FileUri():
            return OneChannel(FileChannel.open_now(uri.path, uri.offset_bytes, writing=False))
        case _:
            assert_never(uri)


class Listener(ABC):
    """Where an incoming migration stream is waited for."""

    #: Where it can be connected to, as query-migrate's `socket-address` says it; empty when it
    #: is not a socket that listens.
    addresses: list[SocketAddress]

    @abstractmethod
    async def accept(self) -> Channel:
        """Wait for a stream; TransportError once closed."""

    @abstractmethod
    def close(self) -> None:
        """Stop waiting and clean up; channels that were accepted stay."""


class OneChannel(Listener):
    """A stream that is there already."""

    def __init__(self, channel: Channel) -> None:
        self.addresses = []
        self._channel: Channel | None = channel
        self._closed = asyncio.get_running_loop().create_future()

    async def accept(self) -> Channel:
        """Hand the stream out, once; wait for `close` when asked for another one."""
        if self._channel is None:
            await asyncio.wait([self._closed])
        if self._channel is None or self._closed.done():
            raise TransportError("The listener is closed")
        channel, self._channel = self._channel, None
        return channel

    def close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(None)
        if self._channel is not None:
            self._channel.close()
            self._channel = None


class SocketListener(Listener):
    """Sockets that listen: one, or one for each address of a host."""

    def __init__(
        self, listening: list[socket.socket], on_close: Callable[[], None] = lambda: None
    ) -> None:
        """Take over sockets that listen; `on_close` comes before they are closed."""
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._on_close = on_close
        self._waiter: asyncio.Future[None] | None = None
        for listener in listening:
            listener.setblocking(False)
        self.addresses = [_socket_address(listener) for listener in listening]

    async def accept(self) -> Channel:
        while self._listening:
            for listener in self._listening:
                try:
                    connected, _ = listener.accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue
                except OSError as error:
                    raise failed("Unable to accept connection", error) from error
                return SocketChannel(connected)
            await self._until_any()
        raise TransportError("The listener is closed")

    def close(self) -> None:
        self._forget()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._listening:
            self._on_close()
        for listener in self._listening:
            listener.close()
        self._listening = []

    async def _until_any(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        for listener in self._listening:
            self._loop.add_reader(listener.fileno(), _wake, waiter)
        try:
            await waiter
        finally:
            self._forget()

    def _forget(self) -> None:
        for listener in self._listening:
            self._loop.remove_reader(listener.fileno())


async def _connect_tcp(uri: TcpUri) -> SocketChannel:
    loop = asyncio.get_running_loop()
    error: OSError | None = None
    for family, kind, protocol, _, address in await _resolve(uri):
        try:
            connecting = socket.socket(family, kind, protocol)
        except OSError as unsupported:
            error = unsupported
            continue
        connecting.setblocking(False)
        try:
            await loop.sock_connect(connecting, address)
        except OSError as refused:
            connecting.close()
            error = refused
        except BaseException:
            connecting.close()
            raise
        else:
            return SocketChannel(connecting)
    doing = f"Failed to connect to '{uri.host}:{uri.port}'"
    if error is None:
        raise TransportError(f"{doing}: the host has no address")
    raise failed(doing, error) from error


def _connect_unix(uri: UnixUri) -> SocketChannel:
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A unix socket is connected at once or not at all; it must not wait for a full backlog here.
    connecting.setblocking(False)
    try:
        connecting.connect(uri.path)
    except OSError as error:
        connecting.close()
        raise failed(f"Failed to connect to '{uri.path}'", error) from error
    return SocketChannel(connecting)


def _listen_tcp(uri: TcpUri) -> SocketListener:
    listening: list[socket.socket] = []
    error: TransportError | None = None
    port = uri.port
    for family, kind, protocol, _, address in _addresses(uri):
        try:
            listener = socket.socket(family, kind, protocol)
        except OSError as unsupported:
            error = failed("Failed to create a socket", unsupported)
            continue
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Otherwise it takes the IPv4 address too, which is in the list by itself.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], port, *address[2:]))
            listener.listen(_BACKLOG)
        except OSError as refused:
            listener.close()
            error = failed(f"Failed to bind socket to {uri.host}:{port}", refused)
        else:
            listening.append(listener)
            # The same free port for every address.
            port = port or listener.getsockname()[1]
    if not listening:
        raise error or TransportError(f"Failed to bind socket to {uri.host}:{port}: no address")
    return SocketListener(listening)


def _take_fd(fd: int, name: str, *, writing: bool) -> Channel | socket.socket:
    """Make a channel of a descriptor; a socket that listens is returned as it is."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError as error:
        raise failed(f"fd:{name} cannot be used as descriptor {fd}", error) from error
    if stat.S_ISFIFO(mode):
        return PipeChannel(fd, writing=writing)
    if not stat.S_ISSOCK(mode):
        return FileChannel(fd, writing=writing)
    taken = socket.socket(fileno=fd)
    if taken.type != socket.SOCK_STREAM:
        taken.close()
        raise TransportError(f"fd:{name} is not a stream socket; pass one made with SOCK_STREAM")
    if taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return taken
    return SocketChannel(taken)


async def _resolve(uri: TcpUri) -> list[Any]:
    # `Any`: the address is a pair for IPv4 and a quadruple for IPv6, as the socket module says.
    loop = asyncio.get_running_loop()
    try:
        return await loop.getaddrinfo(uri.host or None, uri.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise _unresolved(uri, error) from error


def _addresses(uri: TcpUri) -> list[Any]:
    """Return the addresses to listen at."""
    try:
        return socket.getaddrinfo(
            uri.host or None, uri.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as error:
        raise _unresolved(uri, error) from error


def _unresolved(uri: TcpUri, error: socket.gaierror | UnicodeError) -> TransportError:
    reason = error.strerror if isinstance(error, socket.gaierror) else "not a host name"
    return TransportError(f"address resolution failed for {uri.host}:{uri.port}: {reason}")


def _socket_address(listener: socket.socket) -> SocketAddress:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return {"type": "unix", "path": os.fsdecode(name)}
    version = "ipv4" if listener.family == socket.AF_INET else "ipv6"
    return {"type": "inet", "host": name[0], "port": str(name[1]), version: True}


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)

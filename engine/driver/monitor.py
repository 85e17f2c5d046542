"""The QMP server: where monitors listen, and who is connected.

What may live here: the clients as a whole, what a command's end becomes, and events for everybody.
Listening is `monitor_listener`'s business, one connection `monitor_client`'s, the protocol
`engine.qmp.session`'s, and what a command does is the `Dispatch`'s. The rules:

1. Lines come out in the order in which they were generated: an event that a command emits while it
   is carried out precedes the command's reply.
2. No client, whatever it sends, passes or leaves unread, can end the server or hold up another.
3. An exception in a command is a defect of ours: the client is told, the operator gets one line,
   and everything goes on.
"""

from __future__ import annotations

import asyncio
import socket
import traceback
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from engine.driver.channel import TransportError
from engine.driver.clock import Clock
from engine.driver.monitor_client import ClientContext, MonitorClient
from engine.driver.monitor_listener import MonitorListener
from engine.monitor_options import MonitorEndpoint
from engine.qmp.errors import QmpError, generic_error
from engine.qmp.session import QmpSession, Request

#: Clients at the same time; one more is turned away.
CLIENTS_MAX = 64

#: Carries out a command: its name, its arguments, who gave it. Returns the reply's JSON value, or
#: raises QmpError, which the client reads.
Dispatch: TypeAlias = Callable[[str, dict[str, Any], ClientContext], Any]


class MonitorServer:
    """Every QMP monitor of one VM."""

    def __init__(
        self,
        dispatch: Dispatch,
        version: Mapping[str, int],
        package: str,
        clock: Clock,
        *,
        log: Callable[[str], None],
    ) -> None:
        """Serve nobody yet; call only from the running loop.

        `version` and `package` are what the greeting says; `clock` stamps the events; `log` takes
        one line for the operator.
        """
        self._dispatch = dispatch
        self._version = dict(version)
        self._package = package
        self._clock = clock
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._listeners: list[MonitorListener] = []
        self._clients: list[MonitorClient] = []
        self._none_left: asyncio.Future[None] | None = None
        self._closing = False
        # Holds an event to its declaration even where nobody listens.
        self._declared = QmpSession(self._version, package)

    @property
    def addresses(self) -> tuple[MonitorEndpoint, ...]:
        """Where it listens, in the order of `listen`; a free port has got its number."""
        return tuple(address for listener in self._listeners for address in listener.addresses)

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def listen(self, endpoint: MonitorEndpoint) -> None:
        """Begin to let clients in at `endpoint`; TransportError if that is not possible.

        A host with several addresses is listened at on all of them, on one port.
        """
        listener = MonitorListener(self._admit, self._clock, self._log)
        await listener.open(endpoint)
        if self._closing:
            listener.close()
            raise TransportError("The monitors have been closed")
        self._listeners.append(listener)

    def emit(self, name: str, data: Mapping[str, Any] | None = None) -> None:
        """Send an event to every client that has negotiated, stamped with the clock's time.

        Raises UndeclaredEvent for an event that `engine.qmp.events` does not have.
        """
        timestamp = self._clock.wall()
        self._declared.event(name, data, timestamp)
        for client in self._clients:
            line = client.session.event(name, data, timestamp)
            if line is not None:
                client.send(line)

    async def close(self, flush_ms: float) -> None:
        """Let nobody in, carry out no more commands, and give what waits `flush_ms` to be read.

        When it returns every connection is closed and every path removed.
        """
        self._closing = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for client in list(self._clients):
            client.finish()
        if self._clients:
            self._none_left = self._none_left or self._loop.create_future()
            deadline = self._clock.call_later(flush_ms, self._give_up_waiting)
            try:
                await self._none_left
            finally:
                deadline.cancel()
                for client in list(self._clients):
                    client.close()

    # Clients

    def _admit(self, connected: socket.socket) -> None:
        if len(self._clients) >= CLIENTS_MAX:
            connected.close()
            self._log(f"a monitor client was turned away: {CLIENTS_MAX} are connected already")
            return
        client = MonitorClient(
            connected,
            QmpSession(self._version, self._package),
            carry_out=self._carry_out,
            on_closed=self._on_client_closed,
            log=self._log,
        )
        self._clients.append(client)

    def _on_client_closed(self, client: MonitorClient) -> None:
        self._clients.remove(client)
        if not self._clients:
            self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        if self._none_left is not None and not self._none_left.done():
            self._none_left.set_result(None)

    def _carry_out(self, session: QmpSession, request: Request, context: ClientContext) -> bytes:
        try:
            value = self._dispatch(request.command, request.arguments, context)
            return session.reply(request.id, value)
        except QmpError as error:
            return session.error(request.id, error)
        except Exception as error:
            self._log(f"command {request.command} broke: {_described(error)}")
            description = f"Internal error in {request.command}: {type(error).__name__}"
            return session.error(request.id, generic_error(description))


def _described(error: Exception) -> str:
    """Return what broke, and where, in one line."""
    text = " ".join(str(error).split())[:500]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}"

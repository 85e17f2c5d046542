"""A QMP client's connection to one VM: replug's or QEMU's, through the library `qemu.qmp`.

What may live here: how a connection begins, what a command's answer becomes, and how its loss is
noticed. Rules:

- an event is handed on in the order of the wire: before the reply that came after it;
- every wait has an end: a monitor that lets nobody in (QEMU's takes one client at a time) and a VM
  that answers nothing are told apart from one that is gone;
- after a loss every command raises MonitorLost, at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from qemu.qmp import (
    ConnectError,
    EventListener,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
)

from engine.monitor_options import MonitorEndpoint, UnixEndpoint

#: For how long a monitor may take to greet.
GREETING_S = 10.0
#: For how long a VM may take to answer. QEMU's main loop may stand still while it loads a VM.
REPLY_S = 60.0
#: For how long a connection may take to close.
CLOSE_S = 2.0

#: Takes an event: its name and data.
OnEvent: TypeAlias = Callable[[str, Mapping[str, Any]], None]


class MonitorError(Exception):
    """Something that a monitor did not do."""


class CannotConnect(MonitorError):
    """There is no monitor at the address, or it lets nobody in."""


class Refused(MonitorError):
    """The VM answered a command with an error; the text is the VM's description."""

    def __init__(self, error_class: str, description: str) -> None:
        super().__init__(description)
        #: GenericError, CommandNotFound, DeviceNotFound, ….
        self.error_class = error_class


class MonitorLost(MonitorError):
    """The connection is gone, or the VM does not answer: nobody knows what it does."""


class _Tap(EventListener):
    """Hands each event on as it is read and keeps none (the library's listener keeps all)."""

    def __init__(self, on_event: OnEvent) -> None:
        super().__init__()
        self._on_event = on_event

    async def put(self, event: Message) -> None:
        """Take an event from the library."""
        data = event.get("data")
        self._on_event(str(event["event"]), data if isinstance(data, dict) else {})


class QmpConnection:
    """An established session with one VM's monitor."""

    def __init__(self, client: QMPClient, address: str, on_lost: Callable[[], None]) -> None:
        """Use `connect`."""
        self._client = client
        self._address = address
        self._on_lost = on_lost
        self._lost: str | None = None
        self._closing = False
        self._watching = asyncio.create_task(self._watch())

    @classmethod
    async def connect(
        cls, endpoint: MonitorEndpoint, on_event: OnEvent, on_lost: Callable[[], None]
    ) -> QmpConnection:
        """Connect and negotiate; `on_lost` is called once, if the connection is lost.

        Raises CannotConnect.
        """
        client = QMPClient()
        client.register_listener(_Tap(on_event))
        where: str | tuple[str, int]
        if isinstance(endpoint, UnixEndpoint):
            where = shown = endpoint.path
        else:
            where, shown = (endpoint.host, endpoint.port), f"{endpoint.host}:{endpoint.port}"
        try:
            async with asyncio.timeout(GREETING_S):
                await client.connect(where)
        except TimeoutError:
            raise CannotConnect(
                f"no greeting from the monitor {shown} within {GREETING_S:g} s: another client may "
                "be connected to it, for QEMU's take one at a time"
            ) from None
        except ConnectError as error:
            raise CannotConnect(f"cannot connect to the monitor {shown}: {error.exc}") from error
        return cls(client, shown, on_lost)

    @property
    def is_lost(self) -> bool:
        """Whether there is nobody to ask any more."""
        return self._lost is not None

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Carry out a command and return what the reply carries.

        Raises Refused for an error reply, and MonitorLost.
        """
        if self._lost is not None:
            raise MonitorLost(self._lost)
        try:
            async with asyncio.timeout(REPLY_S):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise Refused(error.error_class, str(error)) from error
        except TimeoutError:
            self._lose(f"the monitor {self._address} did not answer {command} in {REPLY_S:g} s")
        except (QMPError, OSError, EOFError) as error:
            self._lose(f"the connection to the monitor {self._address} was lost ({error})")
        raise MonitorLost(self._lost)

    async def close(self) -> None:
        """End the session; harmless when it has ended."""
        self._closing = True
        self._watching.cancel()
        # Whoever is cancelled while waiting here is not taken for it.
        await asyncio.wait([self._watching])
        # The library raises here what ended the session, and has let go of its socket all the same.
        with contextlib.suppress(QMPError, OSError, EOFError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._client.disconnect()

    async def _watch(self) -> None:
        while self._client.runstate is Runstate.RUNNING:
            await self._client.runstate_changed()
        self._lose(f"the monitor {self._address} closed the connection")

    def _lose(self, text: str) -> None:
        if self._lost is None:
            self._lost = text
            if not self._closing:
                self._on_lost()

"""A VM process: one live VM, its monitors, its journal, its signals, its exit status.

Rules kept here: SIGTERM and SIGINT end it with 0 and QMP `quit` too, but while it may hold the only
copy of a VM in doubt the first signal only warns; a failed incoming migration ends it with 1.
Nothing of a VM's behaviour is decided here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engine import texts
from engine.command_line import VmCommandLine
from engine.commands.dispatcher import Dispatcher
from engine.commands.migration_report import is_in_doubt
from engine.driver.clock import LoopClock
from engine.driver.live import LiveVm
from engine.driver.monitor import MonitorServer
from engine.driver.surroundings import THIS_MACHINE
from engine.driver.transport import SocketAddress
from engine.uri import parse_uri
from statemachines.events import E

#: How long monitors may take to write their last replies and events.
FLUSH_MS = 500.0


class VmProcess:
    """Everything of one `replug vm` or `replug incoming`."""

    def __init__(self, command_line: VmCommandLine) -> None:
        self._command_line = command_line
        self._files = ExitStack()
        self._is_warned = False
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        profile = command_line.configuration.profile
        self._monitors = MonitorServer(
            lambda name, arguments, client: self._dispatcher.dispatch(
                name, arguments, client.take_fd
            ),
            profile.version,
            profile.package,
            LoopClock(),
            log=THIS_MACHINE.warn,
        )
        journal = None
        if command_line.journal_path is not None:
            path = Path(command_line.journal_path)
            journal = self._files.enter_context(path.open("w", encoding="utf-8"))
        self.live = LiveVm(
            command_line.configuration,
            resolve_fd=lambda name: self._dispatcher.resolve_descriptor(name),
            emit=self._emit,
            journal=journal,
            exit_with=self.exit_with,
        )
        self._dispatcher = Dispatcher(self.live.vm, self.live.hotplug, self)

    def _emit(self, name: str, data: Mapping[str, Any]) -> None:
        self._monitors.emit(name, dict(data))

    # -- the Host protocol of the commands

    def quit(self) -> None:
        """End with status 0."""
        self.exit_with(0)

    def close_descriptor(self, fd: int) -> None:
        """Close a descriptor that a monitor passed in."""
        os.close(fd)

    def socket_addresses(self) -> list[SocketAddress]:
        """Return where the incoming migration listens."""
        return self.live.incoming.addresses

    def now_ms(self) -> float:
        """Return the monotonic time."""
        return self.live.now_ms()

    def details(self) -> dict[str, Any]:
        """Return what only the live VM knows of a migration."""
        return {"first-frames-ms": dict(self.live.first_frames_ms)}

    # -- running

    def exit_with(self, status: int) -> None:
        """End the process with a status; the first one counts."""
        if not self._exit.done():
            self._exit.set_result(status)

    async def run(self) -> int:
        """Run until told to end, and return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminated)
        try:
            for endpoint in self._command_line.monitors:
                await self._monitors.listen(endpoint)
            self.live.boot()
            self._start_incoming()
            return await self._exit
        finally:
            await self.live.incoming.finished()
            self.live.close()
            await self._monitors.close(FLUSH_MS)
            self._files.close()
            for number in (signal.SIGTERM, signal.SIGINT):
                # Its end is decided: a signal that comes now must not change the status.
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)

    def _start_incoming(self) -> None:
        incoming = self._command_line.configuration.incoming
        if incoming is not None and incoming != "defer":
            self.live.vm.incoming_uri = parse_uri(incoming, incoming=True)
            self.live.vm.fire(E.INCOMING)
            if self.live.vm.listen_error is not None:
                # migrate-incoming may be tried again; a command line cannot be.
                self.live.warn(f"-incoming {incoming}: {self.live.vm.listen_error}")
                self.exit_with(1)

    def _terminated(self) -> None:
        if is_in_doubt(self.live.vm) and not self._is_warned:
            self._is_warned = True
            self.live.warn(texts.SIGNAL_IN_DOUBT)
            return
        self.live.vm.emit("SHUTDOWN", {"guest": False, "reason": "host-signal"})
        self.exit_with(0)


async def run_vm(command_line: VmCommandLine) -> int:
    """Run a VM as its command line says and return the exit status."""
    for name in command_line.ignored:
        print(f"replug: {name} has no effect here", file=sys.stderr)
    return await VmProcess(command_line).run()

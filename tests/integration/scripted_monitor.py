"""A QMP server that plays a recorded migration to the client that asks for it.

The protocol is `engine.qmp.session`'s; what the VM does is a script. A script begins when `migrate`
comes, or at once for a migration that is in progress, and goes on until it has to wait for a
command. Nothing here waits for a time. Events are written as they are given, for newer QEMUs have
statuses that replug's own schema lacks.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from engine.monitor_options import UnixEndpoint
from engine.qmp.errors import QmpError, device_not_found, generic_error
from engine.qmp.session import QmpSession, Request


@dataclass(frozen=True)
class Says:
    """The VM emits an event; MIGRATION, STOP and RESUME change what it answers as well."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """The VM's query-migrate has these members besides `status` from now on."""

    members: Mapping[str, Any]


@dataclass(frozen=True)
class Becomes:
    """The VM changes without an event: a migration status, a run state."""

    status: str | None = None
    run_state: str | None = None


@dataclass(frozen=True)
class WaitsFor:
    """The script goes on when this command has been answered."""

    command: str


@dataclass(frozen=True)
class Refuses:
    """This command is refused with GenericError from now on."""

    command: str
    description: str


@dataclass(frozen=True)
class Dies:
    """Every connection closes, and no new one is let in."""


Step: TypeAlias = Says | Answers | Becomes | WaitsFor | Refuses | Dies


def status(name: str) -> Says:
    """Return the event of a migration status."""
    return Says("MIGRATION", {"status": name})


class ScriptedMonitor:
    """One VM's monitor."""

    def __init__(
        self,
        script: Sequence[Step],
        *,
        run_state: str = "running",
        in_progress: bool = False,
        sends_statuses: bool = True,
        pairs: Mapping[str, str] | None = None,
        objects: Mapping[tuple[str, str], Any] | None = None,
    ) -> None:
        self.endpoint = UnixEndpoint("")
        #: Every command that came, with its arguments.
        self.commands: list[tuple[str, Mapping[str, Any]]] = []
        #: Set when the script has come to its end.
        self.finished = asyncio.Event()
        #: Set once the script has to wait for a command.
        self.waits = asyncio.Event()
        self._steps = list(script)
        self._run_state = run_state
        self._in_progress = in_progress
        self._sends_statuses = sends_statuses
        self._pairs = pairs or {"pri0": "net1"}
        self._objects = objects or {}
        self._status: str | None = None
        self._members: Mapping[str, Any] = {}
        self._refusals: dict[str, str] = {}
        self._awaited: str | None = None
        self._clients: dict[QmpSession, asyncio.StreamWriter] = {}
        self._served: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def listen(self, path: str) -> None:
        self.endpoint = UnixEndpoint(path)
        self._listener = await asyncio.start_unix_server(self._connected, path)
        if self._in_progress:
            self._play()

    async def close(self) -> None:
        self._drop()
        if self._served:
            await asyncio.wait(self._served)

    def go_on(self) -> None:
        """Go on with the script as if the command that it waits for had come."""
        self._awaited = None
        self._play()

    def named(self, command: str) -> list[Mapping[str, Any]]:
        """Return the arguments of each time this command came."""
        return [arguments for name, arguments in self.commands if name == command]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        session = QmpSession({"major": 7, "minor": 2, "micro": 22}, "scripted")
        self._clients[session] = writer
        writer.write(session.greeting())
        try:
            while data := await reader.read(4096):
                for outcome in session.receive(data):
                    self._respond(session, writer, outcome)
        except ConnectionError:
            pass
        finally:
            self._clients.pop(session, None)
            writer.close()

    def _respond(
        self, session: QmpSession, writer: asyncio.StreamWriter, outcome: Request | bytes
    ) -> None:
        if isinstance(outcome, bytes):
            writer.write(outcome)
            return
        self.commands.append((outcome.command, outcome.arguments))
        try:
            writer.write(session.reply(outcome.id, self._answer(outcome)))
        except QmpError as error:
            writer.write(session.error(outcome.id, error))
        if outcome.command == "migrate" or outcome.command == self._awaited:
            self._awaited = None
            self._play()

    def _answer(self, request: Request) -> Any:
        if request.command in self._refusals:
            raise generic_error(self._refusals[request.command])
        match request.command:
            case "query-status":
                return {"status": self._run_state, "running": self._run_state == "running"}
            case "query-migrate":
                return {} if self._status is None else {"status": self._status, **self._members}
            case "query-migrate-capabilities":
                names = ("events", "return-path", "pause-before-switchover")
                return [{"capability": name, "state": False} for name in names]
            case "query-migrate-parameters":
                return {"downtime-limit": 300}
            case "qom-get":
                return self._property(request.arguments["path"], request.arguments["property"])
        return {}

    def _property(self, path: str, name: str) -> Any:
        if (path, name) in self._objects:
            return self._objects[path, name]
        device = path.rpartition("/")[2]
        if device in self._pairs and name == "failover_pair_id":
            return self._pairs[device]
        raise device_not_found(path)

    def _play(self) -> None:
        while self._steps:
            step = self._steps.pop(0)
            match step:
                case Says(name=name, data=data):
                    self._says(name, data)
                case Answers(members=members):
                    self._members = members
                case Becomes(status=reached, run_state=run_state):
                    self._status = reached or self._status
                    self._run_state = run_state or self._run_state
                case Refuses(command=command, description=description):
                    self._refusals[command] = description
                case WaitsFor(command=command):
                    self._awaited = command
                    self.waits.set()
                    return
                case Dies():
                    self._drop()
        self.finished.set()

    def _says(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "MIGRATION":
            self._status = data["status"]
            if not self._sends_statuses:
                return
        self._run_state = {"STOP": "finish-migrate", "RESUME": "running"}.get(name, self._run_state)
        stamp = {"seconds": 1_700_000_000, "microseconds": 0}
        event = {"event": name, "data": dict(data), "timestamp": stamp}
        for session, writer in self._clients.items():
            if session.negotiated:
                writer.write(json.dumps(event).encode() + b"\r\n")

    def _drop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for writer in self._clients.values():
            writer.close()

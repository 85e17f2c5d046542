"""One of the two VMs of a migration, as its monitor shows it.

What may live here: asking one VM and handing what it says to the `Observation`. What has to be done
about it is decided elsewhere. A question that only replug understands is asked once; a VM that
refuses it is somebody else's and is not asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from engine.driver.qmp_connection import MonitorLost, QmpConnection, Refused
from engine.migration_event import MigrationEvent, Side
from engine.migration_observation import Observation
from engine.migration_reading import mapping, text
from engine.monitor_options import MonitorEndpoint

_REPLUG = "/machine/replug"
_GUEST = "/machine/guest"

#: Takes what happened, in order.
Publish: TypeAlias = Callable[[Iterable[MigrationEvent]], None]


class SideMonitor:
    """The source or the target, connected."""

    def __init__(self, side: Side, observation: Observation, publish: Publish) -> None:
        """Use `connect` before anything else."""
        self._side = side
        self._observation = observation
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._connection: QmpConnection | None = None
        self._pairs_asked: set[str] = set()
        #: The profile of a replug VM; None: it is not replug's.
        self.profile: str | None = None
        #: Set whenever something happened; whoever waits clears it.
        self.changed = asyncio.Event()

    async def connect(self, endpoint: MonitorEndpoint) -> None:
        """Connect and find out whose VM it is. Raises CannotConnect or MonitorLost."""
        self._connection = await QmpConnection.connect(endpoint, self._event, self.changed.set)
        try:
            self.profile = text(await self._property(_REPLUG, "profile"))
        except Refused:
            self.profile = None

    @property
    def is_connected(self) -> bool:
        """Whether it can be asked."""
        return self._connection is not None and not self._connection.is_lost

    async def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Carry out a command. Raises Refused and MonitorLost."""
        if self._connection is None:
            raise MonitorLost(f"the monitor of the {self._side.value} was never reached")
        return await self._connection.execute(command, arguments)

    async def poll(self) -> None:
        """Ask how the migration stands. Raises MonitorLost."""
        mark = self._observation.mark(self._side)
        answer = await self.execute("query-migrate")
        self._publish(self._observation.polled(self._side, answer, mark, self.now_ms()))
        if self.profile is not None:
            await self.look_around()

    async def look_around(self) -> None:
        """Ask a replug VM for its machines' states. Raises MonitorLost, and Refused by others."""
        mark = self._observation.mark(self._side)
        state = await self._property(_REPLUG, "state")
        self._publish(self._observation.joint_state(self._side, state, mark, self.now_ms()))

    async def ask_run_state(self) -> str | None:
        """Ask query-status and keep the answer. Raises MonitorLost."""
        answer = mapping(await self.execute("query-status"))
        run_state = text(answer.get("status"))
        self._observation.sides[self._side].run_state = run_state
        return run_state

    async def ask_pairs(self) -> None:
        """Ask which standby each primary has that was met since. Raises MonitorLost."""
        for name, primary in list(self._observation.primaries.items()):
            if primary.standby is not None or name in self._pairs_asked:
                continue
            self._pairs_asked.add(name)
            try:
                answer = await self._property(f"/machine/peripheral/{name}", "failover_pair_id")
            except Refused:
                continue
            if standby := text(answer):
                self._observation.pairs({name: standby})

    async def ask_frames(self) -> Mapping[str, Any] | None:
        """Ask what the guest knows of its frames; None if it is not replug's guest."""
        if self.profile is None:
            return None
        try:
            return mapping(await self._property(_GUEST, "frames"))
        except Refused:
            return None

    async def close(self) -> None:
        """End the session."""
        if self._connection is not None:
            await self._connection.close()

    def now_ms(self) -> float:
        """Return the time that everything here is stamped with."""
        return self._loop.time() * 1000.0

    async def _property(self, path: str, name: str) -> Any:
        return await self.execute("qom-get", {"path": path, "property": name})

    def _event(self, name: str, data: Mapping[str, Any]) -> None:
        self._publish(self._observation.event(self._side, name, data, self.now_ms()))
        self.changed.set()

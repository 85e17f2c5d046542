"""Drive one migration of scripted monitors, inside a test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.driver.control import MigrationResult, MigrationRun
from engine.migration_event import Kind, MigrationEvent, Side
from engine.migration_request import MigrationRequest
from tests.integration.scripted_monitor import ScriptedMonitor

#: Only a hang takes this long.
PATIENCE_S = 20.0
URI = "unix:somewhere.sock"

#: Called with each event and the run, to interfere.
Interfere = Callable[[MigrationEvent, MigrationRun], None]


class Driven:
    """What came of a migration."""

    def __init__(self, result: MigrationResult, events: list[MigrationEvent]) -> None:
        self.outcome = result.outcome
        self.report = result.report
        self.events = events

    def statuses(self, side: Side = Side.SOURCE) -> list[str | None]:
        return [e.status for e in self.events if e.kind is Kind.STATUS and e.side is side]

    def notes(self) -> str:
        return "\n".join(e.text or "" for e in self.events if e.kind is Kind.NOTE)


def drive(
    folder: Path,
    source: ScriptedMonitor,
    request: MigrationRequest,
    *,
    target: ScriptedMonitor | None = None,
    interfere: Interfere = lambda _event, _run: None,
) -> Driven:
    """Start the monitors, drive `request` (its endpoints are filled in), and stop them."""

    async def main() -> Driven:
        events: list[MigrationEvent] = []
        await source.listen(str(folder / "source.sock"))
        filled = replace(request, source=source.endpoint)
        if target is not None:
            await target.listen(str(folder / "target.sock"))
            filled = replace(filled, target=target.endpoint)

        def on_event(event: MigrationEvent) -> None:
            events.append(event)
            interfere(event, run)

        run = MigrationRun(filled, on_event)
        try:
            return Driven(await asyncio.wait_for(run.run(), PATIENCE_S), events)
        finally:
            await source.close()
            if target is not None:
                await target.close()

    return asyncio.run(main())

"""What is asked of and set at the source before its migration begins.

What may live here: the commands from the connection to just before `migrate`. A refusal ends it,
with nothing begun; what was set before stays set, for it does nothing by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.driver.qmp_connection import MonitorError, Refused
from engine.driver.side_monitor import SideMonitor
from engine.migration_reading import capabilities, integer, mapping
from engine.migration_request import (
    EVENTS,
    ONLY_REPLUGS,
    PAUSE,
    RETURN_PATH,
    MigrationRequest,
)

#: replug's parameter: for how long the guest may take to release its primaries; 0: for ever.
UNPLUG_TIMEOUT = "x-unplug-timeout-ms"

_IN_TRANSIT = frozenset({"finish-migrate", "postmigrate", "save-vm", "restore-vm"})


class NotOffered(MonitorError):
    """The source is no replug, and only replug has what was asked for."""

    def __init__(self, capability: str, remedy: str) -> None:
        super().__init__(
            f"the source does not offer the capability {capability!r}, which is replug's own: "
            f"{remedy}"
        )
        #: Its name.
        self.capability = capability


@dataclass(frozen=True)
class Preparation:
    """What is known when everything is set."""

    #: The source's run state; None: it was in the middle of a migration.
    run_state: str | None
    #: For how long the guest may take to release its primaries; None: for ever.
    unplug_timeout_ms: float | None
    #: Whether the source keeps that deadline by itself.
    source_keeps_deadline: bool
    #: Whether the target's verdict decides at the source; None: not known.
    return_path: bool | None
    #: Whether the source will stop before the switchover.
    pauses: bool


async def prepare(source: SideMonitor, request: MigrationRequest) -> Preparation:
    """Set capabilities and parameters, or for a migration in progress what still can be set.

    Raises Refused with the source's text, NotOffered, and MonitorLost.
    """
    run_state = await source.ask_run_state()
    offered = await _capabilities(source)
    native = source.profile == "native"
    if request.uri is None:
        await _turn_on_events(source)
        wanted = {}
    else:
        wanted = request.wanted_capabilities(offered, native)
        for name, remedy in ONLY_REPLUGS.items():
            if offered and wanted.get(name) and name not in offered:
                raise NotOffered(name, remedy)
        entries = [{"capability": name, "state": state} for name, state in wanted.items()]
        await source.execute("migrate-set-capabilities", {"capabilities": entries})
    in_force = offered | wanted
    keeps, unplug_timeout_ms = await _set_parameters(source, request, native)
    return Preparation(
        run_state=None if run_state in _IN_TRANSIT else run_state,
        unplug_timeout_ms=unplug_timeout_ms,
        source_keeps_deadline=keeps,
        return_path=in_force.get(RETURN_PATH),
        pauses=in_force.get(PAUSE, False),
    )


async def prepare_target(target: SideMonitor, request: MigrationRequest) -> None:
    """Have the target tell its statuses, and set what a QEMU has to know beforehand.

    One that refuses to tell is asked instead. Raises Refused, which says whose it is, and
    MonitorLost.
    """
    await _turn_on_events(target)
    needed, parameters = request.target_needs()
    if target.profile is not None or not needed:
        return  # a replug is told in the stream
    entries = [{"capability": name, "state": state} for name, state in needed.items()]
    try:
        await target.execute("migrate-set-capabilities", {"capabilities": entries})
        if parameters:
            await target.execute("migrate-set-parameters", parameters)
    except Refused as error:
        raise Refused(error.error_class, f"the target refused: {error}") from error


async def _turn_on_events(side: SideMonitor) -> None:
    entry = {"capability": EVENTS, "state": True}
    try:
        await side.execute("migrate-set-capabilities", {"capabilities": [entry]})
    except Refused:
        # While a migration runs nothing can be set; its statuses are polled for then.
        return


async def _capabilities(source: SideMonitor) -> dict[str, bool]:
    try:
        return capabilities(await source.execute("query-migrate-capabilities"))
    except Refused:
        return {}


async def _set_parameters(
    source: SideMonitor, request: MigrationRequest, native: bool
) -> tuple[bool, float | None]:
    """Return whether the source keeps the unplug deadline, and that deadline."""
    wanted = dict(request.parameters)
    timeout_ms = request.unplug_timeout_ms
    # A migration in progress has started its timer already: a new deadline is kept here then.
    keeps = native and (timeout_ms is None or request.uri is not None)
    if keeps and timeout_ms is not None:
        wanted[UNPLUG_TIMEOUT] = math.ceil(timeout_ms)
    if wanted:
        await source.execute("migrate-set-parameters", wanted)
    if keeps and timeout_ms is None:
        parameters = mapping(await source.execute("query-migrate-parameters"))
        timeout_ms = integer(parameters.get(UNPLUG_TIMEOUT)) or None
    return keeps and timeout_ms is not None, timeout_ms

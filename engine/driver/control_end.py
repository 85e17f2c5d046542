"""After the source has come to an end: what is still to be waited for, and to be asked.

What may live here: the questions whose answers `decide` and the report need. Rules: each wait has a
bound, for a VM that never gets there is reported as it is; a VM that is lost here is reported as
lost, for the migration is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.driver.qmp_connection import MonitorLost, Refused
from engine.driver.side_monitor import SideMonitor
from engine.migration_event import Side
from engine.migration_observation import ENDED, Observation
from engine.migration_reading import number

#: Between two looks.
LOOK_S = 0.05
#: QEMU says completed a moment before its numbers are there (7.2: total-time 0).
NUMBERS_S = 1.0
#: A source that failed says so before it runs its guest again (up to 10.0).
RESUME_S = 3.0
#: The target ends after the source: it has loaded the state by then, and says so soon.
TARGET_S = 10.0
#: A target whose source has gone back notices, says failed, and most end then.
TARGET_GIVES_UP_S = 2.0
#: One that has all of the guest may still load it, and run it then.
TARGET_LOADS_S = TARGET_S
#: A target that was asked to run its guest does so at once; a paused guest stays paused.
RUN_S = 1.0
#: replug's guest takes its primary into use soon after it was plugged.
REPLUG_S = 5.0

#: The guest was asked for the primary, or gave it away.
_RELEASED = frozenset({"unplug-pending", "unplugged"})
_USED = _RELEASED | {"plugged"}


@dataclass(frozen=True)
class Ending:
    """What was found."""

    #: The target's monitor was lost.
    target_lost: bool = False
    #: What the guest says of its frames, where it is now.
    frames: Mapping[str, Any] | None = None


async def settle(
    observation: Observation,
    source: SideMonitor,
    target: SideMonitor | None,
    run_state_before: str | None,
    *,
    begun: bool,
) -> Ending:
    """Wait for what has to come, ask the last questions, and return what was found.

    Of a migration that was never begun nothing has to come.
    """
    await _settle_source(observation, source, run_state_before, begun)
    target_lost = False
    if target is not None:
        target_lost = not await _settle_target(observation, target, begun)
    at_target = observation.source.status == "completed" and target is not None
    guest_side = target if at_target else source
    frames = None
    if guest_side is not None and guest_side.is_connected:
        try:
            frames = await guest_side.ask_frames()
        except MonitorLost:
            frames = None
    return Ending(target_lost, frames)


async def _settle_source(
    observation: Observation, source: SideMonitor, run_state_before: str | None, begun: bool
) -> None:
    view = observation.source
    try:
        if view.status == "completed":
            await _until(
                lambda: bool(number(view.information.get("total-time"))), source.poll, NUMBERS_S
            )
        elif view.status in ENDED and not view.in_doubt:
            await _until(
                lambda: view.run_state in ("running", run_state_before),
                source.ask_run_state,
                RESUME_S,
            )
            await _until(lambda: not _away(observation, Side.SOURCE), source.poll, RESUME_S)
        # The last look: what the VM says now is what counts. Of a migration that was never begun it
        # can only tell somebody else's, or an older one.
        if begun:
            await source.poll()
            await source.ask_pairs()
        await source.ask_run_state()
    except (MonitorLost, Refused):
        view.run_state = None


async def _settle_target(observation: Observation, target: SideMonitor, begun: bool) -> bool:
    """Return whether the target can still be asked."""
    view = observation.target
    ended = observation.source.status
    try:
        if ended == "completed":
            await _until(lambda: view.status in ENDED or view.in_doubt, target.poll, TARGET_S)
            if view.status == "completed":
                await _until(lambda: view.run_state == "running", target.ask_run_state, RUN_S)
            if view.run_state == "running" and target.profile is not None:
                await _until(lambda: not _away(observation, Side.TARGET), target.poll, REPLUG_S)
        elif begun and ended in ENDED and view.status == "active":
            has_all = observation.source.stopped_ms is not None
            patience_s = TARGET_LOADS_S if has_all else TARGET_GIVES_UP_S
            await _until(lambda: view.status != "active", target.poll, patience_s)
        elif begun and ended not in ENDED:
            await _until(lambda: view.status in ENDED or view.in_doubt, target.poll, TARGET_S)
        await target.poll()
        await target.ask_run_state()
    except (MonitorLost, Refused):
        view.run_state = None
        return False
    return True


def _away(observation: Observation, side: Side) -> bool:
    """Say whether a primary that the guest shall have again has not come back, or not into use.

    Only replug tells; of another VM nothing is waited for, nor for a primary that the guest did not
    use before.
    """
    if not observation.sides[side].has_joint_state:
        return False
    views = observation.primaries.values()
    used = [view for view in views if _USED.intersection(view.states.get(Side.SOURCE, ()))]
    if side is Side.SOURCE:
        return any(view.states[Side.SOURCE][-1] in _RELEASED for view in used)
    here = [view.states[Side.TARGET][-1] for view in views if Side.TARGET in view.states]
    if not used or not here:
        return False
    return "plugged" not in here or observation.path[-1:] != ["target.primary"]


async def _until(
    is_so: Callable[[], bool], look: Callable[[], Awaitable[object]], at_most_s: float
) -> None:
    """Look until it is so, at most for a time; the caller judges what was found."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + at_most_s
    await look()
    while not is_so() and loop.time() < give_up_at:
        await asyncio.sleep(LOOK_S)
        await look()

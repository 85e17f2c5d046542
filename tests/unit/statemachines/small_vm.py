"""A VM with one standby and its primaries, brought by events to where a test begins."""

from __future__ import annotations

from statemachines.events import E
from statemachines.policies import NATIVE
from statemachines.runtime import Runtime, Step


def vm(
    policies: dict[str, str] | None = None, primaries: int = 1, *, booted: bool = True
) -> tuple[Runtime, int, list[int]]:
    """A VM with one standby and its primaries, the first of them configured."""
    runtime = Runtime({**NATIVE, **(policies or {})})
    standby = runtime.add_standby()
    mine = [runtime.add_primary(standby) for _ in range(primaries)]
    fire(runtime, E.DEVICE_ADD, mine[0])
    if booted:
        fire(runtime, E.BOOT)
    return runtime, standby, mine


def fire(runtime: Runtime, event: E, index: int | None = None) -> list[Step]:
    """Make an event happen, with all that it raises."""
    return list(runtime.fire(event, index))


def negotiate(runtime: Runtime, standby: int) -> list[Step]:
    """Let the driver come as far as the features."""
    fire(runtime, E.GUEST_ACKNOWLEDGE, standby)
    fire(runtime, E.GUEST_DRIVER, standby)
    return fire(runtime, E.FEATURES_WITH_STANDBY, standby)


def attached(policies: dict[str, str] | None = None) -> tuple[Runtime, int, int]:
    """A VM whose guest uses its primary."""
    runtime, standby, (primary,) = vm(policies)
    negotiate(runtime, standby)
    for event, index in (
        (E.GUEST_FEATURES_OK, standby),
        (E.GUEST_DRIVER_OK, standby),
        (E.PRIMARY_PLUGGED, primary),
        (E.GUEST_PROBES, primary),
        (E.GUEST_ENSLAVES, primary),
        (E.GUEST_LINK_UP, primary),
    ):
        fire(runtime, event, index)
    return runtime, standby, primary

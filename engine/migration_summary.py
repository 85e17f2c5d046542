"""The report of a migration that was followed from outside.

What may live here: from an `Observation` to a `MigrationReport`. Rules: what a VM says of itself
goes before what was timed here; what neither tells is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.migration_event import Side
from engine.migration_observation import ENDED, Observation, SideView
from engine.migration_reading import integer, mapping, number, text
from engine.report import (
    FlowReport,
    FramesReport,
    MigrationReport,
    PrimaryReport,
    RamReport,
    SideReport,
    Timings,
)


def build_report(
    observation: Observation,
    *,
    status: str | None,
    error: str | None,
    profile: str | None = None,
    return_path: bool | None = None,
    target_asked: bool = False,
    frames: Mapping[str, Any] | None = None,
) -> MigrationReport:
    """Put together what is known.

    `return_path` is whether that capability was on (None: not known); `frames` is what
    /machine/guest says of its frames on the side where the guest is.
    """
    source, target = observation.source, observation.target
    return MigrationReport(
        status=status,
        error=error,
        profile=profile,
        handover=handover_of(source, return_path),
        source=SideReport(_from_none(observation.states_of(Side.SOURCE)), source.run_state),
        target=SideReport(
            _from_none(observation.states_of(Side.TARGET)) if target_asked else None,
            target.run_state,
        ),
        primaries=[
            PrimaryReport(
                name,
                primary.standby,
                primary.states.get(Side.SOURCE),
                primary.states.get(Side.TARGET),
            )
            for name, primary in observation.primaries.items()
        ],
        timings=_timings(observation),
        ram=_ram(observation),
        frames=_frames(observation, mapping(frames)),
    )


def _from_none(states: list[str]) -> list[str]:
    """Return the statuses with the one before the first, as the journals show them."""
    return ["none", *states]


def handover_of(source: SideView, return_path: bool | None) -> str | None:
    """Return what `completed` at the source is worth: MigrationReport.handover."""
    told = text(mapping(source.information.get("x-replug")).get("handover"))
    if told is not None or return_path is None:
        return told
    return "acknowledged" if return_path else "one-way"


def _timings(observation: Observation) -> Timings:
    source = observation.source
    information, replug = source.information, mapping(source.information.get("x-replug"))
    return Timings(
        total_ms=_total_ms(observation),
        setup_ms=_setup_ms(observation),
        wait_unplug_ms=_or(number(replug.get("wait-unplug-ms")), _wait_unplug_ms(source)),
        downtime_ms=_or(number(information.get("downtime")), _stood_still_ms(source)),
        verify_ms=number(replug.get("verify-ms")) if _compared(source) is not None else None,
        replug_ms=_replug_ms(observation),
    )


def _or(told_ms: float | None, timed_ms: float | None) -> float | None:
    return timed_ms if told_ms is None else told_ms


def _total_ms(observation: Observation) -> float | None:
    """Return how long it took to its end; None if that was not seen."""
    source = observation.source
    told_ms = number(source.information.get("total-time"))
    if source.status in ENDED and told_ms:
        return told_ms
    stamps_ms = source.stamps_ms
    ends_ms = [stamp_ms for status, stamp_ms in stamps_ms.items() if status in ENDED]
    return max(ends_ms) - stamps_ms["setup"] if ends_ms and "setup" in stamps_ms else None


def _setup_ms(observation: Observation) -> float | None:
    source = observation.source
    told_ms = number(source.information.get("setup-time"))
    if told_ms is not None or not {"setup", "active"} <= source.stamps_ms.keys():
        return told_ms
    return source.stamps_ms["active"] - source.stamps_ms["setup"]


def _wait_unplug_ms(source: SideView) -> float | None:
    """Return how long wait-unplug lasted; None if its beginning or its end was not seen."""
    if "wait-unplug" not in source.states:
        return 0.0 if {"setup", "active"} <= source.stamps_ms.keys() else None
    after = source.states.index("wait-unplug") + 1
    if after == len(source.states) or source.states[0] == "wait-unplug":
        return None
    return source.stamps_ms[source.states[after]] - source.stamps_ms["wait-unplug"]


def _stood_still_ms(source: SideView) -> float | None:
    """Return for how long a guest stood still that was run again here."""
    if source.stopped_ms is None or source.resumed_ms is None:
        return None
    return source.resumed_ms - source.stopped_ms


def _replug_ms(observation: Observation) -> float | None:
    replug = mapping(observation.target.information.get("x-replug"))
    told_ms = number(mapping(replug.get("first-frames-ms")).get("primary"))
    carried_ms = observation.carried_ms.get("target.primary")
    resumed_ms = observation.target.resumed_ms
    if told_ms is not None or carried_ms is None or resumed_ms is None:
        return told_ms
    return max(carried_ms - resumed_ms, 0.0)


def _ram(observation: Observation) -> RamReport:
    ram = observation.ram
    return RamReport(
        ram_bytes=ram.total_bytes if ram else None,
        transferred_bytes=ram.transferred_bytes if ram else None,
        passes=ram.passes if ram else None,
        digest_equal=_digest_equal(observation),
    )


def _digest_equal(observation: Observation) -> bool | None:
    """Return what the side said that compared: the target, where nobody waits for its answer."""
    equal = _compared(observation.source)
    return _compared(observation.target) if equal is None else equal


def _compared(side: SideView) -> bool | None:
    equal = mapping(side.information.get("x-replug")).get("digest-equal")
    return equal if isinstance(equal, bool) else None


def _frames(observation: Observation, guest: Mapping[str, Any]) -> FramesReport:
    """What only the guest knows: a frame that was lost on its way out is not seen from inside."""
    received, repeated = integer(guest.get("received")), integer(guest.get("duplicated"))
    if not received and not guest.get("sent"):
        # A guest without traffic lost none, and kept none either.
        return FramesReport(path=observation.path or None)
    return FramesReport(
        path=observation.path or None,
        outbound=FlowReport(sent=integer(guest.get("sent"))),
        inbound=FlowReport(
            received=None if received is None else received - (repeated or 0),
            lost=integer(guest.get("lost_inside")),
            duplicated=repeated,
            longest_gap_ms=number(guest.get("longest_gap_ms")),
        ),
    )

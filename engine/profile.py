"""Profiles: one value for every policy, the timings, and what the monitor says it is.

Rules kept here: no transition is decided here: guards read the policies, timers take the timings.
The rest is how a VM checks, counts and words things. Nothing asks for a profile by its name. Both
ends of a stream must use the same profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from types import MappingProxyType

from engine.errors import EngineError
from engine.version import VERSION
from statemachines.policies import VALUATIONS


@dataclass(frozen=True)
class Timings:
    """How long things take or may take; settable with -global replug.NAME=N."""

    #: Between two looks in wait-unplug (QEMU: a timed wait of 250 ms).
    poll_ms: float = 250.0
    #: How long a cancel waits for an eject (QEMU: 120 waits of 250 ms).
    cancel_wait_ms: float = 30_000.0
    #: Between two heartbeats.
    heartbeat_interval_ms: float = 1_000.0
    #: The shortest time that auto-converge judges a guest by (QEMU: a second).
    throttle_period_ms: float = 1_000.0


class DirtyTracking(StrEnum):
    """Who notes which pages a guest writes; settable with -global replug.dirty_tracking=NAME."""

    #: The kernel where it can, else a bitmap.
    AUTO = "auto"
    #: The kernel, or the VM does not start.
    KERNEL = "kernel"
    #: A bitmap that every write of the guest marks.
    BITMAP = "bitmap"


@dataclass(frozen=True)
class Profile:
    """How one VM behaves where replug and QEMU, or two QEMUs, differ."""

    #: Its name.
    name: str
    #: One value for every policy.
    policies: Mapping[str, str]
    #: Its timings.
    timings: Timings
    #: The greeting's version: major, minor, micro.
    version: Mapping[str, int]
    #: The greeting's package.
    package: str
    #: Whether `-device` and device_add take only typed JSON values (QEMU 9.2 and later).
    strict_types: bool
    #: Whether the incoming MIGRATION setup event comes without capability `events`.
    incoming_setup_always: bool
    #: Whether both ends say that they are there, and take silence for a loss.
    heartbeats: bool
    #: Whether events and query-migrate keys that QEMU lacks are used (X_REPLUG_*, x-replug).
    own_events: bool
    #: Whether one more pass is made than downtime-limit needs, where that halves the downtime.
    shortens_downtime: bool
    #: Whether an error description says why and what to do, or only what QEMU says.
    explains_losses: bool
    #: Whether a primary's placement and host device are checked when it is configured, hidden or
    #: not, and a port that is taken refuses a second device.
    checks_early: bool
    #: Whether the feature words a driver wrote outlive its reset (hw/virtio/virtio-pci.c).
    keeps_feature_words: bool
    #: Whether query-pci lists a primary that the guest has ejected.
    lists_ejected: bool
    #: Whether a bad outgoing URI fails a migration instead of being refused before it starts.
    bad_uri_fails: bool
    #: Who notes which pages the guest writes: the host's affair, not the policies'.
    dirty_tracking: DirtyTracking = DirtyTracking.AUTO


class ProfileError(EngineError):
    """There is no such profile or setting."""


_QEMU_7_2 = MappingProxyType({"major": 7, "minor": 2, "micro": 22})

_PROFILES = {
    "native": Profile(
        name="native",
        policies=VALUATIONS["native"],
        timings=Timings(),
        version=_QEMU_7_2,
        package="replug",
        strict_types=False,
        incoming_setup_always=False,
        heartbeats=True,
        own_events=True,
        shortens_downtime=True,
        explains_losses=True,
        checks_early=True,
        keeps_feature_words=False,
        lists_ejected=False,
        bad_uri_fails=False,
    ),
    "qemu-7.2": Profile(
        name="qemu-7.2",
        policies=VALUATIONS["qemu-7.2"],
        timings=Timings(),
        version=_QEMU_7_2,
        package="replug as Debian 1:7.2+dfsg-7+deb12u18",
        strict_types=False,
        incoming_setup_always=True,
        heartbeats=False,
        own_events=False,
        shortens_downtime=False,
        explains_losses=False,
        checks_early=False,
        keeps_feature_words=True,
        lists_ejected=True,
        bad_uri_fails=True,
    ),
}

#: The names of all profiles, the default first.
PROFILE_NAMES = tuple(_PROFILES)
#: QEMU's own switch: off hands the slots' hotplug to the slots.
BRIDGE_HOTPLUG = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support"

_DIRTY_TRACKING = "replug.dirty_tracking"


def load_profile(name: str, settings: Mapping[str, str]) -> Profile:
    """Return the profile of this name with `-global` settings applied.

    `settings` maps `replug.TIMING` to a number of milliseconds, `replug.dirty_tracking` to its
    name, and QEMU's own switch for native hotplug to on or off; other globals are QEMU's and have
    no effect here.

    :raise ProfileError: for an unknown name, timing or value.
    """
    if name not in _PROFILES:
        raise ProfileError(
            expected=f"a profile: {', '.join(PROFILE_NAMES)}",
            came=repr(name),
            remedy="name one of these with -profile",
        )
    profile = _PROFILES[name]
    policies = dict(profile.policies)
    timings, tracking = profile.timings, profile.dirty_tracking
    for key, value in settings.items():
        if key == BRIDGE_HOTPLUG:
            policies["hotplug"] = "native" if value in ("off", "false", "no") else "acpi"
        elif key == _DIRTY_TRACKING:
            tracking = _read_tracking(value)
        elif key.startswith("replug."):
            timings = _with_timing(timings, key.removeprefix("replug."), value)
    package = profile.package.replace("replug", f"replug {VERSION}", 1)
    return replace(
        profile,
        policies=MappingProxyType(policies),
        timings=timings,
        package=package,
        dirty_tracking=tracking,
    )


def _read_tracking(value: str) -> DirtyTracking:
    if value not in set(DirtyTracking):
        raise ProfileError(
            expected=f"{_DIRTY_TRACKING} as one of {', '.join(DirtyTracking)}",
            came=repr(value),
            remedy="correct the -global option",
        )
    return DirtyTracking(value)


def _with_timing(timings: Timings, name: str, value: str) -> Timings:
    names = [field.name for field in fields(Timings)]
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if name not in names or not 0 < number < 1e9:
        raise ProfileError(
            expected=f"one of {', '.join(f'replug.{n}' for n in names)} with milliseconds above 0, "
            f"or {_DIRTY_TRACKING}",
            came=f"replug.{name}={value}",
            remedy="correct the -global option",
        )
    return replace(timings, **{name: number})

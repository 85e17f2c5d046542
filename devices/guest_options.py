"""How the guest behaves, as `-guest key=value,...` says it.

What may live here: the keys, their values, their bounds and defaults. What the guest then does is
in guest.py, guest_drivers.py and workload.py.

    eject=prompt|never|resumed|DURATION    how it answers a request to release a primary
    standby=on|off           whether it acknowledges VIRTIO_NET_F_STANDBY
    dirty=SIZE               how much of the working set it rewrites per second
    working-set=SIZE         the memory it works on; default: 256M, or half of RAM if that is less
    fill=SIZE                how much of RAM it fills at boot; default: the working set
    frames=DURATION|off      interval of its numbered frames
    link-delay=DURATION      from taking a primary into use until that has carrier
    probe-delay=DURATION     from the plugging of a primary until the guest finds it
    blink=DURATION           native hotplug: from the request until it cuts the slot's power
    power-off=DURATION       native hotplug: from there until it lets the device go
    reboot-after=DURATION|off    it reboots itself, once, that long after it started
    reset-after=DURATION|off     its driver resets the standbys, once per boot, likewise
    negotiate=DURATION       from its start until its driver touches a standby
    seed=N                   what the contents of its memory are made from

The rules: a key's value is one field; a key that was not written has its default and can be told
from one that was (`given`), for options that travel with a guest give way only to the latter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

from devices.options import (
    OptionError,
    Options,
    OptionValue,
    format_options,
    parse_bool,
    parse_duration,
    parse_options,
    parse_size,
)

#: The longest duration of the guest's: a week.
DURATION_MS_MAX = 7 * 24 * 3600 * 1000.0
#: The shortest interval between numbered frames.
FRAME_INTERVAL_MS_MIN = 0.05
#: The working set that is taken when none is given and RAM is large.
WORKING_SET_BYTES_DEFAULT = 256 << 20


class EjectRule(Enum):
    """How the guest answers a request to release a primary."""

    #: It releases and ejects it at once.
    PROMPT = "prompt"
    #: It pays no attention.
    NEVER = "never"
    #: As prompt, but not before it has been run again after the request.
    RESUMED = "resumed"
    #: It releases it at once and ejects it some time later.
    DELAYED = "delayed"


@dataclass(frozen=True, slots=True)
class Eject:
    """The value of `eject`."""

    #: Which way.
    rule: EjectRule = EjectRule.PROMPT
    #: For DELAYED: from the request until the eject.
    delay_ms: float = 0.0


@dataclass(frozen=True)
class GuestOptions:
    """The guest's options; field by field what the keys say."""

    #: eject: how a request to release a primary is answered.
    eject: Eject = Eject()
    #: standby: whether VIRTIO_NET_F_STANDBY is acknowledged.
    standby: bool = True
    #: dirty: bytes rewritten per second.
    dirty_per_second_bytes: int = 0
    #: working-set: size of what is rewritten; None: by the size of RAM.
    working_set_bytes: int | None = None
    #: fill: how much is filled at boot; None: as much as the working set.
    fill_bytes: int | None = None
    #: frames: interval between numbered frames; 0: none are sent.
    frame_interval_ms: float = 0.0
    #: link-delay: from enslaving a primary to its carrier.
    link_delay_ms: float = 20.0
    #: probe-delay: from plugging to probing.
    probe_delay_ms: float = 5.0
    #: blink: native hotplug, from blinking to power off (Linux pciehp: 5 s).
    blink_ms: float = 5000.0
    #: power-off: native hotplug, from power off to the eject (Linux pciehp: 1 s).
    power_off_ms: float = 1000.0
    #: reboot-after: when the guest reboots; None: never.
    reboot_after_ms: float | None = None
    #: reset-after: when the driver resets its standbys; None: never.
    reset_after_ms: float | None = None
    #: negotiate: from the start, or a reset, to the driver's first touch of a standby.
    negotiate_ms: float = 0.0
    #: seed: what page contents are made from.
    seed: int = 1
    #: The fields that were set, by a key or by differing from their default.
    given: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        differing = {
            field.name
            for field in fields(self)
            if field.name != "given" and getattr(self, field.name) != field.default
        }
        object.__setattr__(self, "given", self.given | differing)

    def over(self, travelled: GuestOptions) -> GuestOptions:
        """Return what a guest that came with the options `travelled` does under these.

        What was given here counts; everything else is as it was where the guest came from.
        """
        return replace(travelled, **{name: getattr(self, name) for name in self.given})


@dataclass(frozen=True)
class _Key:
    """How one key is read and written."""

    #: The field it sets.
    field: str
    #: From its name and text to the field's value; raises OptionError.
    read: Callable[[str, str], Any]
    #: From the field's value to text.
    write: Callable[[Any], str]


@lru_cache(maxsize=64)
def parse_guest_options(text: str) -> GuestOptions:
    """Read the value of `-guest`, key=value or JSON.

    OptionError names the key and what it takes; for an unknown key it lists the keys.
    """
    return read_guest_options(parse_options(text))


def read_guest_options(options: Mapping[str, OptionValue]) -> GuestOptions:
    """Read options that are parsed already; raises as `parse_guest_options` does."""
    values: dict[str, Any] = {}
    for name, value in options.items():
        key = _KEYS.get(name)
        if key is None:
            raise OptionError(
                f"The guest has no option '{name}': it takes {', '.join(sorted(_KEYS))}"
            )
        values[key.field] = key.read(name, _as_text(name, value))
    return GuestOptions(**values, given=frozenset(values))


def format_guest_options(options: GuestOptions) -> str:
    """Write what was given so that `parse_guest_options` reads the same back."""
    written = {
        name: key.write(getattr(options, key.field))
        for name, key in _KEYS.items()
        if key.field in options.given
    }
    return format_options(Options(written))


def _as_text(name: str, value: OptionValue) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | str):
        return str(value)
    raise OptionError(f"Guest option '{name}' expects text, a whole number or a boolean")


def _read_duration(name: str, text: str) -> float:
    duration_ms = parse_duration(text, name=name)
    if duration_ms > DURATION_MS_MAX:
        raise OptionError(f"Guest option '{name}' expects a week at most, got '{text}'")
    return duration_ms


def _write_duration(duration_ms: float) -> str:
    # By way of Decimal: never an exponent, and every digit that counts.
    if duration_ms and duration_ms % 1000 == 0:
        return f"{Decimal(repr(duration_ms / 1000)):f}s"
    return f"{Decimal(repr(duration_ms)):f}ms"


def _read_eject(name: str, text: str) -> Eject:
    for rule in (EjectRule.PROMPT, EjectRule.NEVER, EjectRule.RESUMED):
        if text == rule.value:
            return Eject(rule)
    if not text[:1].isdigit():
        raise OptionError(
            f"Guest option '{name}' expects prompt, never, resumed or a duration such as 5s, "
            f"got '{text}'"
        )
    return Eject(EjectRule.DELAYED, _read_duration(name, text))


def _write_eject(eject: Eject) -> str:
    if eject.rule is EjectRule.DELAYED:
        return _write_duration(eject.delay_ms)
    return str(eject.rule.value)


def _read_interval(name: str, text: str) -> float:
    if text in ("0", "off"):
        return 0.0
    interval_ms = _read_duration(name, text)
    if 0 < interval_ms < FRAME_INTERVAL_MS_MIN:
        raise OptionError(
            f"Guest option '{name}' expects {FRAME_INTERVAL_MS_MIN}ms or more, or off, got '{text}'"
        )
    return interval_ms


def _write_interval(interval_ms: float) -> str:
    return _write_duration(interval_ms) if interval_ms else "off"


def _read_moment(name: str, text: str) -> float | None:
    return None if text == "off" else _read_duration(name, text)


def _write_moment(duration_ms: float | None) -> str:
    return "off" if duration_ms is None else _write_duration(duration_ms)


def _read_size(name: str, text: str) -> int:
    return parse_size(text, name=name)


def _write_size(size_bytes: int) -> str:
    for unit, scale in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if size_bytes and size_bytes % scale == 0:
            return f"{size_bytes // scale}{unit}"
    return str(size_bytes)


def _read_seed(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 1 << 64):
        raise OptionError(f"Guest option '{name}' expects a number below 2^64, got '{text}'")
    return int(text)


def _write_bool(value: bool) -> str:
    return "on" if value else "off"


_KEYS: Mapping[str, _Key] = {
    "eject": _Key("eject", _read_eject, _write_eject),
    "standby": _Key("standby", parse_bool, _write_bool),
    "dirty": _Key("dirty_per_second_bytes", _read_size, _write_size),
    "working-set": _Key("working_set_bytes", _read_size, _write_size),
    "fill": _Key("fill_bytes", _read_size, _write_size),
    "frames": _Key("frame_interval_ms", _read_interval, _write_interval),
    "link-delay": _Key("link_delay_ms", _read_duration, _write_duration),
    "probe-delay": _Key("probe_delay_ms", _read_duration, _write_duration),
    "blink": _Key("blink_ms", _read_duration, _write_duration),
    "power-off": _Key("power_off_ms", _read_duration, _write_duration),
    "reboot-after": _Key("reboot_after_ms", _read_moment, _write_moment),
    "reset-after": _Key("reset_after_ms", _read_moment, _write_moment),
    "negotiate": _Key("negotiate_ms", _read_duration, _write_duration),
    "seed": _Key("seed", _read_seed, str),
}

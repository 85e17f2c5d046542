"""/machine/guest: what the guest did, and what it is told to do.

    frames      what it knows of its numbered frames
    verify      {"bad-pages": [...], "count": n}: pages of RAM that do not hold what they must
    throttle    by how many percent auto-converge slows its writing down
    options     the text of -guest; each option that is not fixed at boot can be set by its name too
    eject       besides the option's values: the id of a primary that it is to eject now
    driver-reset    the id of a standby that its driver is to reset
    reboot      true: it reboots

Rules kept here: the guest acts through `engine.guest_deeds` alone, and only while it runs; what it
cannot do now is refused, never queued.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from devices.guest_options import (
    GuestOptions,
    format_guest_options,
    parse_guest_options,
    read_guest_options,
)
from devices.options import parse_options
from engine.commands import texts
from engine.commands.qom import Attribute
from engine.guest_deeds import perform
from engine.qmp.errors import device_not_found, generic_error
from engine.vm import Vm
from statemachines.events import E

#: Options that can be changed while the guest lives.
LIVE_OPTIONS = (
    "eject",
    "standby",
    "dirty",
    "frames",
    "link-delay",
    "probe-delay",
    "blink",
    "power-off",
    "reboot-after",
    "reset-after",
    "negotiate",
)
#: The fields of those that cannot, by option.
FIXED_OPTIONS = {"working-set": "working_set_bytes", "fill": "fill_bytes", "seed": "seed"}
#: The most bad pages that are listed; all are counted.
BAD_PAGES_MAX = 256


class GuestObject:
    """The guest of one VM as an object."""

    def __init__(self, vm: Vm) -> None:
        self._vm = vm

    def attributes(self) -> dict[str, Attribute]:
        """Return its properties."""
        attributes = {
            name: Attribute("string", self._option_reader(name), self._option_writer(name))
            for name in LIVE_OPTIONS
        }
        frames, eject = attributes["frames"], attributes["eject"]
        return attributes | {
            "frames": Attribute("dict", self._vm.guest.statistics, frames.write),
            "eject": Attribute("string", eject.read, self._eject),
            "verify": Attribute("dict", self._verify),
            "throttle": Attribute("int", lambda: self._vm.guest.workload.throttle_percent),
            "options": Attribute("string", self._options_text, self._set_options),
            "driver-reset": Attribute("string", None, self._driver_reset),
            "reboot": Attribute("bool", None, self._reboot),
        }

    def _verify(self) -> dict[str, Any]:
        bad = self._vm.guest.workload.verify()
        return {"bad-pages": bad[:BAD_PAGES_MAX], "count": len(bad)}

    # -- options

    def _options_text(self) -> str:
        return format_guest_options(self._vm.guest.options)

    def _option_reader(self, name: str) -> Callable[[], Any]:
        return lambda: _effective(self._vm.guest.options)[name]

    def _option_writer(self, name: str) -> Callable[[Any], None]:
        return lambda value: self._configure(read_guest_options({name: value}))

    def _set_options(self, value: Any) -> None:
        changes = parse_guest_options(_text("options", value))
        for name, fixed in FIXED_OPTIONS.items():
            if fixed in changes.given:
                raise generic_error(texts.FIXED_AT_BOOT % name)
        self._configure(changes)

    def _configure(self, changes: GuestOptions) -> None:
        self._vm.guest.configure(changes)
        self._vm.settle()

    # -- deeds

    def _eject(self, value: Any) -> None:
        primary = self._vm.board.primary_named(value)
        if primary is None:
            self._configure(read_guest_options({"eject": value}))
        else:
            self._perform(E.GUEST_EJECTS, primary.index, f"eject {primary.id}")

    def _driver_reset(self, value: Any) -> None:
        name = _text("driver-reset", value)
        standby = self._vm.board.standby_named(name)
        if standby is None:
            raise device_not_found(name)
        self._perform(E.DRIVER_RESET, standby.index, f"reset {name}")

    def _reboot(self, value: Any) -> None:
        if value is not True:
            raise generic_error(texts.TAKES % ("reboot", "true"))
        self._perform(E.SYSTEM_RESET, None, "reboot")

    def _perform(self, event: E, index: int | None, what: str) -> None:
        if not self._vm.guest.is_running:
            raise generic_error(texts.GUEST_IS_STOPPED)
        if not perform(self._vm, event, index):
            raise generic_error(texts.NOT_NOW % what)


def _effective(options: GuestOptions) -> dict[str, Any]:
    """Return every option that can be changed, as text, with defaults."""
    shown = {field.name for field in fields(options)} - {"given", *FIXED_OPTIONS.values()}
    return dict(parse_options(format_guest_options(replace(options, given=frozenset(shown)))))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise generic_error(texts.TAKES % (name, "text"))
    return value

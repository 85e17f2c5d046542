"""engine.commands.dispatcher: one handler for every command, one shape for every refusal."""

from __future__ import annotations

import pytest

from devices.errors import DeviceError
from devices.guest_memory import GuestMemoryError
from devices.inventory import InventoryError
from devices.options import OptionError
from engine.profile import ProfileError
from engine.qmp.commands import COMMANDS
from engine.qmp.errors import QmpError, device_not_active
from engine.uri import UriError
from statemachines.effects import Command
from statemachines.events import E
from statemachines.runtime import StateError
from statemachines.states import Link
from tests.unit.engine.commands.commanded_vm import CommandedVm

#: The session answers the first itself.
ANSWERED_BY_THE_SESSION = {"qmp_capabilities"} | {n for n, c in COMMANDS.items() if c.refusal}


def test_every_command_that_the_session_hands_on_has_a_handler() -> None:
    assert CommandedVm().dispatcher.names == COMMANDS.keys() - ANSWERED_BY_THE_SESSION


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        (DeviceError("gone", error_class="DeviceNotFound"), ("DeviceNotFound", "gone")),
        (OptionError("odd", hint="never sent"), ("GenericError", "odd")),
        (InventoryError("held"), ("GenericError", "held")),
        (UriError("where"), ("GenericError", "where")),
        (
            ProfileError(expected="one", came="two", remedy="choose"),
            ("GenericError", "expected one, got two; choose"),
        ),
        (GuestMemoryError("torn"), ("GenericError", "torn")),
        (device_not_active("idle"), ("DeviceNotActive", "idle")),
    ],
)
def test_every_kind_of_refusal_becomes_the_monitors(
    raised: Exception, shown: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = CommandedVm()

    def refuse(_event: E, *_others: object) -> None:
        raise raised

    monkeypatch.setattr(machine.vm, "ask", refuse)
    with pytest.raises(QmpError) as caught:
        machine.execute("stop")
    assert (caught.value.error_class.value, caught.value.description) == shown


def test_a_defect_is_not_passed_off_as_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = CommandedVm()

    def break_down(_event: E, *_others: object) -> None:
        raise StateError("link", Link.CLOSED, E.STOP, frozenset())

    monkeypatch.setattr(machine.vm, "ask", break_down)
    with pytest.raises(StateError):
        machine.execute("stop")


def test_a_reset_is_carried_out_by_the_core_alone() -> None:
    machine = CommandedVm()
    machine.execute("system_reset")
    assert Command.RESET_GUEST not in machine.performed

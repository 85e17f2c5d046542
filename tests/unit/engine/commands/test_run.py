"""engine.commands.run: stop, cont, reset, quit, and what the VM says of itself."""

from __future__ import annotations

import pytest

from engine.qmp.commands import COMMANDS
from engine.qmp.events import EVENTS
from engine.version import VERSION
from statemachines.effects import Command
from statemachines.events import E
from tests.unit.engine.commands.commanded_vm import PAIR, CommandedVm

RESET = ("RESET", {"guest": False, "reason": "host-qmp-system-reset"})


def status(machine: CommandedVm) -> str:
    answer = machine.execute("query-status")
    assert answer["singlestep"] is False
    assert answer["running"] is (answer["status"] == "running")
    return str(answer["status"])


def test_stop_and_cont() -> None:
    machine = CommandedVm()
    assert status(machine) == "running"
    assert machine.execute("stop") == {}
    assert status(machine) == "paused"
    assert machine.execute("stop") == {}
    assert machine.execute("cont") == {}
    assert status(machine) == "running"
    assert machine.execute("cont") == {}
    assert machine.performed == [Command.RUN_GUEST, Command.STOP_GUEST, Command.RUN_GUEST]
    assert machine.take_events() == [("STOP", {}), ("RESUME", {})]


def test_a_vm_started_with_s() -> None:
    machine = CommandedVm("-S")
    assert status(machine) == "prelaunch"
    machine.execute("cont")
    assert status(machine) == "running"


def test_cont_while_a_stream_is_awaited_changes_only_what_comes_then() -> None:
    machine = CommandedVm("-incoming", "defer", "-S")
    assert status(machine) == "inmigrate"
    assert machine.execute("cont") == {}
    assert status(machine) == "inmigrate"
    assert machine.take_events() == []


def test_cont_while_the_vm_is_handed_over_is_refused() -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_until_handed_over()
    assert status(machine) == "finish-migrate"
    assert machine.refusal("cont") == ("GenericError", "Migration is not finalized yet")


@pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
def test_reset(profile: str) -> None:
    machine = CommandedVm(*PAIR, profile=profile)
    machine.take_events()
    assert machine.execute("system_reset") == {}
    assert machine.take_events() == [RESET]
    assert machine.vm.guest.memory.boots == 2
    assert status(machine) == "running"


def test_a_vm_on_its_way_is_not_reset() -> None:
    """What was sent would stay as it was, or be mixed with what the reset makes of the rest."""
    source = CommandedVm(*PAIR)
    source.migrate_until_handed_over()
    target = CommandedVm("-incoming", "defer")
    target.receive_until_loaded()
    for machine in (source, target):
        kind, text = machine.refusal("system_reset")
        assert kind == "GenericError"
        assert "once the migration has ended" in text
    source.fire(E.RECV_RUNNING)
    assert source.execute("system_reset") == {}


def test_quit() -> None:
    machine = CommandedVm()
    assert machine.execute("quit") == {}
    assert machine.has_quit
    assert machine.take_events() == [("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})]


def test_quit_and_cont_are_refused_in_doubt() -> None:
    machine = CommandedVm(*PAIR)
    machine.migrate_until_handed_over()
    machine.fire(E.LINK_BROKEN)
    kind, text = machine.refusal("quit")
    assert kind == "GenericError"
    assert "x-replug-resolve" in text
    assert not machine.has_quit
    assert "x-replug-resolve" in machine.refusal("cont")[1]
    machine.execute("x-replug-resolve", keep="target")
    machine.execute("quit")
    assert machine.has_quit


def test_a_target_in_doubt_may_not_quit_either() -> None:
    machine = CommandedVm("-incoming", "defer")
    machine.receive_until_loaded()
    machine.fire(E.LINK_BROKEN)
    assert "x-replug-resolve" in machine.refusal("quit")[1]
    assert not machine.has_quit


def test_who_it_is() -> None:
    machine = CommandedVm("-name", "vm1", "-uuid", "11111111-2222-3333-4444-555555555555")
    assert machine.execute("query-name") == {"name": "vm1"}
    assert machine.execute("query-uuid") == {"UUID": "11111111-2222-3333-4444-555555555555"}
    assert CommandedVm().execute("query-name") == {}


def test_version() -> None:
    answer = CommandedVm().execute("query-version")
    assert answer["qemu"] == {"major": 7, "minor": 2, "micro": 22}
    assert answer["package"] == f"replug {VERSION}"


def test_introspection() -> None:
    machine = CommandedVm()
    assert {each["name"] for each in machine.execute("query-commands")} == COMMANDS.keys()
    assert {each["name"] for each in machine.execute("query-events")} == EVENTS.keys()
    listed = {each["name"] for each in machine.execute("query-qmp-schema")}
    assert {"migrate", "ReplugReport", "MIGRATION"} <= listed

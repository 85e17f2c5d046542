"""engine.commands.descriptors: getfd, closefd, and what an fd: URI finds."""

from __future__ import annotations

import pytest

from engine.qmp.errors import QmpError
from engine.uri import FdUri
from tests.unit.engine.commands.commanded_vm import CommandedVm


def unresolved(machine: CommandedVm, name: str) -> str:
    with pytest.raises(QmpError) as caught:
        machine.dispatcher.resolve_descriptor(name)
    return caught.value.description


def with_descriptor(name: str, fd: int) -> CommandedVm:
    machine = CommandedVm()
    machine.offered.append(fd)
    assert machine.execute("getfd", fdname=name) == {}
    return machine


def test_a_descriptor_is_kept_until_it_is_taken() -> None:
    machine = with_descriptor("mig", 7)
    assert machine.dispatcher.resolve_descriptor("mig") == 7
    assert machine.closed == []
    assert unresolved(machine, "mig") == "File descriptor named 'mig' has not been found"


def test_a_name_that_is_given_again_closes_what_it_was() -> None:
    machine = with_descriptor("mig", 7)
    machine.offered.append(8)
    machine.execute("getfd", fdname="mig")
    assert machine.closed == [7]
    assert machine.dispatcher.resolve_descriptor("mig") == 8


def test_closing() -> None:
    machine = with_descriptor("mig", 7)
    assert machine.execute("closefd", fdname="mig") == {}
    assert machine.closed == [7]
    assert machine.refusal("closefd", fdname="mig") == (
        "GenericError",
        "File descriptor named 'mig' not found",
    )


def test_getfd_without_a_descriptor() -> None:
    assert CommandedVm().refusal("getfd", fdname="mig") == (
        "GenericError",
        "No file descriptor supplied via SCM_RIGHTS",
    )


def test_getfd_by_a_number_closes_what_came() -> None:
    machine = CommandedVm()
    machine.offered.append(7)
    assert machine.refusal("getfd", fdname="1st") == (
        "GenericError",
        "Parameter 'fdname' expects a name not starting with a digit",
    )
    assert machine.closed == [7]


def test_a_number_is_an_inherited_descriptor() -> None:
    assert CommandedVm().dispatcher.resolve_descriptor("12") == 12


@pytest.mark.parametrize("name", ["1st", "12345678901"])
def test_no_number(name: str) -> None:
    machine = CommandedVm()
    assert unresolved(machine, name) == f"Invalid file descriptor number '{name}'"


def test_migrate_looks_for_the_descriptor_and_leaves_it_there() -> None:
    machine = with_descriptor("mig", 7)
    machine.execute("migrate", uri="fd:mig")
    assert machine.vm.outgoing_uri == FdUri("mig")
    assert machine.dispatcher.resolve_descriptor("mig") == 7


@pytest.mark.parametrize("command", ["migrate", "migrate-incoming"])
def test_a_uri_without_its_descriptor(command: str) -> None:
    waits = ("-incoming", "defer") if command == "migrate-incoming" else ()
    assert CommandedVm(*waits).refusal(command, uri="fd:mig") == (
        "GenericError",
        "File descriptor named 'mig' has not been found",
    )


def test_an_outgoing_stream_takes_no_number() -> None:
    text = "File descriptor named '12' has not been found"
    assert CommandedVm().refusal("migrate", uri="fd:12") == ("GenericError", text)


def test_in_qemu_a_missing_descriptor_fails_the_migration() -> None:
    machine = CommandedVm(profile="qemu-7.2")
    text = "File descriptor named 'mig' has not been found"
    assert machine.error("migrate", uri="fd:mig") == ("GenericError", text)
    assert machine.execute("query-migrate") == {"status": "failed", "error-desc": text}

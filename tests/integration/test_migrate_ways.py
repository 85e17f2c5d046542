"""`replug migrate` asks for channels, compression and sharing: of a replug, and of a QEMU.

A QEMU is a scripted monitor here; real ones are in tests/conformance.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli.migrate_options import parse_migrate_arguments
from engine.driver.control_preparation import NotOffered
from engine.migration_event import Kind
from engine.migration_outcome import ExitStatus
from engine.migration_request import MigrationRequest
from tests.integration import qemu_recordings as recordings
from tests.integration.driven_migration import URI, Driven, drive
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import moved
from tests.integration.scripted_monitor import Answers, Refuses, ScriptedMonitor, Step
from tests.integration.vms import run_migrate

COMPLETED = recordings.COMPLETED[recordings.V10]
CHANNELLED = ("--multifd-channels", "3", "--multifd-compression", "zstd")
PARAMETERS = {"multifd-channels": 3, "multifd-compression": "zstd"}


def asked(*options: str) -> MigrationRequest:
    """Return what the command line asks for."""
    return parse_migrate_arguments(["--qmp", "there", *options, URI]).request


def capabilities(monitor: ScriptedMonitor) -> list[dict[str, bool]]:
    return [
        {each["capability"]: each["state"] for each in sent["capabilities"]}
        for sent in monitor.named("migrate-set-capabilities")
    ]


# -- a QEMU


def test_both_qemus_are_told_of_the_channels(tmp_path: Path) -> None:
    source, target = ScriptedMonitor(COMPLETED), ScriptedMonitor([])
    driven = drive(tmp_path, source, asked(*CHANNELLED), target=target)
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert capabilities(source)[0]["multifd"] is True
    assert capabilities(target) == [{"events": True}, {"multifd": True}]
    for monitor in (source, target):
        assert monitor.named("migrate-set-parameters") == [PARAMETERS]
    assert "has to have multifd set" not in driven.notes()


def test_it_is_said_that_a_qemu_that_is_not_asked_has_to_know_too(tmp_path: Path) -> None:
    driven = drive(tmp_path, ScriptedMonitor(COMPLETED), asked("--multifd-channels", "1"))
    assert driven.outcome.exit_status is ExitStatus.DONE
    assert "a target that is a QEMU has to have multifd set as well" in driven.notes()


def refused(tmp_path: Path, *options: str, target: list[Step] | None = None) -> Driven:
    """Drive what is refused; nothing is begun then."""
    source = ScriptedMonitor(COMPLETED)
    other = None if target is None else ScriptedMonitor(target, in_progress=True)
    driven = drive(tmp_path, source, asked(*options), target=other)
    assert driven.outcome.exit_status is ExitStatus.FAILED
    assert not source.named("migrate")
    return driven


def test_a_target_that_does_not_take_channels_is_named(tmp_path: Path) -> None:
    late: list[Step] = [Refuses("migrate-set-parameters", "too late")]
    driven = refused(tmp_path, *CHANNELLED, target=late)
    assert "the target refused: too late" in driven.outcome.text


@pytest.mark.parametrize(
    ("option", "capability"),
    [
        ("--share-memory", "x-share-memory"),
        ("--verify-ram", "x-verify-ram"),
        ("--capability=x-adaptive=on", "x-adaptive"),
    ],
)
def test_what_only_replug_has_is_not_asked_of_a_qemu(
    tmp_path: Path, option: str, capability: str
) -> None:
    driven = refused(tmp_path, option)
    assert str(NotOffered(capability, "")).removesuffix(": ") in driven.outcome.text


def test_how_much_the_guest_is_slowed_down_is_shown(tmp_path: Path) -> None:
    ram = {"transferred": 1, "remaining": 1, "total": 2, "mbps": 8.0, "page-size": 4096}
    answers = Answers({"cpu-throttle-percentage": 20, "ram": ram})
    script = [answers if isinstance(step, Answers) else step for step in COMPLETED]
    driven = drive(tmp_path, ScriptedMonitor([answers, *script]), asked())
    progress = [event.ram for event in driven.events if event.kind is Kind.PROGRESS and event.ram]
    assert progress
    assert {ram.as_json()["throttle_percent"] for ram in progress} == {20}


# -- replug


@scenario
async def test_channels_between_two_replugs(lab: Lab) -> None:
    source, target = await lab.pair()
    status, report = await run_migrate(
        source.monitor_path, target.monitor_path, *CHANNELLED, "--verify-ram", lab.uri()
    )
    assert (status, report["error"]) == (0, None)
    assert (await moved(source, target))["ram"]["multifd-bytes"] > 0
    parameters = await source.command("query-migrate-parameters")
    assert parameters | PARAMETERS == parameters


@scenario
async def test_memory_is_shared_between_two_replugs(lab: Lab) -> None:
    source, target = await lab.pair()
    status, report = await run_migrate(
        source.monitor_path, target.monitor_path, "--share-memory", "--verify-ram", lab.uri()
    )
    assert (status, report["error"]) == (0, None)
    assert (await moved(source, target))["ram"]["transferred"] == 0


@scenario
async def test_what_replug_refuses_is_told_in_its_words(lab: Lab) -> None:
    source, target = await lab.pair()
    zlib = ("--multifd-channels", "1", "--multifd-compression", "zlib")
    status, report = await run_migrate(source.monitor_path, target.monitor_path, *zlib, lab.uri())
    assert status == ExitStatus.FAILED
    assert "replug does not compress with zlib" in report["error"]
    assert await source.run_state() == "running"

"""What nobody expects to fail fails, once, somewhere: the VM runs on, and migrates another time.

Rules kept here: the error is raised in the code that runs, in whichever VM comes there first. It is
told to the loop, where a real process logs it; everything else is as `engine.driver.simulation`
wants it in the end: the VM runs once, whole, with its primaries, and can be migrated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.driver import incoming, ram_channels
from engine.driver.channel import TransportError
from engine.driver.connection import Connection
from engine.driver.incoming import IncomingStream
from engine.driver.live import LiveVm
from engine.driver.outgoing import Outgoing
from engine.driver.ram_path import RamPath
from engine.driver.simulation.loop import VirtualLoop
from engine.driver.simulation.run import simulate
from engine.precopy import Precopy
from engine.ram_sending import RamSender
from engine.source import Source
from engine.target import Target
from statemachines.states import Migration
from tests.simulation.test_ways import ALLOWED, MUCH, SLOWLY, plan

#: Where it fails, and at which call: of what is called for each pass, also in the last one.
PLACES: list[tuple[Any, str, int]] = [
    (Outgoing, "_open", 1),
    (Precopy, "collect", 1),
    (Precopy, "synchronise", 1),
    (Precopy, "synchronise", 2),
    (RamPath, "send_pass", 1),
    (RamPath, "send_pass", 2),
    (RamSender, "send", 1),
    (RamSender, "send", 3),
    (Target, "receive", 1),
    (IncomingStream, "begin", 1),
    (IncomingStream, "_verify", 1),
    (incoming, "load_ram", 1),
    (ram_channels, "_Guest", 1),
]
#: Where nothing is handed over before both have agreed.
TWO_PHASE_PLACES: list[tuple[Any, str, int]] = [
    (Source, "receive", 1),
    (Source, "receive", 3),
    (Outgoing, "_compare", 1),
    (Source, "build", 4),
    (Connection, "_write_next", 5),
    (Target, "receive", 4),
]
CASES = [
    (profile, *place, channels)
    for profile in ("native", "qemu-7.2")
    for place in PLACES + (TWO_PHASE_PLACES if profile == "native" else [])
    for channels in (0, 2)
    if channels or place[0] is not ram_channels
]
WAYS = {way.channels: way for way in reversed(ALLOWED) if len(way.capabilities) < 2}


def failing(
    call: Callable[..., Any], at: int, error: type[Exception] = MemoryError
) -> Callable[..., Any]:
    """Fail once, when called the `at`-th time."""
    calls = 0

    def fails(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error("planted")
        return call(*given, **named)

    return fails


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is told to the loop: no reason to stop the simulation here."""
    sentences: list[str] = []
    tell_errors = VirtualLoop.tell_errors
    monkeypatch.setattr(
        VirtualLoop, "tell_errors", lambda loop, _broken: tell_errors(loop, sentences.append)
    )
    return sentences


@pytest.mark.parametrize(("profile", "owner", "name", "at", "channels"), CASES)
def test_the_vm_runs_on_and_migrates_again(
    monkeypatch: pytest.MonkeyPatch,
    told: list[str],
    profile: str,
    owner: Any,
    name: str,
    at: int,
    channels: int,
) -> None:
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), at))
    way = WAYS[channels]
    slow = {**way.parameters, **SLOWLY}
    outcome = simulate(plan(way, parameters=slow, guest=MUCH, profile=profile))
    assert outcome.violation is None
    assert outcome.defects.get("both VMs run", 0) == 0
    assert set(told) == {"MemoryError: planted"}
    if profile == "native":
        assert outcome.completed == 1


@pytest.mark.parametrize(
    ("capabilities", "owner", "name", "at"),
    [
        (("events",), Connection, "drained", 1),
        (("events", "return-path"), Source, "receive", 1),
    ],
)
def test_a_source_whose_target_may_run_the_vm_stays_paused(
    monkeypatch: pytest.MonkeyPatch,
    told: list[str],
    capabilities: tuple[str, ...],
    owner: Any,
    name: str,
    at: int,
) -> None:
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), at))
    outcome = simulate(plan(WAYS[0], profile="qemu-7.2", capabilities=capabilities))
    assert set(told) == {"MemoryError: planted"}
    # Nothing but the operator ended it, after seconds.
    assert "source cancelled" in outcome.reached
    assert "source failed" not in outcome.reached


def test_what_fails_once_the_source_waits_to_go_on_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    settled = LiveVm.settled

    def fails(live: LiveVm) -> None:
        if not told and live.vm.state(Migration) is Migration.PRE_SWITCHOVER:
            raise MemoryError("planted")
        settled(live)

    monkeypatch.setattr(LiveVm, "settled", fails)
    outcome = simulate(plan(WAYS[0], capabilities=("events", "pause-before-switchover")))
    assert set(told) == {"MemoryError: planted"}
    assert outcome.violation is None
    assert outcome.completed == 1


def test_a_target_that_could_not_take_its_source_listens_no_more_and_is_there(
    monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr(IncomingStream, "_accept", failing(IncomingStream._accept, 1))
    outcome = simulate(plan(WAYS[0], once_more=False))
    assert outcome.violation is None
    assert outcome.reached >= {"source failed", "target none"}
    assert set(told) == {"MemoryError: planted"}


def test_a_channel_that_is_reset_between_two_passes_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is lost with it is lost to a pass that needs it: else two VMs could run."""
    ends = failing(Connection._end_of_file, 1, TransportError)
    monkeypatch.setattr(Connection, "_end_of_file", ends)
    capabilities = ("events", "return-path", "multifd")
    outcome = simulate(plan(WAYS[2], profile="qemu-7.2", capabilities=capabilities))
    assert outcome.violation is None
    assert outcome.defects.get("both VMs run", 0) == 0
    assert outcome.completed == 1

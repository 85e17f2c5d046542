"""RAM goes every way that the capabilities allow, and no other.

Rules kept here: all combinations are looked at, one by one. What is refused is asked of the
production VM; the words are those of `engine.qmp.texts`, QEMU's where it refuses the same.
"""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

import pytest

from devices.dirty import DirtyBitmap
from engine.driver import connection
from engine.driver.connection import Connection
from engine.driver.incoming import IncomingStream
from engine.driver.memory import GuestMemory
from engine.driver.simulation.link import LinkConditions
from engine.driver.simulation.loop import VirtualLoop
from engine.driver.simulation.machine import NeighbourVm, SimulatedVm
from engine.driver.simulation.make_up import configuration, uri_of
from engine.driver.simulation.network import SimulatedNetwork
from engine.driver.simulation.plan import START, Action, Plan, plan_of
from engine.driver.simulation.run import Outcome, simulate
from engine.driver.simulation.ways import Way, every_way
from engine.qmp import texts
from statemachines.runtime import Step

WAYS = tuple(every_way())
ALLOWED = tuple(way for way in WAYS if way.allowed)
SHARED = tuple(way for way in ALLOWED if way.shared)
MIGRATE = Action("migrate", START, 20.0)
#: So much, and so slow, that a pass is under way for more than 60 ms.
MUCH = "fill=480K,working-set=64K"
SLOWLY = {"max-bandwidth": 2_000_000, "downtime-limit": 1}


def plan(way: Way, *actions: Action, profile: str = "native", **more: Any) -> Plan:
    """Return a plan for a migration this way; nothing happens but the actions."""
    given: dict[str, Any] = {
        "guest": "fill=64K,working-set=64K",
        "capabilities": ("events", "return-path", "x-verify-ram", *way.capabilities),
        "parameters": way.parameters,
        "transport": way.transport,
        "actions": (MIGRATE, *actions),
        **more,
    }
    return Plan(5, profile, **given)


def cut_channel(moment: str, after_ms: float, number: int, **values: bool) -> Action:
    """Return the loss of one channel."""
    usual = {"keeps_to_source": False, "keeps_to_target": False, "with_error": False}
    return Action("cut-channel", moment, after_ms, values={"number": number, **usual, **values})


# -- what is allowed


@pytest.mark.parametrize("way", ALLOWED, ids=str)
def test_an_undisturbed_migration_completes(way: Way) -> None:
    outcome = simulate(plan(way))
    assert outcome.violation is None
    assert (outcome.migrations, outcome.completed) == (1, 1)


def test_what_channels_say_last_is_waited_for_before_they_are_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A closed one may not take long over it: here no time at all, on a link that takes nothing more
    # before what it has is there.
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.0)
    way = Way("tcp", 2, "none", adaptive=False, shared=False)
    outcome = simulate(plan(way, link=LinkConditions(bytes_per_ms=1000.0, buffer_bytes=1)))
    assert outcome.violation is None
    assert (outcome.migrations, outcome.completed) == (1, 1)


def test_a_range_of_seeds_goes_every_allowed_way_and_no_other() -> None:
    assert {plan_of(seed, "native").way for seed in range(1500)} == set(ALLOWED)


@cache
def first_seed_of(way: Way) -> int:
    """Return the first seed that goes a way."""
    return next(seed for seed in range(1500) if plan_of(seed, "native").way == way)


@pytest.mark.parametrize("way", ALLOWED, ids=str)
def test_the_first_seed_of_every_way(way: Way) -> None:
    assert simulate(plan_of(first_seed_of(way), "native")).violation is None


# -- what is refused


class Nobody:
    """Looks at nothing."""

    def stepped(self, vm: SimulatedVm, step: Step) -> None:
        """Let it be."""

    def settled(self, vm: SimulatedVm) -> None:
        """Let it be."""

    def emitted(self, vm: SimulatedVm, name: str, data: Mapping[str, Any]) -> None:
        """Let it be."""

    def ended(self, vm: SimulatedVm) -> None:
        """Let it be."""


def refusal(way: Way, uri: str | None = None, profile: str = "native") -> str | None:
    """Set a production VM up for a way, and migrate; return what that is refused with, if it is."""
    asked = plan(way, profile=profile)
    states = [{"capability": name, "state": True} for name in way.capabilities]

    async def ask() -> str | None:
        network = SimulatedNetwork(LinkConditions(), Random(1))
        vm = NeighbourVm(configuration(asked, is_target=False), network, Nobody(), None)
        vm.boot()
        found = None
        for command, arguments in (
            ("migrate-set-parameters", way.parameters),
            ("migrate-set-capabilities", {"capabilities": states}),
            ("migrate", {"uri": uri or uri_of(asked)}),
        ):
            reply = vm.execute(command, **arguments)
            if "error" in reply:
                found = str(reply["error"]["desc"])
                break
        vm.kill()
        vm.memory.release()
        return found

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(ask())
    finally:
        loop.close()


def test_what_is_not_allowed_is_refused_and_nothing_else() -> None:
    for way in WAYS:
        expected = None
        if way.shared and way.channels:
            expected = texts.SHARING_WITHOUT_CHANNELS
        elif way.shared and way.transport == "tcp":
            expected = texts.SHARING_NEEDS_UNIX
        assert refusal(way) == expected, str(way)
        assert way.allowed == (expected is None), str(way)


@pytest.mark.parametrize("uri", ["exec:cat", "file:/tmp/vm"])
def test_what_is_no_socket_takes_neither_channels_nor_memory(uri: str) -> None:
    """Of channels QEMU says so too (multifd.c), in these words."""
    for way in WAYS:
        if way.shared != bool(way.channels):
            expected = (
                "multifd is not supported by current protocol"
                if way.channels
                else texts.SHARING_NEEDS_UNIX
            )
            assert refusal(way, uri) == expected, str(way)


@pytest.mark.parametrize("way", SHARED, ids=str)
def test_where_both_sides_may_come_to_run_no_memory_is_shared(way: Way) -> None:
    assert refusal(way, profile="qemu-7.2") == texts.SHARING_NEEDS_TWO_PHASES


# -- one channel is lost


@pytest.mark.parametrize("with_error", [False, True])
@pytest.mark.parametrize("way", [way for way in ALLOWED if way.channels > 1], ids=str)
def test_one_channel_is_cut_in_a_pass(way: Way, with_error: bool) -> None:
    """The others live on, the migration does not; the next one, undisturbed, completes."""
    cut = cut_channel("source migration active", 20.0, 1, with_error=with_error)
    outcome = simulate(plan(way, cut, parameters={**way.parameters, **SLOWLY}, guest=MUCH))
    assert outcome.violation is None
    assert "source failed" in outcome.reached
    assert "source device" in outcome.reached, "the second one came so far, and no other"
    assert (outcome.migrations, outcome.completed) == (2, 1)


@pytest.mark.parametrize("profile", ["native", "qemu-7.2"])
@pytest.mark.parametrize("moment", ["source migration setup", "source migration active"])
def test_a_channel_is_cut_at_any_moment(profile: str, moment: str) -> None:
    """Also before it has said whose it is, and between two passes; the target ends as well."""
    way = Way("tcp", 3, "none", adaptive=False, shared=False)
    dirty = "fill=64K,working-set=64K,dirty=1M"
    for tenths in range(60):
        cut = cut_channel(moment, tenths / 10, 1)
        outcome = simulate(plan(way, cut, profile=profile, guest=dirty))
        assert outcome.violation is None, tenths


def test_the_loss_of_a_channel_is_no_matter_of_time() -> None:
    """What it comes of is heard when the link is at its end, not after a while."""
    way = Way("tcp", 2, "none", adaptive=False, shared=False)
    cut = cut_channel("source migration active", 20.0, 1)
    asked = plan(way, cut, parameters={**way.parameters, **SLOWLY}, guest=MUCH, once_more=False)
    journal = (simulate(asked, journal=True).journal or "").splitlines()
    (lost_ms,) = (_time_ms(line) for line in journal if '"kind":"cut-channel"' in line)
    broken_ms = [_time_ms(line) for line in journal if '"event":"LINK_BROKEN"' in line]
    assert len(broken_ms) == 2
    # A few ways there and back, of 0.1 ms each.
    assert lost_ms < min(broken_ms) <= max(broken_ms) < lost_ms + 1


def _time_ms(line: str) -> float:
    return float(line.split('"time_ms":')[1].split(",")[0])


# -- memory that is handed over


FAILED, CANCELLED, COMPLETED = {"source failed"}, {"source cancelled"}, {"target completed"}
SOURCE_DOUBTS, TARGET_DOUBTS = {"source in-doubt"}, {"target in-doubt"}


@pytest.mark.parametrize(
    ("kind", "moment", "expected"),
    [
        ("kill-target", "source handover delivered", FAILED),
        ("kill-target", "target takeover loaded", FAILED | SOURCE_DOUBTS),
        ("kill-target", "source handover committed", FAILED | SOURCE_DOUBTS),
        ("kill-source", "source handover delivered", TARGET_DOUBTS),
        ("kill-source", "target takeover loaded", TARGET_DOUBTS | COMPLETED),
        ("kill-source", "source handover committed", COMPLETED),
        ("cancel", "source run_state finish-migrate", CANCELLED),
        ("cancel", "source handover delivered", CANCELLED),
        ("cut", "source handover delivered", FAILED | TARGET_DOUBTS),
        ("cut", "target takeover loaded", FAILED | TARGET_DOUBTS | SOURCE_DOUBTS),
        ("cut", "source handover committed", TARGET_DOUBTS | SOURCE_DOUBTS),
    ],
)
def test_memory_is_given_back_untouched(kind: str, moment: str, expected: set[str]) -> None:
    """Whatever ends the hand-over: at every step it is checked who has the VM, and with what."""
    cut = {"keeps_to_source": False, "keeps_to_target": False, "with_error": True}
    reached: set[str] = set()
    for tenths in range(12):
        action = Action(kind, moment, tenths / 10, values=cut if kind == "cut" else {})
        outcome = simulate(plan(SHARED[0], action, link=LinkConditions(latency_ms=0.5)))
        assert outcome.violation is None, tenths
        reached |= outcome.reached
    assert reached >= expected


def broken(outcome: Outcome) -> str:
    assert outcome.violation is not None
    return outcome.violation.property


def touch(memory: GuestMemory) -> None:
    memory.buffer[memory.buffer.nbytes - 1] ^= 1


def test_a_target_that_writes_too_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    verify = IncomingStream.verify

    def touches(self: IncomingStream) -> None:
        assert isinstance(self._memory, GuestMemory)
        touch(self._memory)
        verify(self)

    monkeypatch.setattr(IncomingStream, "verify", touches)
    without_digests = ("events", "x-share-memory")
    outcome = simulate(plan(SHARED[0], capabilities=without_digests))
    assert "adopted memory was written to before it was owned" in broken(outcome)
    cut = Action("cancel", "source handover delivered", 1.5)
    slow = LinkConditions(latency_ms=1.0)
    outcome = simulate(plan(SHARED[0], cut, capabilities=without_digests, link=slow))
    assert broken(outcome) == "the source goes on with other RAM than it stopped with"


def test_a_source_that_does_not_part_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would write to what the target runs on; here it does as soon as it is asked to part."""
    monkeypatch.setattr(NeighbourVm.memory_class, "part", touch)
    outcome = simulate(plan(SHARED[0], capabilities=SHARED[0].capabilities))
    assert "adopted memory was written to before it was owned" in broken(outcome)


def test_every_descriptor_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = []
    send_with = Connection.send_with

    def counted(self: Connection, message: Any, descriptor: int) -> None:
        passed.append(descriptor)
        send_with(self, message, descriptor)

    monkeypatch.setattr(Connection, "send_with", counted)
    seeds = [seed for seed in range(300) if plan_of(seed, "native").way.shared]
    gc.collect()
    before = os.listdir("/proc/self/fd")
    for seed in seeds:
        assert simulate(plan_of(seed, "native")).violation is None
    # A mapping has a descriptor of its own, until nobody can look at it any more.
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert len(passed) > len(seeds) / 3


# -- who notes what is written


def test_without_a_record_of_what_is_written_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(record: DirtyBitmap) -> None:
        raise OSError(errno.EBADF, "nobody notes it")

    monkeypatch.setattr(DirtyBitmap, "prepare", refuse)
    outcome = simulate(plan(ALLOWED[0]))
    assert "source failed" in outcome.reached
    assert "source device" not in outcome.reached

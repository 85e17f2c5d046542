"""The recorded courses of a migration: what is said, in which order, and what comes of it.

The order of QMP events under profile qemu-7.2 is what QEMU 7.2 was seen to emit.
"""

from __future__ import annotations

from types import MappingProxyType

import pytest

from statemachines import runtime
from statemachines.diagram.scenarios import (
    ANSWERS,
    CANCEL,
    LATE_EJECT,
    MIGRATION,
    READY,
    SCENARIOS,
    Act,
    Scenario,
    Side,
)
from statemachines.diagram.sequence import (
    Kind,
    Line,
    Party,
    ScenarioError,
    record,
    to_mermaid,
)
from statemachines.effects import Command, Do, Message
from statemachines.events import E
from statemachines.policies import VALUATIONS
from statemachines.runtime import RefusedError
from statemachines.states import Migration, Primary
from statemachines.system import VM_MACHINES

COURSES = [(profile, scenario) for scenario in SCENARIOS for profile in VALUATIONS]
every_course = pytest.mark.parametrize(("profile", "scenario"), COURSES)


def told(lines: list[Line], teller: Party) -> list[str]:
    """What one VM tells the operator, in order."""
    return [line.text for line in lines if (line.sender, line.receiver) == (teller, Party.OPERATOR)]


def commands(lines: list[Line]) -> list[object]:
    return [line.about for line in lines if line.kind is Kind.COMMAND]


def scenario_of(*acts: Act) -> Scenario:
    return Scenario("made", "Made up.", READY, MappingProxyType({"native": acts}))


@every_course
def test_every_scenario_covers_every_profile(profile: str, scenario: Scenario) -> None:
    lines = record(profile, scenario)
    acts = [line.about for line in lines if line.kind is Kind.ACT]
    assert acts == [act.event for act in scenario.acts[profile]]


def test_a_whole_migration_says_what_qemu_says() -> None:
    lines = record("qemu-7.2", MIGRATION)
    assert told(lines, Party.SOURCE) == [
        "MIGRATION (setup)",
        "UNPLUG_PRIMARY",
        "MIGRATION (wait-unplug)",
        "MIGRATION (active)",
        "STOP",
        "MIGRATION (completed)",
    ]
    assert told(lines, Party.TARGET) == [
        "MIGRATION (setup)",
        "MIGRATION (active)",
        "FAILOVER_NEGOTIATED",
        "RESUME",
        "MIGRATION (completed)",
    ]


def test_a_cancel_that_waits_in_vain_says_what_qemu_says() -> None:
    lines = record("qemu-7.2", LATE_EJECT)
    assert told(lines, Party.SOURCE) == [
        "MIGRATION (setup)",
        "UNPLUG_PRIMARY",
        "MIGRATION (wait-unplug)",
        "MIGRATION (cancelling)",
        "warn: partially unplugged",
        "MIGRATION (cancelled)",
    ]
    assert told(lines, Party.TARGET) == [
        "MIGRATION (setup)",
        "MIGRATION (active)",
        "MIGRATION (failed)",
    ]


def test_the_hand_over_is_two_phase_in_native() -> None:
    lines = record("native", MIGRATION)
    assert [line.about for line in lines if line.kind is Kind.MESSAGE] == [
        Message.HELLO,
        Message.ACCEPT,
        Message.STATE,
        Message.END,
        Message.LOADED,
        Message.COMMIT,
        Message.RUNNING,
    ]


def test_a_message_travels_with_what_was_latched() -> None:
    lines = record("native", MIGRATION)
    (state,) = [line for line in lines if line.about is Message.STATE]
    assert "Standby driver-ok" in state.text
    assert "Feature acked" in state.text
    negotiated = [line.about for line in lines].index(Command.EMIT_FAILOVER_NEGOTIATED)
    assert negotiated > lines.index(state)


def test_a_cancel_in_native_ends_without_an_eject() -> None:
    lines = record("native", CANCEL)
    statuses = [line.about for line in lines if line.sender is Party.SOURCE]
    assert statuses.index(Migration.CANCELLED) > statuses.index(Migration.CANCELLING)
    assert E.GUEST_EJECTS not in statuses
    assert [status for status in statuses if isinstance(status, Primary)][-1] is Primary.PLUGGED


@pytest.mark.parametrize(
    ("profile", "does", "does_not"),
    [
        ("native", Command.REPLUG_PRIMARY, Command.DELETE_PRIMARY),
        ("qemu-7.2", Command.DELETE_PRIMARY, Command.REPLUG_PRIMARY),
    ],
)
def test_a_late_eject_is_answered(profile: str, does: Command, does_not: Command) -> None:
    lines = record(profile, LATE_EJECT)
    after = lines[[line.about for line in lines].index(E.GUEST_EJECTS) :]
    assert does in commands(after)
    assert does_not not in commands(after)


def test_nothing_is_sent_after_the_channel_was_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Message.ABORT in [line.about for line in record("native", CANCEL)]
    monkeypatch.setattr(runtime, "VM_MACHINES", tuple(reversed(VM_MACHINES)))
    with pytest.raises(ScenarioError, match="the source sends ABORT after it closed the channel"):
        record("native", CANCEL)


def test_who_closed_the_channel_does_not_hear_that_it_broke() -> None:
    for profile, scenario in COURSES:
        lines = record(profile, scenario)
        closing = [line.sender for line in lines if line.about is Command.CLOSE_CHANNEL]
        assert len(closing) == len(set(closing))


def test_every_answer_is_one_that_some_row_allows() -> None:
    allowed = {
        (effect.command, answer)
        for spec in VM_MACHINES
        for row in spec.rows
        for effect in row.then
        if isinstance(effect, Do)
        for answer in effect.answers
    }
    assert set(ANSWERS.items()) <= allowed


def test_a_timer_that_was_not_set_cannot_run_out() -> None:
    with pytest.raises(ScenarioError, match="UNPLUG_DEADLINE at the source: its timer was not set"):
        record("native", scenario_of(Act(Side.SOURCE, E.UNPLUG_DEADLINE)))


def test_nobody_connects_where_nobody_listens() -> None:
    with pytest.raises(ScenarioError, match="the source connects, and nobody listens"):
        record("native", scenario_of(Act(Side.SOURCE, E.MIGRATE)))


def test_what_a_table_refuses_is_refused_here() -> None:
    with pytest.raises(RefusedError, match="waiting for an incoming migration"):
        record("native", scenario_of(Act(Side.TARGET, E.MIGRATE)))


@every_course
def test_every_line_is_drawn_in_order(profile: str, scenario: Scenario) -> None:
    lines = record(profile, scenario)
    drawn = to_mermaid(lines, "A title")
    assert drawn.startswith("sequenceDiagram\n    title A title\n")
    at = 0
    for line in lines:
        first_words = line.text.split(",")[0]
        at = drawn.index(first_words, at)
    senders = {line.sender for line in lines} | {line.receiver for line in lines}
    for party in Party:
        assert (f" as {party.value}\n" in drawn) == (party in senders)

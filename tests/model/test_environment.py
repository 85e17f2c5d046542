"""What the environment takes for granted about the tables is so."""

from __future__ import annotations

import pytest

from statemachines.compile import Model
from statemachines.effects import Command
from statemachines.events import E, Origin
from statemachines.ground import Kind
from statemachines.permits import AT_ONCE, MATTERS_IN, PERMITS
from statemachines.policies import VALUATIONS
from statemachines.states import Migration
from statemachines.topology import TOPOLOGIES, topology_named


def test_everything_that_comes_from_outside_needs_a_permit_and_nothing_else_has_one() -> None:
    raised = {event for event in E if event.info.origin is Origin.RAISED}
    lone = {event for event in E if event.name.startswith("VFIO_")}
    assert {permit.event for permit in PERMITS} == set(E) - raised - lone


@pytest.mark.parametrize("profile", VALUATIONS)
def test_a_deadline_that_is_forgotten_could_do_nothing_and_is_armed_anew(profile: str) -> None:
    """Outside of the states named its event is ignored; the way in gives the command again."""
    assert list(MATTERS_IN) == [Command.START_DEADLINE]
    model = Model(topology_named("pair"), VALUATIONS[profile])
    number = model.number(Migration)
    here = list(Migration).index(Migration.WAIT_UNPLUG)
    listeners = {
        (happens, listener.field): listener
        for happens, event in model.events.items()
        for listener in event.listeners
    }
    for (happens, field), listener in listeners.items():
        for value, choices in listener.cells.items():
            if happens.event is E.UNPLUG_DEADLINE and value != here:
                assert all(choice.kind is Kind.IGNORED for choice in choices)
            for choice in choices:
                if field == number and choice.next == here and profile == "native":
                    asked = {getattr(effect, "command", None) for effect in choice.effects}
                    assert Command.START_DEADLINE in asked


def test_what_is_answered_at_once_has_answers() -> None:
    for topology in TOPOLOGIES:
        model = Model(topology, VALUATIONS["native"])
        answered = {command for commands in model.answers.values() for command in commands}
        assert set(AT_ONCE) <= answered

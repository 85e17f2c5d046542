"""The laws a table must keep to be built, each broken once by a small table."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from statemachines.events import E
from statemachines.guards import ALWAYS, In, Per, Policy
from statemachines.refusals import Field
from statemachines.spec import Ignored, MachineSpec, Refused, Row, SpecError
from statemachines.states import Blocker, PauseCapability, ReturnPath, State
from statemachines.system import ALL_MACHINES

OFF, ON = ReturnPath.OFF, ReturnPath.ON
TURN_ON = Row(OFF, E.RETURN_PATH_ON, ON)
BLOCKED = In(Blocker.BLOCKED)


def table(*entries: Row | Ignored | Refused, **fields: Any) -> MachineSpec:
    """A table over the two states of return-path."""
    given: dict[str, Any] = {
        "name": "toy",
        "states": ReturnPath,
        "summary": "",
        "initial": OFF,
        "final": frozenset({ON}),
        "per": Per.VM,
        "rows": tuple(e for e in entries if isinstance(e, Row)),
        "ignored": tuple(e for e in entries if isinstance(e, Ignored)),
        "refused": tuple(e for e in entries if isinstance(e, Refused)),
    }
    return MachineSpec(**{**given, **fields})


def test_a_cell_is_tried_in_the_order_moved_ignored_refused() -> None:
    ignored = Ignored(OFF, E.RETURN_PATH_ON, "no", when=Policy("hotplug", "acpi"))
    refused = Refused(OFF, E.RETURN_PATH_ON, "never")
    row = Row(OFF, E.RETURN_PATH_ON, ON, when=BLOCKED)
    spec = table(refused, ignored, row)
    assert spec.entries(OFF, E.RETURN_PATH_ON) == (row, ignored, refused)


def test_nothing_written_is_illegal() -> None:
    spec = table(TURN_ON)
    assert spec.entries(ON, E.RETURN_PATH_ON) == ()
    assert spec.alphabet == {E.RETURN_PATH_ON}


def test_rows_keep_their_order() -> None:
    first = Row(OFF, E.RETURN_PATH_ON, ON, when=BLOCKED)
    second = Row(OFF, E.RETURN_PATH_ON, None, when=Policy("hotplug", "acpi"))
    assert table(first, second, TURN_ON).entries(OFF, E.RETURN_PATH_ON) == (first, second, TURN_ON)
    assert table(second, first).entries(OFF, E.RETURN_PATH_ON) == (second, first)


@pytest.mark.parametrize(
    ("entries", "law"),
    [
        ((TURN_ON, TURN_ON), "two entries with the guard"),
        ((TURN_ON, Row(OFF, E.RETURN_PATH_ON, None, when=BLOCKED)), "after an entry without"),
        ((TURN_ON, Refused(OFF, E.RETURN_PATH_ON, "no")), "two entries with the guard"),
        ((TURN_ON, Refused(OFF, E.RETURN_PATH_ON, "no", when=BLOCKED)), "after an entry without"),
        ((TURN_ON, Ignored(OFF, E.RETURN_PATH_ON, "no")), "two entries with the guard"),
        ((TURN_ON, Row(PauseCapability.OFF, E.PAUSE_ON, None)), "not a state"),
        ((TURN_ON, Ignored(PauseCapability.OFF, E.PAUSE_ON, "no")), "not a state"),
        ((TURN_ON, Refused(PauseCapability.OFF, E.PAUSE_ON, "no")), "not a state"),
        ((Row(OFF, E.RETURN_PATH_ON, PauseCapability.ON),), "next state"),
        ((Row(OFF, E.RETURN_PATH_ON, None),), "no row leads to ON"),
        ((Row(ON, E.RETURN_PATH_ON, ON),), "no row leads to ON"),
    ],
)
def test_a_broken_table_is_no_table(entries: tuple[Any, ...], law: str) -> None:
    with pytest.raises(SpecError, match=f"^toy.*{law}"):
        table(*entries)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("no '%s'", ()),
        ("no", (Field.BUS,)),
        ("%s of %s", (Field.BUS,)),
        ("%d of %s", (Field.BUS, Field.DEVICE)),
        ("100 % full", ()),
    ],
)
def test_a_refusal_has_a_field_for_each_blank(text: str, fields: tuple[Field, ...]) -> None:
    with pytest.raises(SpecError, match="needs one '%s' for each field"):
        Refused(OFF, E.RETURN_PATH_ON, text, fields)


def test_a_refusal_is_told_with_its_fields_in_their_order() -> None:
    values = {Field.BUS: "root1", Field.DEVICE: "pri0", Field.STANDBY: "net1"}
    refused = Refused(OFF, E.RETURN_PATH_ON, "%s has no %s", (Field.BUS, Field.DEVICE))
    assert refused.told(values) == "root1 has no pri0"
    with pytest.raises(KeyError):
        refused.told({Field.BUS: "root1"})


def test_a_state_that_is_not_final_has_a_way_out() -> None:
    stays = Row(ON, E.RETURN_PATH_OFF, ON)
    with pytest.raises(SpecError, match=r"^toy: no row leads out of ON"):
        table(TURN_ON, stays, final=frozenset())
    assert table(TURN_ON, stays).final == {ON}


@pytest.mark.parametrize(
    "fields", [{"initial": PauseCapability.OFF}, {"final": frozenset({PauseCapability.OFF})}]
)
def test_initial_and_final_are_states_of_the_lifecycle(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="not a state"):
        table(TURN_ON, **fields)


@pytest.mark.parametrize(
    "sweeping",
    [
        Ignored(tuple(ReturnPath), E.RETURN_PATH_ON, "on already"),
        Ignored(OFF, (E.RETURN_PATH_ON, E.RETURN_PATH_OFF), "on already"),
        Refused(tuple(ReturnPath), E.RETURN_PATH_ON, "on already"),
    ],
)
def test_a_sweep_leaves_decided_cells_alone(sweeping: Ignored | Refused) -> None:
    spec = table(TURN_ON, sweeping)
    assert spec.entries(OFF, E.RETURN_PATH_ON) == (TURN_ON,)
    swept = {(state, event) for state in sweeping.states for event in sweeping.events}
    for cell in swept - {(OFF, E.RETURN_PATH_ON)}:
        assert spec.entries(*cell) == (sweeping,)


def test_a_row_never_sweeps() -> None:
    with pytest.raises(SpecError, match="two entries"):
        table(TURN_ON, Row(tuple(ReturnPath), E.RETURN_PATH_ON, ON))


def test_a_sweep_comes_after_guarded_entries() -> None:
    guarded = dataclasses.replace(TURN_ON, when=BLOCKED)
    swept = Ignored(tuple(ReturnPath), E.RETURN_PATH_ON, "not now")
    assert table(guarded, swept).entries(OFF, E.RETURN_PATH_ON) == (guarded, swept)


def test_every_lifecycle_has_one_table() -> None:
    tabled = [spec.states for spec in ALL_MACHINES]
    assert len(tabled) == len(set(tabled))
    lifecycles = {each for each in State.__subclasses__() if each.__module__ == State.__module__}
    assert set(tabled) == lifecycles


@pytest.mark.parametrize("spec", ALL_MACHINES, ids=lambda spec: spec.name)
def test_every_table_can_say_something_in_every_state(spec: MachineSpec) -> None:
    assert {state for state, _ in spec.cells} == set(spec.states)


@pytest.mark.parametrize("spec", ALL_MACHINES, ids=lambda spec: spec.name)
def test_no_entry_is_swept_away_everywhere(spec: MachineSpec) -> None:
    """An entry that stands in no cell says nothing: it is a mistake, not a sweep."""
    standing = {id(entry) for entries in spec.cells.values() for entry in entries}
    entries = (*spec.rows, *spec.ignored, *spec.refused)
    assert [entry for entry in entries if id(entry) not in standing] == []


@pytest.mark.parametrize("spec", ALL_MACHINES, ids=lambda spec: spec.name)
def test_every_command_is_answered_in_every_state(spec: MachineSpec) -> None:
    """Whatever the guards say: it is taken, ignored with a reason, or refused with a text.

    `migrate` has a refusal for each part of its guard instead; the walks ask it everywhere.
    """
    commands = {E.MIGRATE, E.CANCEL, E.CONTINUE, E.INCOMING, E.STOP, E.CONT, E.SYSTEM_RESET}
    commands |= {E.DEVICE_ADD, E.DEVICE_ADD_MISPLACED, E.DEVICE_DEL, E.KEEP_HERE, E.KEEP_THERE}
    commands |= {E.RETURN_PATH_ON, E.RETURN_PATH_OFF, E.PAUSE_ON, E.PAUSE_OFF}
    for event in commands:
        if event.info.owner is not spec.states:
            continue
        for state in spec.states:
            last = spec.entries(state, event)[-1:]
            answered = bool(last) and (last[0].when == ALWAYS or event is E.MIGRATE)
            assert answered, f"{event.name} in {state.name}"

"""The laws across tables, each broken once by a small system; and what holds for the real one."""

from __future__ import annotations

from typing import Any

import pytest

from statemachines.effects import RECEIVED_AS, Command, Do, Effect, Message, Raise, Send, do
from statemachines.events import E, Origin
from statemachines.guards import Guard, In, Latched, Mine, Per, Policy, Sibling, Some
from statemachines.spec import MachineSpec, Row, SpecError
from statemachines.states import Feature, Hidden, Partial, Primary, ReturnPath, State
from statemachines.system import ALL_MACHINES, LONE_MACHINES, VM_MACHINES, spec_of
from statemachines.tables.handover import TAKEOVER
from statemachines.validate import check_system


def table(states: type[State], per: Per, *rows: Row, **fields: Any) -> MachineSpec:
    """A table whose states are all reached, by rows that nothing else looks at."""
    first, *others = tuple(states)
    reaching = tuple(Row(first, E.VFIO_RESET, s, when=In(s)) for s in others)
    return MachineSpec(
        name=states.__name__.lower(),
        states=states,
        summary="",
        initial=first,
        final=frozenset(others),
        per=per,
        rows=(*reaching, *rows),
        **fields,
    )


def lone(*rows: Row) -> MachineSpec:
    """The owner of the events of return-path and of VFIO_RESET's stand-in."""
    return table(ReturnPath, Per.VM, *rows)


OWNER_OF_RESET = spec_of(E.VFIO_RESET.info.owner)
ALLOWED = Row(tuple(ReturnPath), E.RETURN_PATH_ON, None)


def broken(*specs: MachineSpec) -> str:
    """Return what `check_system` says of a system."""
    with pytest.raises(SpecError) as caught:
        check_system((OWNER_OF_RESET, *specs))
    return str(caught.value)


def test_a_sound_system_passes() -> None:
    check_system((OWNER_OF_RESET, lone(ALLOWED)))
    check_system(ALL_MACHINES)


def test_a_command_has_an_answer_wherever_it_is_given() -> None:
    told = "returnpath: RETURN_PATH_ON in ON may have no answer"
    assert told in broken(lone(Row(ReturnPath.OFF, E.RETURN_PATH_ON, None)))
    sometimes = Row(ReturnPath.ON, E.RETURN_PATH_ON, None, when=In(ReturnPath.OFF))
    assert told in broken(lone(Row(ReturnPath.OFF, E.RETURN_PATH_ON, None), sometimes))


def test_an_event_has_an_owner_in_the_system() -> None:
    assert "listens to BLOCK, which nobody allows" in broken(
        lone(Row(ReturnPath.OFF, E.BLOCK, None))
    )


def test_an_owner_has_to_say_something_about_its_event() -> None:
    listener = table(Partial, Per.PRIMARY, Row(Partial.WHOLE, E.RETURN_PATH_ON, None))
    assert "nobody allows" in broken(lone(), listener)


def test_an_event_of_the_vm_cannot_be_owned_by_one_primary_of_several() -> None:
    """Which of them would decide?"""
    assert "has no one owner" in broken(
        table(Primary, Per.PRIMARY, Row(Primary.ABSENT, E.DEVICE_ADD, None)),
        table(Feature, Per.PRIMARY, Row(Feature.ACKED, E.NEGOTIATED, None)),
    )


@pytest.mark.parametrize(
    "guard", [In(Partial.WHOLE), Mine(In(Partial.WHOLE)), Latched(Partial.WHOLE)]
)
def test_a_guard_says_of_which_instance(guard: Guard) -> None:
    guarded = Row(ReturnPath.ON, E.RETURN_PATH_ON, None, guard)
    assert "of which instance?" in broken(lone(guarded), table(Partial, Per.PRIMARY))


def test_a_standby_has_no_sibling() -> None:
    guarded = Row(Hidden.HIDDEN, E.NEGOTIATED, None, when=Sibling(In(Partial.WHOLE)))
    owner = table(Feature, Per.STANDBY, Row(Feature.ACKED, E.NEGOTIATED, None))
    listener = table(Hidden, Per.STANDBY, guarded)
    assert "of which instance?" in broken(owner, listener, table(Partial, Per.PRIMARY))


def test_a_guard_reads_tables_of_the_system() -> None:
    row = Row(ReturnPath.OFF, E.RETURN_PATH_ON, None, when=Some(In(Partial.WHOLE)))
    assert "reads Partial" in broken(lone(row))


@pytest.mark.parametrize("policy", [Policy("hotplug", "magic"), Policy("colour", "blue")])
def test_a_guard_names_policies_and_values_that_exist(policy: Policy) -> None:
    assert "no policy" in broken(lone(Row(ReturnPath.OFF, E.RETURN_PATH_ON, None, when=policy)))


@pytest.mark.parametrize(
    ("effect", "law"),
    [
        (Raise(E.ABANDON), "causes ABANDON, owned by nobody"),
        (Raise(E.RETURN_PATH_ON), "RETURN_PATH_ON cannot be raised"),
        (do(Command.CONNECT, E.CONNECTED), "causes CONNECTED, owned by nobody"),
        (do(Command.CONNECT, E.RETURN_PATH_ON), "RETURN_PATH_ON cannot answer"),
        (Send(Message.HELLO), "causes RECV_HELLO, owned by nobody"),
        (Send(Message.STATE), "causes RECV_STATE, owned by nobody"),
    ],
    ids=str,
)
def test_what_a_row_causes_is_owned_and_may_be_caused(effect: Effect, law: str) -> None:
    row = Row(ReturnPath.OFF, E.RETURN_PATH_ON, None, then=(effect,))
    assert law in broken(lone(row))


def test_the_vm_raises_no_event_of_one_standby() -> None:
    owner = table(Feature, Per.STANDBY, Row(Feature.ACKED, E.NEGOTIATED, None))
    row = Row(ReturnPath.OFF, E.RETURN_PATH_ON, None, then=(Raise(E.NEGOTIATED),))
    assert "raises NEGOTIATED" in broken(lone(row), owner)


def test_what_a_guard_expects_in_a_message_is_carried_by_it() -> None:
    row = Row(ReturnPath.OFF, E.RETURN_PATH_ON, None, when=Latched(ReturnPath.ON))
    assert "no message carries it" in broken(lone(row))


def test_what_a_message_carries_is_read() -> None:
    toy = table(
        ReturnPath,
        Per.VM,
        Row(ReturnPath.OFF, E.RETURN_PATH_ON, None, then=(Send(Message.HELLO, (ReturnPath,)),)),
    )
    takes = table(type(TAKEOVER.initial), Per.VM, Row(TAKEOVER.initial, E.RECV_HELLO, None))
    assert "nobody reads it" in broken(toy, takes)


# -- the real system


def test_the_sizes_are_known() -> None:
    """A new event, message or command has to be thought of by the world, engine and drawings."""
    assert len(E) == 102
    assert len(Message) == len(RECEIVED_AS) == 10
    assert len(Command) == 33
    assert len(VM_MACHINES) == 21
    assert LONE_MACHINES == (OWNER_OF_RESET,)


def test_every_event_is_said_something_about_by_its_owner() -> None:
    silent = {event for event in E if event not in spec_of(event.info.owner).alphabet}
    assert silent == set()


def test_every_raised_event_is_raised_and_every_message_sent() -> None:
    effects = [effect for spec in ALL_MACHINES for row in spec.rows for effect in row.then]
    raised = {effect.event for effect in effects if isinstance(effect, Raise)}
    assert raised == {event for event in E if event.info.origin is Origin.RAISED}
    assert {effect.message for effect in effects if isinstance(effect, Send)} == set(Message)
    assert {effect.command for effect in effects if isinstance(effect, Do)} == set(Command)


def test_every_answer_answers_a_command() -> None:
    answers = {
        answer
        for spec in ALL_MACHINES
        for row in spec.rows
        for effect in row.then
        if isinstance(effect, Do)
        for answer in effect.answers
    }
    origin = {event for event in E if event.info.origin is Origin.ANSWER}
    assert origin <= answers
    assert answers - origin == {E.POLL, E.UNPLUG_DEADLINE, E.CANCEL_WAIT_OVER}


def test_one_command_always_has_the_same_answers() -> None:
    declared: dict[Command, set[frozenset[E]]] = {}
    for spec in ALL_MACHINES:
        for row in spec.rows:
            for effect in row.then:
                if isinstance(effect, Do):
                    declared.setdefault(effect.command, set()).add(effect.answers)
    assert [command for command, answers in declared.items() if len(answers) > 1] == []

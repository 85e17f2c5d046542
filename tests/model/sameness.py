"""Do changed tables behave as the tables do, as far as these were ever asked?

A search asks of the tables what each action does to each combination of the fields that it can
touch; there are a few thousand such cases in a system of a million states. Where changed tables
answer every one of them alike, a search of them would find the same states by the same edges.
"""

from __future__ import annotations

from statemachines.actions import Action, actions_of
from statemachines.checker.layout import Layout
from statemachines.checker.local import LocalSpace
from statemachines.checker.steps import Stepper
from statemachines.checker.workings import Cases, Workings
from statemachines.compile import Model
from statemachines.spec import MachineSpec

Asks = tuple[object, ...]


def answers_alike(spaces: tuple[LocalSpace, ...], machines: tuple[MachineSpec, ...]) -> bool:
    """Say whether machines answer alike whatever was asked in a finished search of these spaces.

    False also where they are too different to be asked the same.
    """
    held = spaces[0].model
    model = Model(held.topology, held.policies, machines)
    layout, stepper = Layout(model), Stepper(model)
    if [field.name for field in model.fields] != [field.name for field in held.fields]:
        return False
    if layout.where != spaces[0].layout.where or model.carried != held.carried:
        return False
    return all(_alike(space, Workings(model, space.side, stepper, space.ops)) for space in spaces)


def _alike(space: LocalSpace, workings: Workings) -> bool:
    model, stepper = workings.model, workings.stepper
    before = [asks(action) for action in actions_of(space.model, space.side)]
    if before != [asks(action) for action in actions_of(model, space.side)]:
        return False
    for (number, content), cases in space.cases.items():
        action = space.labels[number].what
        assert isinstance(action, Action)
        touched = space.layout.mask_of(stepper.touched(action.happens))
        if any(new & ~old for new, old in zip(touched, space.parts[number].mask, strict=True)):
            return False
        if not _answers(space, workings, action, content, cases):
            return False
    return True


def asks(action: Action) -> Asks:
    """Return all that an action asks for: what makes two of them the same."""
    return (
        *(action.happens, action.answers, action.guard, action.peer, action.need),
        *(action.toll, action.clears, action.fair),
    )


def _answers(
    space: LocalSpace, workings: Workings, action: Action, content: int, cases: Cases
) -> bool:
    heard = workings.heard(content)
    columns = [cases.words[name].tolist() for name in cases.words.names]
    known = zip(cases.numbers["status"].tolist(), cases.numbers["op"].tolist(), strict=True)
    for before, words, (status, op) in zip(
        cases.before, zip(*columns, strict=True), known, strict=True
    ):
        now, after, does, _ = workings.case(action, before, heard)
        if (now, tuple(space.layout.packed(after)), does) != (status, words, op):
            return False
    return True

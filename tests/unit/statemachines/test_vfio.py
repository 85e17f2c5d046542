"""VFIO migration v2: every cell against the kernel's table, and against the rule behind it."""

from __future__ import annotations

from collections import deque

import pytest

from statemachines.events import E
from statemachines.spec import Ignored, Refused, Row
from statemachines.states import VfioMigration as V
from statemachines.tables.vfio import VFIO_MIGRATION, WANT

S, R, PC, PP, SC, RE, RP = (
    V.STOP,
    V.RUNNING,
    V.PRE_COPY,
    V.PRE_COPY_P2P,
    V.STOP_COPY,
    V.RESUMING,
    V.RUNNING_P2P,
)
WANTED = (S, R, PC, PP, SC, RE, RP)
X = None
#: vfio_mig_get_next_state with P2P and PRE_COPY: rows current, columns wanted, X is -EINVAL.
KERNEL: dict[V, tuple[V | None, ...]] = {
    S: (S, RP, RP, RP, SC, RE, RP),
    R: (RP, R, PC, RP, RP, RP, RP),
    PC: (R, R, PC, PP, PP, R, R),
    PP: (RP, RP, PC, PP, SC, RP, RP),
    SC: (S, S, X, X, SC, S, S),
    RE: (S, S, S, S, S, RE, S),
    RP: (S, R, R, PP, S, S, RP),
    V.ERROR: (X, X, X, X, X, X, X),
}
#: The arcs a driver implements (uapi vfio.h).
ARCS: dict[V, tuple[V, ...]] = {
    S: (SC, RE, RP),
    R: (RP, PC),
    PC: (R, PP),
    PP: (PC, RP, SC),
    SC: (S,),
    RE: (S,),
    RP: (S, R, PP),
    V.ERROR: (),
}
SAVING = {PC, PP, SC}
CELLS = [(state, want) for state in V for want in WANTED]


def step(state: V, want: V) -> V | None:
    """Return where the table goes from a state when another is wanted; None where it refuses."""
    (entry,) = VFIO_MIGRATION.entries(state, WANT[want])
    match entry:
        case Row(next=V() as after):
            return after
        case Ignored():
            return state
        case _:
            assert isinstance(entry, Refused)
            return None


def shortest_paths(state: V, want: V) -> list[tuple[V, ...]]:
    """Return all shortest paths of arcs that the kernel would walk.

    The saving group is one session: a path within it does not leave it, any other has no state of
    it in its interior.
    """
    within = {state, want} <= SAVING
    queue, found = deque[tuple[V, ...]]([(state,)]), list[tuple[V, ...]]()
    while queue:
        path = queue.popleft()
        if found and len(path) >= len(found[0]):
            break
        for after in ARCS[path[-1]]:
            if after is want:
                found.append((*path, after))
            elif after not in path and (after in SAVING) is within:
                queue.append((*path, after))
    return found


@pytest.mark.parametrize(("state", "want"), CELLS)
def test_a_cell_is_the_kernel_s(state: V, want: V) -> None:
    assert step(state, want) is KERNEL[state][WANTED.index(want)]


@pytest.mark.parametrize(("state", "want"), CELLS)
def test_a_cell_is_the_first_arc_of_the_path(state: V, want: V) -> None:
    if state is want:
        assert step(state, want) is state
        return
    firsts = {path[1] for path in shortest_paths(state, want)}
    assert len(firsts) <= 1, "the rule leaves one choice"
    assert step(state, want) is (firsts.pop() if firsts else None)


@pytest.mark.parametrize(("state", "want"), CELLS)
def test_asking_again_arrives(state: V, want: V) -> None:
    here: V | None = state
    for _ in range(len(V)):
        if here is None or here is want:
            break
        here = step(here, want)
    assert here is (None if step(state, want) is None else want)


def test_error_is_left_by_reset_alone() -> None:
    for state in V:
        (entry,) = VFIO_MIGRATION.entries(state, E.VFIO_RESET)
        assert isinstance(entry, Row)
        assert entry.next is R
        assert all(isinstance(e, Refused) for e in VFIO_MIGRATION.entries(state, E.VFIO_WANT_ERROR))
        faults = VFIO_MIGRATION.entries(state, E.VFIO_FAULT)
        assert len(faults) == (state is not V.ERROR)

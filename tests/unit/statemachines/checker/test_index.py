"""The visited set against a plain dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from statemachines.checker.index import Index

#: Few different keys, so that batches repeat them; and keys that share their home slot.
KEYS = st.one_of(
    st.integers(0, 40),
    st.integers(0, 40).map(lambda n: n << 40),
    st.integers(0, (1 << 64) - 2),
)


@given(st.lists(st.lists(KEYS, max_size=60), max_size=8))
def test_numbers_are_those_of_first_meeting_and_survive_growth(batches: list[list[int]]) -> None:
    index = Index(piece=4)
    known: dict[int, int] = {}
    for batch in batches:
        numbers = index.intern(np.array(batch, np.uint64)).tolist()
        for key, number in zip(batch, numbers, strict=True):
            assert known.setdefault(key, number) == number
    assert sorted(known.values()) == list(range(len(known)))
    assert len(index) == len(known)
    assert [known[key] for key in index.keys.tolist()] == list(range(len(known)))


@given(st.lists(KEYS, max_size=60), st.lists(KEYS, max_size=60))
def test_find_knows_only_what_was_interned(kept: list[int], others: list[int]) -> None:
    index = Index(piece=4)
    index.intern(np.array(kept, np.uint64))
    found = index.find(np.array(kept + others, np.uint64)).tolist()
    assert all(number >= 0 for number in found[: len(kept)])
    assert [number >= 0 for number in found[len(kept) :]] == [key in kept for key in others]


def test_many_keys_in_one_batch() -> None:
    keys = np.arange(100_000, dtype=np.uint64) * np.uint64(977)
    index = Index(piece=8)
    numbers = index.intern(keys)
    assert sorted(numbers.tolist()) == list(range(100_000))
    assert (index.intern(keys) == numbers).all()
    assert (index.keys[numbers] == keys).all()

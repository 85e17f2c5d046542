"""devices.page_runs, zero_pages: runs are sets of pages, and their arithmetic is that of sets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from devices.page_runs import (
    Runs,
    difference,
    indexes_of,
    intersection,
    one_run,
    page_count,
    runs_of,
    runs_of_marks,
    split,
    union,
)
from devices.ram import PAGE_WORDS
from devices.zero_pages import nonzero_marks

PAGES = 24
pages = st.sets(st.integers(0, PAGES - 1))


def as_runs(numbers: set[int]) -> Runs:
    return runs_of(np.array(sorted(numbers), dtype=np.int64))


def as_set(runs: Runs) -> set[int]:
    """Read runs one by one, holding them to the rules."""
    assert runs.dtype == np.int64
    assert runs.shape == (len(runs), 2)
    found: list[int] = []
    end_before = -1
    for first, end in runs.tolist():
        assert end_before < first < end
        found += range(first, end)
        end_before = end
    return set(found)


@given(pages)
def test_runs_indexes_and_marks_say_the_same(numbers: set[int]) -> None:
    runs = as_runs(numbers)
    assert as_set(runs) == numbers
    assert indexes_of(runs).tolist() == sorted(numbers)
    assert page_count(runs) == len(numbers)
    marks = np.isin(np.arange(PAGES), sorted(numbers))
    assert runs_of_marks(marks).tolist() == runs.tolist()


@given(pages, pages)
def test_their_arithmetic_is_that_of_sets(some: set[int], others: set[int]) -> None:
    left, right = as_runs(some), as_runs(others)
    assert as_set(union(left, right)) == some | others
    assert as_set(intersection(left, right)) == some & others
    assert as_set(difference(left, right)) == some - others


@given(pages, pages)
def test_marks_divide_runs(numbers: set[int], marked: set[int]) -> None:
    runs = as_runs(numbers)
    marks = np.array([page in marked for page in sorted(numbers)], dtype=np.bool_)
    first, second = split(runs, marks)
    assert as_set(first) == numbers & marked
    assert as_set(second) == numbers - marked


@given(pages, st.dictionaries(st.integers(0, PAGES - 1), st.integers(0, PAGE_WORDS - 1)))
def test_a_page_has_contents_when_any_word_has(numbers: set[int], words: dict[int, int]) -> None:
    rows = np.zeros((PAGES, PAGE_WORDS), dtype=np.uint64)
    for page, word in words.items():
        rows[page, word] = 1 << 63
    marks = nonzero_marks(rows, as_runs(numbers))
    assert marks.tolist() == [page in words for page in sorted(numbers)]


def test_no_pages_are_no_run() -> None:
    assert one_run(3, 3).shape == (0, 2)
    assert one_run(3, 5).tolist() == [[3, 5]]

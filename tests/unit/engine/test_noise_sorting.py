"""engine.noise_sorting: which pages go into which frame where RAM is compressed."""

from __future__ import annotations

import numpy as np
import pytest

from devices.page_runs import Runs, indexes_of, one_run, page_count, runs_of
from devices.ram import PAGE_BYTES
from engine.noise_sorting import NoiseSorting

PAGES = 5000
FRAME_PAGES = 512
#: Pages in a row, and with gaps: more runs than are looked at where they are.
WHOLE = one_run(10, PAGES)
SCATTERED = runs_of(np.flatnonzero(np.random.default_rng(2).random(PAGES) < 0.9))

_ZERO, _TEXT, _NOISE = range(3)


def ram(kinds: np.ndarray) -> np.ndarray:
    rows = np.zeros((PAGES, PAGE_BYTES), dtype=np.uint8)
    random = np.random.default_rng(3)
    rows[kinds == _TEXT] = np.frombuffer(b"text" * (PAGE_BYTES // 4), dtype=np.uint8)
    for page in np.flatnonzero(kinds == _NOISE):
        # All bytes, each as often as any other, in some order: this does look like noise.
        rows[page] = random.permutation(np.tile(np.arange(256, dtype=np.uint8), 16))
    return rows


def drained(sorting: NoiseSorting) -> list[tuple[Runs, bool]]:
    frames: list[tuple[Runs, bool]] = []
    while True:
        runs, is_noise = sorting.next()
        if not len(runs):
            return frames
        frames.append((runs, is_noise))


@pytest.mark.parametrize("which", [WHOLE, SCATTERED], ids=["whole", "scattered"])
@pytest.mark.parametrize("shares", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.25, 0.25)], ids=str)
def test_each_page_is_in_one_frame_of_its_kind_or_told_to_be_zero(
    which: Runs, shares: tuple[float, float, float]
) -> None:
    kinds = np.random.default_rng(4).choice(3, PAGES, p=shares)
    sorting = NoiseSorting(ram(kinds), which, np.empty((FRAME_PAGES, PAGE_BYTES), dtype=np.uint8))
    frames = drained(sorting)
    named = [*sorting.zeros, *(runs for runs, _ in frames)]
    pages = np.concatenate([indexes_of(runs) for runs in named])
    assert np.array_equal(np.sort(pages), indexes_of(which))
    assert all((kinds[indexes_of(runs)] == _ZERO).all() for runs in sorting.zeros)
    noise = [kinds[indexes_of(runs)] for runs, is_noise in frames if is_noise]
    others = [kinds[indexes_of(runs)] for runs, is_noise in frames if not is_noise]
    assert all((some == _NOISE).all() for some in noise)
    assert all((some != _ZERO).all() for some in others)
    # It is a guess: one page of noise in fifty is not seen to be some.
    missed = sum(int(np.count_nonzero(some == _NOISE)) for some in others)
    assert missed <= 0.1 * np.count_nonzero(kinds == _NOISE)
    # Frames are full while there is enough of a kind.
    sizes = [page_count(runs) for runs, _ in frames]
    assert all(size == FRAME_PAGES for size in sizes[:-2])

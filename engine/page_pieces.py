"""Pages as pieces to look at: many in a row where they are, scattered ones brought together.

What may live here: how pages are handed to whoever sorts them. Starting numpy costs as much as
looking at a few pages, so each piece has as many as the caches bear.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from devices.page_copies import Pages, gather
from devices.page_runs import Runs, page_count
from engine.wire_runs import RunQueue

#: Which pages, and these, a row each: good until the next piece is asked for.
SomePages: TypeAlias = tuple[Runs, Pages]

#: So many pages in a row are looked at in one go: zeros took a fifth longer 512 at a time.
LOOK_PAGES = 2048


def in_pieces(rows: Pages, runs: Runs, scratch: Pages) -> Iterator[SomePages]:
    """Yield the pages of `runs` among `rows`, by way of `scratch` where they are scattered."""
    queue = RunQueue(runs)
    while len(queue):
        some = queue.take(LOOK_PAGES)
        if len(some) == 1:
            yield some, rows[some[0, 0] : some[0, 1]]
        else:
            yield from _brought_together(rows, some, scratch)


def _brought_together(rows: Pages, runs: Runs, scratch: Pages) -> Iterator[SomePages]:
    queue = RunQueue(runs)
    while len(queue):
        some = queue.take(len(scratch))
        pages = scratch[: page_count(some)]
        gather(rows, some, pages)
        yield some, pages

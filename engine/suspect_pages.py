"""Pages at the target that are not what their sums say, and may not stay so.

What may live here: the set of them. A page of LivePages that its guest wrote to while it was under
way arrives as neither the old nor the new one. It is dirty at the source then, comes again in a
later pass, and is right by the last one, when the guest has stopped. A page that was damaged on the
way looks the same here, but does not come again. So: whatever is still suspect when the stream ends
was damaged, and a VM with such a page is not run.

Channels take RAM in threads of their own, and any of them may call this: where there are some, the
driver gives it a lock.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np

from devices.page_runs import Marks, Runs, difference, one_run, page_count, split, union
from devices.page_sums import page_sums
from engine.errors import ChecksumMismatch
from engine.shapes import BytesLike

_NONE = one_run(0, 0)


def wrong_marks(data: memoryview, sums: BytesLike) -> Marks:
    """Say for each of some pages whether it is not what its sum says."""
    said = np.frombuffer(sums, dtype="<u8")
    pages = np.frombuffer(data, dtype=np.uint8).reshape(said.size, -1)
    marks: Marks = page_sums(pages) != said
    return marks


class SuspectPages:
    """The suspect pages of one incoming stream."""

    def __init__(self, lock: AbstractContextManager[object] | None = None) -> None:
        """Begin with none; `lock` is held while the set changes."""
        self._runs = _NONE
        self._lock = lock or nullcontext()

    @property
    def pages(self) -> int:
        """How many there are."""
        return page_count(self._runs)

    def came(self, runs: Runs, wrong: Marks | None = None) -> None:
        """Take note that pages have come, in order, and which of them are wrong; None: none."""
        is_wrong = wrong is not None and wrong.any()
        with self._lock:
            if len(self._runs):
                self._runs = difference(self._runs, runs)
            if is_wrong:
                assert wrong is not None
                self._runs = union(self._runs, split(runs, wrong)[0])

    def check(self) -> None:
        """Raise ChecksumMismatch if there are any: nothing more comes."""
        if len(self._runs):
            raise ChecksumMismatch(
                expected="all pages as their sums say",
                came=f"{self.pages} that are not, the first of them page {int(self._runs[0, 0])}",
                remedy="check the transport, unless the source had given up; then migrate again",
            )

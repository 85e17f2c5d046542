"""A table that grows by whole arrays: named columns of one type.

Rules kept here: a column is a view of what is there; it is stale after the next growth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Rows:
    """Columns by name, all of one length."""

    def __init__(self, names: tuple[str, ...], kind: Any) -> None:
        self.names = names
        self._columns = {name: np.empty(64, kind) for name in names}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name][: self._count]

    def extend(self, *columns: npt.NDArray[Any]) -> None:
        """Add rows, given by their columns."""
        count = self._count + len(columns[0])
        for name, column in zip(self.names, columns, strict=True):
            held = self._columns[name]
            if count > len(held):
                grown = np.empty(max(count, 2 * len(held)), held.dtype)
                grown[: self._count] = held[: self._count]
                self._columns[name] = held = grown
            held[self._count : count] = column
        self._count = count

    def append(self, *values: int) -> None:
        """Add one row."""
        self.extend(*(np.array([value], self._columns[self.names[0]].dtype) for value in values))

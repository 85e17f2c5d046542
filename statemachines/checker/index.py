"""An exact table from 64-bit keys to dense numbers, vectorised: the checker's visited set.

Rules kept here: keys are compared whole, never by hash alone. Numbers are given in the order in
which keys are first met, so that a run is repeatable.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]

_EMPTY = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)


class Index:
    """Key -> number; open addressing, kept at most half full."""

    def __init__(self, bits: int = 12) -> None:
        self._allocate(bits)
        self._keys = np.empty(1 << bits, np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def keys(self) -> Keys:
        """Every key, by number."""
        return self._keys[: self._count]

    def _allocate(self, bits: int) -> None:
        self._shift = np.uint64(64 - bits)
        self._mask = (1 << bits) - 1
        self._slots = np.full(1 << bits, _EMPTY)
        self._numbers = np.zeros(1 << bits, np.int32)
        self._owners = np.zeros(1 << bits, np.int32)

    def _home(self, keys: Keys) -> npt.NDArray[np.int64]:
        mixed = keys ^ (keys >> np.uint64(32))
        return ((mixed * _MIX) >> self._shift).astype(np.int64)

    def intern(self, keys: Keys) -> Numbers:
        """Return the number of each key, giving new ones to keys not met before.

        A key of all ones is not allowed. Keys may repeat.
        """
        self._make_room(self._count + len(keys))
        found = np.empty(len(keys), np.int32)
        slots = self._home(keys)
        rest = np.arange(len(keys), dtype=np.int32)
        while len(rest):
            here = self._slots[slots]
            empty = here == _EMPTY
            if empty.any():
                self._claim(keys, slots[empty], rest[empty])
                here = self._slots[slots]
            hit = here == keys[rest]
            found[rest[hit]] = self._numbers[slots[hit]]
            miss = ~hit
            rest = rest[miss]
            slots = (slots[miss] + 1) & self._mask
        return found

    def _claim(self, keys: Keys, slots: npt.NDArray[np.int64], rest: Numbers) -> None:
        wanted = keys[rest]
        self._slots[slots] = wanted
        won = self._slots[slots] == wanted
        slots, rest = slots[won], rest[won]
        # Of several equal keys, the one met first gives the number.
        self._owners[slots[::-1]] = rest[::-1]
        first = self._owners[slots] == rest
        slots, rest = slots[first], rest[first]
        new = np.arange(self._count, self._count + len(rest), dtype=np.int32)
        self._numbers[slots] = new
        self._keys[self._count : self._count + len(rest)] = keys[rest]
        self._count += len(rest)

    def find(self, keys: Keys) -> Numbers:
        """Return the number of each key, or -1 where it was never met."""
        found = np.full(len(keys), -1, np.int32)
        slots = self._home(keys)
        rest = np.arange(len(keys), dtype=np.int32)
        while len(rest):
            here = self._slots[slots]
            hit = here == keys[rest]
            found[rest[hit]] = self._numbers[slots[hit]]
            go_on = ~hit & (here != _EMPTY)
            rest = rest[go_on]
            slots = (slots[go_on] + 1) & self._mask
        return found

    def _make_room(self, count: int) -> None:
        if count > len(self._keys):
            grown = np.empty(max(count, 2 * len(self._keys)), np.uint64)
            grown[: self._count] = self.keys
            self._keys = grown
        if 2 * count <= self._mask + 1:
            return
        self._allocate((2 * count - 1).bit_length() + 1)
        self._place_again()

    def _place_again(self) -> None:
        """Put every key, with the number it has, into slots that have just been allocated."""
        slots = self._home(self.keys)
        rest = np.arange(self._count, dtype=np.int32)
        while len(rest):
            empty = self._slots[slots] == _EMPTY
            self._slots[slots[empty]] = self._keys[rest[empty]]
            here = self._slots[slots] == self._keys[rest]
            self._numbers[slots[here]] = rest[here]
            slots = (slots[~here] + 1) & self._mask
            rest = rest[~here]

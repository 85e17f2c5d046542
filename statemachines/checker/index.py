"""An exact table from 64-bit keys to dense numbers, vectorised: the checker's visited set.

Rules kept here: keys are compared whole, never by hash alone. Numbers are given in the order in
which keys are first met, so that a run is repeatable.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int32]

_EMPTY = np.int32(-1)
_MIX = np.uint64(0x9E37_79B9_7F4A_7C15)
#: A small table need not have room for a large batch.
_PIECE = 1 << 14


class Index:
    """Key -> number; open addressing, kept at most half full."""

    def __init__(self, piece: int = _PIECE) -> None:
        """`piece` is how many keys are taken in at a time: also the least room there is."""
        self._piece = piece
        self._allocate(piece.bit_length())
        self._keys = np.empty(piece, np.uint64)
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
        #: Slot -> number of the key that is there.
        self._table = np.full(1 << bits, _EMPTY)

    def _home(self, keys: Keys) -> npt.NDArray[np.int64]:
        mixed = keys ^ (keys >> np.uint64(32))
        return ((mixed * _MIX) >> self._shift).astype(np.int64)

    def intern(self, keys: Keys) -> Numbers:
        """Return the number of each key, giving new ones to keys not met before.

        Keys may repeat.
        """
        found = np.empty(len(keys), np.int32)
        begin = 0
        while begin < len(keys):
            end = begin + max(self._piece, (self._mask + 1) // 8)
            self._intern(keys[begin:end], found[begin:end])
            begin = end
        return found

    def _intern(self, keys: Keys, found: Numbers) -> None:
        self._make_room(self._count + len(keys))
        slots = self._home(keys)
        rest: npt.NDArray[np.int64] | None = None
        while len(slots):
            wanted = keys if rest is None else keys[rest]
            here = self._table[slots]
            empty = np.flatnonzero(here < 0)
            if len(empty):
                here[empty] = self._claim(wanted, slots[empty], empty)
            miss = np.flatnonzero(self._keys[here] != wanted)
            if rest is None:
                found[:] = here
                rest = miss
            else:
                found[rest] = here
                rest = rest[miss]
            slots = (slots[miss] + 1) & self._mask

    def _claim(
        self, keys: Keys, slots: npt.NDArray[np.int64], places: npt.NDArray[np.int64]
    ) -> Numbers:
        """Give each of some empty slots to the first key that wants it; return who has them."""
        self._table[slots[::-1]] = places[::-1]
        won = self._table[slots] == places
        first = self._count
        self._count += int(np.count_nonzero(won))
        self._table[slots[won]] = np.arange(first, self._count, dtype=np.int32)
        self._keys[first : self._count] = keys[places[won]]
        return self._table[slots]

    def find(self, keys: Keys) -> Numbers:
        """Return the number of each key, or -1 where it was never met."""
        found = np.full(len(keys), -1, np.int32)
        slots = self._home(keys)
        rest = np.arange(len(keys))
        while len(rest):
            here = self._table[slots]
            met = np.flatnonzero(here >= 0)
            rest, slots, here = rest[met], slots[met], here[met]
            hit = self._keys[here] == keys[rest]
            found[rest[hit]] = here[hit]
            rest, slots = rest[~hit], (slots[~hit] + 1) & self._mask
        return found

    def _make_room(self, count: int) -> None:
        if count > len(self._keys):
            grown = np.empty(max(count, 2 * len(self._keys)), np.uint64)
            grown[: self._count] = self.keys
            self._keys = grown
        if 2 * count <= self._mask + 1:
            return
        self._allocate((2 * count - 1).bit_length())
        self._place_again()

    def _place_again(self) -> None:
        """Put every key, with the number it has, into a table that has just been allocated."""
        slots = self._home(self.keys)
        numbers = np.arange(self._count, dtype=np.int32)
        while len(numbers):
            empty = np.flatnonzero(self._table[slots] < 0)
            self._table[slots[empty]] = numbers[empty]
            out = np.flatnonzero(self._table[slots] != numbers)
            numbers, slots = numbers[out], (slots[out] + 1) & self._mask


def chain(indexes: list[Index], columns: list[Keys]) -> Numbers:
    """Number rows of words exactly, a word at a time; n words take 2 n - 1 indexes."""
    numbers = indexes[0].intern(columns[0])
    for place, column in enumerate(columns[1:]):
        other = indexes[1 + 2 * place].intern(column)
        joined = numbers.astype(np.uint64) << np.uint64(32) | other.astype(np.uint64)
        numbers = indexes[2 + 2 * place].intern(joined)
    return numbers


def first_places(numbers: Numbers, known: int) -> npt.NDArray[np.int64]:
    """Return where each number from `known` on comes first, in the order of the numbers."""
    fresh = np.flatnonzero(numbers >= known)[::-1]
    if not len(fresh):
        return fresh
    new = numbers[fresh] - known
    places = np.empty(int(new.max()) + 1, np.int64)
    places[new] = fresh
    return places

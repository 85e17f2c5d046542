"""How one VM's joint state is packed into 64-bit words, and guards are read off whole columns.

Rules kept here: fields do not straddle words, and no word is ever all ones. Nothing here changes a
state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from statemachines.compile import Model
from statemachines.ground import Both, Either, Ground, Heard, Negation, Test

Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class Columns:
    """What guards have read of some states, for those that read it again."""

    def __init__(self) -> None:
        #: Field -> its values.
        self.fields: dict[int, Words] = {}
        #: Guard -> where it holds.
        self.masks: dict[Ground, Mask] = {}


class Layout:
    """Where each field of a model's state is."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.where: list[tuple[int, int]] = []
        word, used = 0, 0
        for field in self.model.fields:
            if used + field.bits > 63:
                word, used = word + 1, 0
            self.where.append((word, used))
            used += field.bits
        self.width = word + 1
        self._cuts = [
            (word, shift, (1 << field.bits) - 1)
            for (word, shift), field in zip(self.where, self.model.fields, strict=True)
        ]

    def packed(self, state: Sequence[int]) -> list[int]:
        """Return one state as its words."""
        row = [0] * self.width
        for value, (word, shift) in zip(state, self.where, strict=True):
            row[word] |= value << shift
        return row

    def pack(self, states: Iterable[Sequence[int]]) -> Words:
        """Return states as rows of words."""
        rows = [self.packed(state) for state in states]
        return np.array(rows, np.uint64).reshape(-1, self.width)

    def unpack(self, words: Sequence[int]) -> tuple[int, ...]:
        """Return one row of words as a state."""
        return tuple([(words[word] >> shift) & bits for word, shift, bits in self._cuts])

    def mask_of(self, fields: Iterable[int]) -> tuple[int, ...]:
        """Return the bits of some fields, per word."""
        mask = [0] * self.width
        for number in fields:
            word, shift = self.where[number]
            mask[word] |= ((1 << self.model.fields[number].bits) - 1) << shift
        return tuple(mask)

    def evaluate(self, guard: Ground, columns: list[Words], cache: Columns) -> Mask:
        """Return where a ground guard holds, given the states' words by column.

        What is read again, by this guard or another of the same cache, is worked out once.
        """
        held = cache.masks.get(guard)
        if held is None:
            cache.masks[guard] = held = self._evaluate(guard, columns, cache)
        return held

    def _evaluate(self, guard: Ground, columns: list[Words], cache: Columns) -> Mask:
        match guard:
            case bool():
                return np.full(len(columns[0]), guard)
            case Test(field=number, values=values):
                if number not in cache.fields:
                    word, shift = self.where[number]
                    bits = np.uint64((1 << self.model.fields[number].bits) - 1)
                    cache.fields[number] = (columns[word] >> np.uint64(shift)) & bits
                among = np.uint64(sum(1 << value for value in values))
                found: Mask = (among >> cache.fields[number]) & np.uint64(1) != 0
                return found
            case Negation(part=part):
                return ~self.evaluate(part, columns, cache)
            case Both(parts=parts):
                held = self.evaluate(parts[0], columns, cache)
                for part in parts[1:]:
                    held = held & self.evaluate(part, columns, cache)
                return held
            case Either(parts=parts):
                held = self.evaluate(parts[0], columns, cache)
                for part in parts[1:]:
                    held = held | self.evaluate(part, columns, cache)
                return held
            case Heard():
                raise TypeError("a permit reads no message")


class Part:
    """Some fields of a state; the others are 0 here, and nobody asks for them."""

    def __init__(self, layout: Layout, fields: Iterable[int]) -> None:
        self._size = len(layout.model.fields)
        self._width = layout.width
        self._cuts = [
            (number, *layout.where[number], (1 << layout.model.fields[number].bits) - 1)
            for number in sorted(fields)
        ]
        #: The bits of these fields, per word.
        self.mask = layout.mask_of(number for number, *_ in self._cuts)

    def unpack(self, words: Sequence[int]) -> tuple[int, ...]:
        """Return one row of words as a state."""
        state = [0] * self._size
        for number, word, shift, bits in self._cuts:
            state[number] = (words[word] >> shift) & bits
        return tuple(state)

    def packed(self, state: Sequence[int]) -> list[int]:
        """Return one state as its words."""
        row = [0] * self._width
        for number, word, shift, _ in self._cuts:
            row[word] |= state[number] << shift
        return row

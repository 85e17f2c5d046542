"""Which numbered frames reached the guest: exact counts that migrate with its RAM.

What may live here: counting inbound sequence numbers. Who may receive what is in guest.py.

The rules:

1. One bit per sequence number, in a ring of INBOUND_FRAMES bits that ends at the highest number
   seen: bit `sequence % INBOUND_FRAMES`. When the highest moves up, the bits it passes are
   cleared, for they belonged to numbers that are INBOUND_FRAMES lower.
2. A number that has left the ring cannot be told from a repeated one. It counts as received and
   as untold, and as nothing else.
3. A receiver that joins late has lost nothing: gaps count from the lowest number received.
"""

from __future__ import annotations

from dataclasses import dataclass

from devices.guest_memory import (
    INBOUND_FIRST_PAGE,
    INBOUND_FRAMES,
    INBOUND_OFFSET,
    GuestMemory,
    GuestMemoryError,
)
from devices.ram import PAGE_BYTES

_RING_OFFSET = INBOUND_FIRST_PAGE * PAGE_BYTES
_RING_BYTES = INBOUND_FRAMES // 8


@dataclass(frozen=True, slots=True)
class InboundCounts:
    """What is known of the inbound frames."""

    #: All frames, repeated ones included.
    received: int
    #: Frames that had been received before.
    duplicated: int
    #: Frames too far below the highest to be told from repeated ones.
    untold: int
    #: Numbers between the lowest and the highest that were never seen.
    missing: int
    #: The highest number, or None before the first frame.
    highest: int | None


class Inbound:
    """The record of inbound frames in one guest's RAM."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory

    def receive(self, sequence: int) -> None:
        """Count a frame; GuestMemoryError, and nothing is counted, if no u64 is its number."""
        if not 0 <= sequence < 1 << 64:
            raise GuestMemoryError(f"a sequence number has 64 bits; {sequence} does not fit")
        received, duplicated, untold, lowest, highest = self._numbers()
        if received == 0:
            lowest = highest = sequence
            self._mark(sequence)
        elif sequence > highest:
            self._clear(highest + 1, sequence)
            highest = sequence
            self._mark(sequence)
        elif highest - sequence >= INBOUND_FRAMES:
            untold += 1
        elif self._is_marked(sequence):
            duplicated += 1
        else:
            lowest = min(lowest, sequence)
            self._mark(sequence)
        numbers = (received + 1, duplicated, untold, lowest, highest)
        self._memory.write_numbers(INBOUND_OFFSET, numbers)

    def counts(self) -> InboundCounts:
        """Sum up."""
        received, duplicated, untold, lowest, highest = self._numbers()
        if received == 0:
            return InboundCounts(0, 0, 0, 0, None)
        distinct = received - duplicated - untold
        missing = highest - lowest + 1 - distinct
        return InboundCounts(received, duplicated, untold, missing, highest)

    def _numbers(self) -> tuple[int, ...]:
        return self._memory.read_numbers(INBOUND_OFFSET, 5)

    def _is_marked(self, sequence: int) -> bool:
        place, bit = divmod(sequence % INBOUND_FRAMES, 8)
        return bool(self._memory.ram.read(_RING_OFFSET + place, 1)[0] >> bit & 1)

    def _mark(self, sequence: int) -> None:
        place, bit = divmod(sequence % INBOUND_FRAMES, 8)
        byte = self._memory.ram.read(_RING_OFFSET + place, 1)[0]
        self._memory.ram.write(_RING_OFFSET + place, bytes([byte | 1 << bit]))

    def _clear(self, first: int, last: int) -> None:
        """Clear the bits of all numbers from `first` to `last`, both included."""
        if last - first + 1 >= INBOUND_FRAMES:
            self._memory.ram.write(_RING_OFFSET, bytes(_RING_BYTES))
            return
        start, end = first % INBOUND_FRAMES, last % INBOUND_FRAMES
        if start <= end:
            self._clear_bits(start, end)
        else:
            self._clear_bits(start, INBOUND_FRAMES - 1)
            self._clear_bits(0, end)

    def _clear_bits(self, start: int, end: int) -> None:
        first, last = start // 8, end // 8
        span = bytearray(self._memory.ram.read(_RING_OFFSET + first, last - first + 1))
        before, after = span[0] & (1 << start % 8) - 1, span[-1] & 0xFF << end % 8 + 1 & 0xFF
        cleared = bytearray(len(span))
        cleared[0] |= before
        cleared[-1] |= after
        if cleared != span:
            self._memory.ram.write(_RING_OFFSET + first, bytes(cleared))

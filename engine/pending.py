"""Bytes that have come and are not yet used.

What may live here: the one buffer of a decoder. Rules:

- adding in any pieces and dropping in any others costs each byte a bounded number of moves;
- the room is kept from frame to frame: giving a megabyte back and asking for it again, for
  every frame, costs more than all the rest of the decoding;
- the room is a small multiple of the most bytes that were ever pending.
"""

from __future__ import annotations

from engine.shapes import BytesLike, size_bytes

_ROOM_BYTES_MIN = 4096


class PendingBytes:
    """A queue of bytes: added at the end, looked at and dropped at the front."""

    def __init__(self) -> None:
        self._room = bytearray()
        self._start = 0
        self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def add(self, data: BytesLike) -> None:
        """Take a copy of `data`."""
        size = size_bytes(data)
        with self.room(size) as room, memoryview(data).cast("B") as added:
            room[:] = added
        self.came(size)

    def room(self, size: int) -> memoryview:
        """Return a place for up to `size` bytes, to be told of with `came`."""
        if self._end + size > len(self._room):
            self._make_room(size)
        return memoryview(self._room)[self._end : self._end + size]

    def came(self, size: int) -> None:
        """Take the first `size` bytes that were written to the last `room`."""
        self._end += size

    def view(self, count: int) -> memoryview:
        """Return the first `count` bytes, to be used as a context; nothing may change in it."""
        return memoryview(self._room)[self._start : self._start + min(count, len(self))]

    def first(self, count: int) -> bytes:
        """Return a copy of the first `count` bytes, or of all there are."""
        return bytes(self._room[self._start : self._start + min(count, len(self))])

    def drop(self, count: int) -> None:
        """Forget the first `count` bytes."""
        self._start += count
        if self._start == self._end:
            self._start = self._end = 0

    def clear(self) -> None:
        """Forget everything and give the room back."""
        self._room = bytearray()
        self._start = self._end = 0

    def _make_room(self, size: int) -> None:
        pending = len(self)
        # Moving up is paid for by the spent half; growing by the doubling.
        if self._start * 2 < len(self._room) or pending + size > len(self._room):
            larger = bytearray(max(2 * len(self._room), pending + size, _ROOM_BYTES_MIN))
            with self.view(pending) as kept:
                larger[:pending] = kept
            self._room = larger
        else:
            with memoryview(self._room) as room, self.view(pending) as kept:
                room[:pending] = kept
        self._start, self._end = 0, pending

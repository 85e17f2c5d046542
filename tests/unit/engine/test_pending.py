"""The decoder's buffer: it returns what it took, and moves each byte few times."""

from __future__ import annotations

import pytest

from engine.pending import PendingBytes


class CountingPendingBytes(PendingBytes):
    """Counts the bytes that are moved to make room."""

    def __init__(self) -> None:
        super().__init__()
        self.moved_bytes = 0
        self.room_bytes_highest = 0

    def _make_room(self, size: int) -> None:
        self.moved_bytes += len(self)
        super()._make_room(size)
        self.room_bytes_highest = max(self.room_bytes_highest, len(self._room))


@pytest.mark.parametrize(
    ("piece_bytes", "frame_bytes"),
    [(1, 40_000), (7, 100), (4096, 100_000), (100_000, 25), (64, 64)],
)
def test_each_byte_moves_a_bounded_number_of_times(piece_bytes: int, frame_bytes: int) -> None:
    pending = CountingPendingBytes()
    sent = bytes(n * 31 % 256 for n in range(200_000))
    got = bytearray()
    highest = 0
    for start in range(0, len(sent), piece_bytes):
        pending.add(sent[start : start + piece_bytes])
        highest = max(highest, len(pending))
        while len(pending) >= frame_bytes:
            got += pending.first(frame_bytes)
            pending.drop(frame_bytes)
    got += pending.first(len(pending))
    assert got == sent
    assert pending.moved_bytes <= 2 * len(sent)
    assert pending.room_bytes_highest <= max(4096, 4 * highest)


def test_a_queue_that_stays_nearly_full_does_not_move_for_every_piece() -> None:
    pending = CountingPendingBytes()
    pending.add(bytes(4088))
    for _ in range(5000):
        pending.add(b"four")
        pending.drop(4)
    assert pending.first(4) == b"four"
    assert pending.moved_bytes <= 2 * (4088 + 5000 * 4)


def test_a_view_is_of_the_first_bytes_and_no_more_than_there_are() -> None:
    pending = PendingBytes()
    pending.add(b"abc")
    pending.drop(1)
    with pending.view(10) as view:
        assert view.tobytes() == b"bc"
    pending.clear()
    assert len(pending) == 0
    assert pending.first(5) == b""

"""When the guest sends: its numbered frames, and its announcements after a migration.

What may live here: the two schedules. Numbers and rounds are kept in RAM; only moments are kept
here, for clocks do not migrate.

The rules:

1. A frame counts as sent when the uplink has taken it (`frame_sent`); until then the same number
   is due. One interval passes from frame to frame, not from attempt to attempt.
2. What an uplink held up is made up for with FRAMES_CATCH_UP_MAX frames at most; what a stop held
   up is not made up for.
3. Announcements follow QEMU's arithmetic (net/announce.c qemu_announce_timer_step): the first at
   once, the next after `initial`, then each after a `step` more, never more than `max`.
"""

from __future__ import annotations

from devices.guest_memory import GuestMemory

#: The most frames that are due at once after an uplink took none for a while.
FRAMES_CATCH_UP_MAX = 20


class FrameSchedule:
    """When the next numbered frame is due."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._next_ms = 0.0

    @property
    def next_ms(self) -> float:
        """When the next frame is due, were the guest to send any."""
        return self._next_ms

    def restart(self, now_ms: float) -> None:
        """Begin anew: a frame is due now, and what was due before is forgotten."""
        self._next_ms = now_ms

    def due(self, now_ms: float, interval_ms: float) -> int:
        """Return how many frames are due, FRAMES_CATCH_UP_MAX at most."""
        if interval_ms <= 0 or now_ms < self._next_ms:
            return 0
        self._next_ms = max(self._next_ms, now_ms - (FRAMES_CATCH_UP_MAX - 1) * interval_ms)
        return min(int((now_ms - self._next_ms) / interval_ms) + 1, FRAMES_CATCH_UP_MAX)

    def sent(self, now_ms: float, interval_ms: float) -> None:
        """Count one frame as sent."""
        self._memory.next_sequence += 1
        self._next_ms = min(self._next_ms, now_ms) + interval_ms


class AnnounceSchedule:
    """When the next announcement is due; how many are left is in RAM."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self._delay_ms = 0.0
        self._max_ms = 0.0
        self._step_ms = 0.0
        self._next_ms: float | None = None
        self._standbys: frozenset[int] | None = None

    @property
    def next_ms(self) -> float | None:
        """When the next announcement is due; None when there is none."""
        return self._next_ms

    def begin(
        self,
        now_ms: float,
        rounds: int,
        initial_ms: float,
        max_ms: float,
        step_ms: float,
        standbys: frozenset[int] | None = None,
    ) -> None:
        """Announce `rounds` times from now on; what is left of an earlier series is dropped.

        `standbys` are those it is about; None: all of them.
        """
        self._standbys = standbys
        self._memory.announce_rounds_left = rounds
        self._delay_ms, self._max_ms, self._step_ms = initial_ms, max_ms, step_ms
        self._next_ms = now_ms if rounds else None

    def is_about(self, standby_index: int) -> bool:
        """Say whether the series is about this standby, too."""
        return self._standbys is None or standby_index in self._standbys

    def cancel(self) -> None:
        """Announce no more."""
        self._next_ms = None

    def take(self, now_ms: float) -> int:
        """Return 1 when an announcement is due, counted as made, else 0."""
        if self._next_ms is None or now_ms < self._next_ms:
            return 0
        left = self._memory.announce_rounds_left - 1
        self._memory.announce_rounds_left = left
        self._next_ms = now_ms + min(self._delay_ms, self._max_ms) if left else None
        self._delay_ms += self._step_ms
        return 1

    def shift(self, pause_ms: float) -> None:
        """Move the next announcement by the time the guest stood still."""
        if self._next_ms is not None:
            self._next_ms += pause_ms

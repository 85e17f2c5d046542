"""The bandwidth limit of a stream, kept over all its channels together.

What may live here: the arithmetic of a token bucket. Rules: no clock, the caller says what time it
is. What was written is paid for afterwards, since only then it is known how much it was; until the
debt is paid nothing is written. What was not used, because the link or the pages were not fast
enough for a moment, is saved for BURST_MS and no longer. QEMU's measure is the same: what
it sent in each 100 ms (migration.c, BUFFER_DELAY), in one go if need be.
"""

from __future__ import annotations

#: For how long unused bandwidth is kept.
BURST_MS = 100.0


class TokenBucket:
    """How much may be written now, at a rate that may change at any time."""

    def __init__(self) -> None:
        """Begin with nothing saved; the time runs from the first look."""
        self._saved_bytes = 0.0
        self._looked_ms: float | None = None

    def spend(self, written_bytes: int) -> None:
        """Pay for what was written."""
        self._saved_bytes -= written_bytes

    def wait_ms(self, bytes_per_second: int, now_ms: float) -> float:
        """Return how long nothing may be written, at this rate; 0 bytes per second is no limit."""
        elapsed_ms = 0.0 if self._looked_ms is None else now_ms - self._looked_ms
        self._looked_ms = now_ms
        if not bytes_per_second:
            self._saved_bytes = 0.0
            return 0.0
        burst_bytes = bytes_per_second * BURST_MS / 1000
        earned_bytes = bytes_per_second * elapsed_ms / 1000
        self._saved_bytes = min(self._saved_bytes + earned_bytes, burst_bytes)
        return max(-self._saved_bytes * 1000 / bytes_per_second, 0.0)

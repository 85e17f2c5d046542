"""The bandwidth limit of a stream, kept over all its channels together.

What may live here: the arithmetic of a token bucket. Rules: no clock, the caller says what time it
is. What was written is paid for afterwards, since only then it is known how much it was; until the
debt is paid nothing is written. What was not used is saved for BURST_MS and no longer.
"""

from __future__ import annotations

#: For how long unused bandwidth is kept.
BURST_MS = 20.0


class TokenBucket:
    """How much may be written now, at a rate that may change at any time."""

    def __init__(self, now_ms: float) -> None:
        """Begin with nothing saved."""
        self._saved_bytes = 0.0
        self._looked_ms = now_ms

    def spend(self, written_bytes: int) -> None:
        """Pay for what was written."""
        self._saved_bytes -= written_bytes

    def wait_ms(self, bytes_per_second: int, now_ms: float) -> float:
        """Return how long nothing may be written, at this rate; 0 bytes per second is no limit."""
        elapsed_ms, self._looked_ms = now_ms - self._looked_ms, now_ms
        if not bytes_per_second:
            self._saved_bytes = 0.0
            return 0.0
        burst_bytes = bytes_per_second * BURST_MS / 1000
        earned_bytes = bytes_per_second * elapsed_ms / 1000
        self._saved_bytes = min(self._saved_bytes + earned_bytes, burst_bytes)
        return max(-self._saved_bytes * 1000 / bytes_per_second, 0.0)

"""Whether compressing RAM pays on a link: what it costs against what it saves.

What may live here: the estimate of one channel, from what its own frames took. Rules: no clock, the
caller says how long things took. What a frame compresses to is told by a sample of it. Where
compression could not pay even if it left nothing, samples are taken now and then only, to see
whether the link has become slower or the processor freer.
"""

from __future__ import annotations

#: How much of a frame is compressed to see what it compresses to.
SAMPLE_BYTES = 64 << 10
#: Compressing has to save so much of the time: an estimate is no promise.
_GAIN_MIN = 0.1
#: Frames between two samples where compression cannot pay.
_PATIENCE_FRAMES = 32
#: Weight of the newest measurement.
_NEWEST = 0.25


class AdaptiveCompression:
    """What is known of one channel's link and of the compressor."""

    def __init__(self) -> None:
        self._send_ms_per_byte: float | None = None
        self._compress_ms_per_byte: float | None = None
        self._waiting_frames = 0

    def sent(self, wire_bytes: int, took_ms: float) -> None:
        """Note how long a frame took to write, the wait for the link included."""
        self._send_ms_per_byte = _mix(self._send_ms_per_byte, took_ms / wire_bytes)

    def compressed(self, raw_bytes: int, took_ms: float) -> None:
        """Note how long compressing took."""
        self._compress_ms_per_byte = _mix(self._compress_ms_per_byte, took_ms / raw_bytes)

    def wants_sample(self, limit_ms_per_byte: float) -> bool:
        """Say whether the next frame should be sampled."""
        sending, compressing = self._send_ms_per_byte, self._compress_ms_per_byte
        if sending is None:
            return False
        could_pay = compressing is None or self._saves(0.0, limit_ms_per_byte)
        self._waiting_frames += 1
        if could_pay or self._waiting_frames >= _PATIENCE_FRAMES:
            self._waiting_frames = 0
            return True
        return False

    def pays(self, ratio: float, limit_ms_per_byte: float) -> bool:
        """Say whether to compress what compresses to `ratio` of its size.

        `limit_ms_per_byte` is what a byte takes by the bandwidth limit; 0: there is none.
        """
        return self._compress_ms_per_byte is not None and self._saves(ratio, limit_ms_per_byte)

    def _saves(self, ratio: float, limit_ms_per_byte: float) -> bool:
        sending = max(self._send_ms_per_byte or 0.0, limit_ms_per_byte)
        packed = (self._compress_ms_per_byte or 0.0) + ratio * sending
        return packed < (1 - _GAIN_MIN) * sending


def _mix(known: float | None, measured: float) -> float:
    return measured if known is None else known + _NEWEST * (measured - known)

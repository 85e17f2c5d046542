"""Auto-converge: by how much a guest is slowed down that writes faster than its RAM can be sent.

What may live here: the rule, which is QEMU's (migration/ram.c migration_trigger_throttle,
mig_throttle_guest_down). No clock and no guest: who synchronises says when and how much, and
slows the guest down by what comes back.

The rule: what happened is looked at when RAM is synchronised, though no more often than once in a
period. A period in which the guest dirtied more than a share of what was sent in it counts as high.
The second high one starts the throttle, and each second one after that raises it, up to a maximum.
High periods need not follow each other, and nothing lowers the throttle but the migration's end.
"""

from __future__ import annotations

from dataclasses import dataclass

#: High periods it takes to throttle, or to throttle more.
_HIGH_PERIODS = 2
#: What is left of a processor at the least, in percent of it (softmmu/cpu-throttle.c).
_THROTTLE_PERCENT_MAX = 99


@dataclass(frozen=True)
class Throttling:
    """The migration parameters that say how to throttle."""

    #: cpu-throttle-initial: the first step.
    initial_percent: int
    #: cpu-throttle-increment: each further step.
    increment_percent: int
    #: max-cpu-throttle.
    percent_max: int
    #: throttle-trigger-threshold: the share of what is sent that may be dirtied.
    threshold_percent: int
    #: cpu-throttle-tailslow: whether a step stops where dirtying would meet the threshold.
    is_tailslow: bool


class AutoConverge:
    """The throttle of one migration."""

    def __init__(self, period_ms: float) -> None:
        """Begin without throttling; `period_ms` is the shortest time between two decisions."""
        self._period_ms = period_ms
        self._percent = 0
        self._high_periods = 0
        self._began_ms: float | None = None
        self._dirtied_bytes = 0
        self._sent_bytes = 0

    @property
    def percent(self) -> int:
        """By how much of its speed the guest is to be slowed down; 0: not at all."""
        return self._percent

    def synchronised(
        self, now_ms: float, *, dirtied_bytes: int, sent_bytes: int, throttling: Throttling | None
    ) -> int:
        """Note how much was dirtied and sent since the migration began, and return `percent`.

        `throttling` is None while the capability is off: then nothing counts as high. The first
        call only begins the first period.
        """
        if self._began_ms is None:
            self._began_ms = now_ms
        if now_ms > self._began_ms + self._period_ms:
            if throttling is not None:
                dirtied, sent = dirtied_bytes - self._dirtied_bytes, sent_bytes - self._sent_bytes
                self._judge(dirtied, sent * throttling.threshold_percent // 100, throttling)
            self._began_ms = now_ms
            self._dirtied_bytes, self._sent_bytes = dirtied_bytes, sent_bytes
        return self._percent

    def _judge(self, dirtied_bytes: int, allowed_bytes: int, throttling: Throttling) -> None:
        if dirtied_bytes <= allowed_bytes:
            return
        self._high_periods += 1
        if self._high_periods < _HIGH_PERIODS:
            return
        self._high_periods = 0
        wanted = throttling.initial_percent
        if self._percent:
            step = throttling.increment_percent
            if throttling.is_tailslow:
                left = 100 - self._percent
                step = min(left - int(left * (allowed_bytes / dirtied_bytes)), step)
            wanted = min(self._percent + step, throttling.percent_max)
        self._percent = min(max(wanted, 1), _THROTTLE_PERCENT_MAX)

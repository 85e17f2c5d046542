"""The demo's station: it exchanges numbered frames with a guest through a learning switch.

Rules kept here: a frame counts as sent when the switch has written it; every number is counted
once per arrival, so losses and duplicates are exact. It knows nothing of migrations: it sees
ports and addresses, as a neighbour on the network would.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from devices.frames import FrameError, NumberedFrame, build, parse
from engine.driver.clock import Clock, Timer
from engine.driver.network import FROM_GUEST, STATION_MAC, TO_GUEST
from engine.driver.switch import LearningSwitch

#: Frames sent late at most at once, after the guest could not be reached for a while.
CATCH_UP_MAX = 20


@dataclass(frozen=True)
class Arrivals:
    """What came from the guest."""

    #: Frames, repeated ones included.
    received: int
    #: Frames whose number had come before.
    duplicated: int
    #: Numbers below the highest that never came.
    missing: int
    #: Longest time between two arrivals.
    longest_gap_ms: float


class Station:
    """A neighbour of one guest."""

    def __init__(self, guest_mac: bytes, interval_ms: float, clock: Clock) -> None:
        """Stand at a switch of its own; ports are added with `switch.add_port`."""
        self.switch = LearningSwitch(STATION_MAC, on_frame=self._arrived)
        self.switch.on_routable = lambda _: self._send_due()
        self._guest_mac = guest_mac
        self._interval_ms = interval_ms
        self._clock = clock
        self._timer: Timer | None = None
        self._due_ms = 0.0
        self._is_sending = False
        self._paths_before = 0
        #: Numbered frames written to the guest so far.
        self.sent = 0
        self._seen: set[int] = set()
        self._received = 0
        self._arrival = asyncio.Event()
        self._arrived_ms: float | None = None
        self._sent_ms: float | None = None
        #: Longest time between two frames written to the guest: for so long it took none.
        self.longest_wait_ms = 0.0
        self._longest_gap_ms = 0.0
        self._events: dict[str, asyncio.Event] = {}
        #: Port -> when the first frame of the guest came from it.
        self.first_arrivals_ms: dict[str, float] = {}

    def start(self) -> None:
        """Begin to send a frame each interval, and to note the path from here on."""
        self._paths_before = max(len(self.switch.path_history(self._guest_mac)) - 1, 0)
        self._is_sending = True
        self._due_ms = self._clock.now_ms()
        self._send_due()

    def stop(self) -> None:
        """Send no more."""
        self._is_sending = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send_due(self) -> None:
        if not self._is_sending:
            return
        if self._timer is not None:
            self._timer.cancel()
        now_ms = self._clock.now_ms()
        self._due_ms = max(self._due_ms, now_ms - CATCH_UP_MAX * self._interval_ms)
        while self._due_ms <= now_ms:
            frame = NumberedFrame(self._guest_mac, STATION_MAC, self.sent, TO_GUEST)
            if not self.switch.send(build(frame)):
                break
            self.sent += 1
            if self._sent_ms is not None:
                self.longest_wait_ms = max(self.longest_wait_ms, now_ms - self._sent_ms)
            self._sent_ms = now_ms
            self._due_ms += self._interval_ms
        wait_ms = max(self._due_ms - self._clock.now_ms(), self._interval_ms / 2)
        self._timer = self._clock.call_later(wait_ms, self._send_due)

    def _arrived(self, port: str, frame: bytes) -> None:
        try:
            parsed = parse(frame)
        except FrameError:
            return
        if not isinstance(parsed, NumberedFrame) or parsed.flow != FROM_GUEST:
            return
        now_ms = self._clock.now_ms()
        if port not in self.first_arrivals_ms:
            self.first_arrivals_ms[port] = now_ms
            self._event(port).set()
        self._received += 1
        self._seen.add(parsed.sequence)
        self._arrival.set()
        if self._arrived_ms is not None:
            self._longest_gap_ms = max(self._longest_gap_ms, now_ms - self._arrived_ms)
        self._arrived_ms = now_ms

    def _event(self, port: str) -> asyncio.Event:
        return self._events.setdefault(port, asyncio.Event())

    async def heard_from(self, port: str) -> None:
        """Wait until the guest has sent a frame from a port."""
        await self._event(port).wait()

    async def received(self, frames: int) -> None:
        """Wait until so many frames of the guest have come, repeated ones not counted."""
        while len(self._seen) < frames:
            self._arrival.clear()
            await self._arrival.wait()

    def arrivals(self) -> Arrivals:
        """Return what has come from the guest so far."""
        highest = max(self._seen, default=-1)
        return Arrivals(
            received=self._received,
            duplicated=self._received - len(self._seen),
            missing=highest + 1 - len(self._seen),
            longest_gap_ms=self._longest_gap_ms,
        )

    def path(self) -> list[str]:
        """Return the ports the guest's frames came from since `start`, in order."""
        return self.switch.path_history(self._guest_mac)[self._paths_before :]

    def close(self) -> None:
        """Leave the network."""
        self.stop()
        self.switch.close()

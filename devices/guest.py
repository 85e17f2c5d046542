"""The guest: a model of an operating system with virtio-net failover, a workload and traffic.

What may live here: putting drivers, workload and traffic together, and what of them survives in
RAM. The guest observes states and returns deeds; it does no I/O and knows no clock but `now_ms`,
a monotonic time in milliseconds that its caller passes in.

How it is run:

    guest.start(now)                       when RUN_GUEST is done; the first time, it boots
    guest.observe(now)                     after every joint step of the VM
    while deeds := guest.advance(now): …   when `due_ms` has come; carry each deed out, in order,
                                           observing after each step, before asking for more
    guest.frames_due(now), next_frame(), frame_sent(now); announcements_due(now)

The rules:

1. What the guest is lives in its RAM (guest_memory.py); what is kept beside it are moments, the
   longest gap between arrivals, and how far a primary is with coming or going.
2. While it is stopped it does nothing and its time stands still. Only arrivals are still counted,
   for a device writes them.
3. The driver table in RAM says what the states say, whenever RAM may be streamed: it is brought up
   to date while the guest runs and never while it is stopped, so that a target's states of before
   the hand-over cannot overwrite what came with the stream.
4. The options it booted with travel in its RAM. Where it arrives, what was given there counts
   first; sizes and seed are fixed at boot.
"""

from __future__ import annotations

from dataclasses import replace

from devices.guest_drivers import Drivers
from devices.guest_inbound import Inbound
from devices.guest_memory import DriverEntry, GuestMemory
from devices.guest_options import GuestOptions, format_guest_options, parse_guest_options
from devices.guest_traffic import AnnounceSchedule, FrameSchedule
from devices.guest_view import Deed, Fire, GuestView, Path
from devices.ram import Ram
from devices.workload import Workload, workload_sizes
from statemachines.events import E
from statemachines.states import Lower, NetFailover, Standby, State

#: How often the workload writes.
WORKLOAD_TICK_MS = 10.0

_N = NetFailover
_HAS_PRIMARY = (_N.PRIMARY_DOWN, _N.PRIMARY)


class Guest:
    """One VM's guest."""

    def __init__(self, ram: Ram, options: GuestOptions, view: GuestView) -> None:
        """Put a guest into `ram`, stopped; nothing is written before it starts.

        GuestMemoryError when RAM is too small for a guest, or for what the options ask for.
        """
        self.memory = GuestMemory(ram)
        workload_sizes(self.memory, options)
        self._own_options = options
        self._options = options
        self._view = view
        self.workload = Workload(self.memory, options)
        self._drivers = Drivers(view, options)
        self._inbound = Inbound(self.memory)
        self._frames = FrameSchedule(self.memory)
        self._announcements = AnnounceSchedule(self.memory)
        self._is_running = False
        #: The driver table as this guest wrote it last, since it runs; nobody else writes it.
        self._driver_table: tuple[DriverEntry, ...] | None = None
        self._started_ms = 0.0
        self._stopped_ms: float | None = None
        self._worked_ms = 0.0
        self._arrived_ms: float | None = None
        self._longest_gap_ms = 0.0

    @property
    def is_running(self) -> bool:
        """Whether its processors run."""
        return self._is_running

    @property
    def options(self) -> GuestOptions:
        """The options in force: from the start on, those that travelled are part of them."""
        return self._options

    def configure(self, changes: GuestOptions) -> None:
        """Change the options that `changes` gives, here and, by way of RAM, where it goes next.

        Sizes and seed are fixed at boot and stay. RAM is the guest's to write, so while it is
        stopped its record of the options is left for the next start to bring up to date.
        """
        self._own_options = _changed(self._own_options, changes)
        self._options = _changed(self._options, changes)
        self._drivers.use(self._options)
        self.workload.use(self._options)
        if self._is_running:
            self.memory.options_text = format_guest_options(self._options)

    # -- running and stopping

    def boot(self) -> None:
        """Boot, if no guest has booted in this RAM: lay RAM out and fill it.

        `start` does it where it is needed. It writes all that `fill` asks for, so a caller with
        better things to do may call it beforehand, from elsewhere.
        """
        if self.memory.is_booted:
            return
        working, fill = workload_sizes(self.memory, self._own_options)
        self.memory.boot(
            seed=self._own_options.seed,
            working_pages=working,
            fill_pages=fill,
            options=format_guest_options(self._own_options),
        )
        self.workload.fill()

    def start(self, now_ms: float) -> None:
        """Run, from where RAM says the guest is; without effect while it runs.

        GuestMemoryError, or OptionError for the options that travelled, when RAM came with records
        that no guest wrote; nothing is changed then.
        """
        if self._is_running:
            return
        self.memory.check()
        self.boot()
        self._take_up_options()
        pause_ms = 0.0 if self._stopped_ms is None else now_ms - self._stopped_ms
        self._drivers.shift(pause_ms)
        self._announcements.shift(pause_ms)
        self._started_ms = now_ms if self._stopped_ms is None else self._started_ms + pause_ms
        self._worked_ms = now_ms
        self._frames.restart(now_ms)
        self._is_running = True
        self._driver_table = None
        self._drivers.resume()
        self.observe(now_ms)

    def stop(self, now_ms: float) -> None:
        """Stop; without effect while it is stopped."""
        if self._is_running:
            self.record_driver_states()
            self._is_running = False
            self._stopped_ms = now_ms

    def reset(self, now_ms: float) -> None:
        """Start over, as after a system reset; whether it runs stays as it is.

        Sequences, counts and drivers begin anew and `boots` goes up. The workload's pages keep
        their contents and its place, as memory does. Without effect before the first start.
        """
        if not self.memory.is_booted:
            return
        self.memory.start_over()
        self._driver_table = None
        self._drivers.reset()
        self._announcements.cancel()
        self._started_ms = self._worked_ms = now_ms
        if not self._is_running:
            self._stopped_ms = now_ms
        self._frames.restart(now_ms)
        self._arrived_ms, self._longest_gap_ms = None, 0.0

    def observe(self, now_ms: float) -> None:
        """Look at the states and plan accordingly: to be called after every joint step."""
        if self._is_running:
            self.record_driver_states()
            self._drivers.observe(now_ms)
            if not self._sends_frames():
                self._frames.restart(now_ms)  # nothing is due for the time without a path

    def primary_opened(self, index: int, now_ms: float) -> None:
        """Take the answer to OpenPrimary; also while stopped. A belated one changes nothing."""
        self._drivers.opened(index)
        self.observe(now_ms)

    def primary_closed(self, index: int, now_ms: float) -> None:
        """Take the answer to ClosePrimary; also while stopped."""
        self._drivers.closed(index)
        self.observe(now_ms)

    # -- acting

    def due_ms(self, *, uplink_ready: bool = True) -> float | None:
        """Return when to call `advance`, or to send, next; None: not before the next `observe`.

        May lie in the past. With `uplink_ready` False frames and announcements do not count: the
        uplink takes none now, and its readiness is the caller's next occasion.
        """
        if not self._is_running:
            return None
        moments = [self._drivers.due_ms(), self._own_reset_ms()]
        if self.workload.is_busy:
            moments.append(self._worked_ms + WORKLOAD_TICK_MS)
        if uplink_ready:
            moments.append(self._announcements.next_ms)
            if self._sends_frames():
                moments.append(self._frames.next_ms)
        return min((moment for moment in moments if moment is not None), default=None)

    def advance(self, now_ms: float) -> list[Deed]:
        """Do what is due: write memory, and return the deeds that are due now, in order.

        Deeds depend on each other's outcome, so one call returns one device's next deed, or the
        resets of all standbys. Call again until the list is empty. It is, while the guest is
        stopped.
        """
        if not self._is_running:
            return []
        self._work(now_ms)
        own = self._own_reset(now_ms)
        if own:
            return own
        self._drivers.plan(now_ms)
        deed = self._drivers.take(now_ms)
        return [] if deed is None else [deed]

    # -- traffic

    def transmit_path(self, standby_index: int) -> Path | None:
        """Return which way the guest sends; None: no way. A standby may be a plain NIC to it.

        drivers/net/net_failover.c net_failover_start_xmit.
        """
        if self._view.state(Standby, standby_index) is not Standby.DRIVER_OK:
            return None
        is_up = self._view.state(NetFailover, standby_index) is NetFailover.PRIMARY
        return "primary" if is_up else "standby"

    def accepts(self, via: Path, standby_index: int) -> bool:
        """Say whether what arrives this way reaches the guest's programs.

        While a primary is enslaved, with carrier or without, what arrives on the standby does not
        (drivers/net/net_failover.c net_failover_handle_frame: RX_HANDLER_EXACT).
        """
        if self._view.state(Standby, standby_index) is not Standby.DRIVER_OK:
            return False
        has_primary = self._view.state(NetFailover, standby_index) in _HAS_PRIMARY
        return has_primary == (via == "primary")

    def frames_due(self, now_ms: float) -> int:
        """Return how many numbered frames to send now; 0 while stopped or without any path."""
        if not self._is_running or not self._sends_frames():
            return 0
        return self._frames.due(now_ms, self._options.frame_interval_ms)

    def next_frame(self) -> int:
        """Return the number of the next outbound frame."""
        return self.memory.next_sequence

    def frame_sent(self, now_ms: float) -> None:
        """Count the next frame as sent: the uplink has taken it."""
        self._frames.sent(now_ms, self._options.frame_interval_ms)

    def receive(self, sequence: int, now_ms: float) -> None:
        """Count an inbound numbered frame that `accepts` lets through, also while stopped.

        Before the first boot there is nobody to receive it. GuestMemoryError for no u64.
        """
        if not self.memory.is_booted:
            return
        self._inbound.receive(sequence)
        if self._arrived_ms is not None:
            self._longest_gap_ms = max(self._longest_gap_ms, now_ms - self._arrived_ms)
        self._arrived_ms = now_ms

    def statistics(self) -> dict[str, int | float | None]:
        """Return what the guest knows of its traffic.

        sent; received (repeated ones included), duplicated, untold (too old to be told from
        repeated ones); lost_inside: numbers between the lowest and the highest received that never
        came; highest, None before the first; longest_gap_ms between arrivals, which is kept
        outside RAM: it begins anew wherever the guest arrives.
        """
        counts = self._inbound.counts()
        return {
            "sent": self.memory.next_sequence,
            "received": counts.received,
            "duplicated": counts.duplicated,
            "untold": counts.untold,
            "lost_inside": counts.missing,
            "highest": counts.highest,
            "longest_gap_ms": self._longest_gap_ms,
        }

    def announce(
        self,
        rounds: int,
        initial_ms: float,
        max_ms: float,
        step_ms: float,
        now_ms: float,
        standbys: frozenset[int] | None = None,
    ) -> None:
        """Announce where the guest is, `rounds` times: the first at once, see guest_traffic.py.

        The parameters are QEMU's announce-rounds, -initial, -max and -step; `standbys` are those it
        is about, None: all. Needs a booted guest.
        """
        self._announcements.begin(now_ms, rounds, initial_ms, max_ms, step_ms, standbys)

    def announces(self, standby_index: int) -> bool:
        """Say whether the announcements that are due are of this standby, too."""
        return self._announcements.is_about(standby_index)

    def announcements_due(self, now_ms: float) -> int:
        """Return how many announcements to make now, each counted as made; 0 while stopped."""
        return self._announcements.take(now_ms) if self._is_running else 0

    # -- what travels

    def record_driver_states(self) -> None:
        """Bring the driver table in RAM up to date with the states; without effect while stopped.

        GuestMemoryError for more standbys than the table holds.
        """
        if not self._is_running:
            return
        enslaved = {
            primary.standby_index: primary.id
            for primary in self._view.primaries()
            if self._view.state(Lower, primary.index) is Lower.IN
        }
        entries = []
        for standby in self._view.standbys():
            state = self._view.state(NetFailover, standby.index)
            assert isinstance(state, NetFailover)
            entries.append(DriverEntry(standby.mac, state, enslaved.get(standby.index, "")))
        table = tuple(entries)
        if table != self._driver_table:
            self.memory.write_drivers(table)
            self._driver_table = table

    def latched_states(self) -> dict[tuple[type[State], str], State]:
        """Return the drivers' states as RAM has them, by lifecycle and the device's id here.

        NetFailover for every standby, found by its address, and Lower for every primary; a device
        that the guest has not met is ABSENT, or OUT. GuestMemoryError when RAM cannot be believed.
        """
        self.memory.check()
        table = {entry.mac: entry for entry in self.memory.drivers()}
        latched: dict[tuple[type[State], str], State] = {}
        for standby in self._view.standbys():
            entry = table.get(standby.mac)
            latched[NetFailover, standby.id] = entry.state if entry else NetFailover.ABSENT
        enslaved = {entry.primary for entry in table.values()} - {""}
        for primary in self._view.primaries():
            latched[Lower, primary.id] = Lower.IN if primary.id in enslaved else Lower.OUT
        return latched

    # -- inside

    def _take_up_options(self) -> None:
        travelled = parse_guest_options(self.memory.options_text)
        self._options = self._own_options.over(travelled)
        self._drivers.use(self._options)
        self.workload.use(self._options)
        text = format_guest_options(self._options)
        if text != self.memory.options_text:
            self.memory.options_text = text

    def _work(self, now_ms: float) -> None:
        if self.workload.is_busy and now_ms >= self._worked_ms + WORKLOAD_TICK_MS:
            self.workload.advance(now_ms - self._worked_ms)
            self._worked_ms = now_ms

    def _sends_frames(self) -> bool:
        return self._options.frame_interval_ms > 0 and any(
            self.transmit_path(standby.index) is not None for standby in self._view.standbys()
        )

    def _own_reset_ms(self) -> float | None:
        """Return when the guest reboots, or its driver resets the standbys, of its own accord."""
        moments = []
        if self._options.reboot_after_ms is not None and self.memory.boots == 1:
            moments.append(self._started_ms + self._options.reboot_after_ms)
        if self._options.reset_after_ms is not None and self.memory.driver_resets == 0:
            moments.append(self._started_ms + self._options.reset_after_ms)
        return min(moments, default=None)

    def _own_reset(self, now_ms: float) -> list[Deed]:
        moment = self._own_reset_ms()
        if moment is None or now_ms < moment:
            return []
        reboot_ms = self._options.reboot_after_ms
        if (
            reboot_ms is not None
            and self.memory.boots == 1
            and moment == (self._started_ms + reboot_ms)
        ):
            return [Fire(E.SYSTEM_RESET, None)]
        self.memory.driver_resets += 1
        return [Fire(E.DRIVER_RESET, standby.index) for standby in self._view.standbys()]


def _changed(options: GuestOptions, changes: GuestOptions) -> GuestOptions:
    changed = changes.over(options)
    return replace(changed, given=changed.given | changes.given)

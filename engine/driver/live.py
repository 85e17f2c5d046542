"""One live VM: the core with real memory, sockets, time and monitors around it.

Rules kept here: this is the world that the core asks (see `engine.world`), and nothing more. A
command of the tables goes to the part that carries it out; events come back through `Vm.fire`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TextIO

from devices.errors import DeviceError
from devices.guest_view import ClosePrimary, Fire, OpenPrimary, Path
from devices.options import Options
from engine import texts
from engine.announcements import Announcements
from engine.configuration import VmConfiguration
from engine.driver.clock import LoopClock, Timer
from engine.driver.guest_ram import GuestRam
from engine.driver.incoming import IncomingStream
from engine.driver.network import Network
from engine.driver.outgoing import Outgoing
from engine.driver.surroundings import THIS_MACHINE, Surroundings
from engine.driver.transport import ResolveFd
from engine.guest_deeds import perform, take_charge
from engine.hotplug import Hotplug
from engine.messages import Heartbeat, Message
from engine.qmp.errors import QmpError
from engine.source import Source
from engine.target import Target
from engine.timers import Timers
from engine.vm import Vm
from statemachines import effects
from statemachines.effects import Command
from statemachines.events import E
from statemachines.runtime import Happening, Step
from statemachines.states import Handover, Incoming, Link, Migration, RunState
from statemachines.steps import Latched

#: Messages that a source sends; the rest are a target's.
_SOURCE_MESSAGES = frozenset(
    {
        effects.Message.HELLO,
        effects.Message.STATE,
        effects.Message.END,
        effects.Message.COMMIT,
        effects.Message.ABORT,
    }
)


class LiveVm:
    """A VM in this process, on the running event loop."""

    def __init__(
        self,
        configuration: VmConfiguration,
        *,
        resolve_fd: ResolveFd,
        emit: Callable[[str, Mapping[str, Any]], None],
        journal: TextIO | None,
        exit_with: Callable[[int], None],
        surroundings: Surroundings = THIS_MACHINE,
    ) -> None:
        """Build the VM with its devices; `boot` starts it.

        `surroundings` is where memory, streams and threads come from.

        :raise DeviceError: if a device cannot be created, with QEMU's text.
        :raise QmpError: if the tables refuse one.
        """
        self._clock = LoopClock()
        self._emit = emit
        self._journal = journal
        self._exit_with = exit_with
        self._tell = surroundings.warn
        self._timers_by_event: dict[E, Timer] = {}
        self._tick: Timer | None = None
        self._tick_due_ms = 0.0
        self._beat: Timer | None = None
        self._beat_ms = self._clock.now_ms()
        self._is_ticking = False
        self._resumed_ms: float | None = None
        self._first_frames: dict[Path, float] = {}
        self.memory = surroundings.memory(configuration.ram_bytes, configuration.ram_preallocated)
        ram = GuestRam(self.memory, configuration.profile.dirty_tracking)
        self.vm = Vm(configuration, ram, self)
        self.hotplug = Hotplug(self.vm)
        Announcements(self.vm, self.hotplug)
        self._timers = Timers(self.vm)
        take_charge(self.vm)
        self.source = Source(self.vm)
        self.target = Target(self.vm)
        self.network = Network(self.vm, self._clock, self._uplink_has_room, self.warn)
        self.network.on_sent = self._frame_left
        transport = surroundings.transport(resolve_fd)
        in_thread = surroundings.in_thread
        self.outgoing = Outgoing(
            self.vm, self.source, transport.connect, surroundings.new_name, self.memory, in_thread
        )
        digest = partial(in_thread, self.memory.digest)
        self.incoming = IncomingStream(self.vm, self.target, transport.listen, self.memory, digest)
        self.vm.send_with(self._send)
        self._commands = self._carriers()
        for netdev in configuration.netdevs:
            self.vm.board.netdevs.add(netdev)
        for options in configuration.devices:
            self._cold_plug(options)
        self.vm.board.topology.freeze()

    def _carriers(self) -> dict[Command, Callable[[], None]]:
        """Return what carries out each command that comes to the world."""
        return {
            Command.CONNECT: self.outgoing.connect,
            Command.LISTEN: self.incoming.listen,
            Command.CLOSE_CHANNEL: self._close_channel,
            Command.SAVE_SETUP: self.outgoing.save_setup,
            Command.ITERATE: self.outgoing.iterate,
            Command.SAVE_FINAL: self.outgoing.save_final,
            Command.FLUSH: self.outgoing.flush,
            Command.VERIFY: self.incoming.verify,
            Command.RUN_GUEST: self._run_guest,
            Command.STOP_GUEST: self._stop_guest,
            Command.QUIESCE_GUEST: self._quiesce_guest,
            Command.EXIT: self._exit,
        }

    def _cold_plug(self, options: Options) -> None:
        try:
            self.hotplug.add(options)
        except (DeviceError, QmpError) as error:
            named = ",".join(f"{key}={value}" for key, value in options.items())
            text = f"-device {named}: {error.description}"
            raise DeviceError(text, hint=getattr(error, "hint", None)) from error

    def boot(self) -> None:
        """Start it as its command line says."""
        configuration = self.vm.configuration
        held = configuration.start_paused
        if configuration.incoming is None:
            self.vm.guest.boot()
            self.vm.fire(E.BOOT_HELD if held else E.BOOT)
        else:
            self.vm.fire(E.BOOT_INCOMING_HELD if held else E.BOOT_INCOMING)
        self.network.connect_standbys()
        self._heartbeat()

    # -- the World protocol

    def now_ms(self) -> float:
        """Return the monotonic time."""
        return self._clock.now_ms()

    def emit(self, name: str, data: Mapping[str, Any]) -> None:
        """Send a QMP event to every monitor."""
        self._emit(name, data)

    def warn(self, text: str) -> None:
        """Tell the operator on stderr."""
        self._tell(text)

    def record(self, step: Step, latched: Latched | None) -> None:
        """Append one joint step to the journal, and have memory belong to who has the VM."""
        self._settle_memory(step)
        if self._journal is not None:
            name = self.vm.configuration.name
            entry = self.vm.journal.entry_of(step, latched)
            line = {"process": name, "time_ms": round(self.now_ms(), 3), **entry}
            try:
                self._journal.write(json.dumps(line, separators=(",", ":")) + "\n")
                self._journal.flush()
            except OSError as error:
                # The machines have moved: what the step asks of the world has to be done.
                self._stop_journal(self._journal, error)

    def _stop_journal(self, journal: TextIO, error: OSError) -> None:
        self._journal = None
        # Closed here, or whoever closes it last would try once more to write what is left in it.
        with suppress(OSError):
            journal.close()
        self.warn(texts.JOURNAL_STOPPED % error)

    def _settle_memory(self, step: Step) -> None:
        """Memory that both sides can see is written to by one of them only."""
        if step.event is E.SYSTEM_RESET:
            self.memory.settle()
        for move in step.moves:
            if move.before is not move.after:
                if move.after in (Handover.COMMITTED, Migration.COMPLETED):
                    self.memory.part()
                elif move.after is Migration.FAILED:
                    self.memory.rejoin()
                elif move.after is Incoming.COMPLETED:
                    self.memory.own()

    def send(self, message: Message) -> None:
        """Put a message on whichever stream is open."""
        (self.outgoing if self.outgoing.connection else self.incoming).send(message)

    def perform(self, command: Command, index: int | None) -> None:
        """Carry out a command of the tables."""
        self._commands[command]()

    def start_timer(self, event: E, delay_ms: float) -> None:
        """Fire `event` later; a newer timer replaces the older."""
        self.stop_timer(event)
        self._timers_by_event[event] = self._clock.call_later(
            delay_ms, lambda: self._timers.expired(event)
        )

    def stop_timer(self, event: E) -> None:
        """Do not fire `event`."""
        running = self._timers_by_event.pop(event, None)
        if running is not None:
            running.cancel()

    def settled(self) -> None:
        """Have the network follow the devices, and let the guest do what it now has to do."""
        self.network.follow_devices()
        if self._is_ticking:
            return
        due_ms = self.vm.guest.due_ms(uplink_ready=self.network.ready and not self._is_stuck)
        if self._tick is not None:
            if due_ms == self._tick_due_ms:
                return
            self._tick.cancel()
            self._tick = None
        if due_ms is not None:
            self._tick_due_ms = due_ms
            self._tick = self._clock.call_later(max(due_ms - self.now_ms(), 0.0), self._advance)

    # -- the guest

    _is_stuck = False

    def _uplink_has_room(self) -> None:
        self._is_stuck = False
        self.settled()

    def _advance(self) -> None:
        self._tick = None
        self._is_ticking = True
        try:
            while deeds := self.vm.guest.advance(self.now_ms()):
                for deed in deeds:
                    self._carry_out(deed)
            self._send_frames()
        finally:
            self._is_ticking = False
        self.settled()

    def _carry_out(self, deed: Fire | OpenPrimary | ClosePrimary) -> None:
        match deed:
            case Fire(event=event, index=index):
                perform(self.vm, event, index)
            case OpenPrimary(index=opening):
                self.network.open_primary(opening, lambda: self._opened(opening))
            case ClosePrimary(index=closing):
                self.network.close_primary(closing, lambda: self._closed(closing))

    def _opened(self, index: int) -> None:
        self.vm.guest.primary_opened(index, self.now_ms())
        self._advance_unless_ticking()

    def _closed(self, index: int) -> None:
        self.vm.guest.primary_closed(index, self.now_ms())
        self._advance_unless_ticking()

    def _advance_unless_ticking(self) -> None:
        if not self._is_ticking:
            self._advance()

    def _send_frames(self) -> None:
        guest, now_ms = self.vm.guest, self.now_ms()
        self._is_stuck = False
        for _ in range(guest.announcements_due(now_ms)):
            self.network.announce()
        if not self.network.ready:
            return  # whoever makes it ready has the machines settle, and the frames become due
        for _ in range(guest.frames_due(now_ms)):
            if not self.network.send_numbered(guest.next_frame()):
                self._is_stuck = True
                return
            guest.frame_sent(now_ms)

    def _frame_left(self, path: Path) -> None:
        if self._resumed_ms is not None and path not in self._first_frames:
            self._first_frames[path] = self.now_ms() - self._resumed_ms
            if self.vm.profile.own_events:
                self.vm.emit("X_REPLUG_FIRST_FRAME", {"path": path})

    @property
    def first_frames_ms(self) -> Mapping[Path, float]:
        """Path -> when the first frame left on it, after the guest last began to run."""
        return self._first_frames

    def _run_guest(self) -> None:
        self.memory.own()
        self.memory.rejoin()
        arriving = self.vm.incoming is Incoming.ACTIVE
        now_ms = self.now_ms()
        self.vm.guest.start(now_ms)
        if arriving:
            initial_ms, max_ms, rounds, step_ms = self.vm.parameters.announce
            self.vm.guest.announce(rounds, initial_ms, max_ms, step_ms, now_ms)
        self._resumed_ms = now_ms
        self._first_frames = {}
        self.network.resume()

    def _stop_guest(self) -> None:
        self.vm.guest.stop(self.now_ms())

    def _quiesce_guest(self) -> None:
        self.vm.guest.stop(self.now_ms())
        self.network.quiesce(lambda: self.vm.fire(E.GUEST_STOPPED))

    # -- the channel

    def _send(self, kind: effects.Message, happening: Happening) -> None:
        if kind in _SOURCE_MESSAGES:
            self.outgoing.send(self.source.build(kind, happening))
        else:
            self.incoming.send(self.target.build(kind))

    def _close_channel(self) -> None:
        self.outgoing.close()
        self.incoming.close()
        if not self.vm.is_waiting(E.CHANNEL_CLOSED):
            # Asked for twice before its answer came: that answers both.
            self.vm.fire(E.CHANNEL_CLOSED)

    def _heartbeat(self) -> None:
        interval_ms = self.vm.profile.timings.heartbeat_interval_ms
        now_ms = self.now_ms()
        was_stopped = now_ms - self._beat_ms > 2 * interval_ms
        self._beat_ms = now_ms
        if self.vm.state(Link) is not Link.OPEN or not self.vm.profile.heartbeats:
            self._beat = self._clock.call_later(interval_ms, self._heartbeat)
            return
        stream = self.outgoing if self.outgoing.connection else self.incoming
        if was_stopped:
            # This process did not run: what came meanwhile has not been read yet.
            stream.heard_ms = now_ms
        # A limit below the peer's interval would take every peer for lost.
        limit_ms = max(self.vm.parameters.heartbeat_ms, 2 * interval_ms)
        left_ms = stream.heard_ms + limit_ms - now_ms
        # The next look is no later than the limit.
        next_ms = min(interval_ms, left_ms) if left_ms > 0 else interval_ms
        self._beat = self._clock.call_later(next_ms, self._heartbeat)
        if left_ms <= 0:
            self._note_silence(limit_ms, is_source=stream is self.outgoing)
            self.vm.fire(E.LINK_SILENT)
        else:
            stream.send(Heartbeat(int(now_ms)))

    def _note_silence(self, limit_ms: float, *, is_source: bool) -> None:
        if not is_source:
            self.target.reason = self.target.reason or texts.SOURCE_SILENT % limit_ms
        elif self.vm.error_description is None:
            self.vm.error_description = texts.PEER_SILENT % limit_ms

    # -- the end

    def _exit(self) -> None:
        for line in (self.target.reason or texts.STREAM_CUT).splitlines():
            self.warn(line)
        if not self.target.reason.endswith((texts.LOAD_REFUSED, texts.LOAD_INVALID)):
            self.warn(texts.LOAD_INVALID)
        self._exit_with(1)

    def close(self) -> None:
        """Let go of sockets and memory; nothing happens by itself afterwards."""
        self._journal = None
        for timer in (*self._timers_by_event.values(), self._beat):
            if timer is not None:
                timer.cancel()
        if self.vm.run_state is RunState.RUNNING:
            self.vm.guest.stop(self.now_ms())
        self.network.close()
        self.outgoing.close()
        self.incoming.close()
        if self._tick is not None:
            self._tick.cancel()

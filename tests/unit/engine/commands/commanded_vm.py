"""A VM that commands are given to: the real core, in a world that records and is told the time.

Here lives the least that commands need around a VM. What the core asks of the world is written
down; only the guest is really run, and a migration without a URI fails at once, as the driver's
does. Every answer and every event is held against what the monitor declares of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from devices.guest_view import ClosePrimary, OpenPrimary
from devices.ram import BitmapRam
from engine.announcements import Announcements
from engine.command_line import parse_vm_arguments
from engine.commands.dispatcher import Dispatcher
from engine.guest_deeds import perform, take_charge
from engine.hotplug import Hotplug
from engine.messages import Message
from engine.qmp.commands import COMMANDS
from engine.qmp.errors import QmpError
from engine.qmp.events import EVENTS
from engine.timers import Timers
from engine.vm import Vm
from statemachines import effects
from statemachines.effects import Command
from statemachines.events import E
from statemachines.runtime import Latched, Step
from statemachines.states import Feature, NetFailover, Resume, Standby

MAC = "52:54:00:6f:55:cc"
PORTS = tuple(
    argument
    for number in range(4)
    for argument in ("-device", f"pcie-root-port,id=root{number},chassis={number},slot={number}")
)
NETDEVS = tuple(argument for number in range(4) for argument in ("-netdev", f"user,id=hs{number}"))
STANDBY = (
    "-device",
    f"virtio-net-pci,bus=root0,id=net1,netdev=hs0,mac={MAC},failover=on",
)
PRIMARY = ("-device", f"e1000e,bus=root1,id=pri0,netdev=hs1,mac={MAC},failover_pair_id=net1")
PAIR = (*STANDBY, *PRIMARY)


def _no_file(path: str) -> str:
    raise AssertionError(f"no test reads {path}")


class CommandedVm:
    """One VM with its dispatcher; world and host in one."""

    def __init__(self, *arguments: str, profile: str = "native") -> None:
        configuration = parse_vm_arguments(
            ("-m", "2M", "-profile", profile, *PORTS, *NETDEVS, *arguments),
            read_file=_no_file,
            incoming_uri=None,
        ).configuration
        self.clock_ms = 1000.0
        self._told_ms: Callable[[], float] | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.warnings: list[str] = []
        self.entries: list[Mapping[str, Any]] = []
        self.performed: list[Command] = []
        self.sent: list[effects.Message] = []
        self.timers: list[tuple[E, float]] = []
        self.settled_count = 0
        self.has_quit = False
        self.closed: list[int] = []
        self.offered: list[int] = []
        self.addresses: list[dict[str, str | bool]] = []
        self.first_frames_ms: dict[str, float] = {}
        self.vm = Vm(configuration, BitmapRam(bytearray(configuration.ram_bytes)), self)
        self.hotplug = Hotplug(self.vm)
        Announcements(self.vm, self.hotplug)
        Timers(self.vm)
        take_charge(self.vm)
        self.vm.send_with(lambda message, _happening: self.sent.append(message))
        for netdev in configuration.netdevs:
            self.vm.board.netdevs.add(netdev)
        for options in configuration.devices:
            self.hotplug.add(options)
        self.vm.board.topology.freeze()
        self.dispatcher = Dispatcher(self.vm, self.hotplug, self)
        self._boot()

    def _boot(self) -> None:
        held = self.vm.configuration.start_paused
        if self.vm.configuration.incoming is None:
            self.vm.fire(E.BOOT_HELD if held else E.BOOT)
        else:
            self.vm.fire(E.BOOT_INCOMING_HELD if held else E.BOOT_INCOMING)
        self.live()

    # -- World

    def now_ms(self) -> float:
        return self._told_ms() if self._told_ms is not None else self.clock_ms

    def time_is(self, now_ms: Callable[[], float]) -> None:
        """Take the time from somebody else from now on."""
        self._told_ms = now_ms

    def emit(self, name: str, data: Mapping[str, Any]) -> None:
        self.events.append((name, EVENTS[name].data.check(dict(data), "")))

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def record(self, step: Step, latched: Latched | None) -> None:
        self.entries.append(self.vm.journal.entry_of(step, latched))

    def send(self, message: Message) -> None:
        raise AssertionError(f"{message} was built, though nobody builds messages here")

    def perform(self, command: Command, index: int | None) -> None:
        self.performed.append(command)
        match command:
            case Command.RUN_GUEST:
                self.vm.guest.start(self.clock_ms)
            case Command.STOP_GUEST | Command.QUIESCE_GUEST:
                self.vm.guest.stop(self.clock_ms)
            case Command.CONNECT if self.vm.outgoing_uri is None:
                self.vm.fire(E.CONNECT_FAILED)
            case _:
                pass

    def start_timer(self, event: E, delay_ms: float) -> None:
        self.timers.append((event, delay_ms))

    def stop_timer(self, event: E) -> None:
        self.timers = [timer for timer in self.timers if timer[0] is not event]

    def settled(self) -> None:
        self.settled_count += 1

    # -- Host

    def quit(self) -> None:
        self.has_quit = True

    def close_descriptor(self, fd: int) -> None:
        self.closed.append(fd)

    def socket_addresses(self) -> list[dict[str, str | bool]]:
        return self.addresses

    def details(self) -> dict[str, Any]:
        return {"first-frames-ms": dict(self.first_frames_ms)}

    # -- what tests do

    def live(self, for_ms: float = 1000.0) -> None:
        """Let the guest do all that is due within this time."""
        guest, end_ms = self.vm.guest, self.clock_ms + for_ms
        while (due_ms := guest.due_ms(uplink_ready=False)) is not None and due_ms <= end_ms:
            self.clock_ms = max(self.clock_ms, due_ms)
            while deeds := guest.advance(self.clock_ms):
                for deed in deeds:
                    match deed:
                        case OpenPrimary(index=index):
                            guest.primary_opened(index, self.clock_ms)
                        case ClosePrimary(index=index):
                            guest.primary_closed(index, self.clock_ms)
                        case _:
                            perform(self.vm, deed.event, deed.index)
        self.clock_ms = end_ms

    def execute(self, command: str, /, **arguments: Any) -> Any:
        """Give a command as a client would; its answer is as it was declared, and is JSON."""
        checked = COMMANDS[command].check_arguments(arguments)
        answer = self.dispatcher.dispatch(command, checked, self._take)
        COMMANDS[command].returns.check(answer, "return")
        return json.loads(json.dumps(answer, allow_nan=False))

    def _take(self) -> int | None:
        return self.offered.pop(0) if self.offered else None

    def refusal(self, command: str, /, **arguments: Any) -> tuple[str, str]:
        """Return the class and text that a command is refused with, and which moved nothing."""
        count = len(self.entries)
        text = self.error(command, **arguments)
        assert len(self.entries) == count
        return text

    def error(self, command: str, /, **arguments: Any) -> tuple[str, str]:
        """Return the class and text of a command's error, whatever it moved before."""
        try:
            answer = self.execute(command, **arguments)
        except QmpError as error:
            return error.error_class.value, error.description
        raise AssertionError(f"{command} answered {answer}")

    def take_events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the events since the last look."""
        events, self.events = self.events, []
        return events

    def statuses(self) -> list[str]:
        """Return the statuses of the MIGRATION events since the last look."""
        return [data["status"] for name, data in self.take_events() if name == "MIGRATION"]

    def get(self, path: str, name: str) -> Any:
        """Return a property's value."""
        return self.execute("qom-get", path=path, property=name)

    def set(self, path: str, name: str, value: Any) -> None:
        """Set a property."""
        assert self.execute("qom-set", path=path, property=name, value=value) == {}

    def turn_on(self, *capabilities: str) -> None:
        """Turn capabilities on."""
        listed = [{"capability": each, "state": True} for each in capabilities]
        assert self.execute("migrate-set-capabilities", capabilities=listed) == {}

    # -- a migration by hand

    def fire(self, *events: E) -> None:
        """Fire events one after another, 10 ms apart."""
        for event in events:
            self.clock_ms += 10
            self.vm.fire(event)

    def migrate_to_wait_unplug(self) -> None:
        """Begin a migration of a VM that has a primary, up to the wait for its eject."""
        assert self.execute("migrate", uri="tcp:target:4444") == {}
        self.fire(E.CONNECTED)
        if self.vm.profile.policies["greeting"] == "asked":
            self.fire(E.RECV_ACCEPT)
        self.fire(E.SETUP_DONE)

    def migrate_until_handed_over(self) -> None:
        """Do the same and go on until COMMIT is sent (profile native)."""
        self.migrate_to_wait_unplug()
        self.live()
        self.fire(E.CONVERGED, E.GUEST_STOPPED, E.FINAL_SENT, E.RECV_LOADED)

    def receive_until_loaded(self) -> None:
        """Be a target up to LOADED."""
        assert self.execute("migrate-incoming", uri="tcp:0:4444") == {}
        self.fire(E.PEER_CONNECTED, E.RECV_HELLO, E.HELLO_GOOD)
        latched: Latched = {Resume: {0: Resume.RUN}}
        for index in self.vm.board.standbys:
            latched = {
                **latched,
                Standby: {index: Standby.DRIVER_OK},
                Feature: {index: Feature.ACKED},
                NetFailover: {index: NetFailover.STANDBY},
            }
        self.vm.fire(E.RECV_STATE, latched=latched)
        self.fire(E.RECV_END, E.VERIFIED)

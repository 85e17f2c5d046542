"""The tables' events and warnings for the operator, in QEMU's words.

Rules kept here: one handler per EMIT or WARN command; a status is read when it is reached, so the
order of events is the order of the steps. MIGRATION comes only with capability `events`, but for
the incoming `setup` of QEMU 7.2 (migration.c qemu_start_incoming_migration).
"""

from __future__ import annotations

from collections.abc import Callable

from engine import texts
from engine.hotplug import Hotplug
from engine.vm import Handler, Vm
from statemachines.effects import Command
from statemachines.states import Incoming, Primary, Takeover


class Announcements:
    """Everything one VM says to its operator because a row says so."""

    def __init__(self, vm: Vm, hotplug: Hotplug) -> None:
        """Take charge of the EMIT and WARN commands."""
        self._vm = vm
        self._hotplug = hotplug
        simple: dict[Command, Callable[[], None]] = {
            Command.EMIT_MIGRATION: self._migration,
            Command.EMIT_INCOMING: self._incoming,
            Command.EMIT_STOP: lambda: vm.emit("STOP"),
            Command.EMIT_RESUME: lambda: vm.emit("RESUME"),
            Command.EMIT_RESET: lambda: vm.emit(
                "RESET", {"guest": False, "reason": "host-qmp-system-reset"}
            ),
            Command.EMIT_IN_DOUBT: self._in_doubt,
            Command.WARN_PARTIALLY_UNPLUGGED: lambda: vm.world.warn(texts.PARTIALLY_UNPLUGGED),
        }
        for command, handler in simple.items():
            vm.handle(command, _without_index(handler))
        vm.handle(Command.EMIT_UNPLUG_PRIMARY, self._unplug_primary)
        vm.handle(Command.EMIT_FAILOVER_NEGOTIATED, self._negotiated)
        vm.handle(Command.WARN_NOT_UNPLUGGED, self._not_unplugged)
        vm.handle(Command.WARN_PLUG_FAILED, self._plug_failed)
        vm.handle(Command.WARN_PRIMARY_DROPPED, self._dropped)

    def _migration(self) -> None:
        if self._vm.events_enabled:
            self._vm.emit("MIGRATION", {"status": self._vm.migration.value})

    def _incoming(self) -> None:
        status = self._vm.incoming
        always = self._vm.profile.incoming_setup_always and status is Incoming.SETUP
        if self._vm.events_enabled or always:
            self._vm.emit("MIGRATION", {"status": status.value})

    def _in_doubt(self) -> None:
        is_target = self._vm.state(Takeover) is Takeover.IN_DOUBT
        reason = texts.SOURCE_LOST if is_target else texts.PEER_LOST
        self._vm.emit("X_REPLUG_IN_DOUBT", {"reason": reason})

    def _unplug_primary(self, index: int | None) -> None:
        self._vm.emit("UNPLUG_PRIMARY", {"device-id": self._primary(index)})

    def _negotiated(self, index: int | None) -> None:
        assert index is not None
        standby = self._vm.board.standbys[index]
        self._vm.emit("FAILOVER_NEGOTIATED", {"device-id": standby.id})
        attached = any(
            self._vm.state(Primary, entry.index) is not Primary.ABSENT
            for entry in self._vm.board.primaries_of(index)
        )
        if not attached:
            self._vm.world.warn(texts.PRIMARY_NOT_FOUND % standby.id)

    def _not_unplugged(self, index: int | None) -> None:
        name = self._primary(index)
        self._vm.error_description = texts.UNPLUG_WAS_REFUSED % name
        self._vm.world.warn(texts.NOT_UNPLUGGED)

    def _plug_failed(self, index: int | None) -> None:
        assert index is not None
        reason = self._hotplug.plug_errors.get(index, "")
        self._vm.world.warn(texts.PLUG_FAILED % reason)
        if self._vm.profile.own_events:
            self._vm.emit(
                "X_REPLUG_PRIMARY_LOST", {"device-id": self._primary(index), "reason": reason}
            )

    def _dropped(self, index: int | None) -> None:
        self._vm.world.warn(texts.PRIMARY_DROPPED)

    def _primary(self, index: int | None) -> str:
        assert index is not None
        return self._vm.board.primaries[index].id


def _without_index(handler: Callable[[], None]) -> Handler:
    return lambda _index: handler()

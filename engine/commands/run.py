"""Running, stopping, resetting and ending the VM, and what it says of itself.

Rules kept here: whether the VM may run or stop is the tables' answer. `quit` would leave a VM that
is in doubt to nobody, so it is refused until somebody has said who keeps it.
"""

from __future__ import annotations

from typing import Any

from engine.commands import texts
from engine.commands.call import Call, Handler, Host
from engine.commands.migration_report import is_in_doubt
from engine.qmp.errors import generic_error
from engine.qmp.introspection import query_commands, query_events, query_qmp_schema
from engine.vm import Vm
from statemachines.events import E
from statemachines.states import RunState


class RunCommands:
    """The commands about the VM as a whole."""

    def __init__(self, vm: Vm, host: Host) -> None:
        self._vm = vm
        self._host = host

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each command."""
        return {
            "query-version": self._query_version,
            "query-commands": lambda _: query_commands(),
            "query-events": lambda _: query_events(),
            "query-qmp-schema": lambda _: query_qmp_schema(),
            "query-status": self._query_status,
            "query-name": self._query_name,
            "query-uuid": lambda _: {"UUID": self._vm.configuration.uuid},
            "stop": lambda _: self._ask(E.STOP),
            "cont": lambda _: self._ask(E.CONT),
            "system_reset": lambda _: self._ask(E.SYSTEM_RESET),
            "quit": self._quit,
        }

    def _ask(self, event: E) -> dict[str, Any]:
        self._vm.ask(event)
        return {}

    def _query_version(self, _call: Call) -> dict[str, Any]:
        profile = self._vm.profile
        return {"qemu": dict(profile.version), "package": profile.package}

    def _query_status(self, _call: Call) -> dict[str, Any]:
        state = self._vm.run_state
        return {"running": state is RunState.RUNNING, "singlestep": False, "status": state.value}

    def _query_name(self, _call: Call) -> dict[str, Any]:
        name = self._vm.configuration.name
        return {"name": name} if name else {}

    def _quit(self, _call: Call) -> dict[str, Any]:
        if is_in_doubt(self._vm):
            raise generic_error(texts.QUIT_IN_DOUBT)
        self._vm.emit("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
        self._host.quit()
        return {}

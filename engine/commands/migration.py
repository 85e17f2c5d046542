"""migrate and its kin: beginning, cancelling and ending migrations, capabilities, parameters.

Rules kept here: whether a command is allowed now is the tables' answer, with the tables' text; it
is asked before a URI is looked at, as in QEMU (migration.c migrate_prepare). A refusal changes
nothing, but where a profile mirrors a QEMU that fails the migration.
"""

from __future__ import annotations

from typing import Any

from engine.commands.call import Call, Handler, Host
from engine.commands.descriptors import Descriptors
from engine.commands.migration_report import query_migrate
from engine.parameters import Capability
from engine.qmp import texts
from engine.qmp.errors import QmpError, generic_error
from engine.transport_rules import check_transport
from engine.uri import FdUri, Uri, UriError, parse_uri
from engine.vm import Vm
from statemachines.events import E
from statemachines.states import Handover, Migration, Takeover
from statemachines.tables.conditions import RUNNING_STATUSES

#: Capabilities that guards read: the events that say so, on and off.
_TOLD = {
    Capability.RETURN_PATH: (E.RETURN_PATH_ON, E.RETURN_PATH_OFF),
    Capability.PAUSE_BEFORE_SWITCHOVER: (E.PAUSE_ON, E.PAUSE_OFF),
}
#: (who keeps the VM, whether this side is a target) -> what that is here.
_KEEPS = {
    ("source", False): E.KEEP_HERE,
    ("source", True): E.KEEP_THERE,
    ("target", False): E.KEEP_THERE,
    ("target", True): E.KEEP_HERE,
}


class MigrationCommands:
    """The commands about migrations, in either direction."""

    def __init__(self, vm: Vm, host: Host, descriptors: Descriptors) -> None:
        self._vm = vm
        self._host = host
        self._descriptors = descriptors

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each command."""
        return {
            "query-migrate": lambda _: query_migrate(self._vm, self._host),
            "migrate": self._migrate,
            "migrate_cancel": self._cancel,
            "migrate-continue": self._continue,
            "migrate-incoming": self._incoming,
            "migrate-set-capabilities": self._set_capabilities,
            "query-migrate-capabilities": lambda _: self._vm.capabilities.query(),
            "migrate-set-parameters": self._set_parameters,
            "query-migrate-parameters": lambda _: self._vm.parameters.query(),
            "x-replug-resolve": self._resolve,
        }

    # -- outgoing

    def _migrate(self, call: Call) -> dict[str, Any]:
        vm = self._vm
        if call.arguments.get("resume"):
            raise generic_error(texts.NOTHING_TO_RESUME)
        vm.check(E.MIGRATE)
        if call.arguments.get("blk") or call.arguments.get("inc"):
            raise generic_error(texts.BLOCK_MIGRATION_NOT_SERVED)
        try:
            uri = self._parse(call.arguments["uri"], incoming=False)
            check_transport(vm.capabilities, uri, vm.profile.policies)
        except (UriError, QmpError) as error:
            if vm.profile.bad_uri_fails:
                self._fail(str(error))
            raise
        vm.error_description = None
        vm.outgoing_uri = uri
        vm.ask(E.MIGRATE)
        return {}

    def _fail(self, reason: str) -> None:
        """Go through setup to failed, as QEMU 7.2 does before it answers with the error.

        Only an unknown protocol leaves no error-desc behind (migration.c qmp_migrate).
        """
        self._vm.error_description = None if reason == texts.URI_EXPECTS_PROTOCOL else reason
        self._vm.outgoing_uri = None
        self._vm.fire(E.MIGRATE)

    def _cancel(self, _call: Call) -> dict[str, Any]:
        self._vm.ask(E.CANCEL)
        return {}

    def _continue(self, call: Call) -> dict[str, Any]:
        status = self._vm.migration
        if call.arguments["state"] != status.value:
            raise generic_error(texts.migration_not_in_state(status.value))
        # In any other status there is nothing to go on with, and QEMU says so by doing nothing.
        if status is Migration.PRE_SWITCHOVER:
            self._vm.ask(E.CONTINUE)
        return {}

    # -- incoming

    def _incoming(self, call: Call) -> dict[str, Any]:
        vm = self._vm
        vm.check(E.INCOMING)
        try:
            uri = self._parse(call.arguments["uri"], incoming=True)
            check_transport(vm.capabilities, uri, vm.profile.policies)
        except (UriError, QmpError):
            if vm.profile.incoming_setup_always:
                # qemu_start_incoming_migration emits it before it looks at the URI.
                vm.emit("MIGRATION", {"status": Migration.SETUP.value})
            raise
        vm.incoming_uri = uri
        vm.ask(E.INCOMING)
        if vm.listen_error is not None:
            raise generic_error(vm.listen_error)
        return {}

    def _parse(self, text: str, *, incoming: bool) -> Uri:
        uri = parse_uri(text, incoming=incoming)
        if isinstance(uri, FdUri) and incoming:
            self._descriptors.check(uri.name)
        elif isinstance(uri, FdUri):
            # A number would be one of this process's own (migration/fd.c
            # fd_start_outgoing_migration takes names only).
            self._descriptors.check_kept(uri.name)
        return uri

    # -- capabilities and parameters

    def _set_capabilities(self, call: Call) -> dict[str, Any]:
        vm = self._vm
        if vm.migration in RUNNING_STATUSES:
            raise generic_error(texts.MIGRATION_IN_PROGRESS)
        before = {capability: vm.capabilities.on(capability) for capability in _TOLD}
        vm.capabilities.set_all(call.arguments["capabilities"])
        for capability, (on, off) in _TOLD.items():
            is_on = vm.capabilities.on(capability)
            if is_on is not before[capability]:
                vm.fire(on if is_on else off)
        return {}

    def _set_parameters(self, call: Call) -> dict[str, Any]:
        self._vm.parameters.set_all(call.arguments)
        return {}

    # -- doubt

    def _resolve(self, call: Call) -> dict[str, Any]:
        vm = self._vm
        is_target = (
            vm.state(Takeover) is Takeover.IN_DOUBT and vm.state(Handover) is not Handover.IN_DOUBT
        )
        vm.ask(_KEEPS[call.arguments["keep"], is_target])
        return {}

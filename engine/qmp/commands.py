"""Every command that the monitor serves: its arguments, its answer, one sentence.

What may live here: declarations. A command that is not in COMMANDS does not exist, and one that is
here is served, if only to be refused in QEMU's words (the three of postcopy). What a command
does is decided elsewhere. Names, arguments and answers are QEMU 7.2's unless the name begins with
`x-replug-`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from engine import parameters
from engine.qmp import declared, texts
from engine.qmp.schema import (
    ANY,
    BOOL,
    EMPTY,
    INT,
    STR,
    CommandSpec,
    Enumeration,
    ListOf,
    Member,
    QmpType,
    Struct,
    optional,
    required,
)

_NET_CLIENT_DRIVER = Enumeration(
    "NetClientDriver",
    (
        "none",
        "nic",
        "user",
        "tap",
        "l2tpv3",
        "socket",
        "stream",
        "dgram",
        "vde",
        "bridge",
        "hubport",
        "netmap",
        "vhost-user",
        "vhost-vdpa",
    ),
)
_SIDE = Enumeration("ReplugSide", ("source", "target"))

_ID = required("id", STR)
_URI = required("uri", STR)
_PATH = required("path", STR)
_PROPERTIES = ListOf(declared.OBJECT_PROPERTY_INFO)


def _served(doc: str, *arguments: Member, returns: QmpType = EMPTY) -> CommandSpec:
    """A command whose arguments are these; their structure gets its name from COMMANDS."""
    return CommandSpec(Struct("", arguments) if arguments else EMPTY, returns, doc=doc)


def _named(command: str, spec: CommandSpec) -> CommandSpec:
    if spec.arguments.name:
        return spec
    return replace(spec, arguments=replace(spec.arguments, name=f"q_obj_{command}-arg"))


_MONITOR = {
    "qmp_capabilities": replace(
        _served(
            "Leave negotiation; enable what the greeting offered.",
            optional("enable", ListOf(declared.QMP_CAPABILITY)),
        ),
        allow_preconfig=True,
    ),
    "query-version": replace(
        _served("Which version answers.", returns=declared.VERSION_INFO), allow_preconfig=True
    ),
    "query-commands": replace(
        _served("Every command.", returns=ListOf(declared.COMMAND_INFO)), allow_preconfig=True
    ),
    "query-events": replace(
        _served("Every event.", returns=ListOf(declared.EVENT_INFO)), allow_preconfig=True
    ),
    "query-qmp-schema": replace(
        _served("Commands, events and their types.", returns=ListOf(declared.SCHEMA_INFO)),
        allow_preconfig=True,
    ),
}

_MACHINE = {
    "query-status": replace(
        _served("The run state.", returns=declared.STATUS_INFO), allow_preconfig=True
    ),
    "query-name": replace(
        _served("The VM's name, if it has one.", returns=declared.NAME_INFO), allow_preconfig=True
    ),
    "query-uuid": replace(
        _served("The VM's UUID.", returns=declared.UUID_INFO), allow_preconfig=True
    ),
    "stop": _served("Stop the guest's processors."),
    "cont": _served("Let the guest's processors run."),
    "quit": replace(_served("End the VM."), allow_preconfig=True),
    "system_reset": _served("Reset the machine."),
}

_MIGRATION = {
    "query-migrate": _served("How the migration stands.", returns=declared.MIGRATION_INFO),
    "migrate": _served(
        "Begin to migrate to this URI; answered once begun, not when done.",
        _URI,
        optional("blk", BOOL),
        optional("inc", BOOL),
        optional("detach", BOOL),
        optional("resume", BOOL),
    ),
    "migrate_cancel": _served("Cancel the migration, if there is one."),
    "migrate-continue": _served(
        "Go on with the switchover, if the migration waits in this state.",
        required("state", declared.MIGRATION_STATUS),
    ),
    "migrate-incoming": _served("Listen on this URI; for a VM started with defer.", _URI),
    "migrate-set-capabilities": _served(
        "Turn capabilities on or off, all of the list or none.",
        required("capabilities", parameters.CAPABILITY_LIST),
    ),
    "query-migrate-capabilities": _served(
        "Which capabilities are on.", returns=parameters.CAPABILITY_LIST
    ),
    "migrate-set-parameters": CommandSpec(
        parameters.SETTABLE_PARAMETERS, doc="Set parameters, all that are given or none."
    ),
    "query-migrate-parameters": _served(
        "What the parameters are.", returns=parameters.SHOWN_PARAMETERS
    ),
    "migrate-start-postcopy": replace(
        _served("Refused: there is no postcopy."), refusal=texts.POSTCOPY_NOT_ENABLED
    ),
    "migrate-pause": replace(
        _served("Refused: there is no postcopy."),
        refusal=texts.PAUSE_ONLY_IN_POSTCOPY,
        allow_oob=True,
    ),
    "migrate-recover": replace(
        _served("Refused: there is no postcopy.", _URI),
        refusal=texts.RECOVER_ONLY_WHEN_PAUSED,
        allow_oob=True,
    ),
    "x-replug-resolve": _served(
        "End a hand-over that is in doubt: the VM lives on this side.", required("keep", _SIDE)
    ),
}

_DEVICES = {
    "device_add": CommandSpec(
        Struct(
            "q_obj_device_add-arg",
            (required("driver", STR), optional("bus", STR), optional("id", STR)),
            open=True,
        ),
        features=("json-cli", "json-cli-hotplug"),
        doc="Plug a device; further members are its properties.",
    ),
    "device_del": _served("Ask the guest to give up a device.", _ID),
    "netdev_add": CommandSpec(
        Struct("Netdev", (_ID, required("type", _NET_CLIENT_DRIVER)), open=True),
        doc="Add the host side of a NIC; further members depend on its type.",
    ),
    "netdev_del": _served("Remove the host side of a NIC.", _ID),
    "getfd": _served("Keep the descriptor sent along, by name.", required("fdname", STR)),
    "closefd": _served("Close a descriptor kept by getfd.", required("fdname", STR)),
    "set_link": _served(
        "Set the link of a NIC up or down.", required("name", STR), required("up", BOOL)
    ),
    "announce-self": _served(
        "Make the guest's NICs announce themselves; times in milliseconds.",
        required("initial", INT),
        required("max", INT),
        required("rounds", INT),
        required("step", INT),
        optional("interfaces", ListOf(STR)),
        optional("id", STR),
    ),
    "query-rx-filter": _served(
        "What the guest lets through to its NICs.",
        optional("name", STR),
        returns=ListOf(declared.RX_FILTER_INFO),
    ),
    "query-pci": _served("The PCI devices.", returns=ListOf(declared.PCI_INFO)),
    "qom-get": replace(
        _served("A property's value.", _PATH, required("property", STR), returns=ANY),
        allow_preconfig=True,
    ),
    "qom-set": replace(
        _served("Set a property.", _PATH, required("property", STR), required("value", ANY)),
        allow_preconfig=True,
    ),
    "qom-list": replace(
        _served("The properties of an object.", _PATH, returns=_PROPERTIES), allow_preconfig=True
    ),
    "device-list-properties": replace(
        _served(
            "The properties of a kind of device.", required("typename", STR), returns=_PROPERTIES
        ),
        allow_preconfig=True,
    ),
}

COMMANDS: Mapping[str, CommandSpec] = {
    name: _named(name, spec)
    for name, spec in {**_MONITOR, **_MACHINE, **_MIGRATION, **_DEVICES}.items()
}

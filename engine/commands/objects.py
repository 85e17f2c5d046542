"""qom-get, qom-set, qom-list: the VM as a tree of objects with properties.

What may live here: the tree's shape and how a path is looked up. What the objects show is in
`device_objects`, `guest_object` and here (`/machine/replug`).

    /machine/peripheral/ID    a realized device that has an id; a hidden primary is none
    /machine/guest            the guest: what it did, what it shall do
    /machine/replug           the machines' joint state, the migration, the profile

Rules kept here: the tree is made anew for every request and holds nothing. A path without a
leading slash is the end of one, if only one ends so (qom/object.c object_resolve_path).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from devices import texts as device_texts
from engine.commands import texts as command_texts
from engine.commands.call import Call, Handler, Host
from engine.commands.device_objects import device_attributes
from engine.commands.guest_object import GuestObject
from engine.commands.migration_report import replug_report
from engine.commands.qom import Attribute, constant
from engine.journal import joint_state
from engine.qmp import texts
from engine.qmp.errors import device_not_found, generic_error
from engine.vm import Vm

_MACHINE_TYPES = {"q35": "pc-q35-7.2-machine", "pc": "pc-i440fx-7.2-machine"}


@dataclass(frozen=True)
class _Object:
    """One object of the tree."""

    #: The name of its type.
    type_name: str
    #: Its properties, made when they are asked for.
    attributes: Callable[[], dict[str, Attribute]] = dict
    #: Its children, by name.
    children: Mapping[str, _Object] = field(default_factory=dict)

    def all_attributes(self) -> dict[str, Attribute]:
        """Return its properties, `type` first."""
        return {"type": constant("string", self.type_name), **self.attributes()}


class ObjectCommands:
    """The commands about objects."""

    def __init__(self, vm: Vm, host: Host) -> None:
        self._vm = vm
        self._host = host
        self._guest = GuestObject(vm)

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each command."""
        return {"qom-get": self._get, "qom-set": self._set, "qom-list": self._list}

    def _get(self, call: Call) -> Any:
        path, found = self._resolve(call.arguments["path"])
        name = call.arguments["property"]
        if name in found.children:
            # A child's value is its path, as a link's is.
            return f"{path}/{name}"
        attribute = _attribute(found, name)
        if attribute.read is None:
            raise generic_error(command_texts.NOT_READABLE % (found.type_name, name))
        return attribute.read()

    def _set(self, call: Call) -> dict[str, Any]:
        _, found = self._resolve(call.arguments["path"])
        name = call.arguments["property"]
        attribute = _attribute(found, name)
        if attribute.write is None:
            raise generic_error(device_texts.PROPERTY_NOT_WRITABLE % (found.type_name, name))
        attribute.write(call.arguments["value"])
        return {}

    def _list(self, call: Call) -> list[dict[str, str]]:
        _, found = self._resolve(call.arguments["path"])
        attributes = found.all_attributes().items()
        children = found.children.items()
        return [
            *({"name": name, "type": attribute.type_name} for name, attribute in attributes),
            *({"name": name, "type": f"child<{child.type_name}>"} for name, child in children),
        ]

    # -- the tree

    def _resolve(self, path: str) -> tuple[str, _Object]:
        """Return an object and its absolute path.

        :raise QmpError: DeviceNotFound if there is none, or if a partial path fits several.
        """
        tail = "".join(f"/{name}" for name in path.split("/") if name)
        found = [
            (known, each)
            for known, each in _walk("", self._root())
            if known == tail or (not path.startswith("/") and tail and known.endswith(tail))
        ]
        if len(found) != 1:
            raise device_not_found(path)
        return found[0]

    def _root(self) -> _Object:
        vm = self._vm
        devices = {
            device.id: _Object(
                device.model.name,
                partial(device_attributes, vm.board, device),
            )
            for device in vm.board.topology.devices
            if device.id is not None
        }
        machine = _Object(
            _MACHINE_TYPES[vm.configuration.machine],
            children={
                "peripheral": _Object("container", children=devices),
                "guest": _Object("replug-guest", self._guest.attributes),
                "replug": _Object("replug", self._replug),
            },
        )
        return _Object("container", children={"machine": machine})

    def _replug(self) -> dict[str, Attribute]:
        vm = self._vm
        return {
            "state": Attribute("dict", lambda: joint_state(vm.runtime, vm.board)),
            "migration": Attribute("dict", lambda: replug_report(vm, self._host)),
            "profile": constant("string", vm.profile.name),
            "policies": constant("dict", dict(vm.profile.policies)),
            "timings": constant("dict", asdict(vm.profile.timings)),
            "dirty-tracking": constant("string", vm.ram.tracked_by),
        }


def _walk(path: str, found: _Object) -> Iterator[tuple[str, _Object]]:
    yield path, found
    for name, child in found.children.items():
        yield from _walk(f"{path}/{name}", child)


def _attribute(found: _Object, name: str) -> Attribute:
    attribute = found.all_attributes().get(name)
    if attribute is None:
        raise generic_error(texts.property_not_found(found.type_name, name))
    return attribute

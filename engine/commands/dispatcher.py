"""From a command's name to its handler, and from every kind of refusal to the monitor's.

Rules kept here: every command that the session hands on has exactly one handler, and there is no
other. This is the one place where errors of devices, options, URIs and the engine become QMP
errors; their texts pass through unchanged. Anything else that is raised is a defect and passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from devices.errors import DeviceError
from devices.guest_memory import GuestMemoryError
from engine.commands.call import Call, Handler, Host, TakeDescriptor
from engine.commands.descriptors import Descriptors
from engine.commands.devices import DeviceCommands
from engine.commands.migration import MigrationCommands
from engine.commands.objects import ObjectCommands
from engine.commands.run import RunCommands
from engine.errors import EngineError
from engine.hotplug import Hotplug
from engine.qmp.errors import ErrorClass, QmpError, generic_error
from engine.uri import UriError
from engine.vm import Vm


class Dispatcher:
    """The commands of one VM."""

    def __init__(self, vm: Vm, hotplug: Hotplug, host: Host) -> None:
        self._descriptors = Descriptors(host)
        topics = (
            RunCommands(vm, host),
            MigrationCommands(vm, host, self._descriptors),
            DeviceCommands(vm, hotplug),
            ObjectCommands(vm, host),
            self._descriptors,
        )
        self._handlers: dict[str, Handler] = {}
        for topic in topics:
            self._handlers |= topic.handlers()

    @property
    def names(self) -> frozenset[str]:
        """The commands there are handlers for."""
        return frozenset(self._handlers)

    def dispatch(self, name: str, arguments: Mapping[str, Any], take_fd: TakeDescriptor) -> Any:
        """Carry out a command and return what the reply's `return` holds.

        `arguments` are as the session validated them; `take_fd` hands over a descriptor that the
        client sent along, for getfd.

        :raise QmpError: if it is refused; `name` is one of `names`.
        """
        with _qmp_errors():
            return self._handlers[name](Call(arguments, take_fd))

    def resolve_descriptor(self, name: str) -> int:
        """Return, and give away, the descriptor that an fd: URI names.

        :raise QmpError: if there is none.
        """
        return self._descriptors.resolve(name)


@contextmanager
def _qmp_errors() -> Iterator[None]:
    try:
        yield
    except DeviceError as error:
        raise QmpError(ErrorClass(error.error_class), error.description) from error
    except (UriError, EngineError, GuestMemoryError) as error:
        raise generic_error(str(error)) from error

"""getfd, closefd: descriptors that clients pass in, by name, until a migration takes them.

Rules kept here: whoever takes a descriptor owns it and its name is free again (monitor/fds.c
monitor_get_fd). Names belong to the VM: what one monitor passed in, another may use.
"""

from __future__ import annotations

import re

from devices import texts as device_texts
from engine.commands.call import Call, Handler, Host
from engine.qmp import texts
from engine.qmp.errors import generic_error

_NUMBER = re.compile(r"[0-9]{1,9}")


class Descriptors:
    """The descriptors kept for one VM."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._kept: dict[str, int] = {}

    def handlers(self) -> dict[str, Handler]:
        """Return the handler of each command."""
        return {"getfd": self._getfd, "closefd": self._closefd}

    def _getfd(self, call: Call) -> dict[str, object]:
        name = call.arguments["fdname"]
        fd = call.take_descriptor()
        if fd is None:
            raise generic_error(texts.NO_DESCRIPTOR_SUPPLIED)
        if _starts_with_digit(name):
            self._host.close_descriptor(fd)
            raise generic_error(texts.DESCRIPTOR_NAME_STARTS_WITH_DIGIT)
        previous = self._kept.pop(name, None)
        if previous is not None:
            self._host.close_descriptor(previous)
        self._kept[name] = fd
        return {}

    def _closefd(self, call: Call) -> dict[str, object]:
        name = call.arguments["fdname"]
        if name not in self._kept:
            raise generic_error(texts.descriptor_not_found(name))
        self._host.close_descriptor(self._kept.pop(name))
        return {}

    def check_kept(self, name: str) -> None:
        """Check that a descriptor of this name is kept; a number is a name like any other.

        :raise QmpError: if not, with QEMU's text for an fd: URI (monitor/fds.c monitor_get_fd).
        """
        if name not in self._kept:
            raise generic_error(texts.descriptor_has_not_been_found(name))

    def check(self, name: str) -> None:
        """Check that `resolve` would find a descriptor.

        :raise QmpError: if not, with QEMU's text for an fd: URI.
        """
        if not _starts_with_digit(name):
            self.check_kept(name)
        elif _NUMBER.fullmatch(name) is None:
            raise generic_error(device_texts.NETDEV_DESCRIPTOR % name)

    def resolve(self, name: str) -> int:
        """Return, and give away, the descriptor of an fd: URI: a kept one's name, or a number.

        :raise QmpError: if there is none, with QEMU's text (monitor/fds.c monitor_fd_param).
        """
        self.check(name)
        return int(name) if _starts_with_digit(name) else self._kept.pop(name)


def _starts_with_digit(name: str) -> bool:
    return name[:1].isascii() and name[:1].isdigit()

"""A unix socket that listens at a path, and the care of that path.

What may live here: taking the place of a socket that an earlier process left behind, and removing
our own again, but never anything that is not a socket, nor one that has taken our place since.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress

from engine.driver.channel import failed
from engine.message_shape import CHANNELS_MAX

#: All channels of a migration may connect before the first is accepted: a full one refuses them.
_BACKLOG = CHANNELS_MAX + 1


class UnixListener:
    """A listening unix stream socket that removes its path when closed."""

    #: The socket: non-blocking.
    socket: socket.socket

    def __init__(self, path: str) -> None:
        """Listen at `path`; TransportError with QEMU's text when that is not possible."""
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        try:
            if _is_socket(path):
                os.unlink(path)
            self.socket.bind(path)
            self._identity = _identity(path)
            self.socket.listen(_BACKLOG)
        except OSError as error:
            self.socket.close()
            raise failed(f"Failed to bind socket to {path}", error) from error

    def close(self) -> None:
        """Stop listening; harmless when done already."""
        if self.socket.fileno() < 0:
            return
        with suppress(FileNotFoundError):
            if _identity(self._path) == self._identity:
                os.unlink(self._path)
        self.socket.close()


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino

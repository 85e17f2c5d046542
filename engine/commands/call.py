"""What a handler is given, and what commands ask of the process around the VM.

What may live here: the types that handlers and their callers share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

#: Hands over the oldest descriptor that came with the client's messages; None: there is none.
TakeDescriptor: TypeAlias = Callable[[], int | None]


@dataclass(frozen=True)
class Call:
    """One request to carry out a command."""

    #: Its arguments, validated; optional ones may be missing.
    arguments: Mapping[str, Any]
    #: For getfd.
    take_descriptor: TakeDescriptor


#: Carries a command out and returns what the reply carries; `{}` for commands that say nothing.
Handler: TypeAlias = Callable[[Call], Any]


class Host(Protocol):
    """The process around the VM, as far as commands need it."""

    def quit(self) -> None:
        """End the process with status 0, once the reply is on its way."""
        ...

    def close_descriptor(self, fd: int) -> None:
        """Close a descriptor that a client passed in."""
        ...

    def socket_addresses(self) -> Sequence[Mapping[str, Any]]:
        """Return where the incoming migration listens, as QMP SocketAddress."""
        ...

    def now_ms(self) -> float:
        """Return the monotonic time, that of the VM's world."""
        ...

    def details(self) -> Mapping[str, Any]:
        """Return what only the process knows of a migration: members of ReplugReport."""
        ...

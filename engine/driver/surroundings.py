"""What a VM is given by the machine it lives on: memory, streams, threads, the operator's ear.

What may live here: these as one value, and this machine's. Time is not among them: it is the
running loop's. Rules: a VM behaves the same whatever it is given; where a URI leads and what
memory is made of, and nothing else, is decided here.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, TypeVar
from uuid import uuid4

from engine.driver.channel import Channel
from engine.driver.memory import GuestMemory, Memory
from engine.driver.transport import Listener, ResolveFd, connect, listen
from engine.uri import Uri

Result = TypeVar("Result")

#: Opens the outgoing end of a stream; TransportError with QEMU's text on failure.
Connect: TypeAlias = Callable[[Uri], Awaitable[Channel]]
#: Opens the incoming end; TransportError with QEMU's text on failure.
Listen: TypeAlias = Callable[[Uri], Listener]


class InThread(Protocol):
    """Does work that takes long without holding up anything else."""

    def __call__(self, work: Callable[[], Result], /) -> Awaitable[Result]:
        """Do it, and say what it returned or raised. Given up, it may go on to its end."""
        ...


@dataclass(frozen=True)
class Transport:
    """Where streams lead."""

    #: For `migrate`.
    connect: Connect
    #: For `-incoming`.
    listen: Listen


@dataclass(frozen=True)
class Surroundings:
    """All that one VM is given."""

    #: Makes guest RAM of so many bytes, taken from the host at once or as it is used.
    memory: Callable[[int, bool], Memory]
    #: Makes the way to other VMs, given what finds descriptors.
    transport: Callable[[ResolveFd], Transport]
    #: Makes a name for a migration, MIGRATION_NAME_BYTES long, that no other has.
    new_name: Callable[[], bytes]
    #: Where such work is done.
    in_thread: InThread
    #: Takes one line for the operator.
    warn: Callable[[str], None]


def _transport(resolve_fd: ResolveFd) -> Transport:
    return Transport(
        connect=partial(connect, resolve_fd=resolve_fd),
        listen=partial(listen, resolve_fd=resolve_fd),
    )


def _memory(size_bytes: int, preallocated: bool) -> Memory:
    return GuestMemory(size_bytes, preallocated=preallocated)


def _warn(text: str) -> None:
    # A log that cannot be written is no reason to drop a guest.
    with suppress(OSError):
        print(f"replug: {text}", file=sys.stderr, flush=True)


#: The machine this process runs on.
THIS_MACHINE = Surroundings(
    memory=_memory,
    transport=_transport,
    new_name=lambda: uuid4().bytes,
    in_thread=asyncio.to_thread,
    warn=_warn,
)

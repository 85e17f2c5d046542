"""The simulated network: who listens where, and what can happen to all links at once.

What may live here: connecting and accepting; stalls and cuts. A link is `link`'s. Rules: both ends
of a link are known here as long as either is held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, TypeAlias

from engine.driver.channel import Channel, TransportError
from engine.driver.simulation.link import LinkConditions, SimulatedChannel, Wire
from engine.driver.transport import Listener
from engine.uri import TcpUri, UnixUri, Uri

#: The two ends of a link: the source's, the target's.
Ends: TypeAlias = tuple[SimulatedChannel, SimulatedChannel]
#: Where a VM can wait for another.
SocketUri: TypeAlias = TcpUri | UnixUri


def _address(uri: SocketUri) -> dict[str, Any]:
    if isinstance(uri, UnixUri):
        return {"type": "unix", "path": uri.path}
    return {"type": "inet", "host": uri.host, "port": str(uri.port), "ipv4": True}


def _name(uri: SocketUri) -> str:
    return uri.path if isinstance(uri, UnixUri) else f"{uri.host}:{uri.port}"


class SimulatedListener(Listener):
    """One VM that waits for a stream."""

    def __init__(
        self, network: SimulatedNetwork, uri: SocketUri, accepted: Callable[[Channel], None]
    ) -> None:
        self._network = network
        self._uri = uri
        self._accepted = accepted
        self.addresses = [_address(uri)]
        self._waiting: deque[SimulatedChannel] = deque()
        self._changed: asyncio.Future[None] | None = None
        self._closed = False

    def offer(self, channel: SimulatedChannel) -> None:
        """Hand in a channel from a source."""
        self._waiting.append(channel)
        self._wake()

    async def accept(self) -> Channel:
        while not self._closed:
            if self._waiting:
                channel = self._waiting.popleft()
                self._accepted(channel)
                return channel
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        raise TransportError("The listener is closed")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._network.forget(self._uri)
        while self._waiting:
            self._waiting.popleft().close()
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)


class SimulatedNetwork:
    """All links of one simulation."""

    def __init__(self, conditions: LinkConditions, random: Random) -> None:
        self.conditions = conditions
        self.random = random
        #: Whether nothing arrives at the moment.
        self.stalled = False
        #: Whether nobody can connect at the moment.
        self.refuses = False
        #: Whether nobody can answer on the links that are made.
        self.one_way = False
        self._listeners: dict[SocketUri, SimulatedListener] = {}
        self._wires: list[Wire] = []
        #: The two ends of every link that either still holds, oldest first: the source's, the
        #: target's.
        self.ends: list[Ends] = []
        self._names = 0

    def new_name(self) -> bytes:
        """Make a name for a migration."""
        self._names += 1
        return self._names.to_bytes(16, "big")

    async def connect(self, uri: Uri) -> Channel:
        """Open the outgoing end of a stream."""
        assert isinstance(uri, SocketUri)
        await asyncio.sleep(2 * self.conditions.latency_ms / 1000)
        listener = self._listeners.get(uri)
        # What cannot answer may be a file: nobody need be there.
        nobody = listener is None and not self.one_way
        if nobody or self.refuses or self.stalled:
            reason = "Connection timed out" if self.stalled else "Connection refused"
            raise TransportError(f"Failed to connect to '{_name(uri)}': {reason}")
        ends = self._link(is_unix=isinstance(uri, UnixUri))
        self.ends = [each for each in self.ends if not (each[0].closed and each[1].closed)]
        self.ends.append(ends)
        if listener is not None:
            self._offer(listener, ends[1])
        return ends[0]

    def _link(self, *, is_unix: bool) -> Ends:
        """Make a link; return the source's end and the target's."""
        there, back = self._wire(), self._wire()
        there.back, back.back = back, there
        self._wires += [there, back]
        end = partial(
            SimulatedChannel, self, reply_path=not self.one_way, passes_descriptors=is_unix
        )
        return end(back, there), end(there, back)

    def _wire(self) -> Wire:
        return Wire(self)

    def _offer(self, listener: SimulatedListener, channel: SimulatedChannel) -> None:
        """Let a listener know of a channel."""
        listener.offer(channel)

    def listen(self, uri: Uri, accepted: Callable[[Channel], None]) -> Listener:
        """Open the incoming end of a stream; `accepted` is told of each that comes."""
        assert isinstance(uri, SocketUri)
        if uri in self._listeners:
            raise TransportError(f"Failed to bind socket to {_name(uri)}: Address already in use")
        listener = SimulatedListener(self, uri, accepted)
        self._listeners[uri] = listener
        return listener

    def forget(self, uri: SocketUri) -> None:
        """Let nobody connect there any more."""
        del self._listeners[uri]

    def stall(self, stalled: bool) -> None:
        """Let nothing arrive from now on; or everything that had to wait."""
        self.stalled = stalled
        for wire in self._wires:
            wire.arrive()

    def cut(self, *, keeps_to_source: bool, keeps_to_target: bool, with_error: bool) -> None:
        """Cut every link."""
        for ends in self.ends:
            ends[0].cut(keeps_flying=keeps_to_source, with_error=with_error)
            ends[1].cut(keeps_flying=keeps_to_target, with_error=with_error)

    def cut_channel(
        self, number: int, *, keeps_to_source: bool, keeps_to_target: bool, with_error: bool
    ) -> None:
        """Cut one of the links beside the main one; nothing happens where there are none."""
        # The main one is opened first, and closed last.
        others = [ends for ends in self.ends if not (ends[0].closed or ends[1].closed)][1:]
        if others:
            ends = others[number % len(others)]
            ends[0].cut(keeps_flying=keeps_to_source, with_error=with_error)
            ends[1].cut(keeps_flying=keeps_to_target, with_error=with_error)

    def close(self) -> None:
        """Let go of whatever is still on its way."""
        for wire in self._wires:
            wire.close()

"""One QMP client's connection: bytes in, requests carried out in order, bytes out.

What may live here: the socket of one client, its buffers, and the descriptors it passes. The rules:

1. Nothing is a task: everything happens in callbacks of the loop.
2. Requests are carried out one after another in the order they came. While much is waiting to be
   read by the client, its further requests wait too.
3. What is sent waits in order. A client with more than PENDING_BYTES_MAX waiting does not read
   and is dropped.
4. Descriptors arrive by SCM_RIGHTS and are taken oldest first. What nobody took, and what is one
   too many, is closed.
5. `on_closed` is called once, from the loop, and never from within `send` or a request.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TypeAlias

from engine.driver.channel import GATHERED_MAX, consume
from engine.qmp.session import Outcome, QmpSession, Request

#: What may wait for a client to read it; with more it is dropped.
PENDING_BYTES_MAX = 8 << 20
#: With more than this waiting, the client's further requests wait as well.
BUSY_BYTES = 1 << 20
#: Descriptors that one client may have passed and nobody have taken.
DESCRIPTORS_MAX = 16

_RECEIVE_BYTES = 64 << 10
_DESCRIPTOR_BYTES = array.array("i").itemsize


class ClientContext:
    """What a command may ask of the client that gave it."""

    def __init__(self) -> None:
        self._descriptors: deque[int] = deque()
        self._closed = False

    def take_fd(self) -> int | None:
        """Return the oldest descriptor that the client passed and nobody took; None without one.

        It is the caller's to close from then on.
        """
        return self._descriptors.popleft() if self._descriptors else None

    def keep_fd(self, descriptor: int) -> bool:
        """Keep a descriptor that came, or close it and return False when there is no room."""
        if self._closed or len(self._descriptors) >= DESCRIPTORS_MAX:
            os.close(descriptor)
            return False
        self._descriptors.append(descriptor)
        return True

    def close(self) -> None:
        """Close what was not taken; nothing can be taken from now on."""
        self._closed = True
        while self._descriptors:
            os.close(self._descriptors.popleft())


#: Carries a request out and returns the line to answer with; must not raise.
CarryOut: TypeAlias = Callable[[QmpSession, Request, ClientContext], bytes]


class MonitorClient:
    """One connected client."""

    def __init__(
        self,
        connected: socket.socket,
        session: QmpSession,
        *,
        carry_out: CarryOut,
        on_closed: Callable[[MonitorClient], None],
        log: Callable[[str], None],
    ) -> None:
        """Take over a connected stream socket and greet; call only from the running loop."""
        connected.setblocking(False)
        #: The protocol as this client sees it.
        self.session = session
        #: The descriptors it has passed.
        self.context = ClientContext()
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        self._carry_out = carry_out
        self._on_closed = on_closed
        self._log = log
        self._outcomes: deque[Outcome] = deque()
        self._pending: deque[memoryview] = deque()
        self._pending_bytes = 0
        self._reading = False
        self._writing = False
        self._working = False
        self._ended = False
        self._finishing = False
        self._over = False
        self._closed = False
        self.send(session.greeting())
        self._arm_reader()

    def send(self, line: bytes) -> None:
        """Write a line after all that waits; dropped once the connection is over."""
        if self._over:
            return
        if self._pending_bytes + len(line) > PENDING_BYTES_MAX:
            self._log(
                f"a monitor client does not read: {self._pending_bytes} bytes wait for it, at most "
                f"{PENDING_BYTES_MAX} may; it is disconnected"
            )
            self._end()
            return
        self._pending.append(memoryview(line))
        self._pending_bytes += len(line)
        if not self._writing:
            self._flush()

    def finish(self) -> None:
        """Carry out no more requests; close as soon as all that waits has been written."""
        self._finishing = True
        self._outcomes.clear()
        self._arm_reader()
        self._end_if_done()

    def close(self) -> None:
        """Close at once; what waits is lost. Harmless when done already."""
        self._over = True
        self._close()

    # Reading

    def _arm_reader(self) -> None:
        """Watch for input exactly while it could be worked on."""
        wanted = not (self._over or self._ended or self._finishing or self._outcomes)
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(self._socket.fileno(), self._on_readable)
            else:
                self._loop.remove_reader(self._socket.fileno())

    def _on_readable(self) -> None:
        try:
            data = self._receive()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._end()
            return
        if data:
            self._outcomes.extend(self.session.receive(data))
        else:
            self._ended = True
        self._work()

    def _receive(self) -> bytes:
        """Read once, keeping the descriptors that came along; b"" at the end of the stream."""
        if self._socket.family != socket.AF_UNIX:
            return self._socket.recv(_RECEIVE_BYTES)
        # Room for more than may wait: what does not fit is closed by the system, unseen.
        room = socket.CMSG_SPACE(2 * DESCRIPTORS_MAX * _DESCRIPTOR_BYTES)
        data, ancillary, flags, _ = self._socket.recvmsg(
            _RECEIVE_BYTES, room, socket.MSG_CMSG_CLOEXEC
        )
        kept = not flags & socket.MSG_CTRUNC
        for level, kind, payload in ancillary:
            if level != socket.SOL_SOCKET or kind != socket.SCM_RIGHTS:
                continue
            whole = len(payload) - len(payload) % _DESCRIPTOR_BYTES
            for descriptor in array.array("i", payload[:whole]):
                kept = self.context.keep_fd(descriptor) and kept
        if not kept:
            self._log(
                f"a monitor client passed more than {DESCRIPTORS_MAX} descriptors that no command "
                "has taken; the newest are closed"
            )
        return data

    def _work(self) -> None:
        """Carry out requests while the client reads the answers."""
        if self._working:
            return
        self._working = True
        try:
            while self._outcomes and not self._over and self._pending_bytes <= BUSY_BYTES:
                outcome = self._outcomes.popleft()
                if isinstance(outcome, Request):
                    outcome = self._carry_out(self.session, outcome, self.context)
                self.send(outcome)
        finally:
            self._working = False
        self._arm_reader()
        self._end_if_done()

    # Writing

    def _flush(self) -> None:
        """Write what the system takes, and watch for room while something is left."""
        while self._pending:
            try:
                sent = self._socket.sendmsg(list(islice(self._pending, GATHERED_MAX)))
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self._end()
                return
            self._pending_bytes -= sent
            consume(self._pending, sent)
        if bool(self._pending) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._socket.fileno(), self._on_room)
            else:
                self._loop.remove_writer(self._socket.fileno())

    def _on_room(self) -> None:
        self._flush()
        self._work()

    # Ending

    def _end_if_done(self) -> None:
        if (self._ended or self._finishing) and not self._outcomes and not self._pending:
            self._end()

    def _end(self) -> None:
        """The connection is over; clean up at the loop's next turn."""
        if not self._over:
            self._over = True
            self._arm_reader()
            self._loop.call_soon(self._close)

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        self._outcomes.clear()
        self._pending.clear()
        self._pending_bytes = 0
        self.context.close()
        self._on_closed(self)

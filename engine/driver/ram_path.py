"""The way that RAM takes out of the source: its channels, at the pace that the limit allows.

Rules kept here: each channel takes a portion of the pass, sends it, takes the next; a pass is over
when every channel has sent what it took. The limit is for all channels together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from engine.bandwidth import TokenBucket
from engine.driver.connection import Connection
from engine.messages import ChannelSync, PassEnd
from engine.parameters import Capability
from engine.precopy import Precopy
from engine.ram_sending import Compression, RamSender, Sending, Sent
from engine.vm import Vm
from statemachines.guards import VM_SCOPE
from statemachines.states import RunState
from statemachines.tables.conditions import TWO_PHASE

#: How much is written between two measurements of the bandwidth, in time.
MEASURE_MS = 50.0
#: How often max-bandwidth is looked at while a stream waits for it (QEMU: each 100 ms).
LIMIT_LOOK_MS = 100.0
#: So many channels take pages from where they are; each needs two descriptors more for that.
SPLICING_MAX = 16


class RamPath:
    """All channels that carry the RAM of one migration."""

    def __init__(self, vm: Vm, connection: Connection, channels: Sequence[Connection]) -> None:
        """Send through these channels, or through the main connection if there are none."""
        self._vm = vm
        self._connection = connection
        self._channels = channels
        compression = _compression(vm, has_channels=bool(channels))
        contents = vm.ram.stream_view()
        # The guest may run again only when the target has read all that is under way: an answer.
        waits = TWO_PHASE.holds(vm.runtime, VM_SCOPE) and compression is Compression.NEVER
        self._lanes = [
            Lane(each, vm, contents, compression, may_splice=waits and number < SPLICING_MAX)
            for number, each in enumerate(channels or [connection])
        ]
        self._bucket = TokenBucket()
        self._window = Sent()
        self._window_ms = 0.0

    async def send_pass(self, precopy: Precopy, *, is_last: bool = False) -> bool:
        """Send what is queued of a pass; False when a connection has ended.

        The guest does not run during the last one, and no limit holds it up.
        """
        # What the last pass has overdrawn was counted with it.
        owed_ms = 0.0 if is_last else self._owed_ms()
        self._window, self._window_ms = Sent(), self._vm.world.now_ms() + owed_ms
        going = [
            asyncio.ensure_future(self._send(lane, precopy, is_last=is_last))
            for lane in self._lanes
        ]
        try:
            whole = all(await asyncio.gather(*going))
        finally:
            for task in going:
                task.cancel()
        # What the last portion has overdrawn has not come for nothing.
        self._measure(precopy, ms_min=0.0, owed_ms=0.0 if is_last else self._owed_ms())
        return whole

    async def _send(self, lane: Lane, precopy: Precopy, *, is_last: bool) -> bool:
        world = self._vm.world
        # Nobody waits for the sake of what comes after this pass.
        while precopy.queued_pages:
            if not is_last:
                await self._keep_to_the_limit()
            self._measure(precopy, ms_min=MEASURE_MS)
            rate = 0 if is_last else self._vm.parameters.max_bandwidth_bytes_per_second
            runs = precopy.portion(rate, len(self._lanes), is_last=is_last)
            if not len(runs):
                break
            lane.sender.limit_ms_per_byte = 1000 * len(self._lanes) / rate if rate else 0.0
            began_ms = world.now_ms()
            sending = lane.sender.send(precopy.pass_number, runs, lane.has_ended)
            sent = await lane.send(sending)
            if sent is None:
                return False
            guest_runs = self._vm.state(RunState) is RunState.RUNNING
            precopy.sent(sent, world.now_ms() - began_ms, guest_runs=guest_runs)
            self._window += sent
            if self._channels:
                self._vm.statistics.ram.channel_bytes += sent.wire_bytes
            self._bucket.spend(sent.wire_bytes)
        return True

    async def _keep_to_the_limit(self) -> None:
        """Wait while more was written than max-bandwidth allows, as it is by then."""
        while True:
            wait_ms = self._owed_ms()
            if not wait_ms:
                return
            await asyncio.sleep(min(wait_ms, LIMIT_LOOK_MS) / 1000)

    def _owed_ms(self) -> float:
        rate = self._vm.parameters.max_bandwidth_bytes_per_second
        return self._bucket.wait_ms(rate, self._vm.world.now_ms())

    def _measure(self, precopy: Precopy, *, ms_min: float, owed_ms: float = 0.0) -> None:
        now_ms = self._vm.world.now_ms()
        elapsed_ms = now_ms - self._window_ms + owed_ms
        if elapsed_ms >= ms_min and precopy.measured(self._window, elapsed_ms):
            self._window, self._window_ms = Sent(), now_ms

    def end_pass(self, message: PassEnd) -> None:
        """Say that a pass is over, on every channel."""
        for channel in self._channels:
            channel.send(ChannelSync(message.pass_number))
        self._connection.send(message)

    async def drained(self) -> None:
        """Wait until what the channels but the main one have to say has left, or they have ended.

        One that is closed has not long for it; a link that stands still has until it is silent.
        """
        for channel in self._channels:
            await channel.drained()

    def close(self) -> None:
        """Let go of all channels but the main one."""
        for channel in self._channels:
            channel.close()


def _compression(vm: Vm, *, has_channels: bool) -> Compression:
    if vm.capabilities.on(Capability.X_ADAPTIVE):
        return Compression.ADAPTIVE
    # As its name says, and as in QEMU, the parameter is for multifd's channels.
    always = has_channels and vm.parameters.compresses
    return Compression.ALWAYS if always else Compression.NEVER


class Lane:
    """One channel as a way for RAM."""

    def __init__(
        self,
        connection: Connection,
        vm: Vm,
        contents: memoryview,
        compression: Compression,
        *,
        may_splice: bool,
    ) -> None:
        self._connection = connection
        if compression is not Compression.NEVER:
            connection.encoder.compress_ram(vm.parameters.zstd_level)
        #: What makes its frames.
        self.sender = RamSender(
            contents,
            connection.encoder,
            compression,
            vm.world.now_ms,
            in_place=may_splice and connection.channel.splices(),
        )

    def has_ended(self) -> bool:
        """Say whether it was closed or lost; may be asked from any thread."""
        return self._connection.ended

    async def send(self, sending: Sending) -> Sent | None:
        """Write RAM; None when the connection has ended."""
        return await self._connection.send_ram(sending)

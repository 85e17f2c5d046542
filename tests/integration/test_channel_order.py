"""Channels of different speeds: no page of a later pass is overtaken by one of an earlier."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import cast

from devices.ram import PAGE_BYTES, BitmapRam
from engine.arriving_ram import ArrivingRam
from engine.codec import StreamEncoder
from engine.driver.connection import Connection
from engine.driver.ram_channels import GatheredChannels
from engine.messages import ChannelHello, ChannelSync, Message, RamMessage, RamPages
from engine.ram_receiving import load_ram
from engine.suspect_pages import SuspectPages
from tests.integration.migration_streams import incoming, run

MIGRATION = bytes(range(16))
PAGES = 8


class Arriving:
    """RAM that comes, and what came when."""

    def __init__(self, ram: BitmapRam, messages: int) -> None:
        self.ram = ram
        self.came: list[str] = []
        self.is_all_here = asyncio.Event()
        self.is_begun = asyncio.Event()
        self._messages = messages
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """Let it come."""

    def heard(self) -> None:
        """Take no note."""

    def take(self, message: RamMessage) -> None:
        load_ram(self.ram, message, SuspectPages())
        assert isinstance(message, RamPages)
        self.came.append(chr(message.data[0]))
        self._loop.call_soon_threadsafe(self.is_begun.set)
        if len(self.came) == self._messages:
            self._loop.call_soon_threadsafe(self.is_all_here.set)

    def land(self, arriving: ArrivingRam) -> list[memoryview] | None:
        return None

    def landed(self, arriving: ArrivingRam) -> None:
        raise AssertionError


class Main:
    """The main channel, as far as it is asked for here."""

    is_held = False

    def pause_reading(self) -> None:
        self.is_held = True


def page(pass_number: int, number: int, letter: str) -> RamPages:
    return RamPages(pass_number, struct.pack("<2Q", number, 1), letter.encode() * PAGE_BYTES)


def stream(channel: int, *messages: Message) -> bytes:
    encoder = StreamEncoder()
    pieces = [encoder.header(), *encoder.encode(ChannelHello(MIGRATION, channel))]
    pieces += [piece for message in messages for piece in encoder.encode(message)]
    return b"".join(bytes(piece) for piece in pieces)


def test_a_fast_channel_waits_for_a_slow_one_at_the_end_of_a_pass(tmp_path: Path) -> None:
    async def main() -> None:
        arriving, main_channel = Arriving(BitmapRam(bytearray(PAGES * PAGE_BYTES)), 3), Main()
        connection = cast(Connection, main_channel)
        losses: list[Exception | None] = []
        listener = await incoming(f"unix:{tmp_path}/here")
        gathered = GatheredChannels(
            MIGRATION,
            2,
            ram=arriving,
            on_lost=losses.append,
            go_on=lambda: None,
            warn=print,
        )
        gathering = asyncio.create_task(gathered.gather(listener))
        (_, fast), (_, slow) = [
            await asyncio.open_unix_connection(f"{tmp_path}/here") for _ in range(2)
        ]
        # The fast one is in the second pass before the slow one has sent its part of the first.
        fast.write(
            stream(1, page(1, 5, "a"), ChannelSync(1), page(2, 3, "n"), ChannelSync(2)),
        )
        slow.write(stream(2))
        await gathering
        gathered.reached(0, 1, connection)
        await arriving.is_begun.wait()
        slow.write(stream(2, page(1, 3, "o"), ChannelSync(1))[len(stream(2)) :])
        await arriving.is_all_here.wait()
        assert main_channel.is_held
        assert arriving.came == ["a", "o", "n"]
        assert arriving.ram.view()[3 * PAGE_BYTES] == ord("n")
        assert losses == []
        gathered.close()
        listener.close()
        for writer in (fast, slow):
            writer.close()

    run(main())

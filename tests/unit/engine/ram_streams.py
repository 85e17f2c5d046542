"""RAM to send, RAM to receive it, and the way from one to the other without any I/O."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from devices.guest_memory import WORKLOAD_FIRST_PAGE
from devices.page_runs import Runs, page_count
from devices.ram import PAGE_BYTES, BitmapRam
from engine.codec import StreamDecoder
from engine.driver.channel import views
from engine.messages import Message, RamMessage
from engine.ram_receiving import land_ram, load_ram, note_landed, receive_ram
from engine.ram_sending import Sending, Sent
from engine.suspect_pages import SuspectPages

PAGES = 1100
#: A page that only the guest writes; in `filled` RAM it is zero, and the next two are not.
GUESTS = 3 * (WORKLOAD_FIRST_PAGE // 3 + 10)


def filled(seed: int) -> BitmapRam:
    """RAM of which every third page is zero."""
    contents = np.random.default_rng(seed).integers(1, 255, (PAGES, PAGE_BYTES), dtype=np.uint8)
    contents[::3] = 0
    return BitmapRam(bytearray(contents.tobytes()))


def written(sending: Sending) -> tuple[bytes, Sent]:
    parts = []
    try:
        while True:
            parts += [bytes(view) for view in views(next(sending))]
    except StopIteration as end:
        sent = end.value
        assert isinstance(sent, Sent)
        return b"".join(parts), sent


def receive(stream: bytes, ram: BitmapRam, piece_bytes: int) -> Message | None:
    decoder = StreamDecoder("from_source", lends=True)
    return received(decoder, stream, ram, piece_bytes)


def received(
    decoder: StreamDecoder,
    stream: bytes,
    ram: BitmapRam,
    piece_bytes: int,
    suspects: SuspectPages | None = None,
    heard: Callable[[], None] = lambda: None,
) -> Message | None:
    found = suspects or SuspectPages()
    receiving = receive_ram(
        decoder,
        lambda message: load_ram(ram, message, found),
        partial(land_ram, ram),
        lambda arriving: note_landed(ram, arriving, found),
        heard,
    )
    at = 0
    try:
        place = next(receiving)
        while True:
            piece = stream[at : at + min(piece_bytes, len(place))]
            place[: len(piece)] = piece
            at += len(piece)
            place = receiving.send(len(piece))
    except StopIteration as end:
        came = end.value
        assert came is None or not isinstance(came, RamMessage)
        assert suspects is not None or not found.pages
        return came


class LandingRam(BitmapRam):
    """RAM that streams are read straight into."""

    landed_pages = 0

    def landing(self, runs: Runs) -> list[memoryview] | None:
        self.landed_pages += page_count(runs)
        return [self.receive_view(first, end - first) for first, end in runs.tolist()]

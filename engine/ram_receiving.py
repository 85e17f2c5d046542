"""RAM in: the frames of RAM as they come, until something else comes.

What may live here: what becomes of a frame of RAM. Rules:

- a generator yields where the next bytes belong, and is sent how many came; 0 is the end. It does
  no I/O: a thread drives it, or a loop;
- a frame is whole and its checksum right, its runs are inside RAM and fit its data, before a byte
  of RAM changes;
- whether RAM may come now is asked of `Target` before this begins: it is the machines' answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeAlias

from devices.page_runs import page_count
from devices.ram import PAGE_BYTES, Ram
from engine.codec import StreamDecoder
from engine.errors import MalformedMessage
from engine.messages import Message, RamPages, ZeroPages
from engine.shapes import size_bytes
from engine.wire_runs import runs_from_wire

#: Places for bytes out, how many came in; the first message that is not RAM is what it returns,
#: None at the end of the stream.
Receiving: TypeAlias = Generator[memoryview, int, Message | None]


def receive_ram(decoder: StreamDecoder, take: Callable[[RamPages | ZeroPages], None]) -> Receiving:
    """Give every message of RAM to `take`, and return the first that is none."""
    while True:
        item = decoder.next()
        if item is None:
            came = yield decoder.room()
            if not came:
                return None
            decoder.came(came)
        elif isinstance(item[1], RamPages | ZeroPages):
            take(item[1])
        else:
            return item[1]


def load_ram(ram: Ram, message: RamPages | ZeroPages) -> None:
    """Put what a message of RAM says into RAM; MalformedMessage, and nothing done, if it cannot."""
    runs = runs_from_wire(message.runs, ram.pages)
    if isinstance(message, ZeroPages):
        ram.zero_runs(runs)
        return
    pages = page_count(runs)
    if size_bytes(message.data) != pages * PAGE_BYTES:
        raise MalformedMessage(
            expected=f"{pages} pages of {PAGE_BYTES} bytes",
            came=f"{size_bytes(message.data)} bytes",
            remedy="the stream is damaged; migrate again",
        )
    ram.place(runs, memoryview(message.data))

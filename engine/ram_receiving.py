"""RAM in: the frames of RAM as they come, until something else comes.

What may live here: what becomes of a frame of RAM. Rules:

- a generator yields where the next bytes belong, and is sent how many came; 0 is the end. It does
  no I/O: a thread drives it, or a loop;
- a frame's runs are inside RAM and fit its data before a byte of RAM changes;
- a frame is whole and its checksum right before a byte of RAM changes, too, unless RAM says that
  the stream is best read straight into it. Then the checksum is known when the pages are in place,
  and a wrong one is the end of the stream as ever: what RAM holds then is not run;
- pages with sums of their own are put in place right or wrong: see suspect_pages.py;
- whether RAM may come now is asked of `Target` before this begins: it is the machines' answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias

from devices.page_runs import page_count
from devices.ram import PAGE_BYTES, Ram
from engine.arriving_ram import ArrivingRam
from engine.codec import StreamDecoder
from engine.errors import MalformedMessage
from engine.messages import LivePages, Message, RamMessage, ZeroPages
from engine.shapes import size_bytes
from engine.suspect_pages import SuspectPages, wrong_marks
from engine.wire_runs import runs_from_wire

#: Places for bytes out, how many came in; the first message that is not RAM is what it returns,
#: None at the end of the stream.
Receiving: TypeAlias = Generator[memoryview, int, Message | None]
#: Finds the places of pages that arrive: where the stream can be read to, or None.
Land: TypeAlias = Callable[[ArrivingRam], list[memoryview] | None]


def receive_ram(
    decoder: StreamDecoder,
    take: Callable[[RamMessage], None],
    land: Land = lambda _: None,
    landed: Callable[[ArrivingRam], None] = lambda _: None,
    heard: Callable[[], None] = lambda: None,
) -> Receiving:
    """Give every message of RAM to `take`, and return the first that is none.

    The pages of a message for which `land` finds places are read to there instead, and `landed`
    is told when they are there; `heard`, whenever something has come.
    """
    declined = -1
    while True:
        item = decoder.next()
        if item is None:
            arriving = decoder.arriving_ram() if declined != decoder.sequence else None
            if arriving is not None:
                places = land(arriving)
                if places is not None:
                    if not (yield from _fill(places, arriving, heard)):
                        return None
                    decoder.arrived(arriving)
                    landed(arriving)
                    continue
                declined = decoder.sequence
            came = yield decoder.room()
            if not came:
                return None
            heard()
            decoder.came(came)
        elif isinstance(item[1], RamMessage):
            take(item[1])
        else:
            return item[1]


def _fill(
    places: Iterable[memoryview], arriving: ArrivingRam, heard: Callable[[], None]
) -> Generator[memoryview, int, bool]:
    """Read the pages to their places; False when the stream ends before."""
    begun = arriving.begun
    for place in places:
        copied = min(len(begun), len(place))
        place[:copied] = begun[:copied]
        begun = begun[copied:]
        arriving.came(place[:copied])
        left = place[copied:]
        while left:
            came = yield left
            if not came:
                return False
            heard()
            # Now, while it is in the processor's cache.
            arriving.came(left[:came])
            left = left[came:]
        arriving.placed(place)
    return True


def land_ram(ram: Ram, arriving: ArrivingRam) -> list[memoryview] | None:
    """Return where in RAM the pages of a message are to be read to, if that is the best way.

    MalformedMessage when they are outside.
    """
    runs = runs_from_wire(arriving.runs, ram.pages)
    pages = page_count(runs)
    if arriving.data_bytes != pages * PAGE_BYTES or arriving.sum_count not in (None, pages):
        return None  # what is wrong with it is said once it is whole
    return ram.landing(runs)


def note_landed(ram: Ram, arriving: ArrivingRam, suspects: SuspectPages) -> None:
    """Note that the pages of a message are in place, and which are not what they should be."""
    suspects.came(runs_from_wire(arriving.runs, ram.pages), arriving.wrong)


def load_ram(ram: Ram, message: RamMessage, suspects: SuspectPages) -> None:
    """Put what a message of RAM says into RAM, and note which pages are not what they should be.

    MalformedMessage, and nothing done, if it cannot be.
    """
    runs = runs_from_wire(message.runs, ram.pages)
    if isinstance(message, ZeroPages):
        ram.zero_runs(runs)
        suspects.came(runs)
        return
    pages = page_count(runs)
    if size_bytes(message.data) != pages * PAGE_BYTES:
        raise MalformedMessage(
            expected=f"{pages} pages of {PAGE_BYTES} bytes",
            came=f"{size_bytes(message.data)} bytes",
            remedy="the stream is damaged; migrate again",
        )
    data = memoryview(message.data)
    ram.place(runs, data)
    wrong = wrong_marks(data, message.sums) if isinstance(message, LivePages) else None
    suspects.came(runs, wrong)

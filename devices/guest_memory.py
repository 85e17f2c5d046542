"""Where in its RAM the guest keeps what it is: the layout, and typed access to it.

What may live here: offsets, encodings and their bounds. What the numbers mean to whom, and when
they change, is said in workload.py, guest_inbound.py, guest_drivers.py and guest.py.

The layout, in pages of 4096 bytes:

    page 0           control page, below
    pages 1..128     record of inbound frames, one bit each: see guest_inbound.py
    pages 129..      the pages that the workload fills and rewrites

    control page     0   magic, 8 bytes             8   layout version, u32
                    16   numbers, u64 each: see the fields of `GuestMemory`
                   512   driver table: 16 entries of 72 bytes, one per failover standby:
                         u8 NetFailover (0: entry unused), u8 length of the id, 6 bytes MAC of the
                         standby, 63 bytes id of the enslaved primary, 1 byte zero
                  2048   u16 length, then the guest's options as text

The rules:

1. Nothing is kept beside RAM: a second `GuestMemory` over the same bytes says the same.
2. Every write goes through `Ram.write`, so that a migration sees it.
3. All numbers are little-endian. What is read may have come through a stream: it is checked
   (`check`) before it is believed, and lengths are bounded before anything is decoded.
4. The magic is written last at boot: RAM is either booted whole or not booted.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from devices.page_runs import one_run
from devices.ram import PAGE_BYTES, Ram
from statemachines.states import NetFailover

#: What the first bytes of a booted guest's RAM are.
MAGIC = b"RPLGUEST"
#: The version of this layout.
LAYOUT_VERSION = 1
#: Where the record of inbound frames begins.
INBOUND_FIRST_PAGE = 1
#: How many pages it has.
INBOUND_PAGES = 128
#: How many frames it can tell apart: a bit each.
INBOUND_FRAMES = INBOUND_PAGES * PAGE_BYTES * 8
#: The first page that the workload may write.
WORKLOAD_FIRST_PAGE = INBOUND_FIRST_PAGE + INBOUND_PAGES
#: The smallest RAM a guest lives in.
RAM_BYTES_MIN = 1 << 20
#: The most failover standbys one guest drives.
STANDBYS_MAX = 16
#: The longest id of a primary, in bytes of UTF-8.
IDENTIFIER_BYTES_MAX = 63
#: The longest text of options, in bytes of UTF-8.
OPTIONS_BYTES_MAX = 1024
#: Where the five numbers about inbound frames begin: received, duplicated, untold, lowest, highest.
#: They change together, with every frame.
INBOUND_OFFSET = 88
#: The generation of the pages that are filled at boot.
FILL_GENERATION = 1

_TABLE_OFFSET = 512
_OPTIONS_OFFSET = 2048
_HEAD = Struct("<8sI")
_NUMBER = Struct("<Q")
_LENGTH = Struct("<H")
_ENTRY = Struct("<BB6s63sx")
_TABLE_BYTES = _ENTRY.size * STANDBYS_MAX
_CODES = (NetFailover.ABSENT, NetFailover.STANDBY, NetFailover.PRIMARY_DOWN, NetFailover.PRIMARY)
_ENSLAVED = (NetFailover.PRIMARY_DOWN, NetFailover.PRIMARY)


class GuestMemoryError(ValueError):
    """RAM is too small for the guest, or what it holds is not what a guest writes."""


@dataclass(frozen=True, slots=True)
class DriverEntry:
    """What the guest's failover driver does with one standby."""

    #: The standby's permanent address, by which the guest knows it.
    mac: bytes
    #: Which path the failover device uses.
    state: NetFailover
    #: The id of the enslaved primary; empty when there is none.
    primary: str = ""


class _Number:
    """One u64 of the control page as an attribute."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    def __get__(self, memory: GuestMemory, owner: type | None = None) -> int:
        return memory.read_numbers(self.offset, 1)[0]

    def __set__(self, memory: GuestMemory, value: int) -> None:
        memory.write_numbers(self.offset, (value,))


class GuestMemory:
    """The guest's own records in RAM.

    Numbers are 0 before boot. Setting one that is negative or needs more than 64 bits raises
    GuestMemoryError and changes nothing.
    """

    #: How often this guest has booted, reboots and resets included.
    boots = _Number(16)
    #: What the pattern in the workload's pages is made from.
    seed = _Number(24)
    #: How many pages the workload rewrites, from WORKLOAD_FIRST_PAGE on.
    working_pages = _Number(32)
    #: How many pages were filled at boot, from WORKLOAD_FIRST_PAGE on.
    fill_pages = _Number(40)
    #: Which page of the working set is written next.
    cursor = _Number(48)
    #: The generation that is being written: pages before the cursor have it, the others have less.
    generation = _Number(56)
    #: The number of the next outbound frame, and so how many were sent.
    next_sequence = _Number(64)
    #: How many announcements are still to be made.
    announce_rounds_left = _Number(72)
    #: How often the driver has reset its standbys by itself since boot.
    driver_resets = _Number(80)
    #: Inbound numbered frames, repeated ones included.
    inbound_received = _Number(88)
    #: Those that had been received before.
    inbound_duplicated = _Number(96)
    #: Those so far below the highest that nobody can say whether they had been received before.
    inbound_untold = _Number(104)
    #: The lowest sequence number received; means nothing before the first frame.
    inbound_lowest = _Number(112)
    #: The highest.
    inbound_highest = _Number(120)

    def __init__(self, ram: Ram) -> None:
        """Look at `ram` as a guest's; GuestMemoryError when it is too small for one."""
        if ram.size_bytes < RAM_BYTES_MIN:
            raise GuestMemoryError(
                f"a guest needs {RAM_BYTES_MIN} bytes of RAM or more, not {ram.size_bytes}"
            )
        self.ram = ram

    @property
    def workload_pages_max(self) -> int:
        """How many pages RAM has for the workload."""
        return self.ram.pages - WORKLOAD_FIRST_PAGE

    @property
    def is_booted(self) -> bool:
        """Whether a guest has booted in this RAM, here or where it came from."""
        return self.ram.read(0, len(MAGIC)) == MAGIC

    def boot(self, *, seed: int, working_pages: int, fill_pages: int, options: str) -> None:
        """Lay out a guest's RAM: all records empty, `boots` 1, the workload at its beginning.

        GuestMemoryError, and nothing is written, when the pages are more than RAM has, when there
        is no page to work on, or when the options are longer than OPTIONS_BYTES_MAX.
        """
        if not (1 <= working_pages <= self.workload_pages_max) or not (
            0 <= fill_pages <= self.workload_pages_max
        ):
            raise GuestMemoryError(
                f"RAM of {self.ram.size_bytes} bytes has {self.workload_pages_max} pages for the "
                f"workload: a working set of {working_pages} and {fill_pages} to fill do not fit"
            )
        encoded = _encode_options(options)
        self.ram.write(0, bytes(PAGE_BYTES))
        self._forget_inbound()
        self.seed = seed % (1 << 64)
        self.working_pages = working_pages
        self.fill_pages = fill_pages
        self.generation = FILL_GENERATION + 1
        self.boots = 1
        self.ram.write(_OPTIONS_OFFSET, encoded)
        self.ram.write(0, _HEAD.pack(MAGIC, LAYOUT_VERSION))

    def start_over(self) -> None:
        """Do what a reset does: `boots` goes up, sequences, counts and driver table start over.

        Seed, cursor and generation stay: they describe pages that a reset does not touch either.
        """
        self.boots += 1
        self.next_sequence = 0
        self.announce_rounds_left = 0
        self.driver_resets = 0
        self.write_numbers(INBOUND_OFFSET, (0,) * 5)
        self._forget_inbound()
        self.write_drivers(())

    def check(self) -> None:
        """Check that a booted guest's records can be believed.

        GuestMemoryError says which cannot. RAM in which no guest has booted has none: it passes.
        """
        if not self.is_booted:
            return
        version = _HEAD.unpack(self.ram.read(0, _HEAD.size))[1]
        if version != LAYOUT_VERSION:
            raise GuestMemoryError(f"guest RAM has layout {version}, expected {LAYOUT_VERSION}")
        pages_max = self.workload_pages_max
        if not 1 <= self.working_pages <= pages_max or self.fill_pages > pages_max:
            raise GuestMemoryError(
                f"guest RAM says {self.working_pages} pages to work on and {self.fill_pages} "
                f"filled, expected at most {pages_max} of each, and one to work on"
            )
        if self.cursor >= self.working_pages or not (FILL_GENERATION < self.generation < 1 << 63):
            raise GuestMemoryError(
                f"guest RAM has the workload at page {self.cursor} of {self.working_pages}, "
                f"generation {self.generation}: no workload gets there"
            )
        if self.inbound_lowest > self.inbound_highest or self.inbound_received < (
            self.inbound_duplicated + self.inbound_untold
        ):
            raise GuestMemoryError("guest RAM has counts of inbound frames that contradict")
        self.drivers()
        _ = self.options_text

    @property
    def options_text(self) -> str:
        """The options the guest was booted with; GuestMemoryError when they are not text."""
        (length,) = _LENGTH.unpack(self.ram.read(_OPTIONS_OFFSET, _LENGTH.size))
        if length > OPTIONS_BYTES_MAX:
            raise GuestMemoryError(
                f"guest RAM says {length} bytes of options, expected {OPTIONS_BYTES_MAX} or less"
            )
        return _decode(self.ram.read(_OPTIONS_OFFSET + _LENGTH.size, length), "options")

    @options_text.setter
    def options_text(self, text: str) -> None:
        self.ram.write(_OPTIONS_OFFSET, _encode_options(text))

    def drivers(self) -> tuple[DriverEntry, ...]:
        """Read the driver table; GuestMemoryError when an entry is not one."""
        table = self.ram.read(_TABLE_OFFSET, _TABLE_BYTES)
        found = []
        for code, length, mac, identifier in _ENTRY.iter_unpack(table):
            if code >= len(_CODES) or length > IDENTIFIER_BYTES_MAX:
                raise GuestMemoryError(
                    f"guest RAM has driver state {code} and an id of {length} bytes, expected at "
                    f"most {len(_CODES) - 1} and {IDENTIFIER_BYTES_MAX}"
                )
            if code:
                primary = _decode(identifier[:length], "the id of a primary")
                found.append(DriverEntry(mac, _CODES[code], primary))
        return tuple(found)

    def write_drivers(self, entries: tuple[DriverEntry, ...]) -> None:
        """Make `entries` the driver table; entries that are ABSENT take no place in it.

        Does not touch RAM when the table says so already. GuestMemoryError, and nothing is
        written, for more than STANDBYS_MAX entries or an id that is too long.
        """
        kept = [entry for entry in entries if entry.state is not NetFailover.ABSENT]
        if len(kept) > STANDBYS_MAX:
            raise GuestMemoryError(
                f"a guest drives {STANDBYS_MAX} failover standbys at most, not {len(kept)}"
            )
        table = b"".join(_pack_entry(entry) for entry in kept).ljust(_TABLE_BYTES, b"\0")
        if table != self.ram.read(_TABLE_OFFSET, _TABLE_BYTES):
            self.ram.write(_TABLE_OFFSET, table)

    def read_numbers(self, offset: int, count: int) -> tuple[int, ...]:
        """Read `count` numbers of the control page from `offset` on."""
        raw = self.ram.read(offset, count * _NUMBER.size)
        return tuple(value for (value,) in _NUMBER.iter_unpack(raw))

    def write_numbers(self, offset: int, values: tuple[int, ...]) -> None:
        """Write numbers of the control page from `offset` on, in one write."""
        if not all(0 <= value < 1 << 64 for value in values):
            raise GuestMemoryError(f"expected numbers of 64 bits without sign, got {values}")
        self.ram.write(offset, b"".join(map(_NUMBER.pack, values)))

    def _forget_inbound(self) -> None:
        self.ram.zero_runs(one_run(INBOUND_FIRST_PAGE, INBOUND_FIRST_PAGE + INBOUND_PAGES))


def _pack_entry(entry: DriverEntry) -> bytes:
    primary = entry.primary.encode() if entry.state in _ENSLAVED else b""
    if len(primary) > IDENTIFIER_BYTES_MAX or len(entry.mac) != 6:
        raise GuestMemoryError(
            f"expected an id of at most {IDENTIFIER_BYTES_MAX} bytes and a MAC of 6, got "
            f"{len(primary)} and {len(entry.mac)}"
        )
    return _ENTRY.pack(_CODES.index(entry.state), len(primary), entry.mac, primary)


def _encode_options(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > OPTIONS_BYTES_MAX:
        raise GuestMemoryError(
            f"expected guest options of at most {OPTIONS_BYTES_MAX} bytes, got {len(encoded)}"
        )
    return _LENGTH.pack(len(encoded)) + encoded


def _decode(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise GuestMemoryError(f"guest RAM holds {what} that is not UTF-8") from None

"""The guest in QEMU: firmware of a few instructions, so that nobody else writes into its RAM.

What may live here: the image and what it writes where. There is no guest OS and no SeaBIOS. The
processor starts in this image. With no page to write it halts for ever: an idle guest, whose RAM
stays as it was put there. Otherwise it switches to protected mode and lets the PIT wake it
TICKS_PER_SECOND times a second; between ticks it halts, so it costs the host no more than its
writes. At each tick it writes one word of the next pages of its working set, round after round,
and the number of pages written so far to COUNT_ADDRESS, where the host reads the real rate.

A page is dirty by one word as by 4096 bytes; writing no more than a word is the rival's advantage.
"""

from __future__ import annotations

import struct

from benchmarks.ram.contents import PAGE_BYTES

#: How often the timer fires.
TICKS_PER_SECOND = 200
#: Where the number of pages written is, a u32 that wraps.
COUNT_ADDRESS = 0x8000
#: Where the working set begins: above all that a PC keeps at fixed places.
WORKING_SET_ADDRESS = 16 << 20

_IMAGE_BYTES = 64 << 10
#: Where the processor sees the image, below one mebibyte.
_BASE = 0xF0000
_RESET_VECTOR = 0xFFF0
_PROTECTED, _HANDLER, _GDT, _GDT_POINTER, _IDT_POINTER, _IDT = (
    0x20,
    0xF0,
    0x100,
    0x120,
    0x128,
    0x200,
)
#: The interrupt of the timer, after the PIC was told to begin there.
_VECTOR = 0x20
_PIT_HZ = 1_193_182
_CODE_SELECTOR = 8
_FLAT_CODE, _FLAT_DATA = 0x00CF9B000000FFFF, 0x00CF93000000FFFF


def _u16(value: int) -> str:
    return struct.pack("<H", value).hex()


def _u32(value: int) -> str:
    return struct.pack("<I", value).hex()


def _outputs() -> str:
    """Set up both PICs, with the timer alone let through, and the PIT."""
    divisor = round(_PIT_HZ / TICKS_PER_SECOND)
    pairs = (
        *((0x20, 0x11), (0x21, _VECTOR), (0x21, 0x04), (0x21, 0x01)),
        *((0x21, 0xFE), (0xA1, 0xFF)),
        *((0x43, 0x34), (0x40, divisor & 0xFF), (0x40, divisor >> 8)),
    )
    return "".join(f"b0{value:02x} e6{port:02x} " for port, value in pairs)


def _real_mode() -> str:
    return (
        "fa fc"  # cli; cld
        f"2e660f0116 {_u16(_GDT_POINTER)}"  # lgdt cs:[pointer]
        "0f20c0 0c01 0f22c0"  # mov eax, cr0; or al, 1; mov cr0, eax
        f"66ea {_u32(_BASE + _PROTECTED)} {_u16(_CODE_SELECTOR)}"  # jmp code:protected
    )


def _protected_mode(batch_pages: int, end_address: int) -> str:
    return (
        "66b81000 8ed8 8ec0 8ed0"  # mov ax, data; mov ds, ax; mov es, ax; mov ss, ax
        "bc00900000"  # mov esp, 0x9000
        f"0f011d {_u32(_BASE + _IDT_POINTER)}"  # lidt [pointer]
        f"c705 {_u32(0xFEE000F0)} {_u32(0x1FF)}"  # the local APIC on,
        f"c705 {_u32(0xFEE00350)} {_u32(0x700)}"  # and the PIC let through it
        f"{_outputs()}"
        f"31db bf {_u32(WORKING_SET_ADDRESS)}"  # xor ebx, ebx; mov edi, first
        "fb f4 fa"  # tick: sti; hlt; cli
        "b020 e620"  # mov al, 0x20; out 0x20, al
        f"b9 {_u32(batch_pages)}"  # mov ecx, pages
        "43 891f"  # page: inc ebx; mov [edi], ebx
        f"81c7 {_u32(PAGE_BYTES)} 81ff {_u32(end_address)} 7205"  # add edi, 4096; cmp; jb next
        f"bf {_u32(WORKING_SET_ADDRESS)}"  # mov edi, first
        "e2e8"  # next: loop page
        f"891d {_u32(COUNT_ADDRESS)}"  # mov [count], ebx
        "ebd4"  # jmp tick
    )


def firmware(dirty_bytes_per_second: int, working_set_bytes: int) -> bytes:
    """Return the image of a guest that writes so much; 0 for one that halts for ever.

    ValueError when the rate is not a whole number of pages at each tick, or when the working set
    is no whole number of pages or does not end below two gibibytes.
    """
    batch_pages, rest_bytes = divmod(dirty_bytes_per_second, TICKS_PER_SECOND * PAGE_BYTES)
    end_address = WORKING_SET_ADDRESS + working_set_bytes
    if rest_bytes or working_set_bytes % PAGE_BYTES or end_address > 2 << 30:
        raise ValueError(
            f"expected a multiple of {TICKS_PER_SECOND * PAGE_BYTES} bytes a second over whole "
            f"pages below 2 GiB, got {dirty_bytes_per_second} over {working_set_bytes}"
        )
    image = bytearray(b"\xf4" * _IMAGE_BYTES)

    def put(offset: int, code: str | bytes) -> None:
        data = bytes.fromhex(code) if isinstance(code, str) else code
        image[offset : offset + len(data)] = data

    put(_RESET_VECTOR, f"ea {_u16(0)} {_u16(_BASE >> 4)}")  # jmp f000:0
    if not batch_pages:
        put(0, "fa f4 ebfc")  # cli; hlt; jmp hlt
        return bytes(image)
    put(0, _real_mode())
    put(_PROTECTED, _protected_mode(batch_pages, end_address))
    put(_HANDLER, "cf")  # iret
    put(_GDT, struct.pack("<QQQ", 0, _FLAT_CODE, _FLAT_DATA))
    put(_GDT_POINTER, struct.pack("<HI", 23, _BASE + _GDT))
    put(_IDT_POINTER, struct.pack("<HI", (_VECTOR + 1) * 8 - 1, _BASE + _IDT))
    gate = struct.pack("<HHHH", _HANDLER, _CODE_SELECTOR, 0x8E00, _BASE >> 16)
    put(_IDT + _VECTOR * 8, gate)
    return bytes(image)

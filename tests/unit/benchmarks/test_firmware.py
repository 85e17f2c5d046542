"""The firmware of QEMU's guest: where it begins and what it refuses."""

from __future__ import annotations

import pytest

from benchmarks.ram.firmware import TICKS_PER_SECOND, WORKING_SET_ADDRESS, firmware

MIB = 1 << 20


@pytest.mark.parametrize("rate_bytes", [0, 200 * MIB])
def test_the_image_is_64_kib_and_its_reset_vector_jumps_to_its_beginning(rate_bytes: int) -> None:
    image = firmware(rate_bytes, 16 * MIB)
    assert len(image) == 64 << 10
    # A far jump to f000:0000, where the image is mapped.
    assert image[0xFFF0:0xFFF5] == bytes.fromhex("ea 0000 00f0")


def test_an_idle_guest_halts_at_once_with_interrupts_off() -> None:
    assert firmware(0, MIB)[:3] == bytes.fromhex("fa f4 eb")


def test_the_batch_and_the_end_of_the_working_set_are_in_the_image() -> None:
    image = firmware(200 * MIB, 16 * MIB)
    pages = 200 * MIB // 4096 // TICKS_PER_SECOND
    assert b"\xb9" + pages.to_bytes(4, "little") in image
    assert b"\x81\xff" + (WORKING_SET_ADDRESS + 16 * MIB).to_bytes(4, "little") in image


@pytest.mark.parametrize(
    ("rate_bytes", "working_bytes"),
    [(1, MIB), (200 * MIB, 4095), (200 * MIB, 2 << 30)],
)
def test_what_it_cannot_do_is_refused(rate_bytes: int, working_bytes: int) -> None:
    with pytest.raises(ValueError, match="expected a multiple"):
        firmware(rate_bytes, working_bytes)

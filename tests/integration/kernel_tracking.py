"""Whether the kernel here can keep the record of written pages, for tests that need it to."""

from __future__ import annotations

import pytest

from devices.ram import PAGE_BYTES
from engine.driver.memory import GuestMemory, GuestMemoryError
from engine.profile import DirtyTracking


def _reason() -> str | None:
    memory = GuestMemory(PAGE_BYTES)
    try:
        memory.dirty_record(DirtyTracking.KERNEL)
    except GuestMemoryError as error:
        return str(error)
    finally:
        memory.close()
    return None


#: Why it cannot, in its own words; None where it can.
MISSING = _reason()
#: For what needs the kernel's record.
needs_the_kernel = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
#: Each way of tracking that there is here.
TRACKINGS = [
    pytest.param(DirtyTracking.KERNEL, marks=needs_the_kernel),
    pytest.param(DirtyTracking.BITMAP),
]

"""What is asked for of compression, and how much goes over the link then; on a virtual clock."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from engine.driver.connection import Connection
from engine.driver.ram_path import RamPath
from engine.driver.simulation.loop import VirtualLoop
from engine.precopy import Precopy
from tests.simulation.test_pace import MIB, Channel, Link
from tests.unit.engine.commands.commanded_vm import CommandedVm

RAM_BYTES = 4 * MIB
#: Words, some of them often: a higher level finds more of them again.
TEXT = " ".join(
    str(word**3) for word in np.random.default_rng(1).zipf(1.3, RAM_BYTES // 4) if word < 5000
).encode()[:RAM_BYTES]


def sent_bytes(*capabilities: str, link: float = 100 * MIB, **parameters: Any) -> int:
    """Send all RAM of a VM that is set up so, and return how many bytes that took."""
    loop = VirtualLoop()
    host = CommandedVm("-m", f"{RAM_BYTES // MIB}M")
    host.time_is(lambda: loop.time() * 1000)
    assert len(TEXT) == RAM_BYTES
    host.vm.ram.write(0, TEXT)
    states = [{"capability": name, "state": True} for name in capabilities]
    host.execute("migrate-set-capabilities", capabilities=states)
    host.execute(
        "migrate-set-parameters",
        **{"max-bandwidth": 0, **{name.replace("_", "-"): of for name, of in parameters.items()}},
    )
    link_used = Link(link)
    channels = 2 if "multifd" in capabilities else 0

    async def work() -> None:
        main, *others = (cast(Connection, Channel(link_used)) for _ in range(1 + channels))
        path = RamPath(host.vm, main, others)
        precopy = Precopy(host.vm.ram, host.vm.statistics.ram, downtime_limit_ms=300.0)
        precopy.setup()
        precopy.collect(0.0)
        assert await path.send_pass(precopy)

    try:
        loop.run_until_complete(work())
    finally:
        loop.close()
    return link_used.written_bytes


def test_as_it_stands_unless_it_is_asked_for() -> None:
    assert RAM_BYTES < sent_bytes() < 1.02 * RAM_BYTES
    assert RAM_BYTES < sent_bytes("multifd") < 1.02 * RAM_BYTES


def test_by_the_channels_of_multifd_and_by_them_alone() -> None:
    assert sent_bytes("multifd", multifd_compression="zstd") < 0.7 * RAM_BYTES
    assert sent_bytes(multifd_compression="zstd") > RAM_BYTES


def test_at_the_level_that_is_asked_for() -> None:
    levels = [
        sent_bytes("multifd", multifd_compression="zstd", multifd_zstd_level=level)
        for level in (1, 9)
    ]
    assert levels[1] < 0.98 * levels[0]


@pytest.mark.parametrize("capabilities", [("x-adaptive",), ("multifd", "x-adaptive")])
def test_where_it_pays_if_it_is_to_adapt(capabilities: tuple[str, ...]) -> None:
    assert sent_bytes(*capabilities, link=MIB / 4) < 0.9 * RAM_BYTES

"""A switch, NICs that keep what they are told, and a guest that sends: what several tests need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from devices.frames import (
    NumberedFrame,
    build,
    parse,
)
from engine.driver.switch import LearningSwitch
from engine.driver.uplink import Uplink

STATION = bytes.fromhex("525400000001")
GUEST = bytes.fromhex("5254006f55cc")
OTHER = bytes.fromhex("525400000099")
TO_GUEST, TO_STATION = 1, 2
#: What only a hang can reach.
DEADLINE_S = 20


def run(main: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await main

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


def numbered(receiver: bytes, sender: bytes, sequence: int, flow: int = 0) -> bytes:
    return build(NumberedFrame(receiver, sender, sequence, flow))


def sequence_of(frame: bytes) -> int:
    read = parse(frame)
    assert isinstance(read, NumberedFrame)
    return read.sequence


def reached(value: Callable[[], int], goal: int) -> bool:
    return value() >= goal


def all_written(uplink: Uplink) -> bool:
    return not uplink.unwritten_frames


class Wire:
    """A switch with ports `a`, `b` and `c`, and what its station saw."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.arrived: list[tuple[str, bytes]] = []
        self.routable: list[bytes] = []
        self.ports: list[str] = []
        self.switch = LearningSwitch(
            STATION,
            on_frame=lambda name, frame: self.arrived.append((name, frame)),
            on_routable=self.routable.append,
            on_port_up=lambda name: self.ports.append(f"{name} up"),
            on_port_down=lambda name: self.ports.append(f"{name} down"),
        )
        for name in ("a", "b", "c"):
            self.switch.add_port(name, f"{folder}/{name}")

    def close(self) -> None:
        self.switch.close()

    async def plug(self, name: str) -> Nic:
        nic = Nic(f"{self.folder}/{name}")
        await until(lambda: self.switch.is_up(name))
        return nic


class Nic:
    """An uplink that keeps what it is told."""

    def __init__(self, path: str) -> None:
        self.frames: list[bytes] = []
        self.answers: list[tuple[bytes, bool]] = []
        self.lost: list[str] = []
        self.uplink = Uplink.connect(
            path,
            on_frame=self.frames.append,
            on_associated=lambda mac, associated: self.answers.append((mac, associated)),
            on_lost=self.lost.append,
        )

    def close(self) -> None:
        self.uplink.close()

    async def associate(self, mac: bytes = GUEST) -> None:
        self.uplink.associate(mac)
        await until(lambda: (mac, True) in self.answers)
        self.answers.remove((mac, True))

    async def deassociate(self, mac: bytes = GUEST) -> None:
        self.uplink.deassociate(mac)
        await until(lambda: (mac, False) in self.answers)
        self.answers.remove((mac, False))


class Guest:
    """Sends numbered frames as fast as it can, by the NIC it has at the moment."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sequence = 0
        self.received: list[int] = []
        self.uplink: Uplink | None = None

    @property
    def done(self) -> bool:
        return self.sequence == self.count

    def own(self, uplink: Uplink) -> None:
        """Receive by this NIC, and send when it is the one in use."""
        uplink.on_frame = lambda frame: self.received.append(sequence_of(frame))
        uplink.on_writable = self.send_more

    def use(self, uplink: Uplink | None) -> None:
        self.uplink = uplink
        self.send_more()

    def send_more(self) -> None:
        while not self.done and self.uplink is not None:
            if not self.uplink.send(numbered(STATION, GUEST, self.sequence, TO_STATION)):
                return
            self.sequence += 1

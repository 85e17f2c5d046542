"""RAM handed over instead of sent, capability x-share-memory, between processes of one host."""

from __future__ import annotations

import fcntl
import os

import pytest

from engine.driver.memory import GuestMemory, GuestMemoryError, MemoryLentError
from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import (
    failed_at_target,
    migrates_again,
    moved,
    stayed,
)
from tests.integration.relay import Relay
from tests.integration.vms import Vm

SIZE = 1 << 20


async def sharing(lab: Lab) -> tuple[Vm, Vm]:
    source, target = await lab.pair()
    await source.capability("x-share-memory")
    return source, target


@scenario
async def test_the_memory_moves_and_no_byte_of_it_is_sent(lab: Lab) -> None:
    source, target = await sharing(lab)
    await source.capability("x-verify-ram")
    await source.command("migrate", uri=lab.uri())
    report = await moved(source, target)
    assert report["x-replug"]["digest-equal"] is True
    assert report["ram"]["transferred"] == report["ram"]["normal"] == 0
    assert (await target.guest("verify"))["count"] == 0


@scenario
async def test_it_moves_on_from_there_either_way(lab: Lab) -> None:
    source, target = await sharing(lab)
    await source.command("migrate", uri=lab.uri())
    await moved(source, target)
    await source.end()
    third = await migrates_again(lab, target, "third")
    await third.capability("x-share-memory")
    await migrates_again(lab, third, "fourth")


@scenario
async def test_a_vm_that_arrives_paused_owns_its_memory(lab: Lab) -> None:
    source, target = await lab.pair(target_options=["-S"])
    await source.capability("x-share-memory")
    await source.command("migrate", uri=lab.uri())
    await moved(source, target, "paused")
    await target.command("system_reset")
    await target.command("cont")
    await target.on_primaries()
    assert (await target.guest("verify"))["count"] == 0


@scenario
async def test_a_cancelled_migration_leaves_the_memory_as_it_was(lab: Lab) -> None:
    source, target = await sharing(lab)
    await source.capability("pause-before-switchover")
    await source.command("migrate", uri=lab.uri())
    await source.status("pre-switchover")
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")
    await failed_at_target(target)
    assert (await source.guest("verify"))["count"] == 0


@scenario
async def test_a_target_that_dies_with_the_memory_changes_nothing(lab: Lab) -> None:
    source, target = await sharing(lab)
    target.kill()
    await source.command("migrate", uri=lab.uri())
    await stayed(source, "failed")
    assert (await source.guest("verify"))["count"] == 0


@scenario
async def test_a_relay_that_drops_the_descriptor_is_a_failed_load(lab: Lab) -> None:
    source, target = await sharing(lab)
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        await source.command("migrate", uri=relay.uri)
        report = await stayed(source, "failed")
    assert "expected a descriptor with RamShared" in report["error-desc"]
    await failed_at_target(target)
    assert (await source.guest("verify"))["count"] == 0
    await source.command(
        "migrate-set-capabilities", capabilities=[{"capability": "x-share-memory", "state": False}]
    )
    await migrates_again(lab, source)


@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:1", "exec:cat", "file:/dev/null"])
@scenario
async def test_only_a_unix_socket_can_pass_memory(lab: Lab, uri: str) -> None:
    source = await lab.vm("source")
    await source.capability("x-share-memory")
    assert "use a unix: URI" in await source.refusal("migrate", uri=uri)
    again = {"capability": "multifd", "state": True}
    refusal = await source.refusal("migrate-set-capabilities", capabilities=[again])
    assert "turn one of them off" in refusal


# -- the memory itself


def lent() -> tuple[GuestMemory, GuestMemory]:
    source, target = GuestMemory(SIZE), GuestMemory(SIZE)
    source.buffer[:6] = b"before"
    view = target.buffer[:6]
    target.adopt(source.lend())
    assert bytes(view) == b"before", "who looked at it before sees what it is now"
    return source, target


def test_what_is_adopted_is_the_other_ones_memory() -> None:
    source, target = lent()
    source.part()
    source.settle()
    target.own()
    target.buffer[:6] = b"target"
    assert source.buffer[SIZE - 1] == 0
    source.buffer[:6] = b"source"
    assert bytes(target.buffer[:6]) == b"target", "a source that writes writes for itself"
    with pytest.raises(MemoryLentError):
        source.begin_tracking()
    for memory in (source, target):
        memory.close()


def test_what_was_parted_can_be_joined_again() -> None:
    source, target = lent()
    source.part()
    source.settle()
    source.take_back()
    with pytest.raises(MemoryLentError):
        source.begin_tracking()
    source.buffer[:6] = b"source"
    source.rejoin()
    assert bytes(source.buffer[:6]) == b"before"
    source.begin_tracking()
    for memory in (source, target):
        memory.close()


@pytest.mark.parametrize("size_bytes", [SIZE // 2, SIZE * 2])
def test_memory_of_another_size_is_refused(size_bytes: int) -> None:
    source, target = GuestMemory(size_bytes), GuestMemory(SIZE)
    target.buffer[:4] = b"kept"
    with pytest.raises(GuestMemoryError, match="cannot change in"):
        target.adopt(source.lend())
    assert bytes(target.buffer[:4]) == b"kept"
    target.buffer[:4] = b"ours"


def test_a_file_that_could_be_cut_short_is_refused() -> None:
    target = GuestMemory(SIZE)
    unsealed = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, SIZE)
    with pytest.raises(GuestMemoryError):
        target.adopt(unsealed)
    with pytest.raises(OSError, match="Bad file"):
        fcntl.fcntl(unsealed, fcntl.F_GETFD)
    reading, writing = os.pipe()
    with pytest.raises(GuestMemoryError):
        target.adopt(reading)
    os.close(writing)


def test_until_it_is_owned_it_cannot_be_written_to() -> None:
    source, target = lent()
    with open("/proc/self/maps", encoding="ascii") as maps:
        permissions = [line.split()[1] for line in maps if "replug-ram" in line]
    assert "r--s" in permissions
    target.own()
    target.buffer[:1] = b"x"
    assert bytes(source.buffer[:1]) == b"x"
    for memory in (source, target):
        memory.close()

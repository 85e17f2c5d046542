"""Saving to a file or a command and restoring, and descriptors that a client passes in."""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import failed_at_target, migrates_again, moved, stayed
from tests.integration.vms import Vm

PROFILES = ["native", "qemu-7.2"]


async def saved(source: Vm, uri: str) -> None:
    await source.command("migrate", uri=uri)
    await source.status("completed")
    assert await source.run_state() == "postmigrate"


async def restored(lab: Lab, uri: str, *options: str) -> Vm:
    target = await lab.vm("target", *options, incoming=uri, guest="")
    await target.reaches("incoming", "completed")
    assert await target.run_state() == "running"
    assert (await target.guest("verify"))["count"] == 0
    await target.on_primaries()
    await target.reaches("link", "closed")
    return target


async def settled_source(lab: Lab, profile: str) -> Vm:
    source = await lab.vm("source", f"-profile {profile}")
    await source.on_primaries()
    return source


@pytest.mark.parametrize("profile", PROFILES)
@scenario
async def test_to_a_file_and_back(lab: Lab, profile: str) -> None:
    source = await settled_source(lab, profile)
    uri = f"file:{lab.path('saved')}"
    await saved(source, uri)
    if profile == "native":
        assert (await source.query())["x-replug"]["handover"] == "one-way"
    await source.end()
    target = await restored(lab, uri, f"-profile {profile}")
    await migrates_again(lab, target, "again", f"-profile {profile}")


@scenario
async def test_file_with_an_offset(lab: Lab) -> None:
    source = await settled_source(lab, "native")
    path = Path(lab.path("saved"))
    path.write_bytes(b"x" * 5000)
    await saved(source, f"file:{path},offset=4096")
    await restored(lab, f"file:{path},offset=4096")
    assert path.read_bytes()[:4096] == b"x" * 4096


@pytest.mark.parametrize("profile", PROFILES)
@scenario
async def test_through_commands_and_back(lab: Lab, profile: str) -> None:
    source = await settled_source(lab, profile)
    await saved(source, f"exec:gzip -1 > {lab.path('saved')}")
    await source.end()
    target = await restored(lab, f"exec:gzip -d < {lab.path('saved')}", f"-profile {profile}")
    await migrates_again(lab, target, "again", f"-profile {profile}")


@scenario
async def test_memory_of_a_saved_vm_is_compared(lab: Lab) -> None:
    source = await settled_source(lab, "native")
    await source.capability("x-verify-ram")
    await saved(source, f"file:{lab.path('saved')}")
    await restored(lab, f"file:{lab.path('saved')}")


@pytest.mark.parametrize("cut", [0, 10, 100, 100_000, -1])
@scenario
async def test_file_that_was_cut_off(lab: Lab, cut: int) -> None:
    source = await settled_source(lab, "native")
    path = Path(lab.path("saved"))
    await saved(source, f"file:{path}")
    path.write_bytes(path.read_bytes()[:cut])
    target = await lab.start("target", incoming=f"file:{path}", guest="")
    await failed_at_target(target)


@pytest.mark.parametrize(
    "uri", ["file:{}/nowhere/x", "exec:false", "exec:exit 3", "exec:head -c 99999 > {}/x; exit 1"]
)
@scenario
async def test_save_that_fails(lab: Lab, uri: str) -> None:
    source = await settled_source(lab, "native")
    source.forget()
    await source.command("migrate", uri=uri.format(lab.folder))
    report = await stayed(source, "failed")
    assert report["error-desc"]
    await saved(source, f"file:{lab.path('saved')}")


@scenario
async def test_restore_from_what_is_not_there(lab: Lab) -> None:
    target = await lab.start("target", incoming=f"file:{lab.path('nothing')}", guest="")
    assert await target.exit_status() == 1
    assert "No such file or directory" in target.stderr


@scenario
async def test_cancel_of_a_save(lab: Lab) -> None:
    source = await settled_source(lab, "native")
    source.forget()
    await source.parameters(max_bandwidth=300_000)
    await source.command("migrate", uri=f"exec:cat > {lab.path('saved')}")
    await source.status("active")
    await source.command("migrate_cancel")
    await stayed(source, "cancelled")


# -- descriptors


async def pass_descriptor(vm: Vm, name: str, fd: int) -> None:
    """Do what qemu.qmp cannot: getfd with a descriptor, on a connection of its own."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        await loop.sock_connect(client, str(vm.monitor_path))
        assert b"QMP" in await loop.sock_recv(client, 65536)
        await loop.sock_sendall(client, b'{"execute":"qmp_capabilities"}')
        assert b"return" in await loop.sock_recv(client, 65536)
        request = json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode()
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
        client.sendmsg([request], [rights])
        answer = await loop.sock_recv(client, 65536)
        assert json.loads(answer.splitlines()[0]) == {"return": {}}, answer


@scenario
async def test_over_a_passed_socket_pair(lab: Lab) -> None:
    source = await lab.vm("source")
    target = await lab.vm("target", incoming="defer", guest="")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await pass_descriptor(source, "out", ours.fileno())
        await pass_descriptor(target, "in", theirs.fileno())
    await source.on_primaries()
    await target.command("migrate-incoming", uri="fd:in")
    await source.command("migrate", uri="fd:out")
    report = await moved(source, target)
    assert report["x-replug"]["handover"] == "two-phase"


@scenario
async def test_over_a_passed_pipe(lab: Lab) -> None:
    source = await lab.vm("source")
    target = await lab.vm("target", incoming="defer", guest="")
    reading, writing = os.pipe()
    await pass_descriptor(source, "out", writing)
    await pass_descriptor(target, "in", reading)
    os.close(reading)
    os.close(writing)
    await source.on_primaries()
    await target.command("migrate-incoming", uri="fd:in")
    await source.command("migrate", uri="fd:out")
    report = await moved(source, target)
    assert report["x-replug"]["handover"] == "one-way"


@scenario
async def test_descriptor_that_nobody_passed(lab: Lab) -> None:
    source = await settled_source(lab, "native")
    reason = await source.refusal("migrate", uri="fd:nobody")
    assert "nobody" in reason
    await source.until(lambda: source.is_in("migration", "none"))

"""`replug migrate` is killed at every status: the VM carries on, and `--attach` sees it through.

Killed before it says `migrate` it has begun nothing; killed where the guest stands still because it
said so, its guard cancels.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import pytest

from engine.driver.control import MigrationRun
from engine.messages import Accept, Loaded
from engine.migration_outcome import ExitStatus
from engine.migration_request import MigrationRequest
from engine.monitor_options import UnixEndpoint
from tests.integration.lab import Lab, scenario
from tests.integration.monitor_relay import MonitorRelay
from tests.integration.outcomes import failed_at_target, moved, stayed
from tests.integration.relay import Relay, Way
from tests.integration.test_migration_cancel import SLOW
from tests.integration.vms import Vm

#: Takes what held the migration up away.
Release = Callable[[Vm, Relay], Awaitable[None]]


async def start(
    source: Vm, *arguments: str, monitor: str | None = None
) -> asyncio.subprocess.Process:
    """Start `replug migrate` on a VM; `monitor`: by way of another socket than its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli", "migrate", "--json"),
        *("--qmp", monitor or str(source.monitor_path), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def forward(_source: Vm, relay: Relay) -> None:
    relay.to_source.release()


async def eject(source: Vm, _relay: Relay) -> None:
    await source.tell_guest("eject", "hostdev0")


async def hurry(source: Vm, _relay: Relay) -> None:
    await source.parameters(max_bandwidth=0)


async def go_on(source: Vm, _relay: Relay) -> None:
    await source.command("migrate-continue", state="pre-switchover")


HELD: dict[str, Release] = {
    "setup": forward,
    "wait-unplug": eject,
    "active": hurry,
    "pre-switchover": go_on,
    "device": forward,
}


@pytest.mark.parametrize("status", HELD)
@scenario
async def test_killed(lab: Lab, status: str) -> None:
    guest = "eject=never,fill=4M" if status == "wait-unplug" else "fill=4M"
    source, target = await lab.pair(guest=guest)
    if status == "active":
        await source.parameters(**SLOW)
    if status == "pre-switchover":
        await source.capability("pause-before-switchover")
    async with Relay(lab.path("relay"), lab.path("migration")) as relay:
        withheld = {"setup": Accept, "device": Loaded}.get(status)
        if withheld is not None:
            relay.to_source.rule(withheld, Way.WITHHOLD)
        command = await start(source, relay.uri)
        await source.status(status)
        if withheld is not None:
            await relay.until_reached(withheld)
        command.kill()
        await command.wait()
        assert (await source.query())["status"] == status
        follower = await start(source, "--attach")
        assert follower.stdout is not None
        assert json.loads(await follower.stdout.readline())["status"] == status
        await HELD[status](source, relay)
        lines = (await follower.stdout.read()).splitlines()
        assert await follower.wait() == 0
        report = json.loads(lines[-1])
        assert report["status"] == "completed"
        assert report["source"]["states"][-1] == "completed"
        await moved(source, target)


@scenario
async def test_killed_while_cancelling(lab: Lab) -> None:
    patient = ("-profile", "qemu-7.2", "-global", "replug.cancel_wait_ms=19000")
    source, _ = await lab.pair(*patient, guest="eject=never,fill=4M")
    command = await start(source, lab.uri())
    await source.status("wait-unplug")
    command.send_signal(signal.SIGINT)
    await source.status("cancelling")
    command.kill()
    await command.wait()
    follower = await start(source, "--attach")
    assert follower.stdout is not None
    assert json.loads(await follower.stdout.readline())["status"] == "cancelling"
    await source.tell_guest("eject", "hostdev0")
    await follower.stdout.read()
    assert await follower.wait() == 3
    await stayed(source, "cancelled")


async def completes(command: asyncio.subprocess.Process) -> None:
    """Wait for `replug migrate` to end well."""
    assert command.stdout is not None
    lines = (await command.stdout.read()).splitlines()
    assert json.loads(lines[-1])["status"] == "completed"
    assert await command.wait() == 0


@pytest.mark.parametrize(
    ("profile", "pause"), [("native", ()), ("native", ("--pause",)), ("qemu-7.2", ())]
)
@scenario
async def test_killed_before_it_begins(lab: Lab, profile: str, pause: tuple[str, ...]) -> None:
    source, target = await lab.pair("-profile", profile, guest="fill=4M")
    async with MonitorRelay(lab.path("relay"), source.monitor_path, "migrate") as relay:
        options = ("--max-bandwidth", "64M", *pause)
        command = await start(source, *options, lab.uri(), monitor=relay.path)
        await relay.reached.wait()
        command.kill()
        await command.wait()
        assert (await relay.gone.get())[-1] == "migrate"
        if pause:
            # Its guard looks, and leaves a VM alone that does not migrate.
            assert await relay.gone.get() == ["qmp_capabilities", "query-migrate"]
    parameters = await source.command("query-migrate-parameters")
    assert parameters["max-bandwidth"] == 64 << 20
    assert await source.query() == {}
    assert await source.run_state() == "running"
    assert source.is_in("primary", "plugged", "hostdev0")
    assert source.events == []
    await completes(await start(source, *pause, lab.uri()))
    await moved(source, target)


@scenario
async def test_killed_while_the_guest_stands_still(lab: Lab) -> None:
    os.mkfifo(lab.path("hold"))
    source, target = await lab.pair(guest="fill=4M")
    # The command that is run meanwhile ends with its line, or when nobody can write one any more.
    hold = os.open(lab.path("hold"), os.O_RDWR)
    try:
        held = f"read line <'{lab.path('hold')}'"
        command = await start(source, "--pause-command", held, lab.uri())
        await source.event("STOP")
        await source.status("pre-switchover")
        assert await source.run_state() == "finish-migrate"
        command.kill()
        await command.wait()
        await stayed(source, "cancelled")
        await failed_at_target(target)
    finally:
        os.write(hold, b"go\n")
        os.close(hold)
    source.forget()
    second = await lab.vm("second", incoming=lab.uri("second"), guest="")
    await second.reaches("link", "listening")
    await completes(await start(source, "--pause", lab.uri("second")))
    await moved(source, second)


@scenario
async def test_a_monitor_that_is_lost_leaves_no_guest_standing(lab: Lab) -> None:
    os.mkfifo(lab.path("hold"))
    source, target = await lab.pair(guest="fill=4M")
    hold = os.open(lab.path("hold"), os.O_RDWR)
    try:
        async with MonitorRelay(lab.path("re,lay"), source.monitor_path) as relay:
            held = f"read line <'{lab.path('hold')}'"
            command = await start(source, "--pause-command", held, lab.uri(), monitor=relay.path)
            await source.status("pre-switchover")
            relay.lose()
            assert await command.wait() == 5
            await stayed(source, "cancelled")
        await failed_at_target(target)
    finally:
        os.write(hold, b"go\n")
        os.close(hold)


@scenario
async def test_without_a_guard_nothing_begins(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    source, _ = await lab.pair(guest="fill=4M")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    request = MigrationRequest(UnixEndpoint(str(source.monitor_path)), lab.uri(), pause=True)
    result = await MigrationRun(request, lambda _: None).run()
    assert result.outcome.exit_status is ExitStatus.FAILED
    assert "did not start" in result.outcome.text
    assert await source.query() == {}


@pytest.mark.parametrize("reached", ["active", "pre-switchover"])
@scenario
async def test_killed_after_taking_a_pause_over(lab: Lab, reached: str) -> None:
    os.mkfifo(lab.path("hold"))
    source, target = await lab.pair(guest="fill=4M")
    await source.capability("pause-before-switchover")
    if reached == "active":
        await source.parameters(**SLOW)
    hold = os.open(lab.path("hold"), os.O_RDWR)
    try:
        await source.command("migrate", uri=lab.uri())
        await source.status(reached)
        held = f"read line <'{lab.path('hold')}'"
        follower = await start(source, "--attach", "--pause-command", held)
        assert follower.stdout is not None
        assert json.loads(await follower.stdout.readline())["status"] == reached
        if reached == "pre-switchover":
            line = b""
            while b"running" not in line:
                line = await follower.stdout.readline()
        await source.parameters(max_bandwidth=0)
        await source.status("pre-switchover")
        follower.kill()
        await follower.wait()
        await stayed(source, "cancelled")
        await failed_at_target(target)
    finally:
        os.write(hold, b"go\n")
        os.close(hold)


@pytest.mark.parametrize("attached", [False, True])
@scenario
async def test_somebody_elses_pause_is_told_and_left_alone(lab: Lab, attached: bool) -> None:
    source, target = await lab.pair(guest="fill=4M")
    await source.capability("pause-before-switchover")
    if attached:
        await source.command("migrate", uri=lab.uri())
        await source.status("pre-switchover")
    command = await start(source, *(("--attach",) if attached else (lab.uri(),)))
    assert command.stdout is not None
    told: list[str | None] = []
    while told[-1:] != ["the source will stop in pre-switchover until something continues it"]:
        told.append(json.loads(await command.stdout.readline()).get("text"))
    await source.status("pre-switchover")
    command.kill()
    await command.wait()
    assert (await source.query())["status"] == "pre-switchover"
    await source.command("migrate-continue", state="pre-switchover")
    await moved(source, target)

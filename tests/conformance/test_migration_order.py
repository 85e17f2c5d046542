"""QEMU and replug migrate alike: events in their order on both sides, query-migrate, exit statuses.

The standby is never negotiated and its primary stays hidden, for there is no guest OS in QEMU. How
often RAM is passed over depends on what was dirtied, so passes in a row count as one; a newer QEMU
reports more statuses and fewer passes, so neither counts there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.conformance.differential import (
    DEVICES,
    PRIMARY,
    Qemu,
    is_reference,
    start,
)
from tests.conformance.tunnel import Tunnel
from tests.integration.lab import Lab, scenario
from tests.integration.vms import Vm

pytestmark = pytest.mark.tools

PAIR = (*DEVICES, PRIMARY)
#: A standby at another place, so that the stream has state of a device that is not there.
MOVED = tuple(each.replace("bus=root0", "bus=root3") for each in PAIR)
SLOW, FAST = 200_000, 1 << 30
#: Of 7.2; later ones have `device` before every end, `failing` before `failed`, and fewer passes.
CHANGED_SINCE = ("MIGRATION device", "MIGRATION failing", "MIGRATION_PASS")
#: Later ones say how much remains, and why the target refused.
KEYS_CHANGED_SINCE = {"remaining", "error-desc"}


@dataclass
class Story:
    """What a migration looked like from outside."""

    #: Events of the source, passes in a row as one, and of the target.
    source: list[str]
    target: list[str]
    #: Run states at the end; None: the process has ended.
    run_states: tuple[str | None, str | None]
    #: What was seen on the way, by a name of the scenario's.
    seen: dict[str, Any] = field(default_factory=dict)


class Pair:
    """A source and a target of one kind, and where the stream goes."""

    def __init__(self, kind: str, lab: Lab) -> None:
        self.kind = kind
        self.lab = lab
        self.seen: dict[str, Any] = {}
        #: Where the target listens, and where the source connects to.
        self.uri = self.way = lab.uri(kind)
        self.source: Vm
        self.target: Vm

    async def start(self, *, return_path: bool = False, target: tuple[str, ...] = PAIR) -> None:
        """Start both; the target listens."""
        self.source, self.target = await asyncio.gather(
            start(self.kind, self.lab, "source", devices=PAIR),
            start(self.kind, self.lab, "target", devices=target, incoming=True),
        )
        if return_path:
            for vm in (self.source, self.target):
                await vm.capability("return-path")
        await self.source.parameters(max_bandwidth=SLOW)
        await self.target.command("migrate-incoming", uri=self.uri)
        self.seen["listening"] = keys(await self.target.query()) - {"status"}

    async def begin(self, *, under_way: bool = True) -> None:
        """Migrate, and look around while it is slow."""
        await self.source.command("migrate", uri=self.way)
        await self.source.status("active")
        await self.target.status("active")
        if under_way:
            self.seen["source active"] = keys(await self.source.query())
            self.seen["target active"] = keys(await self.target.query())

    async def hurry(self) -> None:
        """Let it end, once a rate was measured: before that QEMU ends without another pass."""
        while not (await self.source.query())["ram"]["mbps"]:
            pass
        await self.source.parameters(max_bandwidth=FAST)

    async def story(self, source_end: str, target_end: str) -> Story:
        """Wait for both ends and tell it all."""
        await self.source.status(source_end)
        report = await self.source.query()
        self.seen["source end"] = keys(report)
        if is_reference():
            self.seen["error-desc"] = report.get("error-desc")
        await self.target.status(target_end)
        target_state = None
        if target_end == "failed":
            self.seen["target exit status"] = await self.target.exit_status()
            self.seen["target's last words"] = last_words(self.target)
        else:
            self.seen["target end"] = await self.target.query()
            target_state = await self.target.run_state()
        return Story(
            ordered(self.source.events),
            ordered(self.target.events),
            (await self.source.run_state(), target_state),
            self.seen,
        )


def last_words(vm: Vm) -> str:
    """The last line a process wrote to stderr, without its name."""
    return vm.stderr.splitlines()[-1].partition(": ")[2]


def keys(report: dict[str, Any]) -> set[str]:
    """The keys that every version has."""
    return report.keys() - (set() if is_reference() else KEYS_CHANGED_SINCE)


def ordered(events: list[str]) -> list[str]:
    """Events as they compare: see the module."""
    found: list[str] = []
    for event in events:
        name = event.split()[0] if event.startswith("MIGRATION_PASS") else event
        if name == "MIGRATION_PASS" and found[-1:] == [name]:
            continue
        if is_reference() or name not in CHANGED_SINCE:
            found.append(name)
    return found


async def both(lab: Lab, play: Callable[[Pair], Awaitable[Story]]) -> Story:
    """Have both kinds play a scenario, which must look the same, and return how it looked."""
    qemu, replug = await asyncio.gather(*(play(Pair(kind, lab)) for kind in ("qemu", "replug")))
    assert replug == qemu
    return qemu


@pytest.mark.parametrize("return_path", [False, True])
@scenario
async def test_completed(lab: Lab, return_path: bool) -> None:
    async def play(pair: Pair) -> Story:
        await pair.start(return_path=return_path)
        await pair.begin()
        await pair.hurry()
        return await pair.story("completed", "completed")

    story = await both(lab, play)
    assert story.run_states == ("postmigrate", "running")
    assert story.source[0] == "MIGRATION setup"
    assert story.source[-1] == "MIGRATION completed"
    assert story.target[-2:] == ["RESUME", "MIGRATION completed"]


@scenario
async def test_pause_before_switchover(lab: Lab) -> None:
    async def play(pair: Pair) -> Story:
        await pair.start()
        await pair.source.capability("pause-before-switchover")
        await pair.begin()
        await pair.hurry()
        await pair.source.status("pre-switchover")
        pair.seen["pre-switchover"] = keys(await pair.source.query())
        pair.seen["run state"] = await pair.source.run_state()
        pair.seen["refusals"] = [
            await pair.source.refusal("migrate-continue", state="device"),
            await pair.source.refusal("migrate", uri=pair.uri),
            await pair.source.refusal("device_add", driver="e1000e", bus="root3", id="late"),
            await pair.source.refusal("device_del", id="net1"),
            await pair.source.refusal("migrate-set-capabilities", capabilities=[]),
        ]
        await pair.source.command("migrate-continue", state="pre-switchover")
        return await pair.story("completed", "completed")

    story = await both(lab, play)
    assert "MIGRATION pre-switchover" in story.source


@scenario
async def test_cancelled_while_active(lab: Lab) -> None:
    async def play(pair: Pair) -> Story:
        await pair.start()
        await pair.begin()
        await pair.source.command("migrate_cancel")
        return await pair.story("cancelled", "failed")

    story = await both(lab, play)
    assert story.source[-2:] == ["MIGRATION cancelling", "MIGRATION cancelled"]
    assert story.run_states == ("running", None)
    assert story.seen["target exit status"] == 1


@scenario
async def test_nobody_listens(lab: Lab) -> None:
    async def play(pair: Pair) -> Story:
        source = await start(pair.kind, lab, "source", devices=PAIR)
        uri = lab.uri("nobody")
        pair.seen["answer"] = await source.command("migrate", uri=uri)
        await source.status("failed")
        pair.seen["report"] = await source.query()
        # A second try is as good as the first.
        await source.command("migrate", uri=uri)
        await source.event("MIGRATION failed", times=2)
        return Story(ordered(source.events), [], (await source.run_state(), None), pair.seen)

    story = await both(lab, play)
    assert story.seen["report"]["error-desc"].endswith("nobody': No such file or directory")


@scenario
async def test_a_uri_of_no_protocol(lab: Lab) -> None:
    async def play(pair: Pair) -> Story:
        source = await start(pair.kind, lab, "source", devices=PAIR)
        pair.seen["refusal"] = await source.refusal("migrate", uri="nothing")
        pair.seen["report"] = await source.query()
        return Story(ordered(source.events), [], (await source.run_state(), None), pair.seen)

    if is_reference():
        story = await both(lab, play)
        assert story.seen["report"] == {"status": "failed"}
    else:
        # Since 10.0 it is refused before anything begins.
        assert (await play(Pair("qemu", lab))).run_states == ("running", None)


@scenario
async def test_the_target_refuses_at_the_end_and_says_so(lab: Lab) -> None:
    async def play(pair: Pair) -> Story:
        await pair.start(return_path=True, target=MOVED)
        await pair.begin()
        await pair.hurry()
        return await pair.story("failed", "failed")

    story = await both(lab, play)
    assert story.run_states == ("running", None)


@scenario
async def test_the_target_refuses_at_the_end_and_cannot_say_so(lab: Lab) -> None:
    async def play(pair: Pair) -> Story:
        await pair.start(target=MOVED)
        async with Tunnel(lab.path(f"{pair.kind}-tunnel"), lab.path(pair.kind)) as tunnel:
            pair.way = tunnel.uri
            await pair.begin()
            await pair.hurry()
            return await pair.story("completed", "failed")

    story = await both(lab, play)
    assert story.run_states == ("postmigrate", None)


@scenario
async def test_the_target_is_killed_while_active(lab: Lab) -> None:
    async def play(pair: Pair) -> Story:
        await pair.start()
        await pair.begin()
        pair.target.kill()
        await pair.source.parameters(max_bandwidth=FAST)
        await pair.source.status("failed")
        pair.seen["report"] = await pair.source.query()
        # Which of its two names the error has depends on what the target had not read yet.
        reason = pair.seen["report"]["error-desc"]
        for name in ("Broken pipe", "Connection reset by peer"):
            reason = reason.replace(name, "gone")
        pair.seen["report"]["error-desc"] = reason
        return Story(
            ordered(pair.source.events), [], (await pair.source.run_state(), None), pair.seen
        )

    story = await both(lab, play)
    gone = {"status": "failed", "error-desc": "Unable to write to socket: gone"}
    assert story.seen["report"] == gone


async def drive(source: Qemu, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run `replug migrate --json` on a QEMU; return its exit status, its report and its stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli", "migrate", "--json"),
        *("--qmp", source.second_monitor_path, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    status = process.returncode
    assert status is not None
    return status, json.loads(output.splitlines()[-1]), errors.decode()


@scenario
async def test_replug_migrate_drives_qemu(lab: Lab) -> None:
    pair = Pair("qemu", lab)
    await pair.start()
    assert isinstance(pair.source, Qemu)
    assert isinstance(pair.target, Qemu)
    target = ("--target-qmp", pair.target.second_monitor_path)
    status, report, _ = await drive(pair.source, "--max-bandwidth", "1G", *target, pair.uri)
    assert (status, report["status"]) == (0, "completed")
    assert await pair.source.run_state() == "postmigrate"
    assert await pair.target.run_state() == "running"


@scenario
async def test_replug_migrate_tells_of_a_failure_in_qemu(lab: Lab) -> None:
    source = await start("qemu", lab, "source", devices=PAIR)
    assert isinstance(source, Qemu)
    status, report, errors = await drive(source, lab.uri("nobody"))
    assert (status, report["status"]) == (1, "failed")
    assert "No such file or directory" in errors
    assert await source.run_state() == "running"

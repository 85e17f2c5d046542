"""A journal that cannot be written any more ends; its VM does what it would have done with it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from qemu.qmp import QMPClient

from engine.driver.child_vm import ChildVm
from engine.driver.control import MigrationResult, MigrationRun
from engine.migration_outcome import ExitStatus
from engine.migration_request import MigrationRequest
from tests.integration.vms import PAIR, SIZE, words

#: Only a hang takes this long.
PATIENCE_S = 30.0
WARNING = (
    "replug: the journal cannot be written, and ends here; the VM goes on without it: [Errno %d] %s"
)


def live(
    folder: Path,
    journal: Path,
    guest: str,
    scenario: Callable[[ChildVm, QMPClient], Awaitable[None]],
) -> str:
    """Let a VM with this journal live through a scenario; return what it said."""

    async def main() -> str:
        options = (*SIZE, *words(*PAIR), "-guest", guest, "-journal", str(journal))
        vm = await ChildVm.start(options)
        monitor = QMPClient("vm")
        try:
            await monitor.connect(vm.monitor.path)
            await asyncio.wait_for(scenario(vm, monitor), PATIENCE_S)
            # It goes with the VM, but not what is open.
            with Path(vm.monitor.path).with_name("log").open("rb") as log:
                await monitor.execute("quit")
                await gone(monitor)
                assert await vm.ended()
                return log.read().decode()
        finally:
            if vm.is_running:
                await gone(monitor)
                os.kill(vm.pid, signal.SIGKILL)
                await vm.ended()

    return asyncio.run(main())


async def gone(monitor: QMPClient) -> None:
    # It may have gone by itself.
    with suppress(EOFError):
        await monitor.disconnect()


async def save(vm: ChildVm, folder: Path) -> MigrationResult:
    """Save it, which its guest has to give its primary up for."""
    request = MigrationRequest(vm.monitor, f"file:{folder / 'saved'}")
    return await MigrationRun(request, lambda _: None).run()


def test_the_disk_is_full(tmp_path: Path) -> None:
    async def scenario(vm: ChildVm, _: QMPClient) -> None:
        result = await save(vm, tmp_path)
        assert result.outcome.exit_status is ExitStatus.DONE, result.outcome

    said = live(tmp_path, Path("/dev/full"), "fill=4M", scenario)
    assert said.splitlines() == [WARNING % (28, "No space left on device")]


def test_it_fails_while_the_guest_is_waited_for(tmp_path: Path) -> None:
    """The next step is the eject, whose effects are the migration's going on."""
    journal = tmp_path / "journal"
    os.mkfifo(journal)
    descriptor = os.open(journal, os.O_RDONLY | os.O_NONBLOCK)

    def read_until_pending() -> None:
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "rb") as lines:
            for line in lines:
                if json.loads(line)["state"]["migration"] == "wait-unplug":
                    return

    async def scenario(vm: ChildVm, monitor: QMPClient) -> None:
        saving = asyncio.create_task(save(vm, tmp_path))
        await asyncio.to_thread(read_until_pending)
        eject = {"path": "/machine/guest", "property": "eject", "value": "hostdev0"}
        await monitor.execute("qom-set", eject)
        result = await saving
        assert result.outcome.exit_status is ExitStatus.DONE, result.outcome

    said = live(tmp_path, journal, "eject=never,fill=4M", scenario)
    assert said.splitlines() == [WARNING % (32, "Broken pipe")]

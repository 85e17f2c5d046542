"""What has to be true when a migration has ended one way or the other."""

from __future__ import annotations

import signal
from typing import Any

from tests.integration.lab import Lab
from tests.integration.vms import Vm

NO_DOUBT = "The VM is not in doubt: there is nothing to resolve"


async def moved(source: Vm, target: Vm, run_state: str = "running") -> dict[str, Any]:
    """Wait for the VM to have moved, check that it is whole, and return the source's report."""
    await source.status("completed")
    await target.status("completed")
    assert await source.run_state() == "postmigrate"
    assert await target.run_state() == run_state
    assert (await target.guest("verify"))["count"] == 0
    await target.reaches("link", "closed")
    if run_state == "running":
        await target.on_primaries()
    return await source.query()


async def stayed(source: Vm, status: str, run_state: str = "running") -> dict[str, Any]:
    """Wait for a migration to have been given up, check the VM, and return query-migrate."""
    await source.status(status)
    assert await source.run_state() == run_state
    report = await source.query()
    assert report["status"] == status
    if run_state == "running":
        await source.on_primaries()
    await source.reaches("link", "closed")
    await source.reaches("primary", "plugged", "hostdev0")
    assert (await source.guest("verify"))["count"] == 0
    assert all(s == "plugged" for s in source.journal[-1]["state"]["primary"].values())
    return report


async def migrates_again(lab: Lab, source: Vm, target_name: str = "second", *options: str) -> Vm:
    """Migrate to a fresh target, which must succeed, and return that target."""
    uri = lab.uri(target_name)
    target = await lab.vm(target_name, *options, incoming=uri, guest="")
    await target.reaches("link", "listening")
    source.forget()
    await source.command("migrate", uri=uri)
    await moved(source, target)
    return target


async def failed_at_target(target: Vm) -> str:
    """Wait for the target to have given up, and return what it said."""
    assert await target.exit_status() == 1
    assert "load of migration failed: " in target.stderr
    return target.stderr


async def in_doubt(vm: Vm) -> None:
    """Wait for a VM to be in doubt and check what it then refuses."""
    await vm.event("X_REPLUG_IN_DOUBT")
    assert (await vm.query())["x-replug-in-doubt"] is True
    assert "x-replug-resolve before this process may end" in await vm.refusal("quit")
    if "send the signal again" not in vm.stderr:
        vm.process.send_signal(signal.SIGTERM)
        while "send the signal again" not in vm.stderr:
            assert (await vm.query())["x-replug-in-doubt"] is True


async def source_in_doubt(source: Vm) -> None:
    await in_doubt(source)
    assert (await source.query())["status"] == "device"
    assert await source.run_state() == "postmigrate"
    assert "say who keeps it with x-replug-resolve first" in await source.refusal("cont")
    assert "can no longer be cancelled" in await source.refusal("migrate_cancel")
    assert "There's a migration process in progress" in await source.refusal(
        "migrate", uri="unix:/nowhere"
    )


async def target_in_doubt(target: Vm) -> None:
    await in_doubt(target)
    assert await target.run_state() == "inmigrate"
    assert target.process.returncode is None


async def kept_at_source(lab: Lab, source: Vm) -> None:
    await source.command("x-replug-resolve", keep="source")
    await stayed(source, "failed")
    assert NO_DOUBT in await source.refusal("x-replug-resolve", keep="source")
    await migrates_again(lab, source)

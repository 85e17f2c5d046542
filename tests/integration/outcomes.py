"""What has to be true when a migration has ended one way or the other."""

from __future__ import annotations

from typing import Any

from tests.integration.lab import Lab
from tests.integration.vms import Vm


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

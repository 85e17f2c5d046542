"""`replug migrate` has QEMUs send RAM through channels, and asks them for nothing of replug's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.differential import Qemu, start
from tests.integration.lab import Lab, scenario
from tests.integration.vms import run_migrate

pytestmark = pytest.mark.tools


async def pair(lab: Lab) -> tuple[Qemu, Qemu]:
    source = await start("qemu", lab, "source")
    target = await start("qemu", lab, "target", incoming=True)
    await target.command("migrate-incoming", uri=lab.uri())
    assert isinstance(source, Qemu)
    assert isinstance(target, Qemu)
    return source, target


def monitors(source: Qemu, target: Qemu) -> tuple[Path, Path]:
    """Return those that nobody is connected to: a QEMU's takes one client at a time."""
    return Path(source.second_monitor_path), Path(target.second_monitor_path)


@pytest.mark.parametrize("compression", ["none", "zlib", "zstd"])
@scenario
async def test_channels(lab: Lab, compression: str) -> None:
    source, target = await pair(lab)
    options = ("--multifd-channels", "3", "--multifd-compression", compression)
    status, report = await run_migrate(*monitors(source, target), *options, lab.uri())
    assert (status, report["error"]) == (0, None)
    assert (await source.query())["ram"]["multifd-bytes"] > 0
    for vm in (source, target):
        parameters = await vm.command("query-migrate-parameters")
        assert parameters["multifd-channels"] == 3
        assert parameters["multifd-compression"] == compression


@scenario
async def test_sharing_is_not_asked_of_a_qemu(lab: Lab) -> None:
    source, target = await pair(lab)
    status, report = await run_migrate(*monitors(source, target), "--share-memory", lab.uri())
    assert status == 1
    assert "does not offer the capability 'x-share-memory'" in report["error"]
    assert "MIGRATION setup" not in source.events

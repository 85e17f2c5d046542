"""`qmp-shell`, as it is installed, commands a VM and has it migrate: its answers are QEMU's."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.integration.lab import Lab, scenario
from tests.integration.outcomes import NO_DOUBT, moved
from tests.integration.vms import Vm

PROMPT = "(QEMU) "


async def shell(vm: Vm, home: str, *lines: str) -> list[dict[str, Any]]:
    """Type lines into a qmp-shell on a VM and return its answers."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("qmp-shell")), str(vm.monitor_path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # It keeps what was typed in its user's home.
        env={**os.environ, "HOME": home},
    )
    output, errors = await process.communicate("".join(f"{line}\n" for line in lines).encode())
    assert (process.returncode, errors) == (0, b"")
    said = output.decode().splitlines()
    assert "Connected to QEMU 7.2.22" in said
    return [json.loads(line.removeprefix(PROMPT)) for line in said if line.startswith(PROMPT + "{")]


@scenario
async def test_commands_and_a_migration(lab: Lab) -> None:
    source, target = await lab.pair()
    status, name, events, never, told, prompt, doubt, unknown, begun = await shell(
        source,
        lab.path("."),
        "query-status",
        "query-name",
        'migrate-set-capabilities capabilities=[{"capability":"events","state":true}]',
        "qom-set path=/machine/guest property=eject value=never",
        "qom-get path=/machine/guest property=eject",
        "qom-set path=/machine/guest property=eject value=prompt",
        "x-replug-resolve keep=source",
        "no-such-command",
        f"migrate uri={lab.uri()}",
    )
    assert (status["return"]["status"], status["return"]["running"]) == ("running", True)
    assert name == {"return": {"name": "source"}}
    assert (events, never, prompt, begun) == ({"return": {}},) * 4
    assert told == {"return": "never"}
    assert doubt["error"]["class"] == "GenericError"
    assert NO_DOUBT in doubt["error"]["desc"]
    # QEMU qapi/qmp-dispatch.c, to the letter.
    assert unknown["error"] == {
        "class": "CommandNotFound",
        "desc": "The command no-such-command has not been found",
    }
    await moved(source, target)

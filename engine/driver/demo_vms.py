"""The demo's two VM processes: one with a passed-through NIC and its standby, one that waits.

Rules kept here: they are started with the command line a user would type; what they say on stderr
is kept for the error that may be needed. They end when this object is closed, whatever happened.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from devices.frames import mac_bytes
from engine.errors import EngineError
from engine.monitor_options import UnixEndpoint

#: The pair's address.
PAIR_MAC = "52:54:00:6f:55:cc"
#: The ids of the pair's devices.
STANDBY_ID, PRIMARY_ID = "net1", "hostdev0"
_HOST_ADDRESS = "0000:5e:00.2"
#: How long a process may take to open its monitor, or to end.
PATIENCE_SECONDS = 20.0


class DemoError(EngineError):
    """The demo could not be set up."""


@dataclass(frozen=True)
class DemoOptions:
    """What the demo shows."""

    #: -m of both VMs.
    ram: str = "1G"
    #: How much of it the guest writes per second.
    dirty: str = "64M"
    #: How much of it the guest fills before it starts.
    fill: str = "512M"
    #: Time between two numbered frames, each way.
    frame_interval_ms: float = 1.0
    #: -profile of both VMs.
    profile: str = "native"
    #: A folder that keeps both journals; None: nobody does.
    journal_folder: Path | None = None


class DemoVm:
    """One VM process of the demo."""

    def __init__(self, name: str, folder: Path, options: DemoOptions) -> None:
        self._folder = folder
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        #: "source" or "target".
        self.name = name
        #: Its monitor.
        self.monitor = UnixEndpoint(str(folder / f"{name}.qmp"))
        #: Its journal.
        self.journal = (options.journal_folder or folder) / f"{name}.ndjson"

    def uplink(self, path: str) -> str:
        """Return the socket of this VM's switch port for a path, such as primary."""
        return str(self._folder / f"{self.name}.{path}")

    def arguments(self, incoming: str | None) -> list[str]:
        """Return the command line after `replug`."""
        options = self._options
        host = self._folder / f"{self.name}.hosts.json"
        port = f"unix:{self.uplink('primary')}"
        host.write_text(json.dumps([{"address": _HOST_ADDRESS, "mac": PAIR_MAC, "uplink": port}]))
        subcommand = ["vm"] if incoming is None else ["incoming", incoming]
        return [
            *subcommand,
            *("-name", self.name, "-M", "q35", "-m", options.ram, "-profile", options.profile),
            *("-device", "pcie-root-port,id=root1,bus=pcie.0,chassis=1"),
            *("-device", "pcie-root-port,id=root2,bus=pcie.0,chassis=2"),
            "-netdev",
            f"stream,id=hostnet1,server=off,addr.type=unix,addr.path={self.uplink('standby')}",
            "-device",
            f"virtio-net-pci,netdev=hostnet1,id={STANDBY_ID},mac={PAIR_MAC},bus=root2,failover=on",
            "-device",
            f"vfio-pci,host={_HOST_ADDRESS},id={PRIMARY_ID},bus=root1,"
            f"failover_pair_id={STANDBY_ID}",
            *("-host", str(host), "-journal", str(self.journal)),
            *("-qmp", f"unix:{self.monitor.path},server=on,wait=off"),
            "-guest",
            f"eject=prompt,dirty={options.dirty},fill={options.fill},"
            f"frames={options.frame_interval_ms}ms",
        ]

    async def start(self, incoming: str | None = None) -> None:
        """Start the process; its monitor opens later."""
        with (self._folder / f"{self.name}.err").open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "engine.cli", *self.arguments(incoming)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
            )

    def journaled(self, machine: str, instance: str | None = None) -> list[str]:
        """Return the states that a machine went through, as this VM's journal has them."""
        states: list[str] = []
        for line in self.journal_lines():
            state = json.loads(line)["state"][machine]
            if instance is not None:
                state = state.get(instance)
            if state is not None and states[-1:] != [state]:
                states.append(state)
        return states

    def journal_lines(self) -> list[str]:
        """Return the lines of its journal, each with its line feed."""
        return self.journal.read_text(encoding="utf-8").splitlines(keepends=True)

    async def ended(self) -> int:
        """Wait for the process to end and return its status."""
        assert self._process is not None
        return await self._process.wait()

    def complaint(self) -> str:
        """Return the last thing it said on stderr."""
        path = self._folder / f"{self.name}.err"
        text = path.read_text(errors="replace").strip() if path.exists() else ""
        return text.splitlines()[-1] if text else "it said nothing"

    async def close(self) -> None:
        """End the process, by force if it does not listen."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


GUEST_MAC = mac_bytes(PAIR_MAC)

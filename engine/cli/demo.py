"""`replug demo`: a VM moves between two processes while it exchanges frames with this one."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.cli.progress import JsonDisplay, LineDisplay
from engine.driver.demo import Demo
from engine.driver.demo_vms import DemoError, DemoOptions
from engine.profile import PROFILE_NAMES


def run(arguments: list[str]) -> int:
    """Run `replug demo`."""
    defaults = DemoOptions()
    parser = argparse.ArgumentParser(
        prog="replug demo",
        description="Migrate a VM with a passed-through NIC from one process to another, while it "
        "exchanges numbered frames with this process. Needs no QEMU and no root.",
    )
    parser.add_argument("--json", action="store_true", help="one object per event, then the report")
    parser.add_argument("--profile", choices=PROFILE_NAMES, default=defaults.profile)
    parser.add_argument("--ram", default=defaults.ram, metavar="SIZE", help="guest RAM")
    parser.add_argument("--dirty", default=defaults.dirty, metavar="SIZE", help="written a second")
    parser.add_argument("--fill", default=defaults.fill, metavar="SIZE", help="RAM in use at first")
    parser.add_argument(
        "--frame-interval-ms", type=float, default=defaults.frame_interval_ms, metavar="MS"
    )
    parser.add_argument(
        "--journal-dir",
        type=Path,
        metavar="DIR",
        help="keep both journals there: source.ndjson and target.ndjson, for replug check",
    )
    given = parser.parse_args(arguments)
    options = DemoOptions(
        ram=given.ram,
        dirty=given.dirty,
        fill=given.fill,
        frame_interval_ms=given.frame_interval_ms,
        profile=given.profile,
        journal_folder=given.journal_dir,
    )
    display = JsonDisplay(sys.stdout) if given.json else LineDisplay(sys.stdout)
    try:
        if options.journal_folder is not None:
            options.journal_folder.mkdir(parents=True, exist_ok=True)
        if not given.json:
            print(_opening(options))
        report = asyncio.run(Demo(options, display.show).run()).as_json()
    except BrokenPipeError:
        raise  # its reader has gone, and `main` says so
    except (DemoError, OSError) as error:
        print(f"replug demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("replug demo: interrupted; both VMs are gone", file=sys.stderr)
        return 130
    if given.json:
        print(json.dumps(report))
    else:
        _show(report)
    return 0 if _is_good(report) else 1


def _opening(options: DemoOptions) -> str:
    return (
        f"Two VM processes, {options.ram} of RAM, {options.dirty}/s of it written, a frame each "
        f"{options.frame_interval_ms:g} ms each way; profile {options.profile}."
    )


def _is_good(report: Mapping[str, Any]) -> bool:
    frames = report["frames"]
    return (
        report["status"] == "completed"
        and report["ram"]["digest_equal"] is not False
        and not frames["lost"]
        and not frames["duplicated"]
    )


def _show(report: Mapping[str, Any]) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    frames, timings, ram = report["frames"], report["timings_ms"], report["ram"]
    table.add_row("source", " → ".join(report["source"]["states"] or []))
    table.add_row("target", " → ".join(report["target"]["states"] or []))
    for primary in report["primaries"]:
        for side in ("source", "target"):
            states = " → ".join(primary[side] or [])
            table.add_row(f"{primary['id']} at the {side}", states)
    table.add_row("path of the frames", " → ".join(frames["path"] or []))
    table.add_row(
        "frames",
        f"{frames['sent']} sent, {frames['received']} received, {frames['lost']} lost, "
        f"{frames['duplicated']} duplicated; longest gap {frames['longest_gap_ms']} ms",
    )
    table.add_row("time, ms", ", ".join(f"{name} {value}" for name, value in timings.items()))
    table.add_row(
        "RAM",
        f"{ram['bytes']} bytes, {ram['transferred_bytes']} transferred in {ram['passes']} passes, "
        f"equal: {ram['digest_equal']}",
    )
    table.add_row("status", f"{report['status']} {report['error'] or ''}")
    Console(highlight=False).print(table)

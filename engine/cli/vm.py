"""`replug vm`: a VM in the foreground, with QEMU's own options."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from devices.errors import DeviceError
from engine.command_line import VmCommandLine, parse_vm_arguments
from engine.command_line_error import CommandLineError
from engine.driver.channel import TransportError
from engine.driver.process import run_vm
from engine.errors import EngineError
from engine.qmp.errors import QmpError

#: The largest file that an option may name.
FILE_CHARACTERS_MAX = 4 << 20

HELP = """\
usage: replug vm [QEMU options] [-profile NAME] [-guest KEY=VALUE,...] [-host FILE] [-journal FILE]

A VM in the foreground, until QMP quit or SIGTERM. It takes QEMU's options as they are:
  -m 1G  -mem-prealloc  -M q35  -name NAME  -S  -device ...  -netdev ...  -incoming URI|defer
  -qmp unix:PATH,server=on,wait=off    -chardev/-mon    -global DRIVER.PROPERTY=VALUE
and its own:
  -profile native|qemu-7.2             how it behaves where replug and QEMU differ
  -guest eject=prompt|never|resumed|500ms,standby=on|off,dirty=64M,frames=1ms,...
  -host FILE                           the host's functions, as JSON; without it, every one exists
  -journal FILE                        each step of its machines, one JSON object per line
"""


def run(arguments: list[str]) -> int:
    """Run `replug vm`."""
    return run_with(arguments, lambda: parse_vm_arguments(arguments, read_file=read_text), HELP)


def read_text(path: str) -> str:
    """Read a file named on the command line, of at most FILE_CHARACTERS_MAX characters."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(FILE_CHARACTERS_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandLineError(f"{path}: {error}") from error
    if len(text) > FILE_CHARACTERS_MAX:
        raise CommandLineError(f"{path}: expected at most {FILE_CHARACTERS_MAX} characters")
    return text


def run_with(arguments: list[str], parse: Callable[[], VmCommandLine], help_text: str) -> int:
    """Parse, run, and turn a user's mistake into one line and a status."""
    if any(argument in ("-h", "-help", "--help") for argument in arguments):
        print(help_text)
        return 0
    try:
        command_line = parse()
    except CommandLineError as error:
        print(f"replug: {error}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return 2
    try:
        return asyncio.run(run_vm(command_line))
    except DeviceError as error:
        print(f"replug: {error.description}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        return 1
    except (QmpError, EngineError, TransportError, OSError, ValueError) as error:
        print(f"replug: {error}", file=sys.stderr)
        return 1

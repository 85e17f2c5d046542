"""`replug incoming URI`: a VM that waits for a migration stream."""

from __future__ import annotations

import sys

from engine.cli.vm import read_text, run_with
from engine.command_line import parse_vm_arguments

HELP = """\
usage: replug incoming URI [the options of replug vm]

A VM that waits for a migration stream on URI (tcp:HOST:PORT, unix:PATH, exec:COMMAND, fd:N,
file:PATH) and then runs, until QMP quit or SIGTERM. Status 1 when the stream cannot be loaded.
"""


def run(arguments: list[str]) -> int:
    """Run `replug incoming`."""
    if not arguments:
        print(f"replug incoming: expected a URI\n\n{HELP}", file=sys.stderr)
        return 2
    uri, options = arguments[0], arguments[1:]
    return run_with(
        arguments,
        lambda: parse_vm_arguments(options, read_file=read_text, incoming_uri=uri),
        HELP,
    )

"""The command `replug`: one module per subcommand.

Rules kept here: a subcommand reads its arguments, calls the layers below and returns an exit
status; a user's mistake is one line on stderr and status 2, never a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

_SUBCOMMANDS = {
    "vm": ("engine.cli.vm", "a VM in the foreground, until quit or SIGTERM"),
    "incoming": ("engine.cli.incoming", "a VM that waits for a migration stream"),
    "migrate": ("engine.cli.migrate", "migrate a VM: replug's, or QEMU's through its QMP socket"),
    "diagram": ("engine.cli.diagram", "export the state machines for review"),
    "check": (
        "engine.cli.check",
        "explore every reachable state and judge every property",
    ),
    "simulate": (
        "engine.cli.simulate",
        "migrate on a virtual clock, by seeds, and check each step",
    ),
    "demo": ("engine.cli.demo", "migrate a VM between two processes and show what happens"),
}


def usage() -> str:
    """Return the text of `replug --help`."""
    lines = [f"  {name:<10} {text}" for name, (_, text) in _SUBCOMMANDS.items()]
    return (
        "usage: replug SUBCOMMAND [options]\n\n"
        "QEMU's virtio-net failover migration as explicit state machines.\n\n"
        + "\n".join(lines)
        + "\n\nreplug SUBCOMMAND --help tells more of each."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ("-h", "--help"):
        print(usage())
        return 0
    if not given or given[0] not in _SUBCOMMANDS:
        came = repr(given[0]) if given else "nothing"
        print(f"replug: expected a subcommand, got {came}\n\n{usage()}", file=sys.stderr)
        return 2
    run: Callable[[list[str]], int] = import_module(_SUBCOMMANDS[given[0]][0]).run
    try:
        status = run(given[1:])
        # Here, not at the end of the process, where it could not be said in one line.
        sys.stdout.flush()
    except BrokenPipeError:
        print(f"replug {given[0]}: nobody reads what it writes any more", file=sys.stderr)
        import_module("engine.cli.steady").settle_output()
        return 1
    return status

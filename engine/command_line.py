"""QEMU's single-dash option line, as `replug vm` and `replug incoming` take it.

What may live here: from a list of arguments to a checked `VmCommandLine`. Nothing is opened: who
calls says how a file is read. What the options say is read in `engine.command_line_reader`.

Rules kept (QEMU: softmmu/vl.c lookup_opt):
- `-option` and `--option` are the same; names are matched whole, never by their beginning;
- what QEMU has and replug does not need is accepted and named once (`engine.command_line_ignored`);
- every complaint begins with the option as it was written, as QEMU's do on stderr.

Two things differ from QEMU: without -machine the machine is q35, for failover needs PCI Express;
and RAM is not rounded up to whole pages but refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.options import TEXT_BYTES_MAX, OptionError
from engine.command_line_error import CommandLineError, naming, shown
from engine.command_line_ignored import IGNORED_ALONE, IGNORED_WITH_ARGUMENT, REFUSED
from engine.command_line_reader import ALONE, WITH_ARGUMENT, OptionReader
from engine.configuration import VmConfiguration
from engine.monitor_options import MonitorEndpoint

__all__ = ["ARGUMENTS_MAX", "CommandLineError", "VmCommandLine", "parse_vm_arguments"]

#: Most arguments on one command line.
ARGUMENTS_MAX = 4096


@dataclass(frozen=True)
class VmCommandLine:
    """What one option line asks for."""

    #: The VM.
    configuration: VmConfiguration
    #: Where its monitors listen, in order.
    monitors: tuple[MonitorEndpoint, ...]
    #: -journal, or None.
    journal_path: str | None
    #: What was accepted and has no effect, each once, in order: "-smp", "-machine accel".
    ignored: tuple[str, ...]


def parse_vm_arguments(
    arguments: Sequence[str],
    *,
    read_file: Callable[[str], str],
    incoming_uri: str | None = None,
) -> VmCommandLine:
    """Read the options of `replug vm`, or of `replug incoming` if `incoming_uri` is given.

    `read_file` returns the text of a named file, bounded by the caller; its OSError and
    UnicodeError become complaints. Raises CommandLineError for the first thing that is wrong;
    -help is for the caller to look for.
    """
    if len(arguments) > ARGUMENTS_MAX:
        raise CommandLineError(f"expected at most {ARGUMENTS_MAX} arguments, got {len(arguments)}")
    reader = OptionReader(read_file, incoming_uri)
    position = 0
    while position < len(arguments):
        written = arguments[position]
        name = _option_name(written)
        if not _takes_argument(name, written):
            _take_alone(reader, name, written)
            position += 1
        elif position + 1 == len(arguments):
            raise CommandLineError(f"{shown(written)}: requires an argument")
        else:
            _take(reader, name, written, arguments[position + 1])
            position += 2
    monitors = reader.monitors()
    return VmCommandLine(reader.configuration(), monitors, reader.journal_path, reader.ignored())


def _option_name(written: str) -> str:
    if not written.startswith("-"):
        raise CommandLineError(
            f"{shown(written)}: expected an option, which begins with '-' (there are no disks)"
        )
    return written[2:] if written.startswith("--") else written[1:]


def _takes_argument(name: str, written: str) -> bool:
    if name in REFUSED:
        return REFUSED[name].takes_argument
    if name in WITH_ARGUMENT or name in IGNORED_WITH_ARGUMENT:
        return True
    if name in ALONE or name in IGNORED_ALONE:
        return False
    known = {*WITH_ARGUMENT, *ALONE, *IGNORED_WITH_ARGUMENT, *IGNORED_ALONE, *REFUSED}
    # Bounded, for comparing takes time with the square of the length.
    nearest = difflib.get_close_matches(name[:64], sorted(known), n=3)
    proposal = f" (nearest: {', '.join(f'-{near}' for near in nearest)})" if nearest else ""
    raise CommandLineError(f"{shown(written)}: invalid option{proposal}")


def _take_alone(reader: OptionReader, name: str, written: str) -> None:
    if name in REFUSED:
        raise CommandLineError(f"{written}: {REFUSED[name].reason}")
    if name in ALONE:
        ALONE[name](reader)
    else:
        reader.ignore(f"-{name}")


def _take(reader: OptionReader, name: str, written: str, text: str) -> None:
    option = f"{written} {shown(text)}"
    if name in REFUSED and text != REFUSED[name].harmless:
        raise CommandLineError(f"{option}: {REFUSED[name].reason}")
    if name not in WITH_ARGUMENT:
        reader.ignore(f"-{name}")
        return
    with naming(option):
        if "\0" in text:
            raise OptionError("expected text without zero characters")
        if len(text) > TEXT_BYTES_MAX:
            raise OptionError(f"expected at most {TEXT_BYTES_MAX} bytes, got more")
        WITH_ARGUMENT[name](reader, option, text)

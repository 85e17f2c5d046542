"""`replug migrate`: the source-side command, on any QMP monitor."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace

from engine.cli.migrate_options import MigrateOptions, UsageError, parse_migrate_arguments
from engine.cli.progress import Display, JsonDisplay, LineDisplay, TerminalDisplay
from engine.cli.steady import SteadyConsole, SteadyDisplay, complain, settle_output
from engine.cli.vm import read_text
from engine.command_line import parse_vm_arguments
from engine.command_line_error import CommandLineError
from engine.driver.child_vm import ChildFailed, ChildVm
from engine.driver.control import MigrationResult, MigrationRun
from engine.migration_outcome import ExitStatus


def run(arguments: list[str]) -> int:
    """Run `replug migrate` and return its exit status (see ExitStatus)."""
    try:
        options = parse_migrate_arguments(arguments)
        if options.vm:
            parse_vm_arguments(options.vm, read_file=read_text)
    except (UsageError, CommandLineError) as error:
        print(f"replug migrate: {error}", file=sys.stderr)
        return ExitStatus.USAGE
    except SystemExit as ended:
        return int(ended.code or 0)
    status = asyncio.run(_migrate(options))
    settle_output()
    return status


async def _migrate(options: MigrateOptions) -> int:
    if not options.vm:
        return (await _drive(options)).outcome.exit_status
    try:
        child = await ChildVm.start(options.vm)
    except ChildFailed as error:
        complain(f"the VM did not start: {error}")
        return ExitStatus.FAILED
    try:
        request = replace(options.request, source=child.monitor)
        result = await _drive(replace(options, request=request))
        if result.outcome.exit_status is ExitStatus.DONE and await child.ended():
            return ExitStatus.DONE
        if result.outcome.exit_status is not ExitStatus.LOST or child.is_running:
            complain(f"the VM goes on (process {child.pid}); its monitor is {child.monitor.path}")
        return result.outcome.exit_status
    finally:
        child.leave()


async def _drive(options: MigrateOptions) -> MigrationResult:
    # The migration goes on whether somebody looks or not, and so does who follows it.
    display = SteadyDisplay(_display(options))
    driven = MigrationRun(options.request, display.show)
    presses = 0

    def interrupted() -> None:
        nonlocal presses
        presses += 1
        if presses == 1:
            driven.cancel()
        else:
            driven.abandon()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        result = await driven.run()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        display.stop()
    display.finish(result)
    if options.json and result.outcome.exit_status is not ExitStatus.DONE:
        complain(result.outcome.text)
    return result


def _display(options: MigrateOptions) -> Display:
    if options.json:
        return JsonDisplay(sys.stdout)
    console = SteadyConsole()
    return TerminalDisplay(console) if console.is_terminal else LineDisplay(sys.stdout)

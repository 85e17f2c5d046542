"""What a migration looks like to whoever watches: a terminal, a pipe, or a program.

What may live here: three ways to show the same events. Rules:

- `TerminalDisplay` draws over itself, and only on a terminal; colours are rich's business, which
  knows NO_COLOR;
- `LineDisplay` writes one line for each change, and nothing that is only progress;
- `JsonDisplay` writes one object for each event and the report as the last one, flushed line by
  line; progress at most every PROGRESS_MS.
"""

from __future__ import annotations

import json
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine.driver.control import MigrationResult
from engine.migration_event import Kind, MigrationEvent, RamProgress, Side
from engine.migration_outcome import ExitStatus, budget

#: Between two lines of JSON that say how RAM stands.
PROGRESS_MS = 500.0

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_NOTES_MAX = 5
_STATES_SHOWN_MAX = 12


class Display(Protocol):
    """A way to show a migration."""

    def show(self, event: MigrationEvent) -> None:
        """Show one thing that happened."""
        ...

    def stop(self) -> None:
        """Give the terminal back; nothing more is shown as it happens."""
        ...

    def finish(self, result: MigrationResult) -> None:
        """Show how it ended; call it after `stop`."""
        ...


def size_text(size_bytes: float | None) -> str:
    """Return a size for people: "1.5 GiB"; "?" when it is not known."""
    if size_bytes is None:
        return "?"
    unit = 0
    while size_bytes >= 1024 and unit < len(_UNITS) - 1:
        size_bytes, unit = size_bytes / 1024, unit + 1
    return f"{size_bytes:.0f} B" if unit == 0 else f"{size_bytes:.1f} {_UNITS[unit]}"


def duration_text(duration_ms: float | None) -> str:
    """Return a duration for people: "250 ms", "3.2 s", "2 min 05 s"; "?" when it is not known."""
    if duration_ms is None:
        return "?"
    if duration_ms < 1000:
        return f"{duration_ms:.0f} ms"
    if duration_ms < 60_000:
        return f"{duration_ms / 1000:.1f} s"
    minutes, seconds = divmod(round(duration_ms / 1000), 60)
    return f"{minutes} min {seconds:02} s"


def wait_text(event: MigrationEvent) -> str:
    """Return how long the guest has been waited for, against its deadline."""
    limit = "no deadline" if event.deadline_ms is None else f"of {duration_text(event.deadline_ms)}"
    return f"{duration_text(event.waited_ms)} {limit}"


def ram_text(ram: RamProgress) -> str:
    """Return how RAM stands, with rate and estimate."""
    text = f"{size_text(ram.transferred_bytes)} sent, {size_text(ram.remaining_bytes)} to do"
    if ram.rate_bytes is not None:
        text += f", {size_text(ram.rate_bytes)}/s"
        if ram.estimate_ms is not None:
            text += f", about {duration_text(ram.estimate_ms)} left"
        elif ram.remaining_bytes:
            text += f", not converging: the guest rewrites {size_text(ram.dirty_rate_bytes)}/s"
    if ram.throttle_percent is not None:
        text += f", guest slowed down by {ram.throttle_percent} %"
    return text


def summary_lines(result: MigrationResult) -> list[str]:
    """Return the closing lines: how it ended, what to do, and where the seconds went."""
    report = result.report
    lines = [result.outcome.text]
    if result.outcome.advice:
        lines.append(f"  {result.outcome.advice}")
    known = [each for each in budget(report) if each.duration_ms]
    if known and report.timings.total_ms is not None:
        lines.append(f"{'total':>14}  {duration_text(report.timings.total_ms):>10}")
        for expense in known:
            still = "  (the guest stood still)" if expense.is_downtime else ""
            lines.append(f"{expense.name:>14}  {duration_text(expense.duration_ms):>10}{still}")
    if report.ram.transferred_bytes is not None:
        passes = "" if report.ram.passes is None else f" in {report.ram.passes} passes"
        size = size_text(report.ram.ram_bytes)
        lines.append(f"RAM: {size}, {size_text(report.ram.transferred_bytes)} sent{passes}")
    if report.ram.digest_equal is not None:
        lines.append(f"RAM is {'equal' if report.ram.digest_equal else 'NOT equal'} on both sides")
    if report.frames.path:
        lines.append(f"frames went {' > '.join(report.frames.path)}")
    return lines


def event_line(event: MigrationEvent) -> str | None:
    """Return the line of one change; None for what is only progress."""
    side = event.side.value if event.side else ""
    match event.kind:
        case Kind.STATUS:
            what = f"{event.status}"
        case Kind.RUN_STATE:
            what = f"guest {event.run_state}"
        case Kind.PRIMARY:
            what = f"{event.device} {event.device_state}"
        case Kind.NEGOTIATED:
            what = f"{event.device} taken on by the guest's driver"
        case Kind.PATH:
            what = f"frames on {event.path}"
        case Kind.NOTE:
            what = f"{event.text}"
        case _:
            return None
    return f"{event.time_ms / 1000.0:9.3f} s  {side:<6}  {what}"


class LineDisplay:
    """Plain lines, for pipes and logs."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream

    def show(self, event: MigrationEvent) -> None:
        """Write the event's line, if it has one."""
        line = event_line(event)
        if line is not None:
            print(line, file=self._stream, flush=True)

    def stop(self) -> None:
        """Nothing is held."""

    def finish(self, result: MigrationResult) -> None:
        """Write the summary."""
        print("\n".join(summary_lines(result)), file=self._stream, flush=True)


class JsonDisplay:
    """One JSON object per line."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream`."""
        self._stream = stream
        self._progress_ms: float | None = None

    def show(self, event: MigrationEvent) -> None:
        """Write the event, unless it is progress and the last such line is too new."""
        if event.kind is Kind.PROGRESS:
            if self._progress_ms is not None and event.time_ms - self._progress_ms < PROGRESS_MS:
                return
            self._progress_ms = event.time_ms
        self._write(event.as_json())

    def stop(self) -> None:
        """Nothing is held."""

    def finish(self, result: MigrationResult) -> None:
        """Write the report."""
        self._write(result.report.as_json())

    def _write(self, value: object) -> None:
        print(json.dumps(value, allow_nan=False), file=self._stream, flush=True)


class TerminalDisplay:
    """A picture that is drawn anew in place while the migration runs."""

    def __init__(self, console: Console) -> None:
        """Begin to draw on `console`."""
        self._states: dict[Side, list[str]] = {side: [] for side in Side}
        self._running: dict[Side, str] = {}
        self._primaries: dict[str, dict[Side, str]] = {}
        self._path: list[str] = []
        self._notes: list[str] = []
        self._ram: RamProgress | None = None
        self._wait = ""
        self._console = console
        self._live = Live(self._picture(), console=console, refresh_per_second=8, transient=True)
        self._live.start()

    def show(self, event: MigrationEvent) -> None:
        """Take the event into the picture."""
        side = event.side
        match event.kind:
            case Kind.STATUS if side and event.status:
                self._states[side].append(event.status)
                self._wait = ""
            case Kind.RUN_STATE if side and event.run_state:
                self._running[side] = event.run_state
            case Kind.PRIMARY if side and event.device:
                self._primaries.setdefault(event.device, {})[side] = event.device_state or "?"
            case Kind.PATH if event.path:
                self._path.append(event.path)
            case Kind.PROGRESS:
                self._ram = event.ram or self._ram
                self._wait = wait_text(event) if event.waited_ms is not None else ""
            case Kind.NOTE:
                self._notes = [*self._notes, f"{side.value + ': ' if side else ''}{event.text}"]
                self._notes = self._notes[-_NOTES_MAX:]
        self._live.update(self._picture())

    def stop(self) -> None:
        """Take the picture away."""
        self._live.stop()

    def finish(self, result: MigrationResult) -> None:
        """Leave the last picture and the summary below it."""
        self._console.print(self._picture())
        done = result.outcome.exit_status is ExitStatus.DONE
        first, *rest = summary_lines(result)
        self._console.print(Text(first, style="bold green" if done else "bold red"))
        for line in rest:
            self._console.print(Text(line))

    def _picture(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for side in Side:
            if self._states[side]:
                table.add_row(side.value, self._states_text(side))
        for name, states in self._primaries.items():
            each = ", ".join(f"{side.value}: {state}" for side, state in states.items())
            waits = f"  ({self._wait})" if self._wait else ""
            table.add_row(name, Text(f"{each}{waits}"))
        if self._ram is not None:
            table.add_row("RAM", _bar(self._ram))
            table.add_row("", Text(ram_text(self._ram)))
        if self._path:
            table.add_row("frames", Text(" > ".join(self._path[-_STATES_SHOWN_MAX:])))
        return Group(table, *(Text(note, style="yellow") for note in self._notes))

    def _states_text(self, side: Side) -> Text:
        *before, now = self._states[side][-_STATES_SHOWN_MAX:]
        text = Text(" > ".join(before), style="dim")
        if before:
            text.append(" > ")
        text.append(now, style="bold not dim cyan")
        if side in self._running:
            text.append(f"   guest {self._running[side]}", style="not dim")
        return text


def _bar(ram: RamProgress) -> RenderableType:
    total, remaining = ram.total_bytes, ram.remaining_bytes
    if not total or remaining is None:
        return Text("?")
    return ProgressBar(total=total, completed=max(total - remaining, 0), width=40)

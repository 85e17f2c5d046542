"""How a migration is shown: on a terminal, in a pipe, to a program."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from engine.cli.progress import (
    JsonDisplay,
    LineDisplay,
    TerminalDisplay,
    duration_text,
    ram_text,
    size_text,
    summary_lines,
)
from engine.driver.control import MigrationResult
from engine.migration_event import Kind, MigrationEvent, RamProgress, Side
from engine.migration_outcome import ExitStatus, Outcome
from engine.report import FramesReport, MigrationReport, RamReport, Timings

RAM = RamProgress(
    transferred_bytes=1 << 30,
    remaining_bytes=1 << 29,
    total_bytes=1 << 31,
    rate_bytes=float(1 << 28),
    dirty_rate_bytes=0.0,
)
EVENTS = [
    MigrationEvent(Kind.STATUS, 1.0, Side.SOURCE, status="setup"),
    MigrationEvent(Kind.PRIMARY, 2.0, Side.SOURCE, device="pri0", device_state="unplug-pending"),
    MigrationEvent(Kind.STATUS, 3.0, Side.SOURCE, status="wait-unplug"),
    MigrationEvent(Kind.PROGRESS, 1503.0, Side.SOURCE, waited_ms=1500.0, deadline_ms=30_000.0),
    MigrationEvent(Kind.PROGRESS, 1603.0, Side.SOURCE, ram=RAM, waited_ms=1600.0),
    MigrationEvent(Kind.PATH, 1700.0, Side.SOURCE, path="source.standby"),
    MigrationEvent(Kind.NOTE, 1800.0, text="so it is"),
]
RESULT = MigrationResult(
    Outcome(ExitStatus.DONE, "completed"),
    MigrationReport(
        status="completed",
        timings=Timings(900.0, 260.0, 250.0, 30.0, None, None),
        ram=RamReport(1 << 31, 1 << 30, 3, True),
        frames=FramesReport(path=["source.primary", "target.primary"]),
    ),
)


def drawn(*, colour: bool, upto: int = len(EVENTS), **console: object) -> str:
    stream = StringIO()
    display = TerminalDisplay(
        Console(file=stream, force_terminal=True, width=100, no_color=not colour)
    )
    for event in EVENTS[:upto]:
        display.show(event)
    display.stop()
    display.finish(RESULT)
    return stream.getvalue()


def test_a_terminal_shows_states_primaries_ram_and_path() -> None:
    text = drawn(colour=False)
    assert "setup > " in text
    assert "wait-unplug" in text
    assert "pri0" in text
    assert "unplug-pending" in text
    assert "1.0 GiB sent, 512.0 MiB to do, 256.0 MiB/s, about 2.0 s left" in text
    assert "source.standby" in text
    assert "so it is" in text
    assert "completed" in text


def test_a_terminal_shows_the_wait_against_its_deadline() -> None:
    assert "1.5 s of 30.0 s" in drawn(colour=False, upto=4)


def test_colours_are_left_out_when_they_are_not_wanted() -> None:
    assert "\x1b[1;32m" in drawn(colour=True)
    assert "\x1b[1;32m" not in drawn(colour=False)


def test_a_pipe_gets_one_line_for_each_change() -> None:
    stream = StringIO()
    display = LineDisplay(stream)
    for event in EVENTS:
        display.show(event)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0].split() == ["0.001", "s", "source", "setup"]
    assert "\x1b" not in stream.getvalue()


def test_the_summary_says_where_the_seconds_went() -> None:
    text = "\n".join(summary_lines(RESULT))
    assert "total      900 ms" in text
    assert "setup       10 ms" in text
    assert "wait-unplug      250 ms" in text
    assert "active passes      610 ms" in text
    assert "downtime       30 ms  (the guest stood still)" in text
    assert "1.0 GiB sent in 3 passes" in text
    assert "replug" not in text
    assert "RAM is equal on both sides" in text


def test_a_program_gets_objects_and_the_report_last() -> None:
    stream = StringIO()
    display = JsonDisplay(stream)
    for event in EVENTS:
        display.show(event)
    display.finish(RESULT)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    *events, report = lines
    # Of two that say how RAM stands within half a second, one.
    assert [event["event"] for event in events].count("progress") == 1
    assert len({tuple(event) for event in events}) == 1
    assert report == json.loads(json.dumps(RESULT.report.as_json()))


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "?"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 51, "2048.0 TiB")],
)
def test_sizes(size: int | None, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [(None, "?"), (0.4, "0 ms"), (999.0, "999 ms"), (3210.0, "3.2 s"), (125_000.0, "2 min 05 s")],
)
def test_durations(duration_ms: float | None, text: str) -> None:
    assert duration_text(duration_ms) == text


def test_a_guest_that_is_slowed_down_is_named() -> None:
    assert "slowed" not in ram_text(RAM)
    assert ram_text(replace(RAM, throttle_percent=30)).endswith(", guest slowed down by 30 %")


def test_ram_that_does_not_converge_is_named() -> None:
    stuck = RamProgress(
        transferred_bytes=1, remaining_bytes=1024, rate_bytes=1024.0, dirty_rate_bytes=2048.0
    )
    assert ram_text(stuck).endswith("not converging: the guest rewrites 2.0 KiB/s")

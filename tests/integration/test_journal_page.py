"""Journals of real processes as a page: the story ends in the states that the journals end in.

What is expected is read from the last lines of the journals, field by field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.cli import check as check_command
from statemachines.checker.conformance import Journal, merge
from statemachines.checker.page import Story, Telling
from statemachines.environment import Side
from tests.integration.recorded_journals import parsed, place_of, recorded, written

RUNS = ("native", "qemu-7.2", "cancelled")
#: Ids of the pair's devices, by their rank.
DEVICES = ("net1", "hostdev0")


def told(*journals: Sequence[str]) -> tuple[Telling, Story]:
    """Return the walk along journals, and its story."""
    names = [f"{number}.ndjson" for number in range(len(journals))]
    merged = merge(
        [Journal(n, lines, killed=True) for n, lines in zip(names, journals, strict=True)]
    )
    telling = Telling(merged, names, merged.policies[0])
    telling.run()
    return telling, telling.story(None)


def states(telling: Telling, side: Side) -> dict[str, Any]:
    """Return a VM's joint state as a journal has it."""
    found: dict[str, Any] = {}
    machines = {spec.name for spec in telling.system.model.machines}
    for field, value in zip(telling.system.model.fields, telling.states[side], strict=True):
        name, _, rank = field.name.partition(".")
        if name in machines:
            worded = str(getattr(field.values[value], "value", ""))
            if rank:
                found.setdefault(name, {})[DEVICES[int(rank)]] = worded
            else:
                found[name] = worded
    return found


@pytest.mark.parametrize("how", RUNS)
def test_the_story_ends_where_both_journals_end(how: str) -> None:
    source, target = recorded(how)
    telling, story = told(source, target)
    assert states(telling, Side.SOURCE) == parsed(source)[-1]["state"]
    assert states(telling, Side.TARGET) == parsed(target)[-1]["state"]
    assert story.good
    assert len(story.notes) == len(story.codes)
    raised = sum(len(entry["raised"]) for entry in [*parsed(source), *parsed(target)])
    inferred = sum("inferred" in note for note in story.notes)
    assert len(story.codes) == len(source) + len(target) - raised + inferred
    assert inferred == (how == "cancelled")  # the process of the target, which exits


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize("side", Side, ids=lambda side: side.value)
def test_one_journal_is_a_story_too(how: str, side: Side) -> None:
    lines = recorded(how)[side is Side.TARGET]
    telling, story = told(lines)
    assert states(telling, side) == parsed(lines)[-1]["state"]
    assert telling.absent == [other for other in Side if other is not side]
    assert story.good
    received = sum(entry["event"].startswith("RECV_") for entry in parsed(lines))
    assert sum("inferred" in note for note in story.notes) >= received


def test_either_journal_may_come_first() -> None:
    source, target = recorded("native")
    telling, story = told(target, source)
    assert story.codes == told(source, target)[1].codes
    assert states(telling, Side.TARGET) == parsed(target)[-1]["state"]


def test_a_target_without_the_device_is_told_too() -> None:
    """Devices that only one of the VMs has stay as they begin at the other."""
    source, target = recorded("cancelled")
    entries = parsed(target)
    begun = entries[place_of(entries, "BOOT_INCOMING") :]
    for entry in begun:
        entry["state"] = {
            name: {} if isinstance(state, dict) else state for name, state in entry["state"].items()
        }
        entry.pop("latched", None)
    begun[0] |= {"policies": entries[0]["policies"], "devices": []}
    alone = begun[: place_of(begun, "PEER_CONNECTED")]
    telling, story = told(source, written(alone))
    assert story.good
    assert states(telling, Side.TARGET)["primary"] == {"hostdev0": "absent"}


def page_of(path: Path) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def checked(folder: Path, *journals: Sequence[str]) -> tuple[int, Path]:
    """Run `replug check --journal … --html`; return its exit status and the page."""
    paths = [folder / f"{number}.ndjson" for number in range(len(journals))]
    for path, lines in zip(paths, journals, strict=True):
        path.write_text("".join(lines), "utf-8")
    page = folder / "page.html"
    status = check_command.run(["--journal", *map(str, paths), "--html", str(page)])
    return status, page


def test_the_command_checks_and_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, page = checked(tmp_path, *recorded("native"))
    assert status == 0
    assert capsys.readouterr().out.startswith("a run of the tables")
    (story,) = page_of(page)["stories"]
    assert (story["verdict"], story["good"]) == ("a run of the tables", True)
    assert page_of(page)["title"] == f"replug: {tmp_path}/0.ndjson and {tmp_path}/1.ndjson"


def test_a_page_ends_before_a_line_that_is_no_step_and_says_so(tmp_path: Path) -> None:
    source, target = recorded("native")
    entries = parsed(target)
    place = place_of(entries, "RECV_END")
    entries[place]["state"]["takeover"] = "idle"
    status, page = checked(tmp_path, source, written(entries))
    assert status == 1
    (story,) = page_of(page)["stories"]
    assert not story["good"]
    assert f"line {place + 1} of {tmp_path}/1.ndjson says" in story["verdict"]
    ends = [note for note in story["notes"] if note.startswith(f"{tmp_path}/1.ndjson")]
    assert re.search(rf"lines? .*\b{place}, ", ends[-1])


def test_a_process_that_was_killed_while_it_wrote_ends_the_page(tmp_path: Path) -> None:
    source, _ = recorded("native")
    place = place_of(parsed(source), "UNPLUG_PRIMARIES")
    status, page = checked(tmp_path, source[:place])
    assert status == 0
    (story,) = page_of(page)["stories"]
    assert "in the middle" in story["verdict"]


def test_without_one_legal_line_there_is_no_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, page = checked(tmp_path, ["nonsense\n"])
    assert status == 1
    assert not page.exists()
    assert "not one line is a legal step" in capsys.readouterr().err

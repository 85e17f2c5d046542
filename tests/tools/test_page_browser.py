"""The explorer page in a real browser: a counterexample is stepped through, left and come back to.

What is expected comes from the checker's own trace of the same counterexample: its states, its
labels, its messages; for a page of journals, from their lines.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from engine.cli.page_assets import page_assets
from statemachines.checker.page import page_of, story_of
from statemachines.checker.plain import act_words
from statemachines.checker.trace import TraceStep, worded
from statemachines.checker.verdict import Judged, judge
from statemachines.environment import Budget, Side
from statemachines.policies import VALUATIONS
from statemachines.properties import property_named
from statemachines.topology import topology_named

HERE = Path(__file__).resolve().parent
BROWSE_SECONDS_MAX = 180
BUDGETS = MappingProxyType({Budget.MIGRATIONS: 1, Budget.FAULTS: 1})
PROPERTY = "vm-never-lost"

pytestmark = pytest.mark.tools


@dataclass(frozen=True)
class Visit:
    """A counterexample, and what a browser showed of it."""

    #: The system.
    judged: Judged
    #: The counterexample.
    steps: list[TraceStep]
    #: What browse_page.mjs reports.
    seen: dict[str, Any]
    #: The page's text.
    html: str


def browse(file: Path, profile: Path) -> dict[str, Any]:
    """Return what a browser shows of a page; fails the test without node or Chromium."""
    node, browser = shutil.which("node"), shutil.which("chromium")
    if node is None or browser is None or not (HERE / "node_modules" / "playwright-core").is_dir():
        pytest.fail("node, Chromium or Playwright is not installed: run `make test-tools`")
    answer = subprocess.run(
        [node, HERE / "browse_page.mjs"],
        input=json.dumps({"page": str(file), "browser": browser, "profile": str(profile)}),
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=BROWSE_SECONDS_MAX,
    )
    assert answer.returncode == 0, answer.stderr
    seen: dict[str, Any] = json.loads(answer.stdout)
    return seen


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    topology = dataclasses.replace(topology_named("pair"), budgets=BUDGETS)
    judged = judge(topology, VALUATIONS["qemu-7.2"], (property_named(PROPERTY),))
    (verdict,) = judged.verdicts
    assert not verdict.holds
    steps = judged.trace(verdict)
    story = story_of(judged.explorer.model, verdict, steps)
    html = page_of(judged.explorer, [story], page_assets(), "pair, profile <qemu-7.2>")
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_text(html, "utf-8")
    return Visit(judged, steps, browse(folder / "page.html", folder / "profile"), html)


def lit(visit: Visit, step: TraceStep, side: Side) -> dict[str, str | None]:
    """Return which state of each machine has to be lit; none where there is no process."""
    explorer = visit.judged.explorer
    number = step.state[0 if side is Side.SOURCE else 1]
    state = explorer.spaces[side].state(number)
    values = dict(zip((f.name for f in explorer.model.fields), state, strict=True))
    machines = {spec.name for spec in explorer.model.machines}
    return {
        field.name.replace(".", " "): (
            worded(field.values[values[field.name]]) if values["life"] == 0 else None
        )
        for field in explorer.model.fields
        if field.name.partition(".")[0] in machines
    }


def test_it_says_what_is_violated(visit: Visit) -> None:
    assert visit.seen["title"] == "pair, profile <qemu-7.2>"
    assert visit.seen["sentence"] == property_named(PROPERTY).sentence
    assert "violated" in visit.seen["verdict"]
    broken = [bool(frame["broken"]) for frame in visit.seen["frames"]]
    assert broken == [False] * (len(visit.steps) - 1) + [True]


def test_keys_step_through_the_whole_trace(visit: Visit) -> None:
    last = len(visit.steps) - 1
    frames = visit.seen["frames"]
    assert [f["place"] for f in frames] == [f"step {i} of {last}" for i in range(last + 1)]
    for frame, step in zip(frames[1:], visit.steps[1:], strict=True):
        assert step.what is not None
        assert frame["here"].endswith(act_words(step.what))
    assert visit.seen["beyond"] == frames[-1]
    assert visit.seen["home"] == frames[0]
    assert visit.seen["beforeEnd"] == frames[-2]
    assert visit.seen["clicked"] == frames[-3]


def test_the_states_of_both_vms_are_lit(visit: Visit) -> None:
    for frame, step in zip(visit.seen["frames"], visit.steps, strict=True):
        for side in Side:
            assert frame[side.value] == lit(visit, step, side)


def test_what_moved_is_highlighted(visit: Visit) -> None:
    model = visit.judged.explorer.model
    machines = {spec.name for spec in model.machines}
    for frame, step in zip(visit.seen["frames"], visit.steps, strict=True):
        moved = {
            f"{side.value} {name.replace('.', ' ')}"
            for side in Side
            for name in step.changed[side]
            if name.partition(".")[0] in machines and "life" not in step.changed[side]
        }
        assert set(frame["moved"]) == moved


def test_messages_are_shown_on_the_channel_and_when_they_are_lost(visit: Visit) -> None:
    lost = []
    for frame, step in zip(visit.seen["frames"], visit.steps, strict=True):
        assert frame["letters"] == [
            name for inbox in step.on_the_way for name in inbox.split(", ") if name
        ]
        lost += frame["lost"]
    assert lost == ["lost: HELLO"]


def test_the_trace_goes_on_with_an_event_that_is_enabled(visit: Visit) -> None:
    for frame, step in zip(visit.seen["frames"], visit.steps[1:], strict=False):
        assert frame["expected"] == [step.code]
        assert step.code in frame["enabled"]


def test_a_click_leaves_the_trace_and_a_button_returns_to_it(visit: Visit) -> None:
    frames, left = visit.seen["frames"], visit.seen["left"]
    assert not any(frame["canReturn"] for frame in frames)
    assert left["canReturn"]
    last = len(frames) - 2
    assert left["place"] == f"exploring freely · step {last} of {last}"
    assert left["here"] != frames[last]["here"]
    assert visit.seen["returned"] == frames[-3]


def test_source_and_target_stand_apart_and_nothing_overflows(visit: Visit) -> None:
    for frame in visit.seen["frames"]:
        assert frame["apart"]
        assert not frame["overflows"]


def test_nothing_is_fetched_and_nothing_complains(visit: Visit) -> None:
    own = [url for url in visit.seen["requests"] if url.startswith(("file:", "data:"))]
    assert own
    assert visit.seen["requests"] == own
    assert visit.seen["complaints"] == []
    assert visit.seen["errors"] == []
    assert "http" not in visit.html.replace("http-equiv", "")


# -- journals


@dataclass(frozen=True)
class Journey:
    """A demo that was stepped through."""

    #: The lines of both journals.
    lines: dict[Side, list[dict[str, Any]]]
    #: What browse_page.mjs reports.
    seen: dict[str, Any]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    folder = tmp_path_factory.mktemp("journey")
    paths = [folder / f"{side.value}.ndjson" for side in Side]
    small = ["--ram", "64M", "--fill", "32M", "--dirty", "8M"]
    for arguments in (
        ["demo", *small, "--journal-dir", folder],
        ["check", "--journal", *paths, "--html", folder / "page.html"],
    ):
        subprocess.run([sys.executable, "-m", "engine.cli", *map(str, arguments)], check=True)
    lines = {
        side: [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for side, path in zip(Side, paths, strict=True)
    }
    return Journey(lines, browse(folder / "page.html", folder / "profile"))


def machines_lit(entry: dict[str, Any]) -> dict[str, str]:
    """Return which state of each machine has to be lit after a line of a journal."""
    found: dict[str, str] = {}
    for machine, state in entry["state"].items():
        told = {"": state} if isinstance(state, str) else state
        found |= {f"{machine} {name}".strip(): one for name, one in told.items()}
    return found


def test_a_journal_is_stepped_through_to_its_last_states(journey: Journey) -> None:
    frames = journey.seen["frames"]
    for side, entries in journey.lines.items():
        assert frames[-1][side.value] == machines_lit(entries[-1])
    assert journey.seen["home"] == frames[0]
    assert journey.seen["clicked"] == frames[-3]
    assert journey.seen["returned"] == frames[-3]
    assert journey.seen["left"]["canReturn"]
    assert journey.seen["verdict"] == "a run of the tables"
    assert journey.seen["complaints"] == journey.seen["errors"] == []


def test_every_line_of_a_journal_is_where_its_story_says(journey: Journey) -> None:
    """The note of a step names the lines that it was read from; after it those states are lit."""
    reached = dict.fromkeys(Side, 0)
    for frame in journey.seen["frames"][1:]:
        found = re.search(
            r"(source|target)\.ndjson, lines? (\d+)(?: to (\d+))?, [\d.]+ ms", frame["note"]
        )
        assert found is not None, frame["note"]
        side, first = Side(found[1]), int(found[2])
        assert first == reached[side] + 1
        reached[side] = int(found[3] or first)
        assert frame[side.value] == machines_lit(journey.lines[side][reached[side] - 1])
    assert reached == {side: len(entries) for side, entries in journey.lines.items()}

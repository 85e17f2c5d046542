"""A trace told as text, as events, as a sequence diagram and as a page: all say the same."""

from __future__ import annotations

import dataclasses
import json
from types import MappingProxyType

import pytest

from engine.cli.page_assets import page_assets
from statemachines.checker.page import codes_of_events, page_of, story_of, story_of_codes
from statemachines.checker.page.html import embedded
from statemachines.checker.plain import act_words, side_of
from statemachines.checker.sequence import as_mermaid
from statemachines.checker.trace import TraceStep, as_events, as_text
from statemachines.checker.verdict import Judged, judge
from statemachines.environment import Budget, Disturbance, Side
from statemachines.events import E
from statemachines.policies import VALUATIONS
from statemachines.properties import PROPERTIES
from statemachines.topology import topology_named

BUDGETS = MappingProxyType({Budget.MIGRATIONS: 1, Budget.FAULTS: 1})


@pytest.fixture(scope="module")
def judged() -> Judged:
    topology = dataclasses.replace(topology_named("pair"), budgets=BUDGETS)
    return judge(topology, VALUATIONS["qemu-7.2"])


@pytest.fixture(scope="module")
def traces(judged: Judged) -> dict[str, list[TraceStep]]:
    return {v.property.name: judged.trace(v) for v in judged.verdicts if v.state is not None}


def test_there_is_something_to_tell(traces: dict[str, list[TraceStep]]) -> None:
    assert traces.keys() >= {"vm-never-lost", "completes-with-failover", "migration-ends"}
    assert set(traces) <= {claimed.name for claimed in PROPERTIES}


def test_the_text_tells_every_step_in_words(traces: dict[str, list[TraceStep]]) -> None:
    for steps in traces.values():
        numbered = [line for line in as_text(steps).splitlines() if line[3:5] == ". "]
        for place, (line, step) in enumerate(zip(numbered, steps[1:], strict=True), 1):
            assert step.what is not None
            side = side_of(step.what)
            assert line.startswith(f"{place:3}. {side.value if side else 'channel'} ")
            assert act_words(step.what) in line


def test_the_text_tells_what_moved_and_what_is_on_the_way(
    traces: dict[str, list[TraceStep]],
) -> None:
    text = as_text(traces["vm-never-lost"])
    for step in traces["vm-never-lost"]:
        for side in Side:
            changed = step.changed[side]
            if "life" in changed:
                assert f"{side.value}: its process: alive → died" in text
                continue
            for name, (was, now) in changed.items():
                assert name.startswith("owes.") or f"{name} {was} → {now}" in text
        for name in ", ".join(step.on_the_way).split(", "):
            assert not name or name in text


def test_events_can_be_replayed(judged: Judged, traces: dict[str, list[TraceStep]]) -> None:
    for steps in traces.values():
        events = json.loads(json.dumps(as_events(steps)))
        assert codes_of_events(judged.explorer, events) == tuple(step.code for step in steps[1:])


def test_an_event_that_cannot_happen_is_named(judged: Judged) -> None:
    events = [{"side": "target", "event": "MIGRATE", "instance": None, "answers": None}]
    with pytest.raises(LookupError, match=r"event 1 cannot happen.*MIGRATE"):
        codes_of_events(judged.explorer, events)


def test_events_name_disturbances(traces: dict[str, list[TraceStep]]) -> None:
    (death,) = (e for e in as_events(traces["vm-never-lost"]) if e["event"] not in E.__members__)
    assert death == {
        "side": "target",
        "event": Disturbance.KILL_TARGET.name,
        "instance": None,
        "answers": None,
    }


def test_the_diagram_draws_messages_where_they_are_read_or_lost(
    traces: dict[str, list[TraceStep]],
) -> None:
    lost = as_mermaid(traces["vm-never-lost"], "lost").splitlines()
    sent = next(i for i, line in enumerate(lost) if "sends HELLO" in line)
    assert [line.strip() for line in lost[sent:]].count("source-xtarget: HELLO is lost") == 1
    whole = as_mermaid(traces["completes-with-failover"], "whole")
    for message in ("HELLO", "STATE", "END"):
        assert f"source->>target: {message}" in whole
    assert " is lost" not in whole


def test_a_page_embeds_what_it_tells(judged: Judged, traces: dict[str, list[TraceStep]]) -> None:
    explorer = judged.explorer
    verdict = next(v for v in judged.verdicts if v.property.name == "vm-never-lost")
    steps = traces["vm-never-lost"]
    stories = [
        story_of(explorer.model, verdict, steps),
        story_of_codes(explorer, "a journal", "</script>", [step.code for step in steps[1:]]),
    ]
    html = page_of(explorer, stories, page_assets(), "a < b")
    assert html.count("</script>") == 2
    assert "<title>a &lt; b</title>" in html
    assert "{{" not in html
    data = html.partition('id="data">')[2].partition("</script>")[0]
    first, second = json.loads(data)["stories"]
    assert first["sentence"] == verdict.property.sentence
    assert (second["sentence"], second["codes"]) == ("</script>", first["codes"])


def test_a_page_asks_for_all_its_assets(judged: Judged) -> None:
    for name in page_assets():
        assets = {other: text for other, text in page_assets().items() if other != name}
        with pytest.raises(KeyError, match=name):
            page_of(judged.explorer, [], assets, "")


def test_a_story_has_labels_that_exist(judged: Judged) -> None:
    with pytest.raises(IndexError):
        story_of_codes(judged.explorer, "", "", [9_999])


def test_embedded_data_cannot_end_its_element() -> None:
    data = {"text": "</script><!-- \u2028 ü"}
    assert "<" not in embedded(data)
    assert json.loads(embedded(data)) == data

"""A planted defect is found, by the property that it breaks, and its plan is made small.

Rules kept here: a defect is one policy of `native` with QEMU's choice. Where the expected sentence
comes from is the module `safety`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import cli
from engine.driver.simulation.plan import START, Action, Plan, plan_from_json
from engine.driver.simulation.run import simulate
from engine.driver.simulation.shrink import shrink
from tests.simulation.planting import plant, uproot

SLOW_GUEST = "fill=64K,working-set=64K,eject=300ms"
MIGRATE = Action("migrate", START, 50.0)
RESET = Action("reset", "source handover delivered", 0.0)
CANCEL = Action("cancel", "source migration wait-unplug", 10.0)
#: Things that have nothing to do with any of it.
CHATTER = (
    Action("query", START, 10.0),
    Action("announce", START, 20.0),
    Action("query", "source migration active", 0.5),
    Action("cont", START, 30.0, "target"),
)


@pytest.fixture(autouse=True)
def _planted() -> Iterator[None]:
    yield
    uproot()


@pytest.mark.parametrize(
    ("policies", "guest", "needed", "sentence"),
    [
        (
            {"reset_on_the_way": "allowed"},
            "fill=64K,working-set=64K",
            (MIGRATE, RESET),
            "the target is launched with other RAM than the source's",
        ),
        (
            {"late_eject": "delete"},
            SLOW_GUEST,
            (MIGRATE, CANCEL),
            "a primary that only the migration asked for is deleted",
        ),
        (
            {"unplug_deadline": "off"},
            "fill=64K,working-set=64K,eject=resumed",
            (MIGRATE,),
            "a migration does not end although nothing disturbs it any more",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_found_and_made_small(
    monkeypatch: pytest.MonkeyPatch,
    policies: dict[str, str],
    guest: str,
    needed: tuple[Action, ...],
    sentence: str,
) -> None:
    plan = Plan(
        seed=7,
        profile="native",
        guest=guest,
        capabilities=("events", "return-path"),
        actions=(*CHATTER[:2], *needed, *CHATTER[2:]),
    )
    assert simulate(plan).violation is None
    plant(monkeypatch, **policies)
    violation = simulate(plan).violation
    assert violation is not None
    assert violation.property == sentence
    small = shrink(plan, sentence)
    assert small.actions == needed
    assert small.capabilities == ("events",)


def test_the_command_tells_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit status 1, the smallest plan, and how to see it again: which then shows it again."""
    plant(monkeypatch, late_eject="delete")
    folder = str(tmp_path)
    arguments = ["simulate", "--seeds", "0..25", "--jobs", "1", "--json", "--journal-dir", folder]
    assert cli.main(arguments) == 1
    *failures, totals = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert totals["violations"] == len(failures) > 0
    for failure in failures:
        assert "migrate" in [action["kind"] for action in failure["plan"]["actions"]]
        assert failure["where"].startswith("source")
    path = tmp_path / f"seed-{failures[0]['seed']}.plan.json"
    assert str(path) in failures[0]["replay"]
    assert json.loads(plan_from_json(path.read_text()).to_json()) == failures[0]["plan"]
    assert cli.main(["simulate", "--plan", str(path), "--json"]) == 1
    (again, _) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert again["property"] == failures[0]["property"]


def test_a_reset_that_makes_a_slot_forget_leaves_nothing_stuck() -> None:
    """A device_del goes to a slot that a reset clears: it must not be waited for for ever."""
    plan = Plan(
        seed=1,
        profile="native",
        native_hotplug=True,
        guest="fill=64K,working-set=64K,eject=never",
        actions=(
            Action("device_del", START, 50.0, values={"pair": 1}),
            Action("reset", START, 80.0),
        ),
    )
    outcome = simulate(plan)
    assert outcome.violation is None
    assert outcome.completed == 1

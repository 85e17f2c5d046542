"""`replug simulate`: what it takes, what it says, how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import cli
from engine.driver.simulation.plan import plan_of


def test_totals_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--seeds", "0..5", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    totals = json.loads(line)
    assert (totals["seeds"], totals["violations"]) == (6, 0)
    assert totals["migrations"] >= totals["completed"] > 0
    assert totals["reached"]["source setup"] > 0


def test_many_processes_say_what_one_says(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for jobs in ("1", "3"):
        assert cli.main(["simulate", "--seeds", "0..45", "--jobs", jobs, "--json"]) == 0
        totals = json.loads(capsys.readouterr().out)
        del totals["seconds"]
        told.append(totals)
    assert told[0] == told[1]


def test_a_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", "--seeds", "3"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("1 simulations, ")
    assert last == "no violations"


def test_a_plan_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.json"
    path.write_text(plan_of(4, "native").to_json())
    arguments = ["simulate", "--plan", str(path), "--journal-dir", str(tmp_path), "--json"]
    assert cli.main(arguments) == 0
    assert cli.main(["simulate", "--seeds", "4", "--journal-dir", str(tmp_path), "--json"]) == 0
    assert (tmp_path / "mine.jsonl").read_text() == (tmp_path / "seed-4.jsonl").read_text()
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--seeds", "9..1"],
        ["--seeds", "all"],
        ["--seeds", "1", "--plan", "plan.json"],
        ["--seeds", "1", "--jobs", "0"],
        ["--seeds", "1", "--profile", "qemu-1.0"],
    ],
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["simulate", *arguments])
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "this is no plan"),
        ("[]", "this is no plan"),
        ('{"seed": 1}', "this is no plan"),
        (
            '{"seed": 1, "profile": "native", "link": {}, "held": [0, 0], "capabilities": [], '
            '"actions": [{"kind": "explode", "moment": "", "after_ms": 1}]}',
            "no action is called 'explode'",
        ),
        (plan_of(1, "native").to_json().replace("eject=", "ejct="), "no VM can be made of this"),
        (plan_of(1, "native").to_json().replace('"native"', '"qemu-1"'), "no VM can be made"),
        (
            plan_of(1, "native").to_json().replace('"moment": ""', '"moment": "source naps"'),
            "'source naps' is no moment",
        ),
    ],
)
def test_a_file_that_is_no_plan(
    text: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    assert cli.main(["simulate", "--plan", str(path)]) == 2
    assert complaint in capsys.readouterr().err
    assert cli.main(["simulate", "--plan", str(tmp_path / "none.json")]) == 2

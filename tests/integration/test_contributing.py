"""The diffs in docs/contributing.md do what the page says, in a copy of the repository.

What may live here: programs run on that copy. Rules: the diffs are applied as they are printed, so
they cannot go stale unnoticed; what a program sees is the copy, and it says so.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/contributing.md").read_text("utf-8")
SMALL = ("--ram", "64M", "--fill", "32M", "--dirty", "8M")


def apply(diff: str, root: Path) -> None:
    """Apply a diff without line numbers: hunks are looked for in order, and have to be there."""
    for part in re.split(r"^--- a/.*\n", diff, flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        path = root / name.removeprefix("+++ b/")
        done, rest = "", path.read_text("utf-8")
        for hunk in re.split(r"^@@.*\n", text, flags=re.MULTILINE)[1:]:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if line[0] in " -")
            after = "".join(line[1:] for line in lines if line[0] in " +")
            skipped, found, rest = rest.partition(before)
            assert found, f"docs/contributing.md: this is no longer in {path.name}:\n{before}"
            done += skipped + after
        path.write_text(done + rest)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and the model tests as they are once the diffs are applied."""
    root = tmp_path_factory.mktemp("changed")
    for package in ("statemachines", "devices", "engine", "tests/model"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, root / package, ignore=ignored)
    shown = re.findall(r"^```diff\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    for diff in shown:
        apply(diff, root)
    return root


def run_in(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_new_status_keeps_the_laws_and_is_drawn(changed: Path) -> None:
    program = """
import statemachines.system
from statemachines.diagram.export import export_all
print(statemachines.__file__)
print(*(name for name, text in export_all().items() if "committing" in text))
"""
    where, files = run_in(changed, "-c", program).splitlines()
    assert Path(where).is_relative_to(changed)
    assert {name for name in files.split() if not name.endswith(".md")} == {
        *("migration.mmd", "migration.dot", "sequence-native.mmd"),
        *("run_state.mmd", "run_state.dot"),
    }
    assert "migration.md" in files.split()


def test_the_new_status_is_declared_to_clients(changed: Path) -> None:
    program = """
from engine.qmp.introspection import query_qmp_schema
print(*next(e["values"] for e in query_qmp_schema() if "wait-unplug" in e.get("values", ())))
"""
    assert "committing" in run_in(changed, "-c", program).split()


def test_a_vm_that_migrates_passes_through_the_new_status(changed: Path) -> None:
    lines = run_in(changed, "-m", "engine.cli", "demo", "--json", *SMALL).splitlines()
    *events, report = (json.loads(line) for line in lines)
    assert report["status"] == "completed"
    assert report["source"]["states"][-3:] == ["device", "committing", "completed"]
    assert "committing" in [event["status"] for event in events if event["side"] == "source"]


def test_every_property_holds_with_the_new_status(changed: Path) -> None:
    """A guard that names the statuses it means would leave the new one out, and show here."""
    told = run_in(changed, "-m", "engine.cli", "check", "--topology", "pair", "--json")
    assert json.loads(told.splitlines()[-1])["topologies"]


def test_walks_go_through_the_new_status(changed: Path) -> None:
    """Every walk keeps the properties and ends; without the rows it would be an UnhandledError."""
    program = """
from statemachines.policies import VALUATIONS
from statemachines.states import Handover, Migration
from statemachines.tables.migration import MIGRATION
from tests.model.safety import Safety
from tests.model.two_vms import TwoVms
from tests.model.walker import Walk
vms = TwoVms(VALUATIONS["native"], (1,))
safety = Safety(vms)
for seed in range(8):
    walk = Walk(vms, seed, safety)
    walk.run(1500)
    walk.settle()
    assert vms.source.is_in(Handover.IDLE), walk.where()
rows = [row for row in MIGRATION.rows if Migration.COMMITTING in (*row.states, row.next)]
print(*(row.event.name for row in rows if vms.taken[id(row)]))
"""
    taken = run_in(changed, "-c", program).split()
    assert {"RECV_LOADED", "RECV_RUNNING"} <= set(taken)


def test_the_new_command_is_declared_and_answers_as_declared(changed: Path) -> None:
    program = """
from engine.commands.run import RunCommands
from engine.qmp.commands import COMMANDS
answer = RunCommands(None, None).handlers()["query-kvm"](None)
print(COMMANDS["query-kvm"].returns.check(answer, "return"))
"""
    assert run_in(changed, "-c", program) == "{'enabled': False, 'present': False}\n"

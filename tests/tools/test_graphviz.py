"""Graphviz draws every exported DOT file: `dot -Tsvg` accepts it and warns of nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DRAW_SECONDS_MAX = 60

pytestmark = pytest.mark.tools


def draw(text: str) -> subprocess.CompletedProcess[str]:
    """What `dot -Tsvg` answers to a DOT text; fails the test if there is no Graphviz."""
    dot = shutil.which("dot")
    if dot is None:
        pytest.fail("Graphviz is not installed: run `make test-tools`")
    return subprocess.run(
        [dot, "-Tsvg"],
        input=text,
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=DRAW_SECONDS_MAX,
    )


def test_every_exported_diagram_is_drawn() -> None:
    files = sorted((ROOT / "diagrams").rglob("*.dot"))
    assert files, "no diagrams/**/*.dot: run `make diagrams`"
    complaints = {}
    for file in files:
        answer = draw(file.read_text("utf-8"))
        if answer.returncode or answer.stderr or "</svg>" not in answer.stdout:
            complaints[file.relative_to(ROOT).as_posix()] = answer.stderr or "no picture"
    assert complaints == {}


def test_graphviz_tells_good_from_bad() -> None:
    good, bad = draw("digraph { a -> b }"), draw("digraph { a -> ")
    assert (good.returncode, good.stderr) == (0, "")
    assert "</svg>" in good.stdout
    assert bad.returncode != 0
    assert "syntax error" in bad.stderr

"""Mermaid's own parser accepts every Mermaid text of this repository.

Under test are the exported `.mmd` files, the traces of the checker, and the `mermaid` blocks of the
README and the docs. One node process judges many (see parse_mermaid.mjs); `make test-tools`
installs what it imports.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from statemachines.checker.sequence import as_mermaid
from statemachines.checker.verdict import judge
from statemachines.environment import Budget
from statemachines.policies import VALUATIONS
from statemachines.topology import topology_named

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARSE_SECONDS_MAX = 120

# A fence may be indented, inside a list; it ends with at least as many backticks.
FENCED = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>`{3,})[ ]*mermaid[^\n`]*\n(?P<text>.*?)^[ ]*(?P=fence)`*[ ]*$",
    re.MULTILINE | re.DOTALL,
)

pytestmark = pytest.mark.tools


@dataclass(frozen=True)
class Verdict:
    """What Mermaid's parser said of one text."""

    #: The file, and the line if it is a block inside one.
    name: str
    #: Mermaid's word for the kind of diagram; None if it was refused.
    kind: str | None
    #: Why it was refused; None if it was not.
    error: str | None


def blocks(path: Path) -> dict[str, str]:
    """The mermaid blocks of a Markdown file, by file and line."""
    markdown = path.read_text("utf-8")
    return {
        f"{path.name}:{markdown.count(chr(10), 0, found.start()) + 1}": found["text"]
        for found in FENCED.finditer(markdown)
    }


def parse(texts: dict[str, str]) -> list[Verdict]:
    """Mermaid's verdict on each text, in order; fails the test if the parser can't be run."""
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "mermaid").is_dir():
        pytest.fail("node or Mermaid is not installed: run `make test-tools`")
    answer = subprocess.run(
        [node, HERE / "parse_mermaid.mjs"],
        input=json.dumps([{"name": name, "text": text} for name, text in texts.items()]),
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=PARSE_SECONDS_MAX,
    )
    assert answer.returncode == 0, answer.stderr
    verdicts = [Verdict(**verdict) for verdict in json.loads(answer.stdout)]
    assert [verdict.name for verdict in verdicts] == list(texts)
    return verdicts


def test_every_exported_diagram_is_accepted() -> None:
    files = sorted((ROOT / "diagrams").rglob("*.mmd"))
    assert files, "no diagrams/**/*.mmd: run `make diagrams`"
    texts = {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in files}
    assert [verdict for verdict in parse(texts) if verdict.error] == []


def test_every_block_in_the_documentation_is_accepted() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = {name: text for page in pages for name, text in blocks(page).items()}
    assert [verdict for verdict in parse(texts) if verdict.error] == []


def test_every_trace_of_the_checker_is_accepted() -> None:
    budgets = MappingProxyType({Budget.MIGRATIONS: 1, Budget.FAULTS: 1})
    topology = dataclasses.replace(topology_named("pair"), budgets=budgets)
    judged = judge(topology, VALUATIONS["qemu-7.2"])
    texts = {
        verdict.property.name: as_mermaid(judged.trace(verdict), verdict.property.sentence)
        for verdict in judged.verdicts
        if verdict.state is not None
    }
    assert texts
    assert {(verdict.kind, verdict.error) for verdict in parse(texts)} == {("sequence", None)}


def test_the_parser_tells_good_from_bad() -> None:
    good, bad, unknown = parse(
        {
            "good": "stateDiagram-v2\n    [*] --> setup\n    setup --> active : peer accepts\n",
            "bad": "stateDiagram-v2\n    [*] --> \n    --> setup {\n",
            "unknown": "no diagram at all\n",
        }
    )
    assert good == Verdict("good", "stateDiagram", None)
    assert bad.kind is None
    assert bad.error is not None
    assert "Parse error" in bad.error
    assert unknown.kind is None
    assert unknown.error is not None


def test_blocks_are_found_with_their_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\n```mermaid\ngraph LR\n```\n\n```text\nno\n```\n"
        "- in a list\n\n  ```mermaid\n  graph TB\n  ```\n",
        "utf-8",
    )
    assert blocks(page) == {"page.md:3": "graph LR\n", "page.md:12": "  graph TB\n"}

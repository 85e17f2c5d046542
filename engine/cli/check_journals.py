"""`replug check --journal`: is what a VM, or two, wrote down a run of the tables?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from engine.cli.page_assets import page_assets
from statemachines.checker.conformance import Conformance, Journal, check
from statemachines.checker.page import page_of_journals


def check_journals(paths: Sequence[Path], html: Path | None, *, as_json: bool) -> int:
    """Check one journal, or a source's and its target's, and return the exit status.

    `html`: where to write a page that steps through them, as far as they are a run.

    :raise OSError: if one cannot be read, or the page cannot be written.
    """
    if len(paths) > 2:
        print("replug check: --journal takes a source's file and its target's", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        journals = [
            Journal(
                name,
                stack.enter_context(path.open(encoding="utf-8", errors="replace")),
                killed=True,
            )
            for name, path in zip(("source", "target"), paths, strict=False)
        ]
        if html is None:
            found = check(journals)
        else:
            found, page = page_of_journals(journals, [str(path) for path in paths], page_assets())
            if page is None:
                print("replug check: no page: not one line is a legal step", file=sys.stderr)
            else:
                html.write_text(page, encoding="utf-8")
    wrong = found.disagreement
    if as_json:
        print(json.dumps(_as_json(paths, found), separators=(",", ":")))
    elif wrong is not None:
        path = paths[0] if wrong.journal == "source" else paths[-1]
        print(f"{path}:{wrong.line}: expected {wrong.expected}; came {wrong.came}")
    else:
        steps = ", ".join(f"{name} {count}" for name, count in found.lines.items())
        print(f"a run of the tables; lines: {steps}; connections merged: {found.merged}")
    return 1 if wrong is not None else 0


def _as_json(paths: Sequence[Path], found: Conformance) -> dict[str, object]:
    wrong = found.disagreement
    return {
        "journals": [str(path) for path in paths],
        "lines": dict(found.lines),
        "connections_merged": found.merged,
        "holds": wrong is None,
        "line": wrong.line if wrong else None,
        "journal": wrong.journal if wrong else None,
        "expected": wrong.expected if wrong else None,
        "came": wrong.came if wrong else None,
    }

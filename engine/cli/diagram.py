"""`replug diagram`: export the state machines for review."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from statemachines.diagram.export import FORMATS, MACHINES, MADE, export_all, export_one


def run(arguments: list[str]) -> int:
    """Run `replug diagram`."""
    parser = argparse.ArgumentParser(
        prog="replug diagram",
        description="Export the state machines, drawn from the tables that run.",
        epilog="machines: " + ", ".join(MACHINES),
    )
    parser.add_argument("machine", nargs="?", metavar="MACHINE", help="one of the machines below")
    parser.add_argument("--format", choices=(*FORMATS, "svg"), default="mermaid")
    parser.add_argument("--all", action="store_true", help="write every file that there is")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where --all writes")
    given = parser.parse_args(arguments)
    if given.all == (given.machine is not None) or (given.out is not None and not given.all):
        parser.error("name one MACHINE, or say --all, which alone takes --out")
    if given.all:
        return _export_all(given.out or Path("diagrams"))
    try:
        text = export_one(given.machine, "dot" if given.format == "svg" else given.format)
    except ValueError as error:
        print(f"replug diagram: {error}", file=sys.stderr)
        return 2
    if given.format == "svg":
        return _print_svg(text)
    print(text, end="")
    return 0


def _export_all(folder: Path) -> int:
    """Write every file, and remove those of machines that are no more."""
    files = export_all()
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.iterdir():
        if stale.name not in files and _is_ours(stale):
            stale.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{len(files)} files in {folder}")
    return 0


def _is_ours(path: Path) -> bool:
    """Say whether a file is one that an earlier export made, by its first line."""
    if path.suffix not in (".mmd", ".dot", ".md") or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return MADE in file.readline(1000)


def _print_svg(dot: str) -> int:
    program = shutil.which("dot")
    if program is None:
        print("replug diagram: SVG needs Graphviz: install it (dot)", file=sys.stderr)
        return 1
    done = subprocess.run([program, "-Tsvg"], input=dot, capture_output=True, text=True)
    print(done.stdout if done.returncode == 0 else done.stderr, end="")
    return 0 if done.returncode == 0 else 1

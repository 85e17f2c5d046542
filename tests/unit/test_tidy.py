"""The repository's own rules, held to by a test.

Here live rules that neither ruff nor mypy knows: sizes, words, where things may be imported, what
every folder says about itself. A rule is a function from one file to its offences; it is run on
every Python file of the project, and on a snippet that breaks it, so that it is known to bite.
Which modules are impure is read from import-linter's contract: there is one list.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("statemachines", "devices", "engine", "benchmarks", "tests")

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
OPENING_LINES_MAX = 40

# Spelled in two halves, so that this file does not offend against itself.
UNFINISHED = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|XX" + r"X)\b|NotImplemented" + "Error")
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:work|ro" + r"ot|home|Users)/")

#: Pure modules may not reach the world by a builtin either.
IMPURE_BUILTINS = frozenset({"open", "input", "print", "__import__", "breakpoint", "eval", "exec"})
#: What compiles the ground rules executes what it has printed from them, and nothing else.
COMPILES = {"statemachines/checker/steps.py": frozenset({"exec"})}
#: The two VMs are `source` and `target`; the library's own word for a next state is its business.
BANNED_WORDS = frozenset({"src", "dst", "dest"})
WORDS_OF_THE_LIBRARY = {"statemachines/runtime.py": frozenset({"dst", "dest"})}


@dataclass(frozen=True)
class Source:
    """One Python file, read and parsed."""

    #: Where it is, from the repository's root, with `/`.
    path: str
    #: Its text.
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """The file's syntax tree."""
        return ast.parse(self.text, self.path)

    @property
    def is_pure(self) -> bool:
        """Whether it is of a layer without I/O: all but the driver and the command line."""
        parts = PurePosixPath(self.path.removesuffix(".py")).parts
        return parts[0] in {"statemachines", "devices"} or (
            parts[0] == "engine" and parts[1:2] not in {("driver",), ("cli",)}
        )


Rule = Callable[[Source], Iterator[str]]


def file_size(source: Source) -> Iterator[str]:
    """A file has one idea, and no more than 400 lines of it."""
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{lines} lines, at most {FILE_LINES_MAX}: split it by idea"


def function_size(source: Source) -> Iterator[str]:
    """A function, its docstring included, has no more than 60 lines."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name}: {lines} lines, at most {FUNCTION_LINES_MAX}"


def opening(source: Source) -> Iterator[str]:
    """A module opens with what may live in it, in no more than 40 lines."""
    docstring = ast.get_docstring(source.tree)
    if not docstring:
        yield "1: no docstring that says what may live here"
    elif len(docstring.splitlines()) > OPENING_LINES_MAX:
        yield f"1: its docstring has more than {OPENING_LINES_MAX} lines"


def finished(source: Source) -> Iterator[str]:
    """Nothing is left for later: no notes to oneself, no stubs."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if found := UNFINISHED.search(line):
            yield f"{number}: {found.group()}"


def named_for_its_idea(source: Source) -> Iterator[str]:
    """A file is named for what is in it."""
    if PurePosixPath(source.path).stem in {"util", "utils", "helpers", "common", "misc"}:
        yield "1: name it for what is in it"


def no_machine_paths(source: Source) -> Iterator[str]:
    """Nothing points into somebody's machine."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if found := MACHINE_PATH.search(line):
            yield f"{number}: a path of one machine ({found.group()}…)"


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that the file gives or uses, with its line; argparse's `dest=` is argparse's."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.keyword(arg=str(name)) if name != "dest":
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def source_and_target(source: Source) -> Iterator[str]:
    """The two VMs are called `source` and `target`, and nothing else."""
    banned = BANNED_WORDS - WORDS_OF_THE_LIBRARY.get(source.path, frozenset())
    for line, name in identifiers(source.tree):
        if found := banned & set(re.findall(r"[a-z]+", name.lower())):
            yield f"{line}: {name}: say source or target, not {min(found)}"


def no_sleeping(source: Source) -> Iterator[str]:
    """A test waits for what it waits for. `asyncio.sleep(0)` waits no time: it lets others run."""
    if not source.path.startswith("tests/"):
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="asyncio"), attr="sleep"),
                args=[ast.Constant(value=0)],
            ):
                continue
            case ast.Call(func=ast.Attribute(value=ast.Name(id="time" | "asyncio"), attr="sleep")):
                yield f"{node.lineno}: it sleeps: wait for the event"
            case ast.ImportFrom(module="time" | "asyncio", names=names) if any(
                alias.name == "sleep" for alias in names
            ):
                yield f"{node.lineno}: it sleeps: wait for the event"


@cache
def impure_modules() -> frozenset[str]:
    """What pure modules may not import, from import-linter's contract `pure`."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = configuration["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["id"] == "pure"]
    return frozenset(contract["forbidden_modules"])


def is_for_types_only(node: ast.stmt) -> bool:
    """Whether a statement is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one, but for what is imported for annotations alone."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.stmt) and is_for_types_only(child)):
            yield child
            yield from run_time_nodes(child)


def purity(source: Source) -> Iterator[str]:
    """Only the driver and the command line reach the world; the rest is given what it needs."""
    if not source.is_pure:
        return
    for node in run_time_nodes(source.tree):
        modules: list[str] = []
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_BUILTINS:
                if name not in COMPILES.get(source.path, frozenset()):
                    yield f"{node.lineno}: {name}() in a pure module"
        for module in modules:
            if module.partition(".")[0] in impure_modules():
                yield f"{getattr(node, 'lineno', 1)}: imports {module} in a pure module"


RULES: tuple[Rule, ...] = (
    file_size,
    function_size,
    opening,
    finished,
    named_for_its_idea,
    no_machine_paths,
    source_and_target,
    no_sleeping,
    purity,
)


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file of the project, in order."""
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return tuple(
        Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        for path in paths
        if "node_modules" not in path.parts
    )


def test_every_folder_of_the_project_has_files() -> None:
    assert {source.path.partition("/")[0] for source in sources()} == set(FOLDERS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    offences = [f"{source.path}:{offence}" for source in sources() for offence in rule(source)]
    assert not offences, f"{rule.__doc__}\n" + "\n".join(offences)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_says_what_lives_in_it(folder: str) -> None:
    """In its package's docstring, its README.md, or its parent's README.md."""
    holders = {ROOT / source.path for source in sources() if source.path.startswith(f"{folder}/")}
    silent = []
    for path in sorted({holder.parent for holder in holders}):
        readme, above = path / "README.md", path.parent / "README.md"
        if not (
            path / "__init__.py" in holders  # whose docstring is asked for above
            or readme.is_file()
            or (above.is_file() and f"`{path.name}/`" in above.read_text("utf-8"))
        ):
            silent.append(path.relative_to(ROOT).as_posix())
    assert not silent


BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (file_size, "engine/a.py", "\n" * 401),
    (function_size, "engine/a.py", "def long():\n" + "    pass\n" * 60),
    (opening, "engine/a.py", "import this\n"),
    (opening, "engine/a.py", '"""' + "line\n" * 41 + '"""'),
    (finished, "engine/a.py", "# TO" + "DO: later"),
    (finished, "engine/a.py", "raise NotImplemented" + "Error"),
    (named_for_its_idea, "engine/utils.py", ""),
    (no_machine_paths, "engine/a.py", "x = '/ro" + "ot/x'"),
    (source_and_target, "engine/a.py", "def send(src_port): ..."),
    (source_and_target, "engine/a.py", "class VmDst: ...".replace("VmDst", "Vm_Dst")),
    (source_and_target, "engine/a.py", "send(dst=1)"),
    (source_and_target, "engine/a.py", "self.dest = 1"),
    (source_and_target, "statemachines/runtime.py", "src = 1"),
    (no_sleeping, "tests/a.py", "time.sleep(1)"),
    (no_sleeping, "tests/a.py", "async def wait(): await asyncio.sleep(0.1)"),
    (no_sleeping, "tests/a.py", "from time import sleep"),
    (purity, "statemachines/a.py", "import os.path"),
    (purity, "devices/a.py", "from random import Random"),
    (purity, "engine/a.py", "def now():\n    import time"),
    (purity, "engine/qmp/a.py", "print(1)"),
)

KEPT: tuple[tuple[Rule, str, str], ...] = (
    (file_size, "engine/a.py", "\n" * 400),
    (function_size, "engine/a.py", "def long():\n" + "    pass\n" * 59),
    (source_and_target, "statemachines/runtime.py", "move(dest=1).dst"),
    (source_and_target, "engine/cli/a.py", "parser.add_subparsers(dest='command')"),
    (no_sleeping, "tests/a.py", "async def turn(): await asyncio.sleep(0)"),
    (no_sleeping, "engine/driver/clock.py", "time.sleep(1)"),
    (purity, "engine/driver/a.py", "import asyncio"),
    (purity, "engine/cli/a.py", "print(1)"),
    (purity, "engine/cli.py", "import os"),
    (purity, "engine/a.py", "if TYPE_CHECKING:\n    from random import Random"),
    (purity, "engine/a.py", "from .time import Stamp"),
)


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_the_rule_bites(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), KEPT)
def test_the_rule_spares_what_is_fine(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) == []


def test_every_rule_has_a_snippet_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)

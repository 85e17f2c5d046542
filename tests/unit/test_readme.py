"""The README and the docs say what is so, where a test can tell.

What may live here: checks of Markdown against the code and the files it speaks of. Rules:

- a command is read by the parser that will read it when somebody pastes it; it is not run;
- a table that lists what the code lists is compared with the code.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import pytest

from devices.guest_options import parse_guest_options
from devices.options import OptionError
from engine import cli
from engine.cli import check, simulate
from engine.cli.migrate_options import parse_migrate_arguments
from engine.command_line import parse_vm_arguments
from engine.migration_outcome import ExitStatus
from engine.parameters import SETTABLE_PARAMETERS
from engine.profile import PROFILE_NAMES, load_profile
from engine.qmp.commands import COMMANDS
from statemachines.system import ALL_MACHINES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README_LINES_MAX = 260
SUBCOMMANDS = set(re.findall(r"^  (\w+)  ", cli.usage(), re.MULTILINE))
#: What else a page may tell people to run: each is somebody else's.
OTHER_PROGRAMS = {"export", "pipx", "python3", "qmp-shell"}


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """The commands of a shell block as words, its bash arrays put where they are used."""
    arrays = {
        name: shlex.split(words)
        for name, words in re.findall(r"^(\w+)=\(\n(.*?)^\)$", block, re.MULTILINE | re.DOTALL)
    }
    rest = re.sub(r"^\w+=\(\n.*?^\)$", "", block, flags=re.MULTILINE | re.DOTALL)
    found = []
    for line in rest.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        found.append([word for word in words if word not in ("&", "&&")])
    return [words for words in found if words] + [["array", name, *arrays[name]] for name in arrays]


def page_commands(page: str) -> list[list[str]]:
    """Every command of a page; arrays hold in all of its blocks."""
    found = [words for block in blocks(page, "sh") for words in commands(block)]
    arrays = {words[1]: words[2:] for words in found if words[0] == "array"}
    filled = []
    for words in found:
        if words[0] != "array":
            filled.append([w for word in words for w in arrays.get(word.strip("${}[@]"), [word])])
    return filled


COMMANDS_SHOWN = [
    pytest.param(words, id=f"{name}:{' '.join(words)[:60]}")
    for name, page in PAGES.items()
    for words in page_commands(page)
]


def no_file(path: str) -> str:
    raise FileNotFoundError(path)


def parse_replug(words: list[str]) -> None:
    """Read the arguments of `replug` as it would."""
    subcommand, *arguments = words
    assert subcommand in SUBCOMMANDS
    match subcommand:
        case "vm":
            parse_vm_arguments(arguments, read_file=no_file)
        case "incoming":
            parse_vm_arguments(arguments[1:], read_file=no_file, incoming_uri=arguments[0])
        case "migrate":
            parse_migrate_arguments(arguments)
        case "check":
            check.parser().parse_args(arguments)
        case "simulate":
            simulate.parser().parse_args(arguments)
        case _:
            pytest.fail(f"teach this test to read the arguments of replug {subcommand}")


@pytest.mark.parametrize("words", COMMANDS_SHOWN)
def test_a_command_that_is_shown_can_be_pasted(words: list[str]) -> None:
    program, *arguments = words
    match program:
        case "replug":
            parse_replug(arguments)
        case "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
            assert set(arguments) <= set(targets)
        case _:
            assert program in OTHER_PROGRAMS


def test_the_readme_shows_each_command_that_it_is_about() -> None:
    shown = {words[1] for words in page_commands(README) if words[0] == "replug"}
    assert shown == {"vm", "incoming", "migrate", "check", "simulate"}
    assert [words for words in page_commands(README) if words[0] == "make"] == [
        ["make", "demo"],
        ["make", "test"],
    ]


@pytest.mark.parametrize("name", PAGES)
def test_what_is_named_in_passing_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    helps = ""
    for subcommand in sorted(SUBCOMMANDS):
        with contextlib.suppress(SystemExit):
            cli.main([subcommand, "--help"])
        helps += capsys.readouterr().out
    for code in re.findall(r"`([^`\n]+)`", PAGES[name]):
        for subcommand in re.findall(r"^replug ([a-z]+)", code):
            assert subcommand in SUBCOMMANDS, code
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code):
            assert option in helps or option in ("--strict", "--help"), code


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        linked = folder / path if path else ROOT / name
        assert linked.exists(), link
        assert not anchor or anchor in anchors(linked.read_text("utf-8")), link


def test_every_page_is_in_the_index() -> None:
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "README.md" or f"({path.name})" in PAGES["docs/README.md"], path.name


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= README_LINES_MAX


def test_the_diagram_is_the_exported_one() -> None:
    """`make diagrams` copies it."""
    assert blocks(README, "mermaid") == [(ROOT / "diagrams/migration.mmd").read_text("utf-8")]
    assert f"{len(ALL_MACHINES) - 1} more machines" in README


def rows(title: str) -> list[list[str]]:
    """The rows of the table under one of the README's headings."""
    section = README.partition(f"\n## {title}")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_guests_options_are_all_there_with_values_that_they_take() -> None:
    with pytest.raises(OptionError) as refused:
        parse_guest_options("nonsense=1")
    known = set(str(refused.value).partition("it takes ")[2].split(", "))
    shown = []
    for names, values, _ in rows("How the guest behaves"):
        for name in re.findall(r"`([\w-]+)`", names):
            shown.append(name)
            for value in re.findall(r"`(\w+)`", values):
                parse_guest_options(f"{name}={value}")
    assert sorted(shown) == sorted(known)


def test_the_guests_defaults_are_as_shown() -> None:
    for names, values, _ in rows("How the guest behaves"):
        defaults = values.rpartition("(")[2].rstrip(")").replace("`", "").split(", ")
        for name, default in zip(re.findall(r"`([\w-]+)`", names), defaults * 2, strict=False):
            if name not in ("working-set", "fill"):  # they depend on the size of RAM
                value = default.replace(" ", "") + ("ms" if default == "0" else "")
                value = value.removesuffix("ms") if name == "dirty" else value
                given = parse_guest_options(f"{name}={value}")
                (field,) = given.given
                assert getattr(given, field) == getattr(parse_guest_options(""), field), name


def test_every_exit_status_is_there() -> None:
    shown = [int(status) for status, _ in rows("Exit status of `replug migrate`")]
    assert shown == [int(status) for status in ExitStatus]


def test_the_profiles_and_their_settings_are_there() -> None:
    section = README.partition("\n## Profiles")[2].partition("\n## ")[0]
    assert re.findall(r"^- `([\w.-]+)`", section, re.MULTILINE) == list(PROFILE_NAMES)
    for setting, value in re.findall(r"-global (replug\.\w+)=(\d+)", section):
        load_profile("native", {setting: value})
    parameters = {member.name for member in SETTABLE_PARAMETERS.members}
    assert set(re.findall(r"`(x-[\w-]+-ms)`", section)) <= parameters


def test_the_client_speaks_commands_that_are_served() -> None:
    (script,) = blocks(README, "python")
    compile(script, "README.md", "exec")
    used = re.findall(r'\.execute\("([\w-]+)"', script)
    assert used
    assert set(used) <= COMMANDS.keys()


def test_every_test_that_the_scenarios_name_is_where_they_say() -> None:
    named = re.findall(
        r"\]\(\.\./(tests/[\w/]+\.py)\)((?: `[^`]+`,?)+)", PAGES["docs/scenarios.md"]
    )
    assert named
    for path, names in named:
        text = (ROOT / path).read_text("utf-8")
        for name in re.findall(r"`([^`]+)`", names):
            pattern = rf"def {re.escape(name)}\(".replace("…", r"\w*")
            assert re.search(pattern, text), f"{path}: {name}"

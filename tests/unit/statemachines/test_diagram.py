"""The exported diagrams: they are the committed ones, and nothing of a table is missing in them.

The texts are taken apart again here, by other means than they were put together with, and held
against the tables.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from statemachines import effects as effects_module
from statemachines import states as states_module
from statemachines.diagram.doc_comments import comments_in, meaning_of
from statemachines.diagram.export import FORMATS, MACHINES, export_all, export_one
from statemachines.diagram.graph import graph_of
from statemachines.diagram.wording import NAMED
from statemachines.effects import Command, Message
from statemachines.events import E
from statemachines.guards import ALWAYS, Not
from statemachines.spec import Ignored, MachineSpec, Refused
from statemachines.system import ALL_MACHINES

DIAGRAMS = Path(__file__).resolve().parents[3] / "diagrams"
every_machine = pytest.mark.parametrize("spec", ALL_MACHINES, ids=lambda spec: spec.name)

#: (id of a state, id of the next) -> names of the events that lead there
Arrows = dict[tuple[str, str], set[str]]


def words(text: str) -> set[str]:
    return set(re.findall(r"[A-Z][A-Z0-9_]+", text))


def events_of(line: str) -> set[str]:
    """The names before a line's condition, profile and effects."""
    return words(re.split(r" \[| ‹| / ", line)[0])


def arrows_in_mermaid(text: str) -> Arrows:
    found: Arrows = defaultdict(set)
    for line in text.splitlines():
        if arrow := re.fullmatch(r"\s*(\w+)(?: --> (\w+))? : (.*)", line):
            for said in arrow[3].split("<br/>"):
                found[arrow[1], arrow[2] or arrow[1]] |= events_of(said)
    return found


def arrows_in_dot(text: str) -> Arrows:
    found: Arrows = defaultdict(set)
    statement = r'^  "(\w+)"(?: -> "(\w+)")? \[(?:.*?)label=<(<TABLE.*?</TABLE>)>\];$'
    for before, after, label in re.findall(statement, text, re.MULTILINE | re.DOTALL):
        for row in re.findall(r'<TR><TD [^>]*><FONT POINT-SIZE="9">(.*?)</TD></TR>', label):
            said = html.unescape(re.sub(r"<[^>]*>", " ", row))
            found[before, after or before] |= events_of(said)
    return found


def cells_in_table(text: str) -> dict[tuple[str, str], list[dict[str, str]]]:
    """The page's cells, by label of the state and event; what is listed as illegal is empty."""
    found: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for section in re.split(r"^## In ", text, flags=re.MULTILINE)[1:]:
        state = section.partition("\n")[0].strip("`")
        event = ""
        for line in section.splitlines():
            if line.startswith("| ") and not line.startswith(("| event", "| ---")):
                columns = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
                event = columns[0].strip("`") or event
                names = ("if", "outcome", "then", "profiles", "from")
                found[state, event].append(dict(zip(names, columns[1:], strict=True)))
            elif line.startswith("Illegal: "):
                found |= {(state, name): [] for name in words(line.removeprefix("Illegal: "))}
    return found


drawings = pytest.mark.parametrize(
    ("format", "arrows_in"), [("mermaid", arrows_in_mermaid), ("dot", arrows_in_dot)]
)


def test_the_committed_files_are_what_is_exported() -> None:
    exported = export_all()
    committed = {
        path.relative_to(DIAGRAMS).as_posix(): path.read_text("utf-8")
        for path in DIAGRAMS.rglob("*")
        if path.is_file()
    }
    differ = sorted(
        name
        for name in exported.keys() | committed.keys()
        if exported.get(name) != committed.get(name)
    )
    assert not differ, f"run `make diagrams` and commit diagrams/ (and delete extras): {differ}"


def test_the_index_lists_every_file_once() -> None:
    files = export_all()
    listed = re.findall(r"^- \[([^\]]+)\]\(([^)]+)\): \S", files["README.md"], re.MULTILINE)
    assert sorted(link for _, link in listed) == sorted(files)
    assert all(name == link for name, link in listed)


@every_machine
@drawings
def test_every_row_is_drawn(
    spec: MachineSpec, format: str, arrows_in: Callable[[str], Arrows]
) -> None:
    drawn = arrows_in(export_one(spec.name, format))
    missing = [
        f"{state.name} {row.event.name}"
        for row in spec.rows
        for state in row.states
        if row.event.name
        not in drawn[state.name.lower(), (row.next if row.next is not None else state).name.lower()]
    ]
    assert missing == []


@every_machine
@drawings
def test_nothing_is_drawn_that_no_row_says(
    spec: MachineSpec, format: str, arrows_in: Callable[[str], Arrows]
) -> None:
    said: Arrows = defaultdict(set)
    for row in spec.rows:
        for state in row.states:
            said[state.name.lower(), (row.next or state).name.lower()].add(row.event.name)
    drawn = arrows_in(export_one(spec.name, format))
    names = {event.name for event in E}
    assert {key: events & names for key, events in drawn.items() if events & names} == said


@every_machine
def test_every_cell_has_its_place_in_the_table(spec: MachineSpec) -> None:
    cells = cells_in_table(export_one(spec.name, "table"))
    assert cells.keys() == {(s.value, e.name) for s in spec.states for e in spec.alphabet}
    illegal = {key for key, rows in cells.items() if not rows}
    expected = {(s.value, e.name) for s in spec.states for e in spec.alphabet}
    assert illegal == expected - {(s.value, e.name) for s, e in spec.cells}


@every_machine
def test_every_entry_is_told_in_full_and_in_order(spec: MachineSpec) -> None:
    cells = cells_in_table(export_one(spec.name, "table"))
    for (state, event), entries in spec.cells.items():
        told = cells[state.value, event.name]
        guards = [entry.when for entry in entries]
        is_open = ALWAYS not in guards and not any(Not(guard) in guards for guard in guards)
        assert len(told) == len(entries) + is_open
        assert (told[-1]["outcome"] == "illegal") == is_open
        for entry, row in zip(entries, told, strict=False):
            match entry:
                case Ignored(reason=reason):
                    assert row["outcome"] == f"ignored: {reason}"
                case Refused(text=text, cite=cite):
                    assert (row["outcome"], row["from"]) == (f"refused: “{text}”", cite)
                case _:
                    moves = entry.next is not None and entry.next is not state
                    to = f"→ `{entry.next.value}`" if entry.next and moves else "stays"
                    assert (row["outcome"], row["from"]) == (to, entry.cite)
                    effects = row["then"].split("<br>") if row["then"] else []
                    assert len(effects) == len(entry.then)
                    for effect, text in zip(entry.then, effects, strict=True):
                        assert text.startswith(str(effect))


@every_machine
def test_ids_are_legal_and_labels_are_what_people_see(spec: MachineSpec) -> None:
    nodes = graph_of(spec).nodes
    assert [node.label for node in nodes] == [state.value for state in spec.states]
    assert [node.id for node in nodes] == [state.name.lower() for state in spec.states]
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", node.id) for node in nodes)
    assert len({node.id for node in nodes}) == len(nodes)
    mermaid = export_one(spec.name, "mermaid")
    for node in nodes:
        assert f'state "{node.label}" as {node.id}\n' in mermaid
    assert f"[*] --> {spec.initial.name.lower()}\n" in mermaid
    final = set(re.findall(r"(\w+) --> \[\*\]", mermaid))
    assert final == {state.name.lower() for state in spec.final}


@every_machine
def test_every_state_says_what_it_means(spec: MachineSpec) -> None:
    silent = [state.name for state in spec.states if not meaning_of(state, states_module)]
    assert silent == []


def test_every_message_and_command_says_what_it_means() -> None:
    members = [*Message, *Command]
    assert [m.name for m in members if not meaning_of(m, effects_module)] == []


def test_what_only_some_profiles_do_is_dashed_and_named() -> None:
    dot = export_one("migration", "dot")
    statements = re.findall(r'^  "\w+" -> "\w+" \[.*?\];$', dot, re.MULTILINE | re.DOTALL)
    dashed = {text for text in statements if "style=dashed" in text}
    (deadline,) = [text for text in statements if E.UNPLUG_DEADLINE.name in text.split("<TABLE")[1]]
    assert deadline in dashed
    assert "‹native›" in deadline
    (paused,) = [text for text in statements if E.CONTINUE.name in text.split("<TABLE")[1]]
    assert paused not in dashed
    assert "‹" not in paused
    blinking = export_one("slot", "mermaid")
    assert "occupied --> blinking : GUEST_BLINKS ‹hotplug=native›\n" in blinking


def test_named_conditions_in_a_drawing_are_spelled_out_on_the_page() -> None:
    for machine in MACHINES:
        page = export_one(machine, "table")
        named = words(export_one(machine, "mermaid")) & set(NAMED.values())
        assert all(f"| `{name}` |" in page for name in named)


def test_an_unknown_machine_or_format_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no machine 'engine': there are migration, incoming"):
        export_one("engine", "dot")
    with pytest.raises(ValueError, match="no format 'png': there are mermaid, dot, table"):
        export_one("migration", "png")
    assert set(FORMATS) == {"mermaid", "dot", "table"}


def test_comments_are_read_from_the_lines_above_a_name() -> None:
    text = (
        "#: First line,\n#: second line.\nA = 1\n# Plain.\nB = 2\n"
        "class C(Enum):\n    #: Inside.\n    A = 3\n    B = 4\n\n"
        "    #: Far above.\n\n    D: int = 5\n"
    )
    assert comments_in(text) == {"A": "First line, second line.", "C.A": "Inside."}

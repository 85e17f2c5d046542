"""Which files there are under `diagrams/`, and what is in each.

Rules kept here: the files are a function of the tables; a test holds the committed ones to it. A
file says in its first lines that it is made, and by what. Writing them is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from statemachines.diagram import dot, mermaid, overview, sequence, table
from statemachines.diagram.graph import Graph, graph_of
from statemachines.diagram.scenarios import MIGRATION, SCENARIOS, Scenario
from statemachines.system import ALL_MACHINES

MADE = "Made by `make diagrams` from statemachines/; do not edit."
#: What stands at the head of a file, by the end of its name.
_NOTICES = {"mmd": f"%% {MADE}\n", "dot": f"// {MADE}\n", "md": f"<!-- {MADE} -->\n\n"}

#: format -> (what its files end with, what makes them)
FORMATS: Mapping[str, tuple[str, Callable[[Graph], str]]] = MappingProxyType(
    {
        "mermaid": ("mmd", mermaid.to_mermaid),
        "dot": ("dot", dot.to_dot),
        "table": ("md", table.to_table),
    }
)
MACHINES = tuple(spec.name for spec in ALL_MACHINES)

_READING = """\
The lifecycles of replug, drawn from the tables that run. `.mmd` is Mermaid, `.dot` is Graphviz
(`dot -Tsvg migration.dot`), `.md` is the whole table, cell by cell.

In a drawing an arrow says `EVENT [condition] ‹profile› / effects`. A condition in capitals is a
name that the machine's page spells out; `else` means that none of the conditions tried before
holds. A line without ‹profile› is everybody's; in DOT an arrow is dashed if not every profile has
it. A state's box also lists what it takes without leaving. Symbols stand for what is written in the
drawing's note. What a table ignores, refuses or forbids is on its page alone.
"""


def export_one(machine: str, format: str) -> str:
    """Return one machine's drawing or page, `format` being mermaid, dot or table.

    :raise ValueError: if there is no such machine or no such format; says which there are.
    """
    if format not in FORMATS:
        raise ValueError(f"no format {format!r}: there are {', '.join(FORMATS)}")
    spec = next((spec for spec in ALL_MACHINES if spec.name == machine), None)
    if spec is None:
        raise ValueError(f"no machine {machine!r}: there are {', '.join(MACHINES)}")
    ending, make = FORMATS[format]
    return _NOTICES[ending] + make(graph_of(spec))


def export_all() -> dict[str, str]:
    """Return every file of `diagrams/`: relative path -> content."""
    files = {
        f"{machine}.{ending}": export_one(machine, format)
        for machine in MACHINES
        for format, (ending, _) in FORMATS.items()
    }
    files["overview.mmd"] = _NOTICES["mmd"] + overview.to_mermaid()
    files["events.md"] = _NOTICES["md"] + overview.events_page()
    for scenario in SCENARIOS:
        for profile in scenario.acts:
            lines = sequence.record(profile, scenario)
            title = _title(profile, scenario)
            text = sequence.to_mermaid(lines, title)
            files[_sequence_path(profile, scenario)] = _NOTICES["mmd"] + text
    files["README.md"] = _NOTICES["md"] + _index()
    return files


def _title(profile: str, scenario: Scenario) -> str:
    return f"{scenario.summary.rstrip('.')} (profile {profile})"


def _sequence_path(profile: str, scenario: Scenario) -> str:
    suffix = "" if scenario is MIGRATION else f"-{scenario.name}"
    return f"sequence-{profile}{suffix}.mmd"


def _index() -> str:
    parts = ["# Diagrams", _READING.rstrip()]
    parts += ["## All together", _list(_together())]
    parts += ["## Courses of a migration", _list(_sequences())]
    parts += ["## Machines", _list(_machines())]
    return "\n\n".join(parts) + "\n"


def _list(lines: Mapping[str, str]) -> str:
    return "\n".join(f"- [{path}]({path}): {text}" for path, text in lines.items())


def _together() -> dict[str, str]:
    return {
        "overview.mmd": "All machines, and which raises or sends what to which.",
        "events.md": "All events: origin, owner, listeners, causes.",
        "README.md": "This list.",
    }


def _sequences() -> dict[str, str]:
    return {
        _sequence_path(profile, scenario): f"{_title(profile, scenario)}."
        for scenario in SCENARIOS
        for profile in scenario.acts
    }


def _machines() -> dict[str, str]:
    kinds = {"mermaid": "as Mermaid", "dot": "as DOT", "table": "cell by cell"}
    return {
        f"{spec.name}.{ending}": f"{spec.summary.rstrip('.')}; {kinds[format]}."
        for spec in ALL_MACHINES
        for format, (ending, _) in FORMATS.items()
    }

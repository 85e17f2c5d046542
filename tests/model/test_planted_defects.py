"""QEMU's defects, each planted into `native` alone: a named property of the checker finds each.

Here live the table of `docs/properties.md` as data, and what keeps that page in step with the
properties: their list, the situations that they cover, and the tests that cover the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from statemachines.checker.verdict import judge
from statemachines.policies import NATIVE, QEMU_7_2
from statemachines.properties import PROPERTIES, property_named
from statemachines.topology import Topology
from tests.model.mutation import reduced

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "properties.md"


@dataclass(frozen=True)
class Plant:
    """One defect."""

    #: What goes wrong, as the page says it.
    defect: str
    #: The policy that is set to QEMU's value.
    policy: str
    #: Who finds it.
    finder: str
    #: Where.
    topology: Topology

    @property
    def line(self) -> str:
        """The page's row."""
        planted = f"`{self.policy}={QEMU_7_2[self.policy]}`"
        return f"| {self.defect} | {planted} | `{self.finder}` | {self.topology.name} |"


PLANTS = (
    Plant(
        "the target refuses at the end of the stream, and the VM runs nowhere",
        "handover",
        "vm-never-lost",
        reduced("pair", faults=1),
    ),
    Plant(
        "an eject after a cancel that gave up waiting deletes the primary",
        "late_eject",
        "no-eject-deletes-a-primary",
        reduced("pair", operator=1),
    ),
    Plant(
        "the standby's driver is reset in wait-unplug: it streams with the primary attached",
        "wait_for",
        "nothing-streamed-with-a-primary",
        reduced("pair", guest=1),
    ),
    Plant(
        "the slot refuses the unplug request: it goes on with the primary attached",
        "unplug_refused",
        "refusal-ends-the-migration",
        reduced("native-slots", guest=1),
    ),
    Plant(
        "a guest that negotiates first during a migration loses its hidden primary",
        "first_negotiation",
        "negotiation-loses-no-primary",
        reduced("pair", guest=1),
    ),
    Plant(
        "a primary that the user deleted comes back when the guest negotiates again",
        "user_deleted",
        "deleted-stays-deleted",
        reduced("pair", guest=1, hotplug=1),
    ),
    Plant(
        "a primary that its bus refused blocks every other one",
        "refused_primary",
        "refused-primary-is-forgotten",
        reduced("two-ids", hotplug=1),
    ),
    Plant(
        "of two primaries of one standby only one is asked to leave",
        "unplug_scope",
        "every-primary-is-asked",
        reduced("two-ids"),
    ),
    Plant(
        "a guest that never ejects is waited for without end",
        "unplug_deadline",
        "migration-ends",
        reduced("pair"),
    ),
    Plant(
        "a peer that dies in wait-unplug goes unnoticed",
        "peer_loss_in_wait",
        "lost-peer-is-noticed",
        reduced("pair", faults=1),
    ),
    Plant(
        "`cont` on a source that has completed: both VMs run",
        "cont_after_completed",
        "one-vm-runs",
        reduced("pair", operator=1),
    ),
    Plant(
        "a paused VM is left in postmigrate by a migration that fails late",
        "paused_after_failure",
        "cancelled-vm-resumes",
        reduced("pair", operator=1, faults=1),
    ),
    Plant(
        "a reset of a VM that is on its way is lost",
        "reset_on_the_way",
        "not-reset-on-its-way",
        reduced("pair", operator=1),
    ),
    Plant(
        "nothing is asked of the target before the primary is unplugged",
        "greeting",
        "accepted-before-asked",
        reduced("pair"),
    ),
)


_HELD: dict[str, frozenset[str]] = {}


def holds_of_native(topology: Topology) -> frozenset[str]:
    """Return the planted properties that hold of `native` as it is, found once per system."""
    if topology.name not in _HELD:
        asked = tuple(property_named(plant.finder) for plant in PLANTS)
        verdicts = judge(topology, NATIVE, asked).verdicts
        _HELD[topology.name] = frozenset(v.property.name for v in verdicts if v.holds)
    return _HELD[topology.name]


#: Planted in every run; the others slowly.
FAST = ("handover", "late_eject", "unplug_scope", "cont_after_completed")


@pytest.mark.parametrize(
    "plant",
    [
        pytest.param(plant, id=plant.policy, marks=() if plant.policy in FAST else pytest.mark.slow)
        for plant in PLANTS
    ],
)
def test_the_property_finds_it(plant: Plant) -> None:
    assert plant.finder in holds_of_native(plant.topology)
    asked = (property_named(plant.finder),)
    planted = {**NATIVE, plant.policy: QEMU_7_2[plant.policy]}
    judged = judge(plant.topology, planted, asked)
    (verdict,) = judged.verdicts
    assert not verdict.holds
    assert len(judged.trace(verdict)) > 1


# -- the page


def rows_under(title: str) -> list[str]:
    """Return the rows of the table under a title of the page."""
    section = PAGE.read_text("utf-8").split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return lines[1:]


def test_the_page_lists_what_is_planted() -> None:
    assert rows_under("Planted defects") == [plant.line for plant in PLANTS]


def test_the_page_lists_every_property() -> None:
    expected = [
        f"| `{p.name}` | {p.kind.value} | {p.sentence} | {p.cite} |"
        f" {', '.join(map(str, sorted(p.covers))) or '–'} |"
        for p in PROPERTIES
    ]
    assert rows_under("Properties") == expected


def situations() -> dict[str, str]:
    """Return the number of each situation, and what covers it."""
    cells = (row.strip("| ").split(" | ") for row in rows_under("Hard situations"))
    return {number: covered for number, _, covered in cells}


def test_each_situation_names_the_properties_that_cover_it() -> None:
    numbers = list(situations())
    assert [n for n in numbers if n != "18b"] == [str(n) for n in range(1, 56)]
    names = {p.name for p in PROPERTIES}
    for number, covered in situations().items():
        named = [name for name in re.findall(r"`([a-z-]+)`", covered) if name in names]
        plain = int(number.rstrip("b"))
        assert named == [p.name for p in PROPERTIES if plain in p.covers], number


def test_where_no_property_can_there_is_a_test_or_a_reason() -> None:
    for number, covered in situations().items():
        found = re.findall(r"\(\.\./([\w/]+\.py)\)((?:[, ]*`test_\w+`)*)", covered)
        for path, tests in found:
            text = (ROOT / path).read_text("utf-8")
            for name in re.findall(r"test_\w+", tests):
                assert f"def {name}(" in text, (number, path, name)
        assert found or "`" in covered or covered.startswith("not modelled: "), number

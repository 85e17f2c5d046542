"""The page's stepper, run by node, does what the checker does: on 1,200 random walks.

A walk is drawn from the checker's own successors, in every topology under both profiles. At each of
its states the stepper has to report the same joint state, and the same set of labels to go on with.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.driver.simulation.plan import plan_of
from engine.driver.simulation.run import simulate
from statemachines.actions import Environment, charge
from statemachines.checker.conformance import Journal, merge
from statemachines.checker.explore import Explorer
from statemachines.checker.joint import Joint
from statemachines.checker.page import Telling
from statemachines.checker.page.rules import rules_of
from statemachines.environment import Side
from statemachines.policies import VALUATIONS
from statemachines.topology import TOPOLOGIES, Topology

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STEPPER = ROOT / "statemachines" / "checker" / "page" / "stepper.js"
WALKS = 100
STEPS_MAX = 80
#: How often something is taken that operator, guest or faults decide, where there is a choice: from
#: walk to walk different, for these end some walks early and bring others to remote places.
UNFAIR_SHARES = (0.03, 0.1, 0.25, 0.5)
#: Simulated runs whose journals are walked along.
JOURNALS = 25
NODE_SECONDS_MAX = 300

pytestmark = pytest.mark.tools


@dataclass
class Walk:
    """One random walk, as the checker sees it."""

    #: Label codes taken.
    codes: list[int] = field(default_factory=list)
    #: Per state, the first one included: the joint state and the codes that can follow.
    states: list[tuple[Any, list[int]]] = field(default_factory=list)


def walks_of(explorer: Explorer, chance: random.Random) -> list[Walk]:
    """Draw walks, all of them a step at a time."""
    walks = [Walk() for _ in range(WALKS)]
    at = explorer.unpack(np.repeat(explorer.visited.keys[:1], WALKS))
    alive = list(range(WALKS))
    fair_codes = {label["code"] for label in rules_of(explorer)["labels"] if label["fair"]}
    for place in range(STEPS_MAX + 1):
        options: list[dict[int, int]] = [{} for _ in alive]
        for found in explorer.successors(at):
            rows = zip(
                found.origin.tolist(), found.codes.tolist(), found.keys.tolist(), strict=True
            )
            for origin, code, key in rows:
                options[origin][code] = key
        chosen = []
        left = []
        for row, walk in enumerate(alive):
            state = joint_json(explorer, at, row)
            walks[walk].states.append((state, sorted(options[row])))
            if options[row] and place < STEPS_MAX:
                share = UNFAIR_SHARES[walk % len(UNFAIR_SHARES)]
                code = chosen_code(sorted(options[row]), fair_codes, share, chance)
                walks[walk].codes.append(code)
                chosen.append(options[row][code])
                left.append(walk)
        if not left:
            break
        alive, at = left, explorer.unpack(np.array(chosen, np.uint64))
    return walks


def chosen_code(codes: list[int], fair_codes: set[int], share: float, chance: random.Random) -> int:
    """Choose a label: with this share any of them, else one that goes on by itself."""
    fair = [code for code in codes if code in fair_codes]
    return chance.choice(fair if fair and chance.random() > share else codes)


def joint_json(explorer: Explorer, joint: Joint, row: int) -> Any:
    """Return a joint state as the stepper writes it."""
    channel = explorer.channels[int(joint.channel[row])]
    environment = explorer.environments[int(joint.environment[row])]
    return {
        "source": list(explorer.spaces[Side.SOURCE].state(int(joint.source[row]))),
        "target": list(explorer.spaces[Side.TARGET].state(int(joint.target[row]))),
        "channel": {
            "source": channel.source.value,
            "target": channel.target.value,
            "one_way": channel.one_way,
            "cut": channel.cut,
            "stalled": channel.stalled,
            "to_target": [[c.message.name, list(c.latched)] for c in channel.to_target],
            "to_source": [[c.message.name, list(c.latched)] for c in channel.to_source],
        },
        "environment": environment_json(environment),
    }


def environment_json(environment: Environment | None) -> Any:
    """Return an environment as the stepper writes it."""
    if environment is None:
        return None
    return {
        "left": list(environment.left),
        "stage": environment.stage.name,
        "promise": environment.promise.name,
    }


def stepped(rules: dict[str, Any], walks: list[list[int]]) -> list[list[tuple[Any, list[int]]]]:
    """Return what the stepper reports along walks of one system."""
    system = answered({"rules": rules, "walks": walks})
    return [[(state, sorted(codes)) for state, codes in walk] for walk in system]


def answered(system: dict[str, Any]) -> Any:
    """Return what the stepper reports of one system; fails the test without node."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("node is not installed: run `make test-tools`")
    question = {"stepper": str(STEPPER), "systems": [system]}
    answer = subprocess.run(
        [node, HERE / "walk_page.mjs"],
        input=json.dumps(question),
        capture_output=True,
        check=False,
        encoding="utf-8",
        timeout=NODE_SECONDS_MAX,
    )
    assert answer.returncode == 0, answer.stderr
    (report,) = json.loads(answer.stdout)
    return report


@pytest.mark.parametrize("profile", VALUATIONS)
@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_the_stepper_goes_where_the_checker_goes(topology: Topology, profile: str) -> None:
    explorer = Explorer(topology, VALUATIONS[profile])
    walks = walks_of(explorer, random.Random(f"{topology.name} {profile}"))
    assert max(len(walk.codes) for walk in walks) >= STEPS_MAX / 2
    reported = stepped(rules_of(explorer), [walk.codes for walk in walks])
    for walk, states in zip(walks, reported, strict=True):
        for place, (expected, got) in enumerate(zip(walk.states, states, strict=False)):
            path = [explorer.label(code) for code in walk.codes[:place]]
            assert got[0] == expected[0], path
            assert name_all(explorer, got[1]) == name_all(explorer, expected[1]), path
        assert len(states) == len(walk.states)


@pytest.mark.parametrize("topology", TOPOLOGIES, ids=lambda topology: topology.name)
def test_every_toll_is_charged_as_the_checker_charges_it(topology: Topology) -> None:
    explorer = Explorer(topology, VALUATIONS["native"])
    rules = rules_of(explorer)
    tolls = [label.toll for space in explorer.spaces.values() for label in space.labels]
    rules["labels"] = rules["labels"][: len(tolls)]
    environments = [environment_json(environment) for environment in explorer.environments]
    assert answered({"rules": rules, "environments": environments}) == [
        [environment_json(charge(environment, toll)) for toll in tolls]
        for environment in explorer.environments
    ]


@pytest.mark.parametrize("profile", VALUATIONS)
def test_the_stepper_goes_where_journals_go(profile: str) -> None:
    """Simulated runs, disturbed in every way: the page's stepper ends where the walk along ends."""
    for seed in range(JOURNALS):
        journals = journals_of(seed, profile)
        merged = merge(journals)
        telling = Telling(merged, [journal.name for journal in journals], merged.policies[0])
        telling.run()
        story = telling.story(None)
        assert story.good, (seed, story.verdict)
        rules = telling.system.as_json(telling.absent, telling.labels)
        (states,) = stepped(rules, [list(story.codes)])
        assert len(states) == len(story.codes) + 1, seed
        dead = {side.value: rules["dead"]["EXITED"] for side in Side}
        for side in Side:
            if side not in telling.absent:
                there = states[-1][0][side.value]
                assert there in (list(telling.states[side]), list(dead[side.value])), seed


def journals_of(seed: int, profile: str) -> list[Journal]:
    """Return what the processes of one simulation write, the last one of the target."""
    text = simulate(plan_of(seed, profile), journal=True).journal
    lines: dict[str, list[str]] = {}
    for line in (text or "").splitlines(keepends=True):
        entry = json.loads(line)
        if entry.get("sequence") == 0:
            lines[entry["process"]] = []
        if "sequence" in entry:
            lines[entry["process"]].append(line)
    return [Journal(name, lines[name], killed=True) for name in ("source", "target")][
        : 2 if (text or "").count('"sequence":0,') == 2 else 1
    ]


def name_all(explorer: Explorer, codes: list[int]) -> dict[int, str]:
    """Return the names of label codes, for a message that can be read."""
    return {code: explorer.label(code) for code in codes}


def test_there_are_a_thousand_walks() -> None:
    assert len(TOPOLOGIES) * len(VALUATIONS) * WALKS >= 1000

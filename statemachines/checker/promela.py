"""The system that the explorer explores, for Spin: one process, one loop, a step for each action.

Rules kept here:
1. An option of the loop is one `d_step`: an action and everything that it raises, to rest. What
   Spin stores are exactly the explorer's joint states, so that the two numbers must be equal.
2. What no budget of the topology pays for is left out, as it is in the explorer.
3. A property is an option too: it can be taken where an *always* is broken or a *sometimes* is so,
   once in a run, and asserts a constant that names it. What it notes is `hidden`, no part of a
   state, so that the count stays what it is and each property adds at most one transition.
"""

from __future__ import annotations

from collections.abc import Mapping

from statemachines.actions import (
    RESPAWN_PEER,
    TOLL_OF,
    Action,
    Toll,
    actions_of,
    checks_hello,
    forfeits_of,
    reads,
    start,
)
from statemachines.checker import promela_channel as channel
from statemachines.checker import promela_rules
from statemachines.checker.promela_rules import Lines, Rules, chosen, indented
from statemachines.claims import At, Claim, Every, Kind, Neither, Property, ground_leaf
from statemachines.compile import Model
from statemachines.environment import Disturbance, Side
from statemachines.events import E
from statemachines.ground import Ground, both, negated
from statemachines.guards import VM_SCOPE, In
from statemachines.observers import Life
from statemachines.properties import PROPERTIES
from statemachines.spec import MachineSpec
from statemachines.states import Incoming, Link
from statemachines.system import VM_MACHINES
from statemachines.topology import Topology

_OTHER = {Side.SOURCE: Side.TARGET, Side.TARGET: Side.SOURCE}


def promela_of(
    topology: Topology,
    policies: Mapping[str, str],
    properties: tuple[Property, ...] = PROPERTIES,
    machines: tuple[MachineSpec, ...] = VM_MACHINES,
) -> str:
    """Return a system as one Promela file, with the properties that apply to it."""
    return _Export(Model(topology, policies, machines), properties).text()


def switch_of(asked: Property) -> str:
    """Return the macro that switches a property on, such as ALWAYS_one_vm_runs."""
    return f"{asked.kind.name}_{asked.name.replace('-', '_')}"


class _Export:
    """One system, being printed."""

    def __init__(self, model: Model, properties: tuple[Property, ...]) -> None:
        self.model = model
        self.rules = {side: Rules(model, side) for side in Side}
        self.properties = [
            p for p in properties if p.kind is not Kind.RESOLVES and p.applies(model)
        ]

    def text(self) -> str:
        options: Lines = []
        for side in Side:
            for action in actions_of(self.model, side):
                if self._affordable(action.toll):
                    options += self._action(action)
            options += self._process(side)
        for disturbance, conditions, lines in channel.disturbances():
            if self._affordable(TOLL_OF[disturbance]):
                options += _option(disturbance.value, conditions, lines)
        for asked in self.properties:
            options += self._property(asked)
        return "\n".join(
            [
                *self._heading(),
                *promela_rules.declared(self.rules),
                *channel.declared(self.rules, start(self.model)),
                *(
                    f"hidden byte {switch_of(asked)}, told_{switch_of(asked)};"
                    for asked in self.properties
                ),
                f"#define TARGET_IS_PROMPT {self._prompt()}",
                *channel.inlines(self.rules),
                "active proctype system() {",
                "end:",
                "    do",
                *indented(options),
                "    od",
                "}",
                "",
            ]
        )

    def _heading(self) -> Lines:
        topology = self.model.topology
        budgets = ", ".join(f"{b.value} {left}" for b, left in topology.budgets.items())
        return [
            f"/* {topology.name}: {topology.summary}. Budgets: {budgets}.",
            "",
            "   Count the reachable states:",
            "       spin -a FILE && gcc -O2 -DSAFETY -DNOREDUCE -o pan pan.c",
            "       ./pan -w24",
            "   Judge properties, with any of the macros below given to spin:",
            "       spin -DALL_ALWAYS -DALL_SOMETIMES -a FILE, gcc as above",
            "       ./pan -c0 -w24",
            "   names each `always` that is broken and each `sometimes` that is seen.",
            *(f"       -D{switch_of(asked)}: {asked.sentence}" for asked in self.properties),
            "*/",
        ]

    def _affordable(self, toll: Toll) -> bool:
        return all(
            budget is None or self.model.topology.budgets.get(budget)
            for budget in (toll.cost, toll.spares)
        )

    # -- actions

    def _prompt(self) -> str:
        target = self.rules[Side.TARGET]
        reading = target.condition(reads(self.model))
        checking = target.condition(checks_hello(self.model))
        return f"({checking} || ({reading} && {channel.prompt_channel()}))"

    def _action(self, action: Action) -> Lines:
        rules, side, heard = self.rules[action.side], action.side, action.receives
        guard = both((action.guard, rules.allowed(action.happens)))
        if guard is False or action.peer is False:
            return []
        conditions = channel.payable(action.toll)
        if heard is not None:
            conditions.append(channel.arrived(side, heard))
        conditions.append(channel.needed(side, action.need))
        conditions.append(rules.condition(guard, heard))
        conditions.append(self.rules[_OTHER[side]].condition(action.peer))
        if action.waits:
            conditions.append("!TARGET_IS_PROMPT")
        lines = channel.paid(action.toll)
        match action.happens.event:
            case E.CONNECTED | E.CONNECTED_ONE_WAY:
                lines += channel.made(action.happens.event is E.CONNECTED_ONE_WAY)
            case E.PEER_CONNECTED | E.PEER_CONNECTED_ONE_WAY:
                lines += channel.accepted()
            case E.CHANNEL_CLOSED:
                lines.append(f"let_go_{side.value}();")
        if heard is not None:
            lines += channel.taken(side)
        lines += [f"{rules.variable(field)} = 0;" for field in action.clears]
        lines += ["broken = 0;", "exits = 0;", "said_count = 0;", "raised_count = 0;"]
        lines += rules.happening(action.happens, heard)
        lines += self._rest(action)
        if heard is not None:
            lines += channel.forgotten(rules, heard)
        if side is Side.SOURCE:
            lines += self._let_go()
        return _option(action.name, conditions, lines)

    def _let_go(self) -> Lines:
        """Return what is let go after a step of the source."""
        lines: Lines = []
        for ground, forfeit in forfeits_of(self.model):
            condition = self.rules[Side.SOURCE].condition(ground)
            lines += chosen(channel.let_go(condition, forfeit, start(self.model)), [])
        return lines

    def _rest(self, action: Action) -> Lines:
        """Return how a step ends: what was said is put on its way, unless the VM broke."""
        rules, side, happens = self.rules[action.side], action.side, action.happens
        breaks, exits = rules.breaks(happens), rules.exits(happens)
        shut: Ground = self.model.ground(In(Link.LOST, Link.CLOSED), VM_SCOPE)
        deaf = chosen([(rules.condition(shut), [f"deafen_{side.value}();"])], [])
        lines: Lines = []
        if rules.says(happens):
            if breaks:
                lines += chosen([("broken", ["said_count = 0;"])], [])
            lines.append(f"speak_{side.value}();")
        moves = [*rules.at_rest(), *deaf]
        cases = []
        if breaks:
            cases.append(("broken", self._ends(side, Life.BROKEN)))
        if exits:
            cases.append(("exits", self._ends(side, Life.EXITED)))
        return [*lines, *chosen(cases, moves)]

    def _ends(self, side: Side, life: Life) -> Lines:
        return [*self._reborn(side, life), f"perish_{side.value}();"]

    def _reborn(self, side: Side, life: Life) -> Lines:
        state = list(self.model.initial())
        state[self.model.number(Life)] = tuple(Life).index(life)
        return self.rules[side].becomes(state)

    # -- processes

    def _process(self, side: Side) -> Lines:
        """Return what can happen to a VM's process."""
        alive = self.model.ground(In(Life.ALIVE), VM_SCOPE)
        owner = self.model.ground(In(Incoming.COMPLETED), VM_SCOPE)
        if side is Side.SOURCE:
            return self._dies(side, Disturbance.KILL_SOURCE, alive, Life.DIED)
        lines = self._dies(side, Disturbance.KILL_TARGET, both((alive, negated(owner))), Life.DIED)
        lines += self._dies(side, Disturbance.KILL_TARGET, both((alive, owner)), Life.DIED_WITH_VM)
        respawned = Disturbance.RESPAWN_TARGET
        toll = TOLL_OF[respawned]
        if not self._affordable(toll):
            return lines
        peer = self.model.ground(RESPAWN_PEER, VM_SCOPE)
        conditions = [
            *channel.payable(toll),
            self.rules[side].condition(negated(alive)),
            self.rules[_OTHER[side]].condition(peer),
        ]
        born = [*channel.paid(toll), *self._reborn(side, Life.ALIVE)]
        return [*lines, *_option(respawned.value, conditions, born)]

    def _dies(self, side: Side, kill: Disturbance, guard: Ground, life: Life) -> Lines:
        toll = TOLL_OF[kill]
        if not self._affordable(toll):
            return []
        conditions = [*channel.payable(toll), self.rules[side].condition(guard)]
        lines = [*channel.paid(toll), *self._ends(side, life)]
        if side is Side.SOURCE:
            lines += self._let_go()
        return _option(kill.value, conditions, lines)

    # -- properties

    def _property(self, asked: Property) -> Lines:
        claim = self._claim(asked.claim)
        condition = f"!({claim})" if asked.kind is Kind.ALWAYS else claim
        switch = switch_of(asked)
        return [
            f"#if defined({switch}) || defined(ALL_{asked.kind.name})",
            f":: d_step {{ !told_{switch} && {condition} ->",
            f"    told_{switch} = 1;",
            f"    assert({switch})",
            "}",
            "#endif",
        ]

    def _claim(self, claim: Claim) -> str:
        match claim:
            case At(side=side):
                return self.rules[side].condition(ground_leaf(self.model, claim))
            case Neither(claim=inner):
                return f"!({self._claim(inner)})"
            case Every(claims=claims):
                return "(" + " && ".join(self._claim(part) for part in claims) + ")"


def _option(name: str, conditions: list[str], lines: Lines) -> Lines:
    """Return one option of the loop."""
    condition = " && ".join(part for part in conditions if part != "true")
    return [f":: d_step {{ /* {name} */", f"    {condition} ->", *indented(lines), "}"]

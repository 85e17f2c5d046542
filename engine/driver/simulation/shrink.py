"""A failing plan made small: what is not needed for a violation is left out.

Rules kept here: a plan is smaller only if the same property breaks. Actions go first, then every
condition goes back to its default; it is done when nothing more can be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from engine.driver.simulation.plan import Plan
from engine.driver.simulation.run import simulate

#: At most so many simulations to shrink one plan.
RUNS_MAX = 300
#: What makes a plan what it is.
_KEPT = ("seed", "profile", "actions")


def shrink(plan: Plan, sentence: str) -> Plan:
    """Return the smallest plan found that breaks the property `sentence` still."""
    left = RUNS_MAX
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(plan):
            if not left:
                return plan
            left -= 1
            violation = simulate(candidate).violation
            if violation is not None and violation.property == sentence:
                plan, smaller = candidate, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for number in reversed(range(len(plan.actions))):
        yield replace(plan, actions=plan.actions[:number] + plan.actions[number + 1 :])
    plain = Plan(plan.seed, plan.profile)
    for condition in fields(Plan):
        usual = getattr(plain, condition.name)
        if condition.name not in _KEPT and getattr(plan, condition.name) != usual:
            yield replace(plan, **{condition.name: usual})
    options = plan.guest.split(",")
    for number in range(len(options)):
        rest = ",".join(options[:number] + options[number + 1 :])
        if plan.guest != plain.guest and "fill=" in rest and "working-set=" in rest:
            yield replace(plan, guest=rest)
    for name in plan.parameters:
        rest_of = {key: value for key, value in plan.parameters.items() if key != name}
        yield replace(plan, parameters=rest_of)

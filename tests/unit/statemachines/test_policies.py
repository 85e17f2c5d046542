"""Profiles give every policy one of its values, and no policy is without use."""

from __future__ import annotations

import pytest

from statemachines.guards import policies_read
from statemachines.policies import NATIVE, POLICIES, QEMU_7_2, VALUATIONS, check_valuation
from statemachines.system import ALL_MACHINES


@pytest.mark.parametrize("profile", VALUATIONS)
def test_a_profile_values_every_policy(profile: str) -> None:
    check_valuation(VALUATIONS[profile])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hotplug": "magic"}, "hotplug: 'magic' is not one of acpi, native"),
        ({"colour": "blue"}, "colour: no such policy"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        check_valuation({**NATIVE, **change})


def test_everything_that_is_wrong_is_named_at_once() -> None:
    valuation = {name: value for name, value in NATIVE.items() if name != "greeting"}
    with pytest.raises(ValueError, match="greeting: missing; handover: 'x' is not"):
        check_valuation({**valuation, "handover": "x"})


def test_the_two_profiles_differ_in_everything_but_the_slots() -> None:
    assert {name for name in POLICIES if NATIVE[name] == QEMU_7_2[name]} == {"hotplug"}


def test_every_policy_has_two_values_and_is_read_by_a_guard() -> None:
    read = {
        name
        for spec in ALL_MACHINES
        for entries in spec.cells.values()
        for entry in entries
        for name, _ in policies_read(entry.when)
    }
    assert read == POLICIES.keys()
    assert all(len(values) == 2 for _, values in POLICIES.values())

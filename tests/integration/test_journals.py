"""Journals of real processes, tampered with: the first line that is no legal step is named.

Rules kept here: what is found has to be the line that was changed, or the first that depends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.driver.demo import check_demo_journals
from engine.driver.demo_vms import DemoError, DemoOptions, DemoVm
from statemachines.checker.conformance import Journal, check, check_journals
from statemachines.policies import VALUATIONS
from tests.integration.recorded_journals import (
    Entries,
    added,
    named,
    parsed,
    place_of,
    recorded,
    written,
)
from tests.integration.vms import GUEST

Tamper = Callable[[Entries], int]


# -- what was not tampered with


@pytest.mark.parametrize("profile", VALUATIONS)
def test_a_migration_is_one_legal_run(profile: str) -> None:
    source, target = recorded(profile)
    conformance = check_journals(source, target, killed=False)
    assert conformance.disagreement is None
    assert conformance.merged == 1
    assert conformance.lines == {"source": len(source), "target": len(target)}
    assert check_journals(source, killed=False).disagreement is None


def test_either_may_be_named_first() -> None:
    source, target = recorded("native")
    assert check_journals(target, source).disagreement is None


def test_a_killed_process_may_leave_half_a_line() -> None:
    source, _ = recorded("native")
    for length in range(1, len(source[-1])):
        cut = [*source[:-1], source[-1][:-length]]
        assert check_journals(cut, killed=True).disagreement is None
    found = named(check_journals(cut, killed=False))
    assert (found.line, found.expected) == (len(source), "a whole line")


def test_half_a_line_is_the_last() -> None:
    source, _ = recorded("native")
    found = named(check_journals([*source[:5], source[5][:40] + "\n", *source[6:]]))
    assert (found.journal, found.line) == ("source", 6)


def test_only_a_killed_process_leaves_something_undone() -> None:
    source, _ = recorded("native")
    place = next(place for place, entry in enumerate(parsed(source)) if entry["raised"])
    assert check_journals(source[: place + 1], killed=True).disagreement is None
    found = named(check_journals(source[: place + 1], killed=False))
    assert (found.line, found.came) == (place + 2, "the end of the journal")


def test_a_journal_may_end_anywhere_if_its_process_was_killed() -> None:
    source, target = recorded("native")
    for length in range(len(target)):
        # The source was answered what the target had not said by then.
        heard = "running" in [word for e in parsed(target[:length]) for word in e["sent"]]
        found = check_journals(source, target[:length]).disagreement
        assert (found is None) is heard, length


# -- one journal


def state_changed(entries: Entries) -> int:
    place = place_of(entries, "CONVERGED")
    entries[place]["state"]["run_state"] = "running"
    entries[place]["state"]["migration"] = "device"
    return place


def device_state_changed(entries: Entries) -> int:
    place = place_of(entries, "GUEST_EJECTS")
    entries[place]["state"]["primary"]["hostdev0"] = "plugged"
    return place


def machine_missing(entries: Entries) -> int:
    del entries[7]["state"]["slot"]
    return 7


def machine_unknown(entries: Entries) -> int:
    entries[7]["state"]["another"] = "none"
    return 7


def command_dropped(entries: Entries) -> int:
    place = place_of(entries, "CONVERGED")
    entries[place]["commands"].clear()
    return place


def message_dropped(entries: Entries) -> int:
    place = place_of(entries, "FINAL_SENT")
    entries[place]["sent"].reverse()
    return place


def raise_dropped(entries: Entries) -> int:
    place = place_of(entries, "GUEST_EJECTS")
    entries[place]["raised"].clear()
    return place


def line_dropped(entries: Entries) -> int:
    place = place_of(entries, "CONVERGED")
    del entries[place]
    return place


def raised_line_dropped(entries: Entries) -> int:
    place = place_of(entries, "PRIMARY_UNPLUGGED")
    del entries[place]
    return place


def lines_swapped(entries: Entries) -> int:
    place = place_of(entries, "CONVERGED")
    entries[place : place + 2] = reversed(entries[place : place + 2])
    return place


def answered_twice(entries: Entries) -> int:
    return added(entries, "CHANNEL_CLOSED")


def timer_that_nobody_set(entries: Entries) -> int:
    return added(entries, "POLL")


def raised_by_nobody(entries: Entries) -> int:
    return added(entries, "PEER_LOST")


def guest_that_does_not_run(entries: Entries) -> int:
    return added(entries, "GUEST_EJECTS", "hostdev0")


def message_without_connection(entries: Entries) -> int:
    return added(entries, "RECV_RUNNING")


def refused_by_the_tables(entries: Entries) -> int:
    place = place_of(entries, "GUEST_RELEASES")
    entries[place]["event"], entries[place]["instance"] = "MIGRATE", None
    return place


def unknown_device(entries: Entries) -> int:
    place = place_of(entries, "GUEST_EJECTS")
    entries[place]["instance"] = "another"
    return place


def device_of_the_vm(entries: Entries) -> int:
    place = place_of(entries, "MIGRATE")
    entries[place]["instance"] = "hostdev0"
    return place


def devices_forgotten(entries: Entries) -> int:
    entries[4]["devices"] = []
    return 4


def devices_made_anew(entries: Entries) -> int:
    devices = [{**device, "index": 9 + device["index"]} for device in entries[0]["devices"]]
    place = place_of(entries, "MIGRATE")
    entries[place]["devices"] = devices
    return place


def index_used_again(entries: Entries) -> int:
    place = place_of(entries, "MIGRATE")
    entries[place]["devices"] = [{**entries[0]["devices"][0], "id": "other"}]
    return place


def policies_missing(entries: Entries) -> int:
    del entries[0]["policies"]
    return 0


def policy_unknown(entries: Entries) -> int:
    entries[0]["policies"]["hotplug"] = "by hand"
    return 0


def policies_of_another_profile(entries: Entries) -> int:
    entries[0]["policies"] = dict(VALUATIONS["qemu-7.2"])
    return place_of(entries, "CONNECTED")


def policies_again(entries: Entries) -> int:
    entries[3]["policies"] = entries[0]["policies"]
    return 3


SOURCE_TAMPERS: tuple[Tamper, ...] = (
    state_changed,
    device_state_changed,
    machine_missing,
    machine_unknown,
    command_dropped,
    message_dropped,
    raise_dropped,
    line_dropped,
    raised_line_dropped,
    lines_swapped,
    answered_twice,
    timer_that_nobody_set,
    raised_by_nobody,
    guest_that_does_not_run,
    message_without_connection,
    refused_by_the_tables,
    unknown_device,
    device_of_the_vm,
    devices_forgotten,
    devices_made_anew,
    index_used_again,
    policies_missing,
    policy_unknown,
    policies_of_another_profile,
    policies_again,
)


@pytest.mark.parametrize("tamper", SOURCE_TAMPERS, ids=lambda tamper: tamper.__name__)
def test_the_first_bad_line_is_named(tamper: Tamper) -> None:
    source, target = recorded("native")
    entries = parsed(source)
    place = tamper(entries)
    lines = written(entries)
    for conformance in (check_journals(lines), check_journals(lines, target)):
        found = named(conformance)
        assert (found.journal, found.line) == ("source", place + 1), str(found)
        assert conformance.lines["source"] == place


def test_every_missing_line_is_missed() -> None:
    source, _ = recorded("native")
    for place in range(1, len(source) - 1):
        found = named(check_journals([*source[:place], *source[place + 1 :]]))
        assert found.line == place + 1
        assert f"step {place}" in found.expected


def test_every_line_in_the_wrong_place_is_noticed() -> None:
    source, _ = recorded("native")
    for place in range(1, len(source) - 1):
        swapped = [*source[:place], source[place + 1], source[place], *source[place + 2 :]]
        assert named(check_journals(swapped)).line == place + 1


# -- what was carried


@pytest.mark.parametrize(
    ("machine", "name", "state", "expected"),
    [
        ("standby", "net1", "reset", "standby net1 'reset'"),
        ("feature", "net1", "not-acked", "nothing commanded"),
        ("net_failover", "net1", "primary", "net_failover net1 'primary'"),
        ("lower", "hostdev0", "in", "lower hostdev0 'in'"),
    ],
)
def test_what_a_message_carried_decides_what_follows(
    machine: str, name: str, state: str, expected: str
) -> None:
    _, target = recorded("native")
    entries = parsed(target)
    place = place_of(entries, "RECV_STATE")
    assert entries[place]["latched"].get(machine, {}).get(name) != state
    entries[place]["latched"].setdefault(machine, {})[name] = state
    found = named(check_journals(written(entries)))
    assert found.line == place + 1
    assert found.expected.startswith(expected)


def test_a_target_has_the_states_that_its_source_had() -> None:
    source, _ = recorded("native")
    _, target = recorded("native", f"{GUEST},negotiate=60s")
    place = place_of(parsed(target), "RECV_STATE")
    found = named(check_journals(source, target))
    assert (found.journal, found.line) == ("target", place + 1)
    assert "where its sender had" in found.came


@pytest.mark.parametrize("carried", [None, {"slot": {}}, {"resume": "perhaps"}])
def test_what_a_message_carries_is_written_down(carried: dict[str, Any] | None) -> None:
    _, target = recorded("native")
    entries = parsed(target)
    place = place_of(entries, "RECV_STATE")
    del entries[place]["latched"]
    if carried is not None:
        entries[place]["latched"] = carried
    assert named(check_journals(written(entries))).line == place + 1
    entries[place - 1]["latched"] = {"resume": "run"}
    assert named(check_journals(written(entries))).line == place


# -- two journals


def test_a_message_that_was_never_sent() -> None:
    source, _ = recorded("native")
    _, target = recorded("cancelled")
    place = place_of(parsed(target), "RECV_ABORT")
    found = named(check_journals(source, target))
    assert (found.journal, found.line, found.came) == ("target", place + 1, "RECV_ABORT")
    assert "STATE" in found.expected


def test_an_answer_that_was_never_given() -> None:
    source, target = recorded("native")
    entries = parsed(target)
    shortened = target[: place_of(entries, "RECV_END")]
    place = place_of(parsed(source), "RECV_LOADED")
    found = named(check_journals(source, shortened))
    assert (found.journal, found.line) == ("source", place + 1)
    assert "has sent none" in found.expected


def test_a_source_that_was_never_there() -> None:
    source, target = recorded("native")
    place = place_of(parsed(source), "CONNECTED")
    found = named(check_journals(source[:place], target))
    assert (found.journal, found.came) == ("target", "RECV_HELLO")
    journals = [Journal("source", source[:place], killed=True), Journal("target", target)]
    assert check(journals, strangers=True).disagreement is None


def test_an_answer_before_its_question() -> None:
    """Each end is legal, and says what the other heard; together nobody could have begun."""
    source, target = recorded("native")
    early = place_of(parsed(source), "FINAL_SENT")
    begun = target[: place_of(parsed(target), "RECV_STATE")]
    assert check_journals(source[:early], begun).disagreement is None
    found = named(check_journals(source[:early], target))
    assert found.journal == "target"
    assert found.came == "RECV_STATE"


def test_the_demo_looks_at_its_journals(tmp_path: Path) -> None:
    source, target = (DemoVm(name, tmp_path, DemoOptions()) for name in ("source", "target"))
    lines = recorded("native")
    source.journal.write_text("".join(lines[0]))
    target.journal.write_text("".join(lines[1]))
    check_demo_journals(source, target)
    source.journal.write_text("".join(lines[0][1:]))
    with pytest.raises(DemoError, match="line 1 of a journal"):
        check_demo_journals(source, target)

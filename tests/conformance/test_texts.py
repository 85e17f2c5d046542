"""QEMU and replug answer the same commands with the same replies, errors and events.

What QEMU has said differently since 7.2 is compared with 7.2 alone: see `cases`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.cases import (
    CHANGED_SINCE,
    GROUPS,
    INCOMING,
    INCOMING_CHANGED_SINCE,
    Case,
    nic,
    primary,
    removes,
    sets,
    switches,
)
from tests.conformance.differential import Answer, Twins, done, is_reference, refused
from tests.integration.lab import Lab, scenario

pytestmark = pytest.mark.tools

#: Where replug differs on purpose: case, QEMU's answer, replug's, and why.
DIFFERENCES: list[tuple[Case, Answer, Answer, str]] = [
    (
        ("device_add", {"driver": 5}),
        refused("'5' is not a valid device model name"),
        refused("Invalid parameter type for 'driver', expected: string"),
        "no text is made of a number before it is looked at",
    ),
    (
        switches("postcopy-preempt"),
        refused("Postcopy preempt requires postcopy-ram"),
        refused(
            "replug does not do postcopy: leave capability 'postcopy-preempt' off; RAM is always "
            "moved before the switchover"
        ),
        "what replug never does is refused for that reason first",
    ),
    (
        switches("background-snapshot"),
        done({}),
        refused(
            "replug does not do background snapshots: leave capability 'background-snapshot' off; "
            "to save a VM, migrate it to an exec: or file: URI"
        ),
        "what replug never does is refused and not just left undone",
    ),
    (
        sets(multifd_zlib_level=10),
        done({}),
        refused("Parameter 'multifd_zlib_level' expects a value between 0 and 9"),
        "QEMU 7.2 forgets to check it, later ones refuse it as replug does",
    ),
    (
        sets(multifd_zstd_level=21),
        done({}),
        refused("Parameter 'multifd_zstd_level' expects a value between 0 and 20"),
        "QEMU 7.2 forgets to check it, later ones refuse it as replug does",
    ),
    (
        ("announce-self", {"initial": 1, "max": 1, "rounds": 2000, "step": 1}),
        done({}),
        refused("Parameter 'rounds' expects a value between 0 and 1000"),
        "bounded as announce-rounds is",
    ),
    (
        ("qom-set", {"path": "/machine/peripheral/net1", "property": "failover", "value": False}),
        refused(
            "Attempt to set property 'failover' on anonymous device (type 'virtio-net-device') "
            "after it was realized"
        ),
        refused(
            "Attempt to set property 'failover' on device 'net1' (type 'virtio-net-pci') after "
            "it was realized"
        ),
        "replug has no object behind the device that the property would be forwarded to",
    ),
    (
        ("device_add", {"id": "1st"}),
        refused("Parameter 'id' expects an identifier"),
        refused("Parameter 'driver' is missing"),
        "what is missing is told before what is wrong, in every command",
    ),
    (
        removes("net1"),
        done({}),
        done(
            {},
            ("DEVICE_DELETED", {"path": "/machine/peripheral/net1/virtio-backend"}),
            ("DEVICE_DELETED", {"device": "net1", "path": "/machine/peripheral/net1"}),
        ),
        "only primaries wait for the guest's eject; any other device leaves at once",
    ),
]


async def differing(twins: Twins, cases: list[Case]) -> list[tuple[Case, Answer, Answer]]:
    found = []
    for case in cases:
        qemu, replug = await twins.ask(*case)
        if qemu != replug:
            found.append((case, qemu, replug))
    return found


@pytest.mark.parametrize("group", GROUPS)
@scenario
async def test_answers(lab: Lab, group: str) -> None:
    assert await differing(await Twins.start(lab, "-S"), GROUPS[group]) == []


@pytest.mark.parametrize("group", CHANGED_SINCE)
@scenario
async def test_answers_of_the_reference(lab: Lab, group: str) -> None:
    cases = CHANGED_SINCE[group] if is_reference() else []
    assert await differing(await Twins.start(lab, "-S"), cases) == []


@scenario
async def test_answers_of_a_target(lab: Lab) -> None:
    cases = [*INCOMING, *(INCOMING_CHANGED_SINCE if is_reference() else [])]
    twins = await Twins.start(lab, incoming=True)
    assert await differing(twins, cases) == []
    # With one socket for each; that it listens shows in query-migrate.
    for vm in (twins.qemu, twins.replug):
        uri = lab.uri(vm.name)
        await vm.command("migrate-incoming", uri=uri)
        again = await vm.refusal("migrate-incoming", uri=uri)
        assert again == "The incoming migration has already been started"
        assert (await vm.query())["socket-address"] == [{"type": "unix", "path": uri[5:]}]


@scenario
async def test_deliberate_differences(lab: Lab) -> None:
    twins = await Twins.start(lab, "-S")
    for case, qemu, replug, reason in DIFFERENCES:
        theirs, ours = await twins.ask(*case)
        assert ours == replug, (case, reason)
        if is_reference():
            assert theirs == qemu, (case, reason)


@scenario
async def test_run_state(lab: Lab) -> None:
    theirs, ours = await (await Twins.start(lab, "-S")).ask("query-status", {})
    # `singlestep` has gone since.
    assert theirs.content.items() <= ours.content.items()
    assert is_reference() <= (theirs == ours)


@scenario
async def test_capabilities(lab: Lab) -> None:
    theirs, ours = (
        {each["capability"]: each["state"] for each in answer.content}
        for answer in await (await Twins.start(lab, "-S")).ask("query-migrate-capabilities", {})
    )
    if is_reference():
        assert ours == {
            **theirs,
            **dict.fromkeys(("x-verify-ram", "x-adaptive", "x-share-memory"), False),
        }
    common = theirs.keys() & ours.keys()
    assert {"events", "return-path", "pause-before-switchover"} <= common
    assert {name: theirs[name] for name in common} == {name: ours[name] for name in common}


@scenario
async def test_parameters(lab: Lab) -> None:
    twins = await Twins.start(lab, "-S")
    theirs, ours = (each.content for each in await twins.ask("query-migrate-parameters", {}))
    if is_reference():
        own = {"x-unplug-timeout-ms", "x-heartbeat-ms"}
        assert {name: ours[name] for name in ours.keys() - own} == theirs
    common = theirs.keys() & ours.keys()
    assert {"max-bandwidth", "downtime-limit", "announce-initial"} <= common
    assert {name: theirs[name] for name in common} == {name: ours[name] for name in common}


def shape(reported: Any) -> Any:
    """What query-pci says, but for what a firmware decides: bus numbers, addresses, interrupts."""
    if isinstance(reported, list):
        return [shape(each) for each in reported]
    if not isinstance(reported, dict):
        return reported
    theirs = {"bus", "irq", "address", "io_range", "memory_range", "prefetchable_range"}
    return {key: shape(value) for key, value in reported.items() if key not in theirs}


@scenario
async def test_pci_devices(lab: Lab) -> None:
    twins = await Twins.start(lab)
    for case in (primary(id="pri0"), nic(id="plain", netdev="hs2", bus="root2")):
        assert await differing(twins, [case]) == []
    # QEMU lists what is behind a root port once the firmware has given its bus a number.
    while True:
        theirs, ours = await twins.ask("query-pci", {})
        bridges = [device for device in theirs.content[0]["devices"] if "pci_bridge" in device]
        if all(bridge["pci_bridge"]["bus"]["secondary"] for bridge in bridges):
            break
    assert len(bridges) == 4
    assert shape(ours.content) == shape(theirs.content)

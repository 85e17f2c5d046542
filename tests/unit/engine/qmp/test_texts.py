"""The sentences themselves, held against what QEMU 7.2.22 was seen to say or has in its sources.

Those of the stream, of arguments and of parameters are compared where they come up: in the tests of
framing, schema, session and parameters.
"""

from __future__ import annotations

import pytest

from engine.qmp import texts
from engine.qmp.errors import device_not_found

#: what replug says, what QEMU was seen to say.
RECORDED = [
    (texts.MIGRATION_IN_PROGRESS, "There's a migration process in progress"),
    (texts.WAITING_FOR_INCOMING, "Guest is waiting for an incoming migration"),
    (
        texts.PAUSED_BY_MIGRATION,
        "Can't migrate the vm that was paused due to previous migration",
    ),
    (texts.NOTHING_TO_RESUME, "Cannot resume if there is no paused migration"),
    (texts.URI_EXPECTS_PROTOCOL, "Parameter 'uri' expects a valid migration protocol"),
    (texts.unknown_protocol("bogus"), "unknown migration protocol: bogus"),
    (texts.INCOMING_ALREADY_STARTED, "The incoming migration has already been started"),
    (texts.INCOMING_NOT_CONFIGURED, "'-incoming' was not specified on the command line"),
    (texts.INVALID_UNIX_ADDRESS, "invalid Unix socket address"),
    (texts.error_parsing_address("1"), "error parsing address '1'"),
    (
        texts.address_resolution_failed("nosuch.invalid", "1", "Name or service not known"),
        "address resolution failed for nosuch.invalid:1: Name or service not known",
    ),
    (
        texts.connect_failed("127.0.0.1:1", "Connection refused"),
        "Failed to connect to '127.0.0.1:1': Connection refused",
    ),
    (
        texts.bind_failed("/nope/x", "No such file or directory"),
        "Failed to bind socket to /nope/x: No such file or directory",
    ),
    (
        texts.channel_broken("command", "Broken pipe"),
        "Unable to write to command: Broken pipe",
    ),
    (
        texts.migration_not_in_state("wait-unplug"),
        "Migration not in expected state: wait-unplug",
    ),
    (texts.state_blocked("x"), "State blocked by non-migratable device 'x'"),
    (
        texts.blocker_disallowed("x"),
        "disallowing migration blocker (migration/snapshot in progress) for: x",
    ),
    (texts.DEVICE_ADD_WHILE_MIGRATING, "device_add not allowed while migrating"),
    (texts.DEVICE_DEL_WHILE_MIGRATING, "device_del not allowed while migrating"),
    (texts.PRIMARY_NEEDS_ID, "Device with failover_pair_id needs to have id"),
    (texts.PRIMARY_NOT_ON_PCIE, "failover primary device must be on PCIExpress bus"),
    (texts.PRIMARY_NOT_ETHERNET, "failover primary device is not an Ethernet device"),
    (
        texts.PRIMARY_NOT_ALONE_IN_SLOT,
        "failover: primary device must be in its own PCI slot",
    ),
    (
        texts.second_primary("net1", "pri0", "pri1"),
        "Cannot attach more than one primary device to 'net1': 'pri0' and 'pri1'",
    ),
    (texts.unknown_driver("nodriver"), "'nodriver' is not a valid device model name"),
    (texts.bus_not_found("nobus"), "Bus 'nobus' not found"),
    (
        texts.no_bus_for_device("usb-bus", "usb-net"),
        "No 'usb-bus' bus found for device 'usb-net'",
    ),
    (texts.bus_without_hotplug("pcie.0"), "Bus 'pcie.0' does not support hotplugging"),
    (texts.duplicate_device_id("net1"), "Duplicate device ID 'net1'"),
    (texts.duplicate_options_id("pri0"), "Duplicate ID 'pri0' for device"),
    (texts.duplicate_netdev_id("hs0"), "Duplicate ID 'hs0'"),
    (
        texts.property_not_found("e1000e", "nosuchprop"),
        "Property 'e1000e.nosuchprop' not found",
    ),
    (
        texts.property_value_in_use("e1000e", "netdev", "hs0"),
        "Property 'e1000e.netdev' can't take value 'hs0', it's in use",
    ),
    (
        texts.property_value_not_found("e1000e", "netdev", "nope"),
        "Property 'e1000e.netdev' can't find value 'nope'",
    ),
    (
        texts.property_value_not_taken("e1000e", "mac", "zz"),
        "Property 'e1000e.mac' doesn't take value 'zz'",
    ),
    (texts.parameter_expects_identifier("id"), "Parameter 'id' expects an identifier"),
    (texts.unknown_net_client("nope"), "invalid net client name: nope"),
    (texts.NO_DESCRIPTOR_SUPPLIED, "No file descriptor supplied via SCM_RIGHTS"),
    (
        texts.DESCRIPTOR_NAME_STARTS_WITH_DIGIT,
        "Parameter 'fdname' expects a name not starting with a digit",
    ),
    (texts.descriptor_not_found("x"), "File descriptor named 'x' not found"),
    (
        texts.descriptor_has_not_been_found("nope"),
        "File descriptor named 'nope' has not been found",
    ),
    (
        device_not_found("/machine/peripheral/nope").description,
        "Device '/machine/peripheral/nope' not found",
    ),
]


@pytest.mark.parametrize(("ours", "qemu"), RECORDED)
def test_wording_is_that_of_qemu(ours: str, qemu: str) -> None:
    assert ours == qemu

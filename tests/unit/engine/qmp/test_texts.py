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
    (texts.NOTHING_TO_RESUME, "Cannot resume if there is no paused migration"),
    (texts.URI_EXPECTS_PROTOCOL, "Parameter 'uri' expects a valid migration protocol"),
    (
        texts.migration_not_in_state("wait-unplug"),
        "Migration not in expected state: wait-unplug",
    ),
    (texts.DEVICE_ADD_WHILE_MIGRATING, "device_add not allowed while migrating"),
    (texts.DEVICE_DEL_WHILE_MIGRATING, "device_del not allowed while migrating"),
    (
        texts.property_not_found("e1000e", "nosuchprop"),
        "Property 'e1000e.nosuchprop' not found",
    ),
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

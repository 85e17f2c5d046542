"""What QEMU does during failover migrations, in order: events and answers of the source.

The 7.2 scripts follow recordings of Debian's 7.2.22 (q35, TCG, capability `events`, Linux 6.1 with
net_failover; standby net1, primary pri0), the pause and the cancel in wait-unplug partly its
tables of statuses; those of 10.0 and 11.1 are the same with the differences observed on 10.0.13
and 11.1.3. Frames and times are left out; where a command came, the script waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.integration.scripted_monitor import Answers, Becomes, Says, Step, WaitsFor, status

V7, V10, V11 = "7.2.22", "10.0.13", "11.1.3"
VERSIONS = (V7, V10, V11)

_UNPLUG = Says("UNPLUG_PRIMARY", {"device-id": "pri0"})


def _pass(number: int) -> Says:
    return Says("MIGRATION_PASS", {"pass": number})


#: query-migrate's numbers after `completed`, from 7.2.22.
NUMBERS: Mapping[str, object] = {
    "setup-time": 254,
    "downtime": 3,
    "total-time": 871,
    "ram": {
        "total": 286_334_976,
        "transferred": 90_177_536,
        "remaining": 0,
        "mbps": 1200.5,
        "dirty-pages-rate": 0,
        "dirty-sync-count": 3,
        "page-size": 4096,
    },
}

#: From `migrate` to wait-unplug.
TO_WAIT: Mapping[str, Sequence[Step]] = {
    V7: (status("setup"), _UNPLUG, _pass(1), status("wait-unplug")),
    V10: (status("setup"), _UNPLUG, _pass(1), status("wait-unplug")),
    V11: (status("setup"), _UNPLUG, status("wait-unplug")),
}

#: From there to the guest's stop.
TO_STOP: Sequence[Step] = (status("active"), _pass(2), Says("STOP"))

#: From there to the end. 7.2 says completed before its numbers are there.
TO_COMPLETED: Mapping[str, Sequence[Step]] = {
    V7: (
        _pass(3),
        Answers({"setup-time": 254, "downtime": 0, "total-time": 0}),
        Becomes(run_state="postmigrate"),
        status("completed"),
        WaitsFor("query-migrate"),
        Answers(NUMBERS),
    ),
    V10: (
        status("device"),
        _pass(3),
        Answers(NUMBERS),
        Becomes(run_state="postmigrate"),
        status("completed"),
    ),
    V11: (
        status("device"),
        Answers(NUMBERS),
        Becomes(run_state="postmigrate"),
        status("completed"),
    ),
}

COMPLETED: Mapping[str, Sequence[Step]] = {
    version: (*TO_WAIT[version], *TO_STOP, *TO_COMPLETED[version]) for version in VERSIONS
}

#: With pause-before-switchover; `device` comes in every version.
_CONTINUED: Sequence[Step] = (
    status("pre-switchover"),
    WaitsFor("migrate-continue"),
    status("device"),
    Answers(NUMBERS),
    Becomes(run_state="postmigrate"),
    status("completed"),
)
PAUSED: Mapping[str, Sequence[Step]] = {
    version: (*TO_WAIT[version], *TO_STOP, *_CONTINUED) for version in VERSIONS
}

#: The target does not listen.
_NOBODY = "Failed to connect to 'nobody.sock': No such file or directory"
NOT_CONNECTED: Mapping[str, Sequence[Step]] = {
    V7: (status("setup"), status("failed"), Answers({"error-desc": _NOBODY})),
    V10: (status("setup"), status("failed"), Answers({"error-desc": _NOBODY})),
    V11: (
        status("setup"),
        status("failing"),
        status("failed"),
        Answers({"error-desc": _NOBODY}),
    ),
}

#: The target refuses the device state, and the return path says so.
_SIBLING = Answers({"error-desc": "Sibling indicated error 1"})
REFUSED: Mapping[str, Sequence[Step]] = {
    V7: (*TO_WAIT[V7], *TO_STOP, _pass(3), status("failed"), Says("RESUME")),
    V10: (
        *TO_WAIT[V10],
        *TO_STOP,
        status("device"),
        _pass(3),
        status("failed"),
        Says("RESUME"),
        _SIBLING,
    ),
    V11: (
        *TO_WAIT[V11],
        *TO_STOP,
        status("device"),
        status("failing"),
        Says("RESUME"),
        status("failed"),
        _SIBLING,
    ),
}

#: Cancelled in wait-unplug; the guest ejects a while later.
CANCELLED: Mapping[str, Sequence[Step]] = {
    version: (
        *TO_WAIT[version],
        WaitsFor("migrate_cancel"),
        status("cancelling"),
        status("cancelled"),
    )
    for version in VERSIONS
}

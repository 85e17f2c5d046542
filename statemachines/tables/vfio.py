"""VFIO migration v2: the kernel's device state machine (drivers/vfio/vfio_main.c).

Rules kept here:
1. A cell is the kernel's next step from the current towards the wanted state for a device with
   STOP_COPY, P2P and PRE_COPY (vfio_mig_get_next_state); asking repeatedly walks the path. Tests
   derive the same cells from the direct arcs and the path rule.
2. A failover primary never takes part: its state is never streamed (hw/vfio/pci.c vfio_realize).
   The table is what any other vfio-pci would have to walk, and why it blocks a migration instead.
"""

from __future__ import annotations

from statemachines.events import E
from statemachines.guards import Per
from statemachines.spec import Ignored, MachineSpec, Refused, Row
from statemachines.states import VfioMigration

V = VfioMigration
_CITE = "drivers/vfio/vfio_main.c vfio_mig_get_next_state"

#: wanted state -> the event by which a user asks for it
WANT: dict[VfioMigration, E] = {
    V.STOP: E.VFIO_WANT_STOP,
    V.RUNNING: E.VFIO_WANT_RUNNING,
    V.PRE_COPY: E.VFIO_WANT_PRE_COPY,
    V.PRE_COPY_P2P: E.VFIO_WANT_PRE_COPY_P2P,
    V.STOP_COPY: E.VFIO_WANT_STOP_COPY,
    V.RESUMING: E.VFIO_WANT_RESUMING,
    V.RUNNING_P2P: E.VFIO_WANT_RUNNING_P2P,
}


def _towards(state: VfioMigration, step: VfioMigration, *wanted: VfioMigration) -> tuple[Row, ...]:
    return tuple(Row(state, WANT[want], step, cite=_CITE) for want in wanted)


VFIO_MIGRATION = MachineSpec(
    name="vfio_migration",
    states=VfioMigration,
    summary="VFIO migration v2 of one device with STOP_COPY, P2P and PRE_COPY.",
    initial=V.RUNNING,
    final=frozenset({V.RUNNING, V.STOP}),
    per=Per.VM,
    rows=(
        *_towards(V.STOP, V.RUNNING_P2P, V.RUNNING, V.PRE_COPY, V.PRE_COPY_P2P, V.RUNNING_P2P),
        *_towards(V.STOP, V.STOP_COPY, V.STOP_COPY),
        *_towards(V.STOP, V.RESUMING, V.RESUMING),
        *_towards(
            V.RUNNING,
            V.RUNNING_P2P,
            V.STOP,
            V.PRE_COPY_P2P,
            V.STOP_COPY,
            V.RESUMING,
            V.RUNNING_P2P,
        ),
        *_towards(V.RUNNING, V.PRE_COPY, V.PRE_COPY),
        *_towards(V.PRE_COPY, V.RUNNING, V.STOP, V.RUNNING, V.RESUMING, V.RUNNING_P2P),
        *_towards(V.PRE_COPY, V.PRE_COPY_P2P, V.PRE_COPY_P2P, V.STOP_COPY),
        *_towards(V.PRE_COPY_P2P, V.RUNNING_P2P, V.STOP, V.RUNNING, V.RESUMING, V.RUNNING_P2P),
        *_towards(V.PRE_COPY_P2P, V.PRE_COPY, V.PRE_COPY),
        *_towards(V.PRE_COPY_P2P, V.STOP_COPY, V.STOP_COPY),
        *_towards(V.STOP_COPY, V.STOP, V.STOP, V.RUNNING, V.RESUMING, V.RUNNING_P2P),
        *_towards(
            V.RESUMING,
            V.STOP,
            V.STOP,
            V.RUNNING,
            V.PRE_COPY,
            V.PRE_COPY_P2P,
            V.STOP_COPY,
            V.RUNNING_P2P,
        ),
        *_towards(V.RUNNING_P2P, V.STOP, V.STOP, V.STOP_COPY, V.RESUMING),
        *_towards(V.RUNNING_P2P, V.RUNNING, V.RUNNING, V.PRE_COPY),
        *_towards(V.RUNNING_P2P, V.PRE_COPY_P2P, V.PRE_COPY_P2P),
        Row(
            tuple(s for s in V if s is not V.ERROR),
            E.VFIO_FAULT,
            V.ERROR,
            cite="uapi vfio.h: a failed arc may leave the device in ERROR",
        ),
        Row(tuple(V), E.VFIO_RESET, V.RUNNING, cite="uapi vfio.h: VFIO_DEVICE_RESET"),
    ),
    ignored=tuple(Ignored(state, event, "it is there already") for state, event in WANT.items()),
    refused=(
        *(
            Refused(V.ERROR, event, "the device is in ERROR: reset it", cite=_CITE)
            for event in WANT.values()
        ),
        Refused(
            V.STOP_COPY,
            E.VFIO_WANT_PRE_COPY,
            "a saving state cannot be passed through: stop the device first",
            cite=_CITE,
        ),
        Refused(
            V.STOP_COPY,
            E.VFIO_WANT_PRE_COPY_P2P,
            "a saving state cannot be passed through: stop the device first",
            cite=_CITE,
        ),
        *(
            Refused(state, E.VFIO_WANT_ERROR, "ERROR cannot be asked for", cite=_CITE)
            for state in V
        ),
    ),
)

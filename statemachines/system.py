"""The machines of one VM, and how they hang together.

Two such VMs, a channel (`wire.py`) and an environment (`environment.py`, `permits.py`) are what is
checked; `topology.py` names those systems. Rules kept here:

1. `VM_MACHINES` is every lifecycle one VM has; their order (the event's owner first) is the order
   in which their effects take place within a step, and in which journals print them. The link
   comes after the two that talk through it: what a step still says, it says before it closes.
2. What is declared here has passed the laws of `validate.py`, or importing it fails.
"""

from __future__ import annotations

from statemachines.spec import MachineSpec
from statemachines.states import State
from statemachines.tables.channel import BLOCKER, LINK, PAUSE_CAPABILITY, RETURN_PATH
from statemachines.tables.handover import HANDOVER, TAKEOVER
from statemachines.tables.incoming import INCOMING
from statemachines.tables.migration import MIGRATION
from statemachines.tables.net_failover import LOWER, NET_FAILOVER
from statemachines.tables.primary import PRIMARY
from statemachines.tables.primary_flags import PARTIAL, PENDING, REQUEST, STORED
from statemachines.tables.run_state import RESUME, RUN_STATE
from statemachines.tables.slot import SLOT
from statemachines.tables.standby import FEATURE, HIDDEN, STANDBY
from statemachines.tables.vfio import VFIO_MIGRATION
from statemachines.validate import check_system

#: Every lifecycle of one VM, in the order of their effects.
VM_MACHINES: tuple[MachineSpec, ...] = (
    MIGRATION,
    INCOMING,
    RUN_STATE,
    RESUME,
    HANDOVER,
    TAKEOVER,
    LINK,
    RETURN_PATH,
    PAUSE_CAPABILITY,
    BLOCKER,
    STANDBY,
    FEATURE,
    HIDDEN,
    NET_FAILOVER,
    PRIMARY,
    REQUEST,
    PENDING,
    PARTIAL,
    STORED,
    SLOT,
    LOWER,
)
#: Lifecycles that stand alone: a system each.
LONE_MACHINES: tuple[MachineSpec, ...] = (VFIO_MIGRATION,)
#: Everything that is declared, drawn and checked.
ALL_MACHINES = VM_MACHINES + LONE_MACHINES


def spec_of(lifecycle: type[State]) -> MachineSpec:
    """Return the table of a lifecycle.

    :raise KeyError: if it has none.
    """
    return _SPECS[lifecycle]


_SPECS = {spec.states: spec for spec in ALL_MACHINES}
check_system(ALL_MACHINES)

"""A joint state as one 64-bit key: the numbers of its four parts, and back.

Rules kept here: the parts never overlap; a system too large for them is an error, no collision.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from statemachines.checker.index import Keys

Array = npt.NDArray[np.int64]

#: Bits of the four parts of a key, from the lowest: source, target, channel, environment.
BITS = (20, 20, 14, 10)
#: The parts of the two VMs.
VMS = np.uint64((1 << BITS[0] + BITS[1]) - 1)


class SpaceTooLarge(Exception):
    """There are more states of one part than the key has room for."""


class Joint(NamedTuple):
    """Joint states by the numbers of their parts."""

    #: Numbers of the source's states.
    source: Array
    #: Numbers of the target's states.
    target: Array
    #: Numbers of the channel's states.
    channel: Array
    #: Numbers of the environment's states.
    environment: Array


def pack(joint: Joint) -> Keys:
    """Return the keys of joint states.

    :raise SpaceTooLarge: if a number needs more bits than its part has.
    """
    keys = np.zeros(len(joint.source), np.uint64)
    shift = 0
    for name, part, bits in zip(Joint._fields, joint, BITS, strict=True):
        if len(part) and int(part.max()) >= 1 << bits:
            raise SpaceTooLarge(f"more than 2^{bits} states of the {name}: spend less of a budget")
        keys |= part.astype(np.uint64) << np.uint64(shift)
        shift += bits
    return keys


def unpack(keys: Keys) -> Joint:
    """Return the parts of joint states."""
    parts = []
    shift = 0
    for bits in BITS:
        part = (keys >> np.uint64(shift)) & np.uint64((1 << bits) - 1)
        parts.append(part.astype(np.int64))
        shift += bits
    return Joint(*parts)

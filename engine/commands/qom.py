"""One property of an object, as qom-get, qom-set and qom-list see it.

What may live here: the type that the objects' modules share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Attribute:
    """One property of an object."""

    #: The name of its type, for qom-list.
    type_name: str
    #: Returns its value, which is JSON; None: it can only be set.
    read: Callable[[], Any] | None = None
    #: Takes a value, as it came, or raises; None: it cannot be set.
    write: Callable[[Any], None] | None = None


def constant(type_name: str, value: Any) -> Attribute:
    """Return a property with this value, which cannot be set."""
    return Attribute(type_name, lambda: value)

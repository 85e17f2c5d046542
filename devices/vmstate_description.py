"""How a device declares what of it is streamed.

What may live here: `VmStateField` and `VmStateDescription`, plain data and hooks on the device's
own type, checked for contradictions when they are built. What they mean for a stream, and the rules
that both sides keep, is in `devices.vmstate`; the shapes of single values in
`devices.vmstate_kinds`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from devices.vmstate_kinds import Kind, Part, Place, StructureList

DeviceT = TypeVar("DeviceT")

#: The values of the fields read or written so far, those of the enclosing sections behind them.
Values = Mapping[str, Any]

#: Deepest nesting of sections that a description may declare.
DEPTH_MAX = 8

#: Highest version of a section: a u32 in QEMU's stream.
VERSION_MAX = 2**32 - 1


@dataclass(frozen=True)
class VmStateField:
    """One field of a section: its name on the wire, its shape, and when it is there."""

    #: Name in the stream, unique within the description.
    name: str
    #: Shape and bounds of the value.
    kind: Kind
    #: Version of the section that brought this field; sections before it do not have it.
    version_min: int = 0
    #: Decides from the values before this field whether it is there; None means always.
    exists: Callable[[Values], bool] | None = None
    #: Attribute of the device that holds it, where that is not called like the field.
    attribute: str | None = None

    @property
    def holder(self) -> str:
        """The device's attribute behind this field."""
        return self.attribute or self.name

    def present(self, version: int, earlier: Values) -> bool:
        """Whether a section of `version` with these earlier values has this field."""
        return self.version_min <= version and (self.exists is None or self.exists(earlier))


@dataclass(frozen=True)
class VmStateDescription(Generic[DeviceT]):
    """What of a device of type `DeviceT` is streamed, and what must hold for it to be loaded.

    Raises ValueError at import time if the declaration contradicts itself.
    """

    #: Name of the section; a subsection's begins with its parent's name and a slash.
    name: str
    #: Version that this code writes.
    version: int
    #: Oldest version that this code still reads.
    minimum_version: int
    #: In stream order.
    fields: tuple[VmStateField, ...]
    #: Optional state, each written when its `needed` says so.
    subsections: tuple[VmStateDescription[DeviceT], ...] = ()
    #: As a subsection: whether the device has anything to say in it; None means always.
    needed: Callable[[DeviceT], bool] | None = None
    #: Brings derived attributes up to date before they are written.
    pre_save: Callable[[DeviceT], None] | None = None
    #: Refuses, by raising VmStateError, values that fit each field but not this device. Sees the
    #: fields of the section and of its subsections; must not change the device.
    check: Callable[[DeviceT, Values, Place], None] | None = None
    #: Derives what is not streamed, once the fields are in place. Must not refuse: `check` does.
    post_load: Callable[[DeviceT], None] | None = None
    #: A device of this kind blocks every migration.
    unmigratable: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_version <= self.version <= VERSION_MAX:
            raise ValueError(
                f"{self.name}: versions {self.minimum_version}..{self.version} are not a range"
            )
        names = [f.name for f in self.fields]
        for subsection in self.subsections:
            if not subsection.name.startswith(self.name + "/"):
                raise ValueError(f"{subsection.name}: must begin with {self.name}/")
            names.extend(f.name for f in subsection.fields)
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: a field name occurs twice in {names}")
        if len({s.name for s in self.subsections}) != len(self.subsections):
            raise ValueError(f"{self.name}: two subsections have one name")
        late = [f.name for f in self.fields if f.version_min > self.version]
        if late:
            raise ValueError(f"{self.name}: {late} come after version {self.version}")
        if self.depth() > DEPTH_MAX:
            raise ValueError(f"{self.name}: nested deeper than {DEPTH_MAX}")

    def depth(self) -> int:
        """Levels of sections below and including this one."""
        nested = [f.kind.description for f in self.fields if isinstance(f.kind, Part)]
        nested += [f.kind.description for f in self.fields if isinstance(f.kind, StructureList)]
        nested += self.subsections
        return 1 + max((d.depth() for d in nested), default=0)

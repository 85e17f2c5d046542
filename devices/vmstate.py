"""Vmstate descriptions: what of a device goes into a migration stream, declared once.

What may live here: `save`, which turns a device into a section, and `prepare`/`load`, which turn a
section back, by a `VmStateDescription`. No device and no bytes: a section is plain maps, lists,
integers, booleans, text and bytes that any codec can carry,

    {"name": …, "version": …, "fields": {…}, "subsections": [section, …]}

The rules are those of QEMU's migration/vmstate.c, with sections that name their fields:

* A section newer than its description, or older than `minimum_version`, is refused. A field that
  came with a later version than the section's is not in it and keeps what the device has.
* A field may depend on fields before it in the same stream (`exists`), and on nothing else, so
  that source and target reckon its presence from the same values.
* A subsection is written only when the device needs it. One that did not come is fine: its fields
  keep what the device has. One the loader does not know is an error, since it holds state that the
  guest relies on.
* A new field of an old device is therefore a subsection that is needed only when it matters: old
  streams load, and new streams load on old targets as long as nothing would be lost.

Stricter than QEMU: everything is checked before anything changes. `prepare` walks the section
against its description and the description's own `check`, and only `PreparedLoad.apply` touches
the device. Depth is bounded by the description, never by what arrives.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from functools import partial
from typing import Any

from devices import vmstate_texts as texts
from devices.vmstate_description import (
    VERSION_MAX,
    DeviceT,
    Values,
    VmStateDescription,
    VmStateField,
)
from devices.vmstate_kinds import (
    CORRUPT_ADVICE,
    Part,
    Place,
    Quoted,
    StructureList,
    VmStateError,
    quote,
)

__all__ = [
    "PreparedLoad",
    "Section",
    "Values",
    "VmStateDescription",
    "VmStateError",
    "VmStateField",
    "load",
    "prepare",
    "save",
]

#: A section as it is handed to the codec.
Section = dict[str, Any]

_SECTION_KEYS = frozenset({"name", "version", "fields", "subsections"})


# --- saving ---------------------------------------------------------------------------------------


def save(description: VmStateDescription[DeviceT], obj: DeviceT, device: str = "") -> Section:
    """Write `obj` as a section in the current version of its description.

    `device` names it in errors; by default the description's name. Returns a fresh section that
    shares nothing with the device. Raises VmStateError if the description is unmigratable or a
    value does not fit its field. Rule: migration/vmstate.c vmstate_save_state_v.
    """
    place = Place(device or description.name)
    _refuse_unmigratable(description, place)
    return _write(description, obj, place, ChainMap())


def _refuse_unmigratable(description: VmStateDescription[Any], place: Place) -> None:
    if description.unmigratable:
        raise place.error(
            "a device that can be migrated",
            Quoted(f"the unmigratable {description.name}"),
            "unplug the device before migrating",
            text=texts.UNMIGRATABLE % place.device,
        )


def _write(
    description: VmStateDescription[Any], obj: Any, place: Place, outer: ChainMap[str, Any]
) -> Section:
    if description.pre_save is not None:
        description.pre_save(obj)
    values = outer.new_child()
    fields: dict[str, Any] = {}
    for field in description.fields:
        if not field.present(description.version, values):
            continue
        below = place.at(field.name)
        fields[field.name] = values[field.name] = _write_field(field, obj, below, values)
    subsections = [
        _write(subsection, obj, place, values)
        for subsection in description.subsections
        if subsection.needed is None or subsection.needed(obj)
    ]
    return {
        "name": description.name,
        "version": description.version,
        "fields": fields,
        "subsections": subsections,
    }


def _write_field(field: VmStateField, obj: Any, place: Place, values: ChainMap[str, Any]) -> Any:
    kind = field.kind
    if isinstance(kind, Part):
        return _write(kind.description, obj, place, values)
    held = getattr(obj, field.holder)
    if isinstance(kind, StructureList):
        if len(held) > kind.count_max:
            raise place.error(f"at most {kind.count_max} elements", held, "use a smaller device")
        return [
            _write(kind.description, element, place.item(index), values)
            for index, element in enumerate(held)
        ]
    return kind.checked(held, place)


# --- loading --------------------------------------------------------------------------------------


class PreparedLoad:
    """A section that was found to fit its device, ready to be put in place.

    `apply` assigns the fields and runs the `post_load` hooks, innermost first. Nothing about the
    device has changed before it is called; it may be dropped instead.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], None]] = []

    def add(self, step: Callable[[], None]) -> None:
        """Append one step."""
        self._steps.append(step)

    def apply(self) -> None:
        """Carry out the load; allowed once."""
        steps, self._steps = self._steps, []
        for step in steps:
            step()


def load(
    description: VmStateDescription[DeviceT], obj: DeviceT, section: object, device: str = ""
) -> None:
    """Check `section` against the description and `obj`, then put it into `obj`.

    Either everything is loaded or VmStateError is raised and `obj` is as it was.
    Rule: migration/vmstate.c vmstate_load_state.
    """
    prepare(description, obj, section, device).apply()


def prepare(
    description: VmStateDescription[DeviceT], obj: DeviceT, section: object, device: str = ""
) -> PreparedLoad:
    """Check `section` against the description and `obj` without changing `obj`.

    `section` may be anything at all, as it came from outside. Returns the load that `apply` carries
    out. Raises VmStateError naming the device, the field, what was expected, what came and what to
    do.
    """
    place = Place(device or description.name)
    _refuse_unmigratable(description, place)
    prepared = PreparedLoad()
    _read(description, obj, section, place, ChainMap(), prepared)
    return prepared


def _read(
    description: VmStateDescription[Any],
    obj: Any,
    section: object,
    place: Place,
    values: ChainMap[str, Any],
    prepared: PreparedLoad,
) -> None:
    checked = _opened(section, place)
    if checked["name"] != description.name:
        raise place.at("name").error(
            repr(description.name),
            checked["name"],
            "give the target the devices of the source, at the same places",
        )
    version = _checked_version(description, checked["version"], place)
    _read_fields(description, obj, checked["fields"], version, place, values, prepared)
    _read_subsections(description, obj, checked["subsections"], place, values, prepared)
    if description.check is not None:
        description.check(obj, values, place)
    if description.post_load is not None:
        prepared.add(partial(description.post_load, obj))


def _opened(section: object, place: Place) -> Section:
    """The section with its frame checked: a map of exactly the four keys, each of its type."""
    if not isinstance(section, dict):
        raise place.error("a section, which is a map", section, CORRUPT_ADVICE)
    # Counted first, so that only a map of the right size is ever gone through.
    if len(section) != len(_SECTION_KEYS) or any(key not in section for key in _SECTION_KEYS):
        raise place.error("the keys name, version, fields, subsections", section, CORRUPT_ADVICE)
    for key, wanted in (("name", str), ("fields", dict), ("subsections", list)):
        if not isinstance(section[key], wanted):
            raise place.at(key).error(f"a {wanted.__name__}", section[key], CORRUPT_ADVICE)
    return section


def _checked_version(description: VmStateDescription[Any], version: object, place: Place) -> int:
    place = place.at("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version <= VERSION_MAX:
        raise place.error(f"an integer from 0 to {VERSION_MAX}", version, CORRUPT_ADVICE)
    if version > description.version:
        raise place.error(
            f"at most {description.version}",
            version,
            "the source is newer: upgrade the target, or start both with the older machine type",
            text=texts.TOO_NEW % (description.name, version, description.version),
        )
    if version < description.minimum_version:
        raise place.error(
            f"at least {description.minimum_version}",
            version,
            "the source is too old: upgrade it, or migrate by way of a version between the two",
            text=texts.TOO_OLD % (description.name, version, description.minimum_version),
        )
    return version


def _read_fields(
    description: VmStateDescription[Any],
    obj: Any,
    raw: dict[object, Any],
    version: int,
    place: Place,
    values: ChainMap[str, Any],
    prepared: PreparedLoad,
) -> None:
    present: set[object] = set()
    for field in description.fields:
        if not field.present(version, values):
            continue
        present.add(field.name)
        below = place.at(field.name)
        if field.name not in raw:
            raise below.error("a value", Quoted("nothing"), CORRUPT_ADVICE)
        try:
            values[field.name] = _read_field(field, obj, raw[field.name], below, values, prepared)
        except VmStateError as error:
            error.trail.append(texts.FIELD_FAILED % (description.name, field.name))
            raise
    if len(raw) != len(present):
        unknown = next(key for key in raw if key not in present)
        raise place.error(
            f"only the {len(present)} fields that version {version} of {description.name} "
            "has for this device",
            Quoted(f"a further field {quote(unknown)}"),
            "the source has a device of another shape, or is newer than the target",
        )


def _read_field(
    field: VmStateField,
    obj: Any,
    raw: object,
    place: Place,
    values: ChainMap[str, Any],
    prepared: PreparedLoad,
) -> Any:
    kind = field.kind
    if isinstance(kind, Part):
        _read(kind.description, obj, raw, place, values.new_child(), prepared)
        return raw
    if not isinstance(kind, StructureList):
        value = kind.checked(raw, place)
        prepared.add(partial(setattr, obj, field.holder, value))
        return value
    elements = getattr(obj, field.holder)
    if not isinstance(raw, list):
        raise place.error("a list", raw, CORRUPT_ADVICE)
    if len(raw) != len(elements):
        raise place.error(
            f"{len(elements)} elements",
            Quoted(f"{len(raw)}"),
            "give the target's device the same number of them as the source's",
        )
    for index, (element, section) in enumerate(zip(elements, raw, strict=True)):
        below = place.item(index)
        _read(kind.description, element, section, below, values.new_child(), prepared)
    return raw


def _read_subsections(
    description: VmStateDescription[Any],
    obj: Any,
    raw: list[object],
    place: Place,
    values: ChainMap[str, Any],
    prepared: PreparedLoad,
) -> None:
    known = {subsection.name: subsection for subsection in description.subsections}
    for section in raw:
        name = _opened(section, place)["name"]
        if name not in known:
            raise place.error(
                f"a subsection of {description.name} that this side knows and has not had yet",
                name,
                "the source sends state that this target cannot hold: upgrade the target",
            )
        _read(known.pop(name), obj, section, place, values, prepared)

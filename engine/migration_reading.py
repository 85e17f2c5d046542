"""What a VM's answers say, checked: the answers come from outside and may be anything.

What may live here: from one decoded QMP answer to plain values. Whatever is not of the type it
should be reads as not known (None), and never as an error: following a migration goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.migration_event import RamProgress

#: Most entries that are taken from a list or an object.
ENTRIES_MAX = 4096
#: Longest text that is taken; a longer one is cut.
TEXT_CHARACTERS_MAX = 4096


def text(value: object) -> str | None:
    """Return a text, cut to a bounded length."""
    return value[:TEXT_CHARACTERS_MAX] if isinstance(value, str) else None


def number(value: object) -> float | None:
    """Return a number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < 1e19 else None


def integer(value: object) -> int | None:
    """Return a whole number that is not negative."""
    known = number(value)
    return int(known) if known is not None else None


def mapping(value: object) -> Mapping[str, Any]:
    """Return an object; anything else reads as an empty one."""
    return value if isinstance(value, dict) and len(value) <= ENTRIES_MAX else {}


def texts(value: object) -> list[str]:
    """Return the texts of a list; anything else reads as an empty one."""
    if not isinstance(value, list) or len(value) > ENTRIES_MAX:
        return []
    return [known for each in value if (known := text(each)) is not None]


def ram_progress(information: Mapping[str, Any]) -> RamProgress | None:
    """Return what query-migrate says of RAM; None if it says nothing."""
    ram = mapping(information.get("ram"))
    if not ram:
        return None
    megabits = number(ram.get("mbps"))
    dirty_pages = number(ram.get("dirty-pages-rate"))
    page_bytes = number(ram.get("page-size")) or 4096
    return RamProgress(
        transferred_bytes=integer(ram.get("transferred")),
        remaining_bytes=integer(ram.get("remaining")),
        total_bytes=integer(ram.get("total")),
        rate_bytes=megabits * 1e6 / 8 if megabits else None,
        dirty_rate_bytes=None if dirty_pages is None else dirty_pages * page_bytes,
        passes=integer(ram.get("dirty-sync-count")),
        expected_downtime_ms=number(information.get("expected-downtime")),
        throttle_percent=integer(information.get("cpu-throttle-percentage")) or None,
    )


def states_by_device(joint_state: Mapping[str, Any], machine: str) -> dict[str, str]:
    """Return one machine's states from /machine/replug's `state`, by device id."""
    found = mapping(joint_state.get(machine))
    return {name[:255]: value for name, each in found.items() if (value := text(each)) is not None}


def capabilities(answer: object) -> dict[str, bool]:
    """Return query-migrate-capabilities' answer by name."""
    listed: Iterable[object] = answer if isinstance(answer, list) else ()
    found = {}
    for each in listed:
        entry = mapping(each)
        name, state = text(entry.get("capability")), entry.get("state")
        if name is not None and isinstance(state, bool):
            found[name] = state
    return found

"""engine.profile: what -global may say of one."""

from __future__ import annotations

import pytest

from engine.profile import DirtyTracking, ProfileError, load_profile


@pytest.mark.parametrize("tracking", list(DirtyTracking))
def test_who_notes_what_is_written_can_be_chosen(tracking: DirtyTracking) -> None:
    settings = {"replug.dirty_tracking": tracking.value}
    assert load_profile("native", settings).dirty_tracking is tracking
    assert load_profile("qemu-7.2", {}).dirty_tracking is DirtyTracking.AUTO


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"replug.dirty_tracking": "none"}, "one of auto, kernel, bitmap"),
        ({"replug.dirty": "kernel"}, "or replug.dirty_tracking"),
    ],
)
def test_what_cannot_be_chosen_is_named(settings: dict[str, str], text: str) -> None:
    with pytest.raises(ProfileError, match=text):
        load_profile("native", settings)

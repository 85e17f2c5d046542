"""devices.guest_options: every key, its errors, and the round trip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.guest_memory import OPTIONS_BYTES_MAX
from devices.guest_options import (
    DURATION_MS_MAX,
    FRAME_INTERVAL_MS_MIN,
    Eject,
    EjectRule,
    GuestOptions,
    format_guest_options,
    parse_guest_options,
)
from devices.options import OptionError


def test_nothing_given_is_the_defaults() -> None:
    options = parse_guest_options("")
    assert options == GuestOptions()
    assert (options.eject, options.standby) == (Eject(EjectRule.PROMPT), True)
    assert (options.link_delay_ms, options.probe_delay_ms) == (20, 5)
    assert (options.blink_ms, options.power_off_ms) == (5000, 1000)
    assert (options.working_set_bytes, options.fill_bytes) == (None, None)
    assert format_guest_options(options) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eject=prompt", GuestOptions(given=frozenset({"eject"}))),
        ("eject=never", GuestOptions(eject=Eject(EjectRule.NEVER))),
        ("eject=resumed", GuestOptions(eject=Eject(EjectRule.RESUMED))),
        ("eject=2.5s", GuestOptions(eject=Eject(EjectRule.DELAYED, 2500.0))),
        ("standby=off", GuestOptions(standby=False)),
        ("nostandby", GuestOptions(standby=False)),
        ("dirty=64M", GuestOptions(dirty_per_second_bytes=64 << 20)),
        ("working-set=1G", GuestOptions(working_set_bytes=1 << 30)),
        ("fill=0", GuestOptions(fill_bytes=0)),
        ("frames=1ms", GuestOptions(frame_interval_ms=1.0)),
        ("frames=off", GuestOptions(given=frozenset({"frame_interval_ms"}))),
        ("frames=0", GuestOptions(given=frozenset({"frame_interval_ms"}))),
        ("link-delay=1s", GuestOptions(link_delay_ms=1000.0)),
        ("probe-delay=0ms", GuestOptions(probe_delay_ms=0.0)),
        ("blink=50ms", GuestOptions(blink_ms=50.0)),
        ("power-off=10ms", GuestOptions(power_off_ms=10.0)),
        ("reboot-after=3s", GuestOptions(reboot_after_ms=3000.0)),
        ("reset-after=3s", GuestOptions(reset_after_ms=3000.0)),
        ("reset-after=off", GuestOptions(given=frozenset({"reset_after_ms"}))),
        ("negotiate=5s", GuestOptions(negotiate_ms=5000.0)),
        ("seed=18446744073709551615", GuestOptions(seed=(1 << 64) - 1)),
        ('{"standby": false, "seed": 7}', GuestOptions(standby=False, seed=7)),
    ],
)
def test_each_key(text: str, expected: GuestOptions) -> None:
    options = parse_guest_options(text)
    assert options == expected
    assert parse_guest_options(format_guest_options(options)) == options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed=1", "no option 'speed': it takes blink, dirty, eject, fill, frames, link-delay"),
        ("eject=soon", "'eject' expects prompt, never, resumed or a duration such as 5s"),
        ("eject=5", "'eject' expects a duration such as 5s or 500ms, got '5'"),
        ("eject=", "'eject' expects prompt, never"),
        ("eject=8000000s", "'eject' expects a week at most"),
        ("standby=perhaps", "'standby' expects 'on' or 'off'"),
        ("dirty=fast", "'dirty' expects a non-negative number below"),
        ("frames=0.01ms", r"'frames' expects 0\.05ms or more, or off"),
        ("link-delay=off", "'link-delay' expects a duration"),
        ("seed=-1", "'seed' expects a number below 2\\^64, got '-1'"),
        ("seed=18446744073709551616", "'seed' expects a number below"),
        ('{"fill": null}', "'fill' expects text, a whole number or a boolean"),
        ('{"dirty": 1.5}', "'dirty' expects text"),
    ],
)
def test_what_is_refused_is_named(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_guest_options(text)


durations = st.floats(0, DURATION_MS_MAX).map(lambda duration_ms: round(duration_ms, 6))
sizes = st.integers(0, (1 << 64) - 1)
everything = st.builds(
    GuestOptions,
    eject=st.sampled_from([Eject(rule) for rule in EjectRule if rule is not EjectRule.DELAYED])
    | st.builds(Eject, st.just(EjectRule.DELAYED), durations),
    standby=st.booleans(),
    dirty_per_second_bytes=sizes,
    working_set_bytes=sizes,
    fill_bytes=sizes,
    frame_interval_ms=st.just(0.0) | durations.filter(lambda ms: ms >= FRAME_INTERVAL_MS_MIN),
    link_delay_ms=durations,
    probe_delay_ms=durations,
    blink_ms=durations,
    power_off_ms=durations,
    reboot_after_ms=st.none() | durations,
    reset_after_ms=st.none() | durations,
    negotiate_ms=durations,
    seed=sizes,
)


@given(everything)
def test_what_is_written_is_read_back_and_fits_its_place_in_ram(options: GuestOptions) -> None:
    text = format_guest_options(options)
    assert parse_guest_options(text) == options
    assert len(text.encode()) <= OPTIONS_BYTES_MAX


@given(everything, everything)
def test_what_was_given_here_comes_before_what_travelled(
    here: GuestOptions, travelled: GuestOptions
) -> None:
    both = here.over(travelled)
    for name in GuestOptions.__dataclass_fields__:
        if name != "given":
            chosen = here if name in here.given else travelled
            assert getattr(both, name) == getattr(chosen, name)
    assert here.over(both) == both

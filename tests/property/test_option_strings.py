"""Option text written and read back is the same options."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devices.errors import DeviceError
from devices.options import OptionError, Options, OptionValue, format_options, parse_options
from devices.properties import Kind, Property, read_value

# Characters that mean something to the grammar come up often.
_text = st.text(st.one_of(st.sampled_from(',={}[]"\\no. '), st.characters()), max_size=20)
_keys = _text.filter(lambda key: bool(key) and not set("=,") & set(key) and key[0] != "{")
_implied = st.sampled_from([None, "driver", "type"])
_text_options = st.dictionaries(st.one_of(_keys, st.sampled_from(["driver", "id", "type"])), _text)

_json_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_json_values: st.SearchStrategy[OptionValue] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        _json_text,
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(_json_text, inner)),
    max_leaves=8,
)


@given(_text_options, _implied)
def test_key_value_round_trip(values: dict[str, str], implied: str | None) -> None:
    options = Options(values)
    again = parse_options(format_options(options, implied=implied), implied=implied)
    assert again == options
    assert list(again) == list(options)


@given(st.dictionaries(_json_text, _json_values, max_size=5))
def test_json_round_trip(values: dict[str, OptionValue]) -> None:
    options = Options(values, from_json=True)
    assert parse_options(format_options(options), implied="driver") == options


@given(_text, _implied)
def test_any_text_is_read_or_refused(text: str, implied: str | None) -> None:
    try:
        options = parse_options(text, implied=implied)
    except OptionError:
        return
    # What was read can be written, and means the same again.
    assert parse_options(format_options(options, implied=implied), implied=implied) == options


@given(st.sampled_from(Kind), _json_values, st.booleans())
def test_a_property_is_read_or_refused(kind: Kind, value: OptionValue, strict: bool) -> None:
    declared = Property("p", kind, choices=("on", "off"))
    try:
        parsed = read_value(declared, value, device_type="d", strict=strict)
    except DeviceError as error:
        refused: str | None = error.description
    else:
        refused = None
    if refused is not None:
        assert "'p'" in refused or "'d.p'" in refused
        return
    assert isinstance(parsed, bool | int | str)
    if kind is Kind.BOOL:
        assert isinstance(parsed, bool)
    # What was read is a value that, written as JSON, is read again.
    assert read_value(declared, parsed, device_type="d", strict=True) == parsed

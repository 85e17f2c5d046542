"""The vmstate mechanism on a small device of its own: what is written, read, and refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from devices.vmstate import (
    Values,
    VmStateDescription,
    VmStateError,
    VmStateField,
    load,
    prepare,
    save,
)
from devices.vmstate_kinds import (
    BOOL,
    U8,
    U16,
    U32,
    U64,
    Bytes,
    ListOf,
    Part,
    Place,
    StructureList,
    Text,
    fixed_bytes,
)


@dataclass
class Wheel:
    turns: int = 0


@dataclass
class Cart:
    speed: int = 0
    load_kg: int = 0
    total: int = 0
    name: str = ""
    cargo: bytes = b""
    key: bytes = b"\0\0"
    locked: bool = False
    marks: list[int] = field(default_factory=list)
    wheels: list[Wheel] = field(default_factory=lambda: [Wheel(), Wheel()])
    brake: int = 7
    log: list[str] = field(default_factory=list)


def is_fast(earlier: Values) -> bool:
    return bool(earlier["speed"] > 100)


def no_overload(cart: Cart, values: Values, place: Place) -> None:
    if values["load_kg"] > values["total"]:
        raise place.at("load_kg").error("at most the total", values["load_kg"], "unload it")


WHEEL = VmStateDescription[Wheel]("wheel", 1, 1, (VmStateField("turns", U32),))

INNER = VmStateDescription[Cart](
    "cart-inner", 1, 1, (VmStateField("locked", BOOL), VmStateField("marks", ListOf(U8, 3)))
)

BRAKE = VmStateDescription[Cart](
    "cart/brake", 1, 1, (VmStateField("brake", U8),), needed=lambda cart: cart.brake != 7
)

CART = VmStateDescription[Cart](
    name="cart",
    version=3,
    minimum_version=2,
    fields=(
        VmStateField("speed", U16),
        VmStateField("load_kg", U32),
        VmStateField("total", U64),
        VmStateField("label", Text(8), attribute="name"),
        VmStateField("cargo", Bytes(4)),
        VmStateField("inner", Part(INNER)),
        VmStateField("wheels", StructureList(WHEEL, 4)),
        VmStateField("key", fixed_bytes(2), version_min=3, exists=is_fast),
    ),
    subsections=(BRAKE,),
    pre_save=lambda cart: cart.log.append("pre_save"),
    check=no_overload,
    post_load=lambda cart: cart.log.append("post_load"),
)


def loaded_cart() -> Cart:
    return Cart(
        speed=120,
        load_kg=5,
        total=2**64 - 1,
        name="wägli",
        cargo=b"\1\2",
        key=b"ab",
        locked=True,
        marks=[1, 255],
        wheels=[Wheel(3), Wheel(4)],
    )


def test_a_section_has_the_declared_layout() -> None:
    cart = loaded_cart()
    assert save(CART, cart) == {
        "name": "cart",
        "version": 3,
        "fields": {
            "speed": 120,
            "load_kg": 5,
            "total": 2**64 - 1,
            "label": "wägli",
            "cargo": b"\1\2",
            "inner": {
                "name": "cart-inner",
                "version": 1,
                "fields": {"locked": True, "marks": [1, 255]},
                "subsections": [],
            },
            "wheels": [
                {"name": "wheel", "version": 1, "fields": {"turns": 3}, "subsections": []},
                {"name": "wheel", "version": 1, "fields": {"turns": 4}, "subsections": []},
            ],
            "key": b"ab",
        },
        "subsections": [],
    }
    assert cart.log == ["pre_save"]


def test_what_is_saved_is_loaded_into_the_objects_the_device_has() -> None:
    target = Cart()
    first_wheel = target.wheels[0]
    load(CART, target, save(CART, loaded_cart()))
    assert target.log == ["post_load"]
    assert target.wheels[0] is first_wheel
    target.log = []
    assert target == loaded_cart()


def test_a_saved_section_shares_nothing_with_the_device() -> None:
    cart = loaded_cart()
    section = save(CART, cart)
    cart.marks.append(9)
    assert section["fields"]["inner"]["fields"]["marks"] == [1, 255]


def test_prepare_changes_nothing_until_it_is_applied() -> None:
    target = Cart()
    prepared = prepare(CART, target, save(CART, loaded_cart()))
    assert target == Cart()
    prepared.apply()
    assert target.speed == 120


def test_a_field_that_does_not_exist_is_neither_written_nor_expected() -> None:
    slow = replace(loaded_cart(), speed=100)
    section = save(CART, slow)
    assert "key" not in section["fields"]
    target = Cart(key=b"zz")
    load(CART, target, section)
    assert target.key == b"zz"


def test_an_older_version_lacks_the_newer_fields_which_keep_what_the_device_has() -> None:
    section = save(CART, loaded_cart())
    section["version"] = 2
    del section["fields"]["key"]
    target = Cart(key=b"zz")
    load(CART, target, section)
    assert (target.speed, target.key) == (120, b"zz")


def test_a_newer_field_in_an_older_section_is_refused() -> None:
    section = save(CART, loaded_cart())
    section["version"] = 2
    with pytest.raises(VmStateError, match="further field 'key'"):
        load(CART, Cart(), section)


def test_a_subsection_is_written_only_when_needed_and_optional_to_the_reader() -> None:
    assert save(CART, loaded_cart())["subsections"] == []
    braked = replace(loaded_cart(), brake=9)
    section = save(CART, braked)
    assert [s["name"] for s in section["subsections"]] == ["cart/brake"]
    target = Cart()
    load(CART, target, section)
    assert target.brake == 9
    load(CART, target, save(CART, loaded_cart()))
    assert target.brake == 9


def test_an_unknown_subsection_is_refused_by_name() -> None:
    section = save(CART, replace(loaded_cart(), brake=9))
    target = Cart()
    with pytest.raises(VmStateError, match="'cart/brake'") as caught:
        load(replace(CART, subsections=()), target, section)
    assert "upgrade the target" in caught.value.advice
    assert target == Cart()


def test_a_subsection_that_comes_twice_is_refused() -> None:
    section = save(CART, replace(loaded_cart(), brake=9))
    section["subsections"] *= 2
    with pytest.raises(VmStateError, match="cart/brake"):
        load(CART, Cart(), section)


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (4, "cart: incoming version_id 4 is too new for local version_id 3"),
        (1, "cart: incoming version_id 1 is too old for local minimum version_id  2"),
    ],
)
def test_versions_out_of_range_are_refused_in_the_words_of_qemu(version: int, text: str) -> None:
    section = save(CART, loaded_cart())
    section["version"] = version
    with pytest.raises(VmStateError) as caught:
        load(CART, Cart(), section)
    assert caught.value.lines() == [text]


Change = Callable[[dict[str, Any]], None]


def setting(name: str, value: object) -> Change:
    def change(section: dict[str, Any]) -> None:
        section["fields"][name] = value

    return change


def framing(key: str, value: object) -> Change:
    def change(section: dict[str, Any]) -> None:
        section[key] = value

    return change


REFUSED: list[tuple[str, Change, str]] = [
    ("other name", framing("name", "cat"), "name"),
    ("name no text", framing("name", 3), "name"),
    ("version no number", framing("version", "3"), "version"),
    ("version a boolean", framing("version", True), "version"),
    ("version negative", framing("version", -1), "version"),
    ("fields no map", framing("fields", []), "fields"),
    ("subsections no list", framing("subsections", {}), "subsections"),
    ("subsection no map", framing("subsections", [None]), ""),
    ("a fifth key", framing("colour", "red"), ""),
    ("a missing key", lambda section: section.pop("subsections"), ""),
    ("unknown field", setting("colour", "red"), ""),
    ("missing field", lambda section: section["fields"].pop("speed"), "speed"),
    ("missing existing field", lambda section: section["fields"].pop("key"), "key"),
    ("beyond u16", setting("speed", 65536), "speed"),
    ("negative", setting("speed", -1), "speed"),
    ("a boolean for a number", setting("speed", True), "speed"),
    ("a float for a number", setting("load_kg", 1.0), "load_kg"),
    ("beyond u64", setting("total", 2**64), "total"),
    ("text too long", setting("label", "x" * 9), "label"),
    ("text too long in bytes", setting("label", "ä" * 5), "label"),
    ("text that is no UTF-8", setting("label", "\ud800"), "label"),
    ("bytes for text", setting("label", b"x"), "label"),
    ("text for bytes", setting("cargo", "x"), "cargo"),
    ("bytes too long", setting("cargo", b"12345"), "cargo"),
    ("bytes too short", setting("key", b"1"), "key"),
    ("a part that is no section", setting("inner", 1), "inner"),
    (
        "a number for a boolean",
        lambda section: section["fields"]["inner"]["fields"].update(locked=1),
        "inner.locked",
    ),
    (
        "too many elements",
        lambda section: section["fields"]["inner"]["fields"].update(marks=[0] * 4),
        "inner.marks",
    ),
    (
        "a bad element",
        lambda section: section["fields"]["inner"]["fields"].update(marks=[0, 256]),
        "inner.marks[1]",
    ),
    (
        "no list",
        lambda section: section["fields"]["inner"]["fields"].update(marks={}),
        "inner.marks",
    ),
    ("structures no list", setting("wheels", {}), "wheels"),
    ("another number of structures", lambda s: s["fields"]["wheels"].pop(), "wheels"),
    (
        "a bad structure",
        lambda section: section["fields"]["wheels"][1]["fields"].update(turns=-1),
        "wheels[1].turns",
    ),
    ("refused by the check", setting("total", 4), "load_kg"),
]


@pytest.mark.parametrize(
    ("change", "where"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED]
)
def test_a_wrong_section_is_refused_with_its_place_and_changes_nothing(
    change: Change, where: str
) -> None:
    section = save(CART, loaded_cart())
    change(section)
    target = Cart(speed=1, wheels=[Wheel(8), Wheel(9)])
    before = copy.deepcopy(target)
    with pytest.raises(VmStateError) as caught:
        load(CART, target, section, device="0000:00:01.0/cart")
    assert target == before
    assert caught.value.device == "0000:00:01.0/cart"
    assert caught.value.field == where
    for part in (caught.value.expected, caught.value.got, caught.value.advice):
        assert part in str(caught.value)


@pytest.mark.parametrize("section", [None, 3, "cart", b"", [], {}, {1: 2}])
def test_what_is_no_section_is_refused(section: object) -> None:
    with pytest.raises(VmStateError, match="cart"):
        load(CART, Cart(), section)


def test_an_error_quotes_hostile_values_in_a_bounded_form() -> None:
    for value in ("x" * 10**6, b"x" * 10**6, [0] * 10**6, 1 << 10**6, {1: [0] * 10**6}, object()):
        section = save(CART, loaded_cart())
        section["fields"]["speed"] = value
        with pytest.raises(VmStateError) as caught:
            load(CART, Cart(), section)
        assert len(str(caught.value)) < 300
    section = save(CART, loaded_cart())
    section["fields"]["y" * 10**6] = 1
    with pytest.raises(VmStateError) as caught:
        load(CART, Cart(), section)
    assert len(str(caught.value)) < 300


def test_the_trail_names_the_enclosing_fields_innermost_first() -> None:
    section = save(CART, loaded_cart())
    section["fields"]["inner"]["fields"]["locked"] = 1
    with pytest.raises(VmStateError) as caught:
        load(CART, Cart(), section)
    assert caught.value.lines()[1:] == [
        "Failed to load cart-inner:locked",
        "Failed to load cart:inner",
    ]


def test_a_device_out_of_its_own_bounds_is_refused_at_the_source() -> None:
    with pytest.raises(VmStateError) as caught:
        save(CART, replace(loaded_cart(), speed=70_000))
    assert caught.value.field == "speed"
    with pytest.raises(VmStateError) as caught:
        save(CART, replace(loaded_cart(), wheels=[Wheel()] * 5))
    assert caught.value.field == "wheels"


def test_an_unmigratable_device_is_neither_saved_nor_loaded() -> None:
    fixed = replace(CART, unmigratable=True)
    with pytest.raises(VmStateError) as caught:
        save(fixed, Cart(), device="0000:00:03.0/cart")
    assert caught.value.lines() == ["State blocked by non-migratable device '0000:00:03.0/cart'"]
    with pytest.raises(VmStateError, match="non-migratable"):
        load(fixed, Cart(), save(CART, Cart()))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: replace(CART, version=1), "not a range"),
        (lambda: replace(CART, version=-1, minimum_version=-1), "not a range"),
        (lambda: replace(CART, fields=(*CART.fields, VmStateField("speed", U8))), "twice"),
        (lambda: replace(CART, fields=(VmStateField("brake", U8),)), "twice"),
        (lambda: replace(CART, subsections=(BRAKE, replace(BRAKE, fields=()))), "one name"),
        (lambda: replace(CART, name="car"), "must begin with car/"),
        (lambda: replace(CART, fields=(VmStateField("late", U8, version_min=4),)), "after version"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(
    build: Callable[[], object], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        build()


def test_a_description_cannot_be_nested_without_end() -> None:
    nested = VmStateDescription[Cart]("level", 1, 1, ())
    for _ in range(7):
        nested = VmStateDescription[Cart]("level", 1, 1, (VmStateField("below", Part(nested)),))
    assert nested.depth() == 8
    with pytest.raises(ValueError, match="deeper than 8"):
        VmStateDescription[Cart]("level", 1, 1, (VmStateField("below", Part(nested)),))

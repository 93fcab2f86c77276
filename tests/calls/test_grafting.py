"""Classes that stay the same object when their declaration changes."""

from __future__ import annotations

import copy
import dataclasses
import enum
import gc
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypedDict, get_type_hints

import pytest

from lastgood.calls.grafting import can_graft, graft, pairs


def named(made: type, name: str = "Shape") -> Any:
    """The class as a module would declare it under that name."""
    made.__qualname__ = made.__name__ = name
    return made


def grafted(old: Any, new: Any) -> Any:
    assert can_graft(old, new, new.__bases__)
    graft(old, new)
    return old


class EurUsd(enum.Enum):
    EUR = 1
    USD = 2


class EurGbp(enum.Enum):
    EUR = 1
    GBP = 3


class One(enum.IntEnum):
    A = 1


class Two(enum.IntEnum):
    A = 1
    B = 2
    C = 2


def test_an_enum_keeps_its_members_and_gets_those_that_are_new() -> None:
    eur, usd = EurUsd.EUR, EurUsd.USD
    currency = grafted(named(EurUsd), named(EurGbp))
    assert currency.EUR is eur is currency(1) is currency["EUR"]
    assert list(currency) == [eur, currency.GBP]
    assert isinstance(currency.GBP, currency)
    assert repr(currency.GBP) == "<Shape.GBP: 3>"
    assert isinstance(usd, currency)
    assert not hasattr(currency, "USD")
    with pytest.raises(ValueError, match="2 is not a valid Shape"):
        currency(2)
    assert copy.deepcopy(currency.GBP) is currency.GBP


def test_an_int_enum_keeps_its_numbers() -> None:
    kept = grafted(named(One), named(Two))
    assert kept.B == 2
    assert kept.C is kept.B
    assert kept(2) is kept.B
    match kept.B:
        case One.B:  # type: ignore[attr-defined]  # it is new
            pass
        case _:
            raise AssertionError(kept.B)


def plain() -> Any:
    @dataclass
    class Shape:
        sku: str
        price: float = 1.0

    return Shape


def longer() -> Any:
    @dataclass
    class Shape:
        sku: str
        tags: list[str] = field(default_factory=list)

    return Shape


def frozen(extra: bool) -> Any:
    if extra:

        @dataclass(frozen=True)
        class Shape:
            sku: str
            count: int = 0

        return Shape

    @dataclass(frozen=True)
    class Same:
        sku: str

    return named(Same)


def test_a_dataclass_has_its_new_fields() -> None:
    shape = plain()
    earlier = shape("a-1")
    grafted(shape, longer())
    assert [each.name for each in dataclasses.fields(shape)] == ["sku", "tags"]
    assert shape("a-1").tags == []
    assert not hasattr(shape, "price")
    assert isinstance(earlier, shape)
    assert vars(earlier) == {"sku": "a-1", "price": 1.0}
    assert shape("a", ["b"]) == shape("a", ["b"])


def grown(number: int, *, frozen: bool = False) -> Any:
    """The class with one, two or three fields."""
    more: list[Any] = [("tags", list[str], field(default_factory=list)), ("count", int)]
    return dataclasses.make_dataclass(
        "Shape", [("sku", str), *more[: number - 1]], kw_only=True, frozen=frozen, unsafe_hash=not frozen
    )


@pytest.mark.parametrize("is_frozen", [False, True])
def test_an_instance_from_before_a_field_was_gained_can_be_shown_and_compared(is_frozen: bool) -> None:
    shape = grown(1, frozen=is_frozen)
    first, twin, other = shape(sku="a"), shape(sku="a"), shape(sku="b")
    grafted(shape, grown(2, frozen=is_frozen))
    second = shape(sku="a")
    assert first == second == twin != other
    assert first.tags == []
    assert first.tags is first.tags
    assert repr(first) == repr(second) == "Shape(sku='a', tags=[])"
    with pytest.raises(AttributeError, match="type object 'Shape' has no attribute 'tags'"):
        shape.tags  # noqa: B018  # it raises
    for _ in range(2):
        grafted(shape, grown(3, frozen=is_frozen))
        assert repr(other) == "Shape(sku='b', tags=[])"
        assert repr(shape(sku="a", count=1)) == "Shape(sku='a', tags=[], count=1)"
        assert first == twin
        assert first != shape(sku="a", count=1)
        assert shape(sku="a", count=1) == shape(sku="a", count=1) != shape(sku="a", count=2)
        assert not hasattr(first, "count")
        with pytest.raises(TypeError, match="unhashable type: 'list'"):
            hash(shape(sku="a", count=1))
    grafted(shape, grown(1, frozen=is_frozen))
    assert repr(first) == "Shape(sku='a')"
    assert hash(first) == hash(shape(sku="a"))
    assert first != "a"


def test_a_frozen_dataclass_stays_frozen_for_subclasses_too() -> None:
    shape = frozen(extra=False)

    derived = type("Derived", (shape,), {})
    grafted(shape, frozen(extra=True))
    assert shape("a").count == 0
    assert hash(shape("a", 1)) == hash(shape("a", 1))
    for instance in (shape("a"), derived("a")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            instance.sku = "b"
    derived("a").other = 1


class Point(NamedTuple):
    x: int


class Longer(NamedTuple):
    x: int
    y: int = 0


class Reordered(NamedTuple):
    y: int
    x: int


def test_a_named_tuple_may_grow_at_its_end_alone() -> None:
    assert not can_graft(Longer, Reordered, Reordered.__bases__)
    point = named(Point, "Point")
    earlier = point(1)
    grafted(point, named(Longer, "Point"))
    assert (repr(earlier), repr(point(1, 2))) == ("Point(x=1)", "Point(x=1, y=2)")
    assert point(1) == (1, 0)
    assert point(1).y == 0
    assert isinstance(earlier, point)
    assert earlier.x == 1
    assert point._make([1, 2])._asdict() == {"x": 1, "y": 2}


class Small(TypedDict):
    x: int


class Big(TypedDict):
    x: int
    y: str


def test_a_typed_dict_has_its_new_keys() -> None:
    small = grafted(named(Small, "Small"), named(Big, "Small"))
    assert small.__required_keys__ == {"x", "y"}
    assert get_type_hints(small) == {"x": int, "y": str}
    assert typing.is_typeddict(small)


class Oops(Exception):
    pass


class Bad(ValueError):
    code = 3


def test_an_exception_keeps_its_bases_if_what_derives_from_it_could_not_be_any_more() -> None:
    class Missing(Exception):
        pass

    class Both(LookupError, Missing):
        pass

    class NowALookupError(LookupError):
        pass

    assert not can_graft(named(Missing), named(NowALookupError), (LookupError,))
    assert issubclass(Both, Missing)  # and so it is there
    del Both
    gc.collect()
    assert can_graft(Missing, NowALookupError, (LookupError,))


def test_an_exception_may_have_another_base() -> None:
    oops = grafted(named(Oops, "Oops"), named(Bad, "Oops"))
    with pytest.raises(ValueError, match="mine"):
        raise oops("mine")
    assert oops.code == 3


def slotted() -> type:
    @dataclass(slots=True)
    class Shape:
        sku: str

    return Shape


class Flags(enum.Flag):
    A = 1


class Marks(enum.Flag):
    A = 1
    B = 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (slotted, slotted),
        (slotted, plain),
        (plain, slotted),
        (lambda: Flags, lambda: Marks),
        (plain, lambda: EurGbp),
        (lambda: One, lambda: EurGbp),
        (lambda: Point, plain),
    ],
    ids=["slots", "slots gone", "slots new", "flags", "another kind", "another kind of enum", "a tuple no more"],
)
def test_what_another_layout_forbids(old: Callable[[], Any], new: Callable[[], Any]) -> None:
    assert not can_graft(old(), new(), new().__bases__)


def nesting(member: int) -> Any:
    class Shape:
        class Kind(enum.Enum):
            A = 1
            B = member

    Shape.__qualname__ = "Shape"
    Shape.Kind.__qualname__ = "Shape.Kind"
    return Shape


def test_nested_classes_stay_too() -> None:
    shape, new = nesting(2), nesting(3)
    kind, member = shape.Kind, shape.Kind.A
    assert [old for _, old in pairs(shape, new)] == [shape, kind, member]
    grafted(shape, new)
    assert shape.Kind is kind
    assert kind.A is member
    assert kind(3).name == "B"


def test_a_nested_class_goes_on_to_derive_from_one_beside_it() -> None:
    def outer(more: str) -> Any:
        text = f"class Api:\n  class Error(Exception): {more}\n  class Gone(Error): ...\n"
        made: dict[str, Any] = {"__name__": __name__}
        exec(text + ("  class Lost(Gone): ..." if more == "code = 1" else ""), made)
        return made["Api"]

    api = outer("...")
    error, gone = api.Error, api.Gone
    grafted(api, outer("code = 1"))
    assert (api.Error, api.Gone, gone.__bases__) == (error, gone, (error,))
    assert api.Lost.__mro__[1:3] == (gone, error)
    assert api.Lost().code == 1

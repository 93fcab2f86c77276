"""The types of the fields of generic classes, with what their type variables stand for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NotRequired,
    ParamSpec,
    Required,
    Self,
    TypedDict,
    TypeVar,
    TypeVarTuple,
)

import pytest

from lastgood.calls.hints import hints_of, origin_of, settled

T = TypeVar("T")
U = TypeVar("U")
Key = TypeVar("Key", int, str)
Animal_ = TypeVar("Animal_", bound="Animal")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")


@dataclass
class Animal:
    name: str


@dataclass
class Page(Generic[T]):
    items: list[T]
    first: T | None = None
    next: Self | None = None
    kind: Literal["T"] = "T"
    by_name: dict[str, list[T]] = field(default_factory=dict)
    tag: Annotated[T | int, "T"] = 0
    make: Callable[[T], T] | None = None


@dataclass
class AnimalPage(Page[Animal]):
    total: int = 0


@dataclass
class Swapped(Page[U], Generic[T, U]):
    """Its T is not the T of its base."""

    other: T | None = None


@dataclass
class Zoo(Swapped[int, "Animal"]):
    pass


@dataclass
class Cage(Generic[Animal_, Key]):
    of: Animal_
    keys: list[Key]


class Pair(NamedTuple, Generic[T]):
    left: T
    right: T


class AnimalPair(Pair[Animal]):
    pass


class Row(TypedDict, Generic[T]):
    cell: T
    note: NotRequired[list[T]]


class Wide(Row[Animal], Generic[T], total=False):
    more: Required[T]


class Wider(Wide[int]):
    last: str


@dataclass
class Odd(Generic[P, T]):
    run: Callable[P, int]
    given: T


@dataclass
class Many(Generic[*Ts]):
    rest: tuple[*Ts]
    own: int


def test_a_class_that_is_not_generic() -> None:
    assert hints_of(Animal) == {"name": str}


def test_arguments_take_the_place_of_type_variables_at_any_depth() -> None:
    assert hints_of(Page[int]) == {
        "items": list[int],
        "first": int | None,
        "next": Page[int] | None,
        "kind": Literal["T"],
        "by_name": dict[str, list[int]],
        "tag": Annotated[int, "T"],
        "make": Callable[[int], int] | None,
    }


def test_what_is_not_given_is_any() -> None:
    hints = hints_of(Page)
    assert (hints["items"], hints["next"]) == (list[Any], Page | None)


def test_what_is_not_given_is_the_bound_or_one_of_the_constraints() -> None:
    assert hints_of(Cage) == {"of": Animal, "keys": list[int | str]}


def test_arguments_reach_the_fields_of_bases() -> None:
    hints = hints_of(AnimalPage)
    assert (hints["items"], hints["total"], hints["next"]) == (list[Animal], int, AnimalPage | None)


def test_each_class_has_type_variables_of_its_own() -> None:
    hints = hints_of(Swapped[int, str])
    assert (hints["items"], hints["other"]) == (list[str], int | None)


def test_a_quoted_argument_of_a_base() -> None:
    hints = hints_of(Zoo)
    assert (hints["items"], hints["other"]) == (list[Animal], int | None)


def test_type_variables_of_a_function_are_settled() -> None:
    variable: Any = T
    bounded: Any = Animal_
    this: Any = Self
    assert hints_of(Page[variable])["items"] == list[Any]
    assert hints_of(Page[list[bounded]])["items"] == list[list[Animal]]
    assert settled(dict[str, Page[bounded]]) == dict[str, Page[Animal]]
    assert settled(list[this], Animal) == list[Animal]


def test_named_tuples() -> None:
    assert hints_of(Pair[int]) == {"left": int, "right": int}
    assert hints_of(AnimalPair) == {"left": Animal, "right": Animal}


def test_typed_dicts() -> None:
    assert hints_of(Row[int]) == {"cell": int, "note": NotRequired[list[int]]}
    assert hints_of(Wide[int]) == {"cell": Animal, "note": NotRequired[list[Animal]], "more": Required[int]}
    assert hints_of(Wider) == {"cell": Animal, "note": NotRequired[list[Animal]], "more": Required[int], "last": str}


def test_parameters_that_are_no_types_stand_for_anything() -> None:
    assert hints_of(Odd[[int], str])["given"] is Any
    assert hints_of(Many[int, str]) == {"rest": Any, "own": int}


def test_the_class_of_a_parametrised_class() -> None:
    assert [origin_of(each) for each in (Page[int], Page, Row[int], Pair[int])] == [Page, Page, Row, Pair]
    assert [origin_of(each) for each in (list[int], int | None, Mapping[str, int])] == [
        list[int],
        int | None,
        Mapping[str, int],
    ]


def test_type_variables_that_a_swap_has_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("swapped")
    monkeypatch.setitem(sys.modules, "swapped", module)
    monkeypatch.setitem(vars(module), "__name__", "swapped")
    text = """
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import Generic, TypeVar
        T = TypeVar("T")
        @dataclass
        class Page(Generic[T]):
            items: list[T]
    """
    exec(inspect.cleandoc(text), vars(module))

    module.__dict__["T"] = TypeVar("T")

    assert hints_of(module.__dict__["Page"][int]) == {"items": list[int]}


@pytest.mark.skipif(sys.version_info < (3, 13), reason="defaults of type variables are new in 3.13")
def test_what_is_not_given_is_the_default() -> None:
    names: dict[str, Any] = {}
    exec(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Page[T = int, U = list[int]]:\n    first: T\n    rest: U\n"
        "@dataclass\nclass Texts(Page[str]):\n    pass\n",
        names,
    )
    assert hints_of(names["Page"]) == {"first": int, "rest": list[int]}
    assert hints_of(names["Page"][str]) == {"first": str, "rest": list[int]}
    assert hints_of(names["Texts"]) == {"first": str, "rest": list[int]}
